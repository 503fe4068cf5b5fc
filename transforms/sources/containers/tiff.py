"""Pages of a TIFF file: its directories, but for those of thumbnails and masks.

As it is read, a page becomes a TIFF file of its own: the tags of its pixels, its EXIF data, and the pixels. So it costs
what it takes, however large the file is, and is decoded as any other image. What is laid out in an odd way (old JPEGs,
strips that overlap or whose lengths are missing) comes as the whole file, with the page in front. TIFF 6.0, BigTIFF.
"""

import contextlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ....storage.read_options import ReadOptions
from ....storage.size_limit import more_than
from ...decode.tiff import OF_PIXELS
from ...elements import ImageError, MemberLocation
from .http_copies import open_at_any_place
from .members import Chunks

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_LONG, _LONG8 = 4, 16
_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 255, 330, 50706
_IS_REDUCED, _IS_MASK, _IS_REDUCED_IN_OLD = 1, 4, 2
_WIDTH, _LENGTH, _COMPRESSION, _OLD_JPEG = 256, 257, 259, 6
_STRIPS, _TILES = (273, 279), (324, 325)  # where they are, and how long
_EXIF, _GPS = 34665, 34853  # directories of their own
_KEPT = (OF_PIXELS - {_SUB_IFDS}) | {271, 272, 306}  # make, model and time, as EXIF data have them
_MAX_SUB_IFDS = 16
_GAP = 2  # times what is wanted that is read in one piece, with what lies between


class Damaged(Exception):
    """A directory makes no sense."""


class _Entry(NamedTuple):
    type: int
    count: int
    field: bytes  # the values, or where they are


class Directory(NamedTuple):
    entries: Mapping[int, _Entry]
    next: int


