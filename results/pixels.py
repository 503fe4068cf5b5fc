"""The pixels of labelled images, read again from their URIs and decoded as they were for their labels."""

import hashlib

import numpy as np

from ..storage.errors import StorageError
from ..storage.redaction import REMOVED
from ..storage.uris import as_text, existing_file
from ..transforms.decode.decoding import decode
from ..transforms.decode.frame import decoded_frame
from ..transforms.elements import ImageError, ImageFacts, ImageReference
from ..transforms.fetch.image_errors import image_error
from ..transforms.fetch.options import DecodeOptions, ReadOptions
from ..transforms.fetch.read_bytes import read_bytes
from ..transforms.fetch.read_frame import is_frame, read_frame
from ..transforms.sources.containers import index_members
from ..transforms.sources.containers.pages import Pages, read_pages
from ..transforms.sources.containers.video import Frames, read_frames
from ..transforms.sources.inputs import container_of, format_of, may_have_pages
from .stored_labels import StoredLabels


def read_pixels(labels: StoredLabels, reference: ImageReference | None = None) -> np.ndarray:
    """An image, uint8 RGB `[height, width, 3]`.

    Args:
      labels: of the image.
      reference: where it lies, if that has been found out.

    Raises:
      ImageError: if it can't be read any more, or isn't the image that was labelled.
    """
    options = DecodeOptions(
        exif_orientation=labels.settings.get("exif_orientation", DecodeOptions.exif_orientation),
        background_rgb=tuple(labels.settings.get("background_rgb", DecodeOptions.background_rgb)),
    )
    reference = reference or find_image(labels.uri)
    if is_frame(reference):
        pixels = decoded_frame(read_frame(reference, ReadOptions(), ImageFacts()), options).pixels
    else:
        pixels = decode(read_unchanged(labels, reference), options)
    if pixels.shape[:2] != labels.size_hw:
        height, width = labels.image_size_hw
        raise ImageError(
            "not_found",
            f"the image has changed since: it had {width}×{height} pixels, now it has "
            f"{pixels.shape[1]}×{pixels.shape[0]}",
        )
    return pixels


def read_unchanged(labels: StoredLabels, reference: ImageReference) -> bytes:
    """The bytes that were labelled.

    Raises:
      ImageError: if they can't be read any more, or are others.
    """
    try:
        data = read_bytes(reference, ReadOptions(), ImageFacts())
    except ImageError as error:
        if REMOVED not in reference.uri:
            raise
        hint = "tables don't keep signatures and tokens of URLs"
        raise ImageError(error.kind, f"{error.message} ({hint})") from error
    if labels.sha256 is not None and hashlib.sha256(data).hexdigest() != labels.sha256:
        raise ImageError("not_found", "the image has changed since it was labelled: its SHA-256 is another")
    return data


def container_holding(uri: str) -> str | None:
    """The container that an image of a table lies in; None for a file of its own, whatever its name is like."""
    container = container_of(uri)
    if container is None or existing_file(uri) is not None:
        return None
    while (path := existing_file(container)) is None and (longer := container_of(uri, len(container) + 1)):
        container = longer  # a folder may be called so
    return path or container_of(uri)


def find_image(uri: str) -> ImageReference:
    """Where an image lies: those inside a container are found by looking through it.

    Raises:
      ImageError: if the container can't be read or has no such member.
    """
    if (container := container_holding(uri)) is None:
        return ImageReference(existing_file(uri) or uri)
    return Members(container, uri).find(uri)


class Members:
    """The images inside a container, by the URIs that tables have of them; frames of a video and pages of an image as
    well.

    Args:
      container: path or URI.
      only: the one that will be asked for; None for any.

    Raises:
      ImageError: if the container can't be read.
    """

    def __init__(self, container: str, only: str | None = None):
        self.container = container
        self._frames: Frames | Pages | None = None
        self._members: dict[str, ImageReference] = {}
        try:
            if format_of(container) == "video":
                self._frames = read_frames(container)
                return
            if may_have_pages(container):
                self._frames = read_pages(container)
                return
            for member in index_members(container):
                if only is None or as_text(member.uri) == only:
                    self._members[as_text(member.uri)] = member
                    if only is not None:
                        return
        except (OSError, ValueError, StorageError) as error:
            raise image_error(error) from error

    def find(self, uri: str) -> ImageReference:
        """Raises `ImageError` if there is no such member."""
        found = self._members.get(uri) if self._frames is None else self._frames.named(uri.rpartition("#")[2])
        if found is None:
            raise ImageError("not_found", f"container {self.container} has no such member any more")
        return found
