"""Images in tar archives (WebDataset): members by their extensions, their bytes read in place.

URIs are `shard.tar#member`. Hard links are images of their own with the bytes that they point to; symbolic links and
hidden members (`._photo.jpg`) are left out. Each of several members of one name is an image, though unpacking keeps
only the last.

What is to come along with an image is read from the `.json` file of its sample, wherever in the archive that lies:
`shard/007.json` is that of `shard/007.jpg` and of `shard/007.left.jpg`.
"""

import json
import logging
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

from ...elements import ImageReference, MemberLocation
from ..inputs import InputError, format_of
from .members import ByteRangeReader, Chunks, UniqueNames, open_container, problem_at, refuse_compressed

_TAIL_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 20  # of a member with a long name

_MAX_JSON_BYTES = 16 << 20

Reader = ByteRangeReader

_log = logging.getLogger(__name__)


def index(path: str, carry: Sequence[str] = ()) -> Iterator[ImageReference]:
    """Yields the images of a tar archive in its order; reads headers and seeks over the bytes.

    What is damaged, missing or cut off is a reference with a `problem`, which names the byte.

    Args:
      path: path or URI of the archive.
      carry: keys of the samples' JSON objects whose values come along; all headers are read once more for them.

    Raises:
      InputError: if it's no tar archive, or compressed; names it.
    """
    unique, chunks = UniqueNames(), Chunks()
    places: dict[str, tuple[int, int]] = {}  # for hard links, which come after what they point to
    with open_container(path) as file:
        refuse_compressed(path, file.read(8))
        samples = _Samples(path, file, carry) if carry else None
        for member in _members(path, _opened(path, file)):
            if isinstance(member, ImageReference):
                yield member
                continue
            if member.isreg():
                places[member.name] = member.offset_data, member.size
            elif not member.islnk():
                continue
            if not _is_image(member.name):
                continue
            target = member.linkname if member.islnk() else member.name
            if member.issparse():
                yield problem_at(path, member.name, "stored sparse; pack it without --sparse")
            elif target not in places:
                yield problem_at(path, member.name, f"a link to {target}, which isn't in the archive")
            else:
                offset, length = places[target]
                location = MemberLocation(path, "tar", offset, length, chunk=chunks.of(length))
                carried = () if samples is None else samples.values_of(member.name)
                yield ImageReference(f"{path}#{unique(member.name)}", location, carried=carried)


def _opened(path: str, file: BinaryIO) -> tarfile.TarFile:
    file.seek(0)
    try:
        return tarfile.TarFile(fileobj=cast(BinaryIO, _HeaderReader(file)))
    except tarfile.TarError as error:
        raise InputError(f"container {path}: not a tar archive, or damaged at its start ({error})") from error


class _Samples:
    """The JSON files of an archive's samples, where they lie, and what is in them."""

    def __init__(self, path: str, file: BinaryIO, carry: Sequence[str]):
        self._path, self._file, self._carry = path, file, carry
        self._has_warned = False
        self._places = {
            _sample_of(member.name): (member.offset_data, member.size)
            for member in _members(path, _opened(path, file))
            if isinstance(member, tarfile.TarInfo) and member.isreg() and _is_json(member.name)
        }

    def values_of(self, name: str) -> tuple[Any, ...]:
        """Of an image: what its sample's object has under the keys, None for what it hasn't got."""
        found: Any = {}
        if (place := self._places.get(_sample_of(name))) is not None:
            offset, size = place
            self._file.seek(offset)
            try:
                found = json.loads(self._file.read(size)) if size <= _MAX_JSON_BYTES else None
            except ValueError:
                found = None
            if not isinstance(found, Mapping) and not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "container %s: the .json of %s holds no JSON object; nothing comes along", self._path, name
                )
        return tuple(found.get(key) if isinstance(found, Mapping) else None for key in self._carry)


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json") and not name.rpartition("/")[2].startswith(".")


def _sample_of(name: str) -> str:
    """What the names of a sample's files have in common: all up to the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


class _HeaderReader:
    """The file as tarfile needs it: no header makes it read more than a name can need."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _members(path: str, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo | ImageReference]:
    """The archive's members; a reference with a problem, and no more, where it can't be read further."""
    while True:
        try:
            # At 0, there was no first member; Python 3.10 would look for the next one before the file's start.
            member = archive.next() if archive.offset else None
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            yield problem_at(path, f"byte {archive.offset}", f"damaged or cut off ({error})")
            return
        if member is None:
            break
        yield member
        archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  TarFile keeps headers of 1 KB each
    if (problem := _why_no_end(archive)) is not None:
        yield problem_at(path, f"byte {archive.offset}", problem)


def _why_no_end(archive: tarfile.TarFile) -> str | None:
    """What is wrong with an archive's end: zeros to the end of the file. TarFile takes a damaged header for it, too."""
    file = archive.fileobj
    assert file is not None  # which was given when it was opened
    file.seek(archive.offset)
    tail = file.read(_TAIL_BYTES)
    if len(tail) < tarfile.BLOCKSIZE:
        return "cut off: the archive's end marker is missing"
    if tail[: tarfile.BLOCKSIZE].strip(b"\0"):
        return "damaged header: what follows is unknown"
    if tail.strip(b"\0"):
        return (
            "more data behind the archive's end marker (archives put together with cat?); unpack it with "
            "--ignore-zeros and pack it again"
        )
    return None


def _is_image(name: str) -> bool:
    return format_of(name) == "image" and not name.rpartition("/")[2].startswith(".")