class TiffFile:
    """An open TIFF file.

    Args:
      file: open, at any place.
      head: its first bytes.
      num_bytes: its size.
    """

    def __init__(self, file: Any, head: bytes, num_bytes: int):
        self.file, self.head, self.num_bytes = file, head[:16], num_bytes
        self.is_big = head[2:4] in (b"+\0", b"\0+")
        order = "<" if head[:2] == b"II" else ">"
        self.order = order
        self.offset = struct.Struct(f"{order}{'Q' if self.is_big else 'I'}")
        self.count = struct.Struct(f"{order}{'Q' if self.is_big else 'H'}")
        self.entry = struct.Struct(f"{order}{'HHQ8s' if self.is_big else 'HHI4s'}")
        self.start = 8 if self.is_big else 4  # of what says where the first directory is
        self.bytes_left: float = math.inf  # of directories that may still be read
        [self.first] = self.offset.unpack_from(head.ljust(16, b"\0"), self.start)

    def directory(self, offset: int) -> Directory:
        """The directory at a place. Raises `Damaged`."""
        [count] = self.count.unpack(self._read(offset, self.count.size))
        data = self._read(offset + self.count.size, count * self.entry.size + self.offset.size)
        entries = {tag: _Entry(*rest) for tag, *rest in self.entry.iter_unpack(data[: count * self.entry.size])}
        [following] = self.offset.unpack(data[count * self.entry.size :])
        self.bytes_left -= len(data)
        if self.bytes_left < 0:
            raise Damaged("they overlap")
        return Directory(entries, following)

    def values(self, entry: _Entry, at_most: int | None = None) -> bytes:
        """An entry's values, as they are in the file; only the first ones if there are more. Raises `Damaged`."""
        if entry.type not in _TYPE_BYTES:
            raise Damaged(f"a value of the unknown type {entry.type}")
        size = _TYPE_BYTES[entry.type]
        length = size * (entry.count if at_most is None else min(entry.count, at_most))
        if size * entry.count <= len(entry.field):
            return entry.field[:length]
        return self._read(self.offset.unpack(entry.field)[0], length)

    def numbers(self, directory: Directory, tag: int, at_most: int | None = None) -> list[int]:
        """Whole numbers; none if the tag is missing, or something else. Raises `Damaged`."""
        entry = directory.entries.get(tag)
        if entry is None or entry.type not in _NUMBERS:
            return []
        return np.frombuffer(self.values(entry, at_most), self.order + _NUMBERS[entry.type]).tolist()

    def number(self, directory: Directory, tag: int) -> int:
        """The first of them; 0 if there is none. Raises `Damaged`."""
        return next(iter(self.numbers(directory, tag, at_most=1)), 0)

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self.num_bytes:
            raise Damaged(f"{length:,} bytes at byte {offset:,}, where the file has {self.num_bytes:,} in all")
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) < length:
            raise Damaged(f"{length:,} bytes at byte {offset:,}, of which {len(data):,} can be read")
        return data

    def pieces(self, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Parts of the file; in one read if they lie together. Raises `Damaged`."""
        first, end = min(starts), max(map(sum, zip(starts, lengths, strict=True)))
        if end - first > _GAP * sum(lengths):
            return [self._read(start, length) for start, length in zip(starts, lengths, strict=True)]
        whole = memoryview(self._read(first, end - first))
        return [
            bytes(whole[start - first : start - first + length]) for start, length in zip(starts, lengths, strict=True)
        ]


def opened(file: Any, head: bytes, num_bytes: int) -> TiffFile | None:
    """None if it is no TIFF file."""
    is_tiff = head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    return TiffFile(file, head, num_bytes) if is_tiff else None


def pages(path: str, tiff: TiffFile, max_pages: int) -> tuple[list[MemberLocation], str]:
    """Where the pages are, at most one more than `max_pages`; and why there may be others, empty if there aren't."""
    found, seen, chunks, end = [], set(), Chunks(), 0
    tiff.bytes_left = tiff.num_bytes
    offset = 0 if tiff.head[8:10] == b"CR" else tiff.first  # a camera's raw file
    while offset and len(seen) <= max_pages:
        if offset in seen:
            return found, "the directory that follows is an earlier one: its pages would never end"
        seen.add(offset)
        try:
            directory = tiff.directory(offset)
            if _is_page(tiff, directory):
                num_bytes = max(0, offset - end)  # mostly those of the page: its directory follows or precedes it
                found.append(MemberLocation(path, "tiff", offset, chunk=chunks.of(num_bytes)))
                end += num_bytes
        except Damaged as error:
            return found, f"cut off, or its directories are damaged ({error})"
        offset = directory.next
    return found, ""


def _is_page(tiff: TiffFile, directory: Directory) -> bool:
    kind, old_kind = tiff.number(directory, _SUBFILE_TYPE), tiff.number(directory, _OLD_SUBFILE_TYPE)
    if kind & (_IS_REDUCED | _IS_MASK) or old_kind == _IS_REDUCED_IN_OLD:
        return False
    if _SUB_IFDS not in directory.entries:
        return True
    if _DNG_VERSION in directory.entries:
        return False
    for offset in tiff.numbers(directory, _SUB_IFDS, _MAX_SUB_IFDS):
        with contextlib.suppress(Damaged):  # what lies beside the pixels says nothing of them
            if _num_pixels(tiff, tiff.directory(offset)) > _num_pixels(tiff, directory):
                return False  # the small copy in front of a camera's raw pixels
    return True


def _num_pixels(tiff: TiffFile, directory: Directory) -> int:
    return tiff.number(directory, _WIDTH) * tiff.number(directory, _LENGTH)


class Reader:
    """Reads pages as TIFF files of their own. Not thread-safe."""

    def __init__(self, path: str, options: ReadOptions):
        self._options = options
        self._file = open_at_any_place(path, options)
        num_bytes = self._file.seek(0, 2)
        self._file.seek(0)
        self._tiff = opened(self._file, self._file.read(16), num_bytes)

    def read(self, location: MemberLocation) -> bytes:
        """The page's file.

        Raises:
          ImageError: `truncated` if the file has changed.
          StorageError: `too_large` if the page has more bytes than `max_bytes`.
        """
        try:
            if self._tiff is None:
                raise Damaged("it is no TIFF file any more")
            directory = self._tiff.directory(location.offset)
            return _alone(self._tiff, directory, self._options.max_bytes) or self._in_front(location.offset)
        except Damaged as error:
            raise ImageError(
                "truncated", f"image {location.container}: its page at byte {location.offset} is damaged ({error})"
            ) from error

    def _in_front(self, offset: int) -> bytes:
        tiff = self._tiff
        assert tiff is not None
        if tiff.num_bytes > self._options.max_bytes:
            raise more_than(self._options.max_bytes)
        self._file.seek(0)
        data = self._file.read()
        end = tiff.start + tiff.offset.size
        return b"".join([data[: tiff.start], tiff.offset.pack(offset), data[end:]])

    def close(self) -> None:
        self._file.close()


def _alone(tiff: TiffFile, directory: Directory, max_bytes: int) -> bytes | None:
    """A file of one page; None if it is laid out in an odd way, or damaged, of which decoding can tell more.

    Raises:
      StorageError: `too_large`.
    """
    try:
        values, segments = _values(tiff, directory, _KEPT), _segments(tiff, directory)
    except Damaged:
        return None
    if values is None or segments is None:
        return None
    tag, starts, lengths = segments
    if sum(lengths) > max_bytes:
        raise more_than(max_bytes)
    place, below = tiff.start + tiff.offset.size, []
    for tag_below in (_EXIF, _GPS):
        if data := _directory_below(tiff, directory, tag_below, place):
            values[tag_below] = (_LONG, 1, struct.pack(f"{tiff.order}I", place))
            below.append(data)
            place += len(data)

    def with_offsets(offsets: Sequence[int]) -> bytes:
        kind, letter = (_LONG8, "Q") if tiff.is_big else (_LONG, "I")
        values[tag] = (kind, len(offsets), struct.pack(f"{tiff.order}{len(offsets)}{letter}", *offsets))
        return _packed(tiff, values, place)

    behind = place + len(with_offsets(lengths))  # as long as with the places, which aren't known yet
    offsets = np.cumsum([behind, *lengths[:-1]]).tolist()
    head = tiff.head[: tiff.start] + tiff.offset.pack(place)
    return b"".join([head, *below, with_offsets(offsets), *tiff.pieces(starts, lengths)])


def _segments(tiff: TiffFile, directory: Directory) -> tuple[int, list[int], list[int]] | None:
    """The tag with the places of a page's strips or tiles, these places and the lengths; None if they aren't there
    whole and apart. Raises `Damaged`."""
    where, how_long = _TILES if _TILES[0] in directory.entries else _STRIPS
    starts, lengths = tiff.numbers(directory, where), tiff.numbers(directory, how_long)
    if not starts or len(starts) != len(lengths) or 0 in lengths or sum(lengths) > tiff.num_bytes:
        return None
    if max(map(sum, zip(starts, lengths, strict=True))) > tiff.num_bytes:
        return None
    return None if tiff.number(directory, _COMPRESSION) == _OLD_JPEG else (where, starts, lengths)


_Values = dict[int, tuple[int, int, bytes]]


def _values(tiff: TiffFile, directory: Directory, tags: frozenset[int] | None) -> _Values | None:
    """Type, count and bytes of a directory's entries with these tags, or all; None if they have more bytes than the
    file. Those that make no sense are left out, but for those of the pixels: these raise `Damaged`."""
    found: _Values = {}
    num_bytes = 0
    for tag, entry in directory.entries.items():
        if tags is not None and tag not in tags:
            continue
        num_bytes += _TYPE_BYTES.get(entry.type, 0) * entry.count
        if num_bytes > tiff.num_bytes:
            return None
        try:
            found[tag] = (entry.type, entry.count, tiff.values(entry))
        except Damaged:
            if tags is not None and tag in OF_PIXELS:
                raise
    return found


def _directory_below(tiff: TiffFile, directory: Directory, tag: int, place: int) -> bytes:
    """A directory that another one names, as it is to be written at a place; empty if there is none, or it is
    damaged."""
    with contextlib.suppress(Damaged):
        if offset := tiff.number(directory, tag):
            values = _values(tiff, tiff.directory(offset), None)
            return _packed(tiff, values, place) if values else b""
    return b""


def _packed(tiff: TiffFile, values: _Values, place: int) -> bytes:
    """A directory and its values, as they are to be written at a place; of an even length."""
    inline = tiff.offset.size
    behind = place + tiff.count.size + len(values) * tiff.entry.size + inline
    entries, bodies = [], []
    for tag, (kind, count, data) in sorted(values.items()):
        field = data
        if len(data) > inline:
            field = tiff.offset.pack(behind)
            bodies.append(data + bytes(len(data) % 2))
            behind += len(bodies[-1])
        entries.append(tiff.entry.pack(tag, kind, count, field))
    return b"".join([tiff.count.pack(len(values)), *entries, tiff.offset.pack(0), *bodies])
