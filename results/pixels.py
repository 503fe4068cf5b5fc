"""The pixels of labelled images, read again from their URIs and decoded as they were for their labels."""

import hashlib

import numpy as np

from ..transforms.decode.decoding import decode
from ..transforms.elements import ImageError, ImageFacts, ImageReference
from ..transforms.fetch.image_errors import image_error
from ..transforms.fetch.options import DecodeOptions, ReadOptions
from ..transforms.fetch.read_bytes import read_bytes
from ..transforms.sources.containers import index_members
from ..transforms.sources.inputs import container_of
from .stored_labels import StoredLabels


def read_pixels(labels: StoredLabels) -> np.ndarray:
    """An image, uint8 RGB `[height, width, 3]`.

    Raises:
      ImageError: if it can't be read any more, or isn't the image that was labelled.
    """
    options = DecodeOptions(
        exif_orientation=labels.settings.get("exif_orientation", DecodeOptions.exif_orientation),
        background_rgb=tuple(labels.settings.get("background_rgb", DecodeOptions.background_rgb)),
    )
    data = read_bytes(find_image(labels.uri), ReadOptions(), ImageFacts())
    check_unchanged(labels, data)
    pixels = decode(data, options)
    if pixels.shape[:2] != labels.size_hw:
        height, width = labels.image_size_hw
        raise ImageError(
            "not_found",
            f"the image has changed since: it had {width}×{height} pixels, now it has "
            f"{pixels.shape[1]}×{pixels.shape[0]}",
        )
    return pixels


def check_unchanged(labels: StoredLabels, data: bytes) -> None:
    """Raises `ImageError` if these bytes aren't those that were labelled."""
    if labels.sha256 is not None and hashlib.sha256(data).hexdigest() != labels.sha256:
        raise ImageError("not_found", "the image has changed since it was labelled: its SHA-256 is another")


def find_image(uri: str) -> ImageReference:
    """Where an image lies: those inside a container are found by looking through it.

    Raises:
      ImageError: if the container can't be read or has no such member.
    """
    if (container := container_of(uri)) is None:
        return ImageReference(uri)
    try:
        found = next((member for member in index_members(container) if member.uri == uri), None)
    except (OSError, ValueError) as error:
        raise image_error(error) from error
    if found is None:
        raise ImageError("not_found", f"container {container} has no such member any more")
    return found
