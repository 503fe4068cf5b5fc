"""Frames of animated GIF, WebP and PNG files, as Pillow paints them: one over the other, from the first on.

What follows a damaged frame is painted over it, and damaged as well.
"""

import itertools
from collections.abc import Iterator, MutableMapping
from typing import Any

from PIL import Image

from ....storage.file_info import FileVersion
from ....storage.size_limit import check_size
from ...decode import png, webp
from ...decode.identify import identify_mended
from ...decode.pillow_errors import BOMB_ERRORS, DECODER_ERRORS
from ...decode.sizes import canvas_size
from ...elements import MemberLocation
from .forward import ForwardReader
from .http_copies import open_at_any_place, version_of_opened
from .members import CHUNK_IMAGES

HEAD_BYTES = 1 << 16  # in which nearly every still PNG and WebP says that it is one
_GIF_EXTENSION, _GIF_FRAME = 0x21, 0x2C


def pages(path: str, file: Any, head: bytes, num_bytes: int, max_bytes: int) -> tuple[list[MemberLocation], str]:
    """Where the frames are, and why there may be more, empty if there aren't; no frames if the file is nothing of the
    kind.

    Args:
      file: open, behind its head.
      head: its first `HEAD_BYTES` bytes.
      num_bytes: its size.
      max_bytes: the most that is read.

    Raises:
      StorageError: `too_large`.
    """
    size = canvas_size(head)
    if size is None:
        return [], ""
    count, problem = 1, ""
    if not _is_still(head):
        check_size(num_bytes, max_bytes)
        count, problem = _count(head + file.read())
    width, height = size
    return [
        MemberLocation(path, "animation", number, width * height * 3, chunk=number // CHUNK_IMAGES)
        for number in range(count)
    ], problem


def _is_still(head: bytes) -> bool:
    if head.startswith(b"RIFF"):
        return webp.is_still(head)
    return head.startswith(png.SIGNATURE) and png.is_still(head)


def _count(data: bytes) -> tuple[int, str]:
    """How many frames a file has that are there, at least in part, and why there may be more."""
    if data.startswith(b"RIFF"):
        found = sum(chunk.name == b"ANMF" for chunk in webp.chunks(data))
        is_cut = len(data) < webp.declared_bytes(data)
        return max(1, found), f"cut off: it has {len(data):,} of {webp.declared_bytes(data):,} bytes" if is_cut else ""
    if data.startswith(png.SIGNATURE):
        return png.count_frames(data)
    return max(1, sum(1 for _ in _gif_frames(data))), ""


def _gif_frames(data: bytes) -> Iterator[int]:
    """Where the frames of a GIF file begin (GIF89a)."""
    place = 13 + _colour_table_bytes(data[10])
    while place < len(data):
        block = data[place]
        if block == _GIF_FRAME and place + 10 <= len(data):
            yield place
            place = _after_blocks(data, place + 11 + _colour_table_bytes(data[place + 9]))
        elif block == _GIF_EXTENSION:
            place = _after_blocks(data, place + 2)
        elif block == ord(";"):
            return
        else:  # as other readers do, Pillow among them
            place += 1


def _colour_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, place: int) -> int:
    while place < len(data) and data[place]:
        place += data[place] + 1
    return place + 1


class Reader(ForwardReader):
    """Decodes frames of an animation. Not thread-safe."""

    _data: bytes | None = None
    _version = FileVersion()

    @property
    def version(self) -> FileVersion:
        return self._version

    def _open(self) -> None:
        if self._data is not None:
            return
        with open_at_any_place(self._path, self._options) as file:
            check_size(file.seek(0, 2), self._options.max_bytes)
            file.seek(0)
            self._version = version_of_opened(file, self._path, self._options)
            self._data = file.read()

    def _decoded(self, keyframe: int, expected: MutableMapping[int, int]) -> Iterator[tuple[int, Image.Image]]:
        assert self._data is not None  # which `read` has opened
        image, _ = identify_mended(self._data)
        for number in itertools.count():
            try:
                image.seek(number)
                image.load()
            except (*DECODER_ERRORS, *BOMB_ERRORS):
                return
            yield number, image

    def _kept(self, frame: Image.Image) -> Image.Image:
        return frame.copy()

    def close(self) -> None:
        super().close()
        self._data = None
