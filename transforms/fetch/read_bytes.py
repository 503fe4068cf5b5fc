"""Reads the bytes of one image, wherever it lies, or says in the project's words why that can't be done.

local path, file://      plain `open`: Beam's local filesystem costs several times as much a file
http://, https://        `storage.http_client`
s3://, gs://, az://, …   `storage.object_stores`
hdfs://, azfs://, …      Beam's filesystems, with their own retries
inside a container       `containers.read_member`
"""

import os
import stat
import time
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from ...storage import http_client, object_stores
from ...storage.errors import ResourcesError, StorageError
from ...storage.file_info import FileVersion, file_version
from ...storage.http_client import Fetch, TakeRoom
from ...storage.read_policy import check_scheme
from ...storage.size_limit import check_size, join_chunks
from ...storage.uris import is_http, is_in_store, scheme_of
from ..elements import ImageError, ImageFacts, ImageReference, MemberLocation
from .image_errors import image_error
from .options import ReadOptions

_CHUNK_BYTES = 1 << 20
_WAITS_FOR_RESOURCES_S = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)


def start_reading(
    reference: ImageReference,
    options: ReadOptions,
    max_requests: int,
    done: Callable[[Fetch], None],
    take_room: TakeRoom | None = None,
) -> Fetch | None:
    """Begins to read an image over HTTP; None for any other, and for one that can't even be begun: `read_bytes` reads
    those, or says why it can't be done. Arguments are those of `http_client.start`.
    """
    if reference.problem or reference.location is not None or not is_http(reference.uri):
        return None
    try:
        return http_client.start(reference.uri, options, done, take_room, max_requests)
    except (StorageError, ResourcesError):
        return None


def read_bytes(reference: ImageReference, options: ReadOptions, facts: ImageFacts, fetch: Fetch | None = None) -> bytes:
    """All bytes of an image's file.

    Args:
      reference: where the image is.
      options: limits and retry policy.
      facts: its `attempts` is counted up for every try, the failed ones too; `version` is set.
      fetch: of `start_reading`, when it has ended.

    Raises:
      ImageError: `bad_input` for a reference with a problem, `not_found`, `forbidden` (by the storage, or by
        `options.allow_schemes`), `timeout`, `unreachable`, `too_large`, `truncated`, or `not_an_image` for what
        isn't a file at all (a folder, a pipe, a device).
      MemoryError: if there is no room for the bytes, and still isn't after a while.
      ResourcesError: if this process has run out of file descriptors or the like, and still has after half a minute.
    """
    if reference.problem:
        raise ImageError("bad_input", reference.problem)
    for wait_s in _WAITS_FOR_RESOURCES_S:
        try:
            return _read(reference, options, facts, fetch)
        except (ResourcesError, MemoryError):
            fetch = None
            http_client.close_idle()
            time.sleep(wait_s)  # others end meanwhile, and close their files
    return _read(reference, options, facts, None)


def _read(reference: ImageReference, options: ReadOptions, facts: ImageFacts, fetch: Fetch | None) -> bytes:
    attempts = 0 if fetch is None else fetch.attempts

    def count_attempt() -> None:
        nonlocal attempts
        attempts += 1

    def set_version(version: FileVersion) -> None:
        facts.version = version

    try:
        if fetch is None:
            return _read_uri(reference, options, count_attempt, set_version)
        facts.version = fetch.version
        return fetch.body()
    except (ImageError, MemoryError, ResourcesError):
        raise
    except Exception as error:  # each filesystem's client has classes of its own; most carry the HTTP status
        raise image_error(error) from error
    finally:
        facts.attempts += attempts


def _read_uri(reference: ImageReference, options: ReadOptions, count_attempt, set_version) -> bytes:
    scheme = scheme_of(reference.uri)
    if reference.location is None:
        check_scheme(scheme, options.allow_schemes)
        if scheme in ("http", "https"):
            return http_client.get(reference.uri, options, count_attempt, set_version)
        if is_in_store(reference.uri):
            return object_stores.get(reference.uri, options, count_attempt, set_version)
    count_attempt()
    if reference.location is not None:
        return _read_member(reference.location, options, set_version)
    if scheme == "file":
        return _read_local(local_path(reference.uri), options.max_bytes, set_version)
    return _read_through_beam(reference.uri, options.max_bytes)


def local_path(uri: str) -> str:
    """A path as it is; of a `file://` URI everything after the authority, so that `?` and `#` in names need no
    escaping.
    """
    if uri[: len("file://")].lower() != "file://":
        return uri
    host, slash, path = uri[len("file://") :].partition("/")
    if host not in ("", "localhost"):
        raise StorageError(
            "unreachable",
            f"a file:// URI with another host's name, {host!r}: write file:///{path} for a file of the worker",
        )
    return os.fsdecode(unquote_to_bytes(os.fsencode(slash + path)))


def _read_local(path: str, max_bytes: int, set_version) -> bytes:
    status = os.stat(path)  # before opening: opening a pipe waits for a writer, opening a device may do anything
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise StorageError("not_a_file", f"{what}, not an image file")
    size = status.st_size
    set_version(file_version(size, status.st_mtime_ns // 1000))
    check_size(size, max_bytes)
    with open(path, "rb", buffering=0) as file:  # a buffer takes more system calls, and each hands over the GIL
        data = file.read(size)
        while len(data) < size and (more := file.read(size - len(data))):  # network disks may give less than they have
            data += more
    return data


def _read_through_beam(uri: str, max_bytes: int) -> bytes:
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return join_chunks(iter(lambda: file.read(_CHUNK_BYTES), b""), max_bytes)


def _read_member(location: MemberLocation, options: ReadOptions, set_version) -> bytes:
    from ..sources.containers import read_member

    check_size(location.length, options.max_bytes)
    data = read_member(location, options, set_version)
    check_size(len(data), options.max_bytes)  # a Parquet row or a page tells its size only now
    return data
