"""The images of an export: copied from wherever they lie, byte for byte, several at once; or symbolic links to local
files.

They aren't decoded: one that was turned by its EXIF orientation for labelling keeps it, and must be turned by the tool
as well.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from ...storage.uris import absolute, scheme_of
from ...transforms.elements import ImageError, ImageFacts, ImageReference
from ...transforms.fetch.image_errors import image_error
from ...transforms.fetch.options import ReadOptions
from ...transforms.fetch.read_bytes import read_bytes
from ...transforms.sources.containers import index_members
from ...transforms.sources.inputs import container_of
from ..stored_labels import StoredLabels

Way = Literal["copy", "link"]

_THREADS = 16
_AHEAD = 4 * _THREADS  # images in hand: their labels are held meanwhile


def is_local_file(uri: str) -> bool:
    return scheme_of(uri) == "file" and container_of(uri) is None


class Images:
    """Places images in a folder.

    Args:
      folder: made when the first image comes.
      way: `copy` or `link`.
    """

    def __init__(self, folder: Path, way: Way):
        self._folder = folder
        self._way = way
        self._container: str | None = None
        self._members: dict[str, ImageReference] = {}

    def place(
        self, images: Iterable[tuple[StoredLabels, str]]
    ) -> Iterator[tuple[StoredLabels, str, ImageError | None]]:
        """Places the image of each (labels, name) and hands both on in the same order, with why there is no image, or
        None.

        Raises:
          OSError: if the folder can't be written.
        """
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="images") as pool:
            in_hand: deque[tuple[StoredLabels, str, Future]] = deque()
            for labels, name in images:
                in_hand.append((labels, name, pool.submit(self._place, self._find(labels.uri), self._folder / name)))
                if len(in_hand) >= _AHEAD:
                    yield _placed(*in_hand.popleft())
            while in_hand:
                yield _placed(*in_hand.popleft())

    def _find(self, uri: str) -> ImageReference | ImageError:
        """Where an image lies. The members of one container at a time are remembered."""
        container = container_of(uri)
        if container is None:
            return ImageReference(uri)
        if container != self._container:
            try:
                members = {member.uri: member for member in index_members(container)}
            except (OSError, ValueError) as error:
                return image_error(error)
            self._container, self._members = container, members
        return self._members.get(uri) or ImageError("not_found", f"container {container} has no such member any more")

    def _place(self, found: ImageReference | ImageError, path: Path) -> None:
        if isinstance(found, ImageError):
            raise found
        if self._way == "copy":
            data = read_bytes(found, ReadOptions(), ImageFacts())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return
        source = absolute(found.uri)
        if not os.path.isfile(source):
            raise ImageError("not_found", "no such file any more")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(source)


def _placed(labels: StoredLabels, name: str, future: Future) -> tuple[StoredLabels, str, ImageError | None]:
    try:
        future.result()
    except ImageError as error:
        return labels, name, error
    return labels, name, None
