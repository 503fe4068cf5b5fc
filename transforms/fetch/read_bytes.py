"""Reads the bytes of one image, wherever it lies, or says in the project's words why that can't be done.

    local path, file://    plain `open`: Beam's local filesystem costs several times as much a file
    http://, https://      `http_client`: pooled connections, retries, a hard deadline
    s3://, gs://           `object_stores`: one client a process, retries, a deadline
    hdfs://, azfs://, …    Beam's filesystems, with their own retries
    inside a container     `containers.read_member`

Not for lists of images or anything larger than memory; those are read in a stream by `list_images`.
"""

import os
import stat
from urllib.parse import unquote_to_bytes

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from ...storage import http_client, object_stores
from ...storage.read_policy import check_scheme
from ...storage.store_errors import image_error
from ...storage.uris import scheme_of
from ..elements import ImageError, ImageFacts, ImageReference, MemberLocation
from .options import ReadOptions

_CHUNK_BYTES = 1 << 20


def read_bytes(reference: ImageReference, options: ReadOptions, facts: ImageFacts) -> bytes:
    """All bytes of an image's file.

    Args:
      reference: where the image is.
      options: limits and patience.
      facts: its `attempts` is counted up for every try, the failed ones too.

    Raises:
      ImageError: `not_found`, `forbidden` (by the storage, or by `options.allow_schemes`), `timeout`, `unreachable`,
        `too_large`, `truncated`, or `not_an_image` for what isn't a file at all (a folder, a pipe, a device).
      MemoryError: if there is no room for the bytes.
    """
    scheme = scheme_of(reference.uri)
    if reference.location is None:
        check_scheme(scheme, options.allow_schemes)
        if scheme in ("http", "https"):
            return http_client.get(reference.uri, options, facts)
        if object_stores.knows(reference.uri):
            return object_stores.get_image(reference.uri, options, facts)
    facts.attempts += 1
    try:
        if reference.location is not None:
            return _read_member(reference.location, options.max_bytes)
        if scheme == "file":
            return _read_local(_local_path(reference.uri), options.max_bytes)
        return _read_through_beam(reference.uri, options.max_bytes)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # each object store's client has classes of its own; most carry the HTTP status
        raise image_error(error) from error


def _local_path(uri: str) -> str:
    """A path as it is; of a `file://` URI everything after the authority, so that `?` and `#` in names need no escaping."""
    if uri[: len("file://")].lower() != "file://":
        return uri
    host, slash, path = uri[len("file://") :].partition("/")
    if host not in ("", "localhost"):
        raise ImageError(
            "unreachable",
            f"a file:// URI with another host's name, {host!r}: write file:///{path} for a file of the worker",
        )
    return os.fsdecode(unquote_to_bytes(slash + path))


def _read_local(path: str, max_bytes: int) -> bytes:
    status = os.stat(path)  # before opening: opening a pipe waits for a writer, opening a device may do anything
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ImageError("not_an_image", f"{what}, not an image file")
    size = status.st_size
    _check_size(size, max_bytes)
    with open(path, "rb", buffering=0) as file:  # a buffer takes more system calls, and each hands over the GIL
        data = file.read(size)
        while len(data) < size and (more := file.read(size - len(data))):  # network disks may give less than they have
            data += more
    return data


def _read_through_beam(uri: str, max_bytes: int) -> bytes:
    chunks, num_bytes = [], 0
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        while chunk := file.read(_CHUNK_BYTES):
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise ImageError("too_large", f"more than {max_bytes:,} bytes, which is the limit (max_bytes)")
            chunks.append(chunk)
    return b"".join(chunks)


def _read_member(location: MemberLocation, max_bytes: int) -> bytes:
    from ..sources.containers import read_member

    _check_size(location.length, max_bytes)
    data = read_member(location)
    _check_size(len(data), max_bytes)  # a Parquet row tells its size only now
    return data


def _check_size(num_bytes: int, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise ImageError("too_large", f"{num_bytes:,} bytes, the limit is {max_bytes:,} (max_bytes)")
