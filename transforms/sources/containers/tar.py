"""Images in tar archives (WebDataset): members by their extensions, their bytes read in place.

URIs are `shard.tar#member`. Hard links are images of their own with the bytes that they point to; symbolic links and
hidden members (`._photo.jpg`) are left out. Each of several members of one name is an image, though unpacking keeps
only the last.
"""

import tarfile
from collections.abc import Iterator

from ...elements import ImageReference, MemberLocation
from ..inputs import InputError, format_of
from .members import CHUNK_BYTES, ByteRangeReader, UniqueNames, open_container, refuse_compressed

_TAIL_BYTES = 1 << 20

Reader = ByteRangeReader


def index(path: str) -> Iterator[ImageReference]:
    """Yields the images of a tar archive in its order; reads headers and seeks over the bytes.

    Raises:
      InputError: if it's no tar archive, compressed, damaged or cut off; names the archive and the byte.
    """
    unique = UniqueNames()
    places: dict[str, tuple[int, int]] = {}  # for hard links, which come after what they point to
    with open_container(path) as file:
        refuse_compressed(path, file.read(8))
        file.seek(0)
        try:
            archive = tarfile.open(fileobj=file, mode="r:")
        except tarfile.ReadError as error:
            raise InputError(f"container {path}: not a tar archive, or damaged at its start ({error})") from error
        for member in _members(path, archive):
            if member.isreg():
                places[member.name] = member.offset_data, member.size
            elif not member.islnk():
                continue
            if not _is_image(member.name):
                continue
            if member.issparse():
                raise InputError(f"container {path}: {member.name} is stored sparse; pack it without --sparse")
            target = member.linkname if member.islnk() else member.name
            if target not in places:
                raise InputError(f"container {path}: {member.name} is a link to {target}, which isn't in it")
            offset, length = places[target]
            yield ImageReference(
                f"{path}#{unique(member.name)}",
                MemberLocation(path, "tar", offset, length, chunk=offset // CHUNK_BYTES),
            )
        _check_end(path, archive)


def _members(path: str, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while True:
        try:
            member = archive.next()
        except tarfile.ReadError as error:
            raise InputError(f"container {path}: damaged or cut off at byte {archive.offset} ({error})") from error
        if member is None:
            return
        yield member
        archive.members.clear()  # TarFile keeps every header, about 1 KB each


def _check_end(path: str, archive: tarfile.TarFile) -> None:
    """TarFile takes a damaged header for the archive's end: accepts as the end only zeros to the end of the file."""
    archive.fileobj.seek(archive.offset)
    tail = archive.fileobj.read(_TAIL_BYTES)
    if len(tail) < tarfile.BLOCKSIZE:
        raise InputError(f"container {path}: cut off at byte {archive.offset}: its end marker is missing")
    if tail[: tarfile.BLOCKSIZE].strip(b"\0"):
        raise InputError(f"container {path}: damaged header at byte {archive.offset}")
    if tail.strip(b"\0"):
        raise InputError(
            f"container {path}: more data behind its end marker at byte {archive.offset} (archives put "
            "together with cat?); unpack it with --ignore-zeros and pack it again"
        )


def _is_image(name: str) -> bool:
    return format_of(name) == "image" and not name.rpartition("/")[2].startswith(".")
