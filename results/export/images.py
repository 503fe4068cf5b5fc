"""The images of an export: copied from wherever they lie, byte for byte, several at once; or symbolic links to local
files. Only those that are still the bytes that were labelled.

They aren't decoded: one that was turned by its EXIF orientation for labelling keeps it, and must be turned by the tool
as well. But frames of videos are: they become JPEGs of quality 95, upright.
"""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ...storage.uris import absolute, is_local
from ...transforms.elements import ImageError, ImageReference
from ...transforms.fetch.read_frame import is_frame
from ..pixels import Members, container_holding, find_image, read_pixels, read_unchanged
from ..stored_labels import StoredLabels
from .names import extension_of, has_image_extension

Way = Literal["copy", "link"]

_THREADS = 16
_AHEAD = 4 * _THREADS  # images in flight: their labels are held meanwhile


def is_local_file(uri: str) -> bool:
    return is_local(uri) and container_holding(uri) is None


class Images:
    """Places images in a folder.

    Args:
      folder: made when the first image comes.
      way: `copy` or `link`.
    """

    def __init__(self, folder: Path, way: Way):
        self._folder = folder
        self._way = way
        self._members: Members | None = None

    def place(
        self, images: Iterable[tuple[StoredLabels, str]]
    ) -> Iterator[tuple[StoredLabels, str, ImageError | None]]:
        """Places the image of each (labels, name).

        Hands on, in the same order, labels, name (with an extension, if it had none), and why there is no image, or
        None.

        Raises:
          OSError: if the folder can't be written.
        """
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="images") as pool:
            in_flight: deque[tuple[StoredLabels, str, Future[str]]] = deque()
            for labels, name in images:
                in_flight.append((labels, name, pool.submit(self._place, labels, self._find(labels.uri), name)))
                if len(in_flight) >= _AHEAD:
                    yield _placed(*in_flight.popleft())
            while in_flight:
                yield _placed(*in_flight.popleft())

    def _find(self, uri: str) -> ImageReference | ImageError:
        """Where an image lies. The members of one container at a time are remembered."""
        container = container_holding(uri)
        if container is None:
            return find_image(uri)
        try:
            if self._members is None or self._members.container != container:
                self._members = Members(container)
            return self._members.find(uri)
        except ImageError as error:
            return error

    def _place(self, labels: StoredLabels, found: ImageReference | ImageError, name: str) -> str:
        """Places one image; returns its name."""
        if isinstance(found, ImageError):
            raise found
        data = _as_jpeg(read_pixels(labels, found)) if is_frame(found) else read_unchanged(labels, found)
        if not has_image_extension(name):
            name += extension_of(data[:16])
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._way == "copy":
            path.write_bytes(data)
        else:
            path.symlink_to(absolute(found.uri))
        return name


def _as_jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _placed(labels: StoredLabels, name: str, future: "Future[str]") -> tuple[StoredLabels, str, ImageError | None]:
    try:
        return labels, future.result(), None
    except ImageError as error:
        return labels, name, error
