"""Objects of S3, Google Cloud Storage and Azure, through obstore (Rust's object_store): read, written, listed, deleted.

What is retryable is tried again by the caller's `RetryPolicy`; what isn't is said at once. Two kinds of callers: `get`
reads an image and raises `StorageError`; all others are for what a job can't go on without (tables, logs, listings,
weights), follow `STORE_POLICY` and
raise `UsageError` for what the user has to mend, `OSError` for a store that doesn't answer.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import obstore
from obstore import exceptions

from .file_info import FileInfo, FileVersion, file_version
from .read_options import ReadOptions
from .retry import Deadline, RetryPolicy
from .size_limit import check_size, join_chunks
from .stores.calls import call, policy, said_if_slow, storage_errors
from .stores.clients import locate
from .stores.readers import open_to_read

_CHUNK_BYTES = 1 << 20
_DELETED_TOGETHER = 1000  # what S3 takes at once


def get(
    uri: str,
    options: ReadOptions,
    on_attempt: Callable[[], None] = lambda: None,
    on_version: Callable[[FileVersion], None] = lambda version: None,
) -> bytes:
    """The bytes of an object that may be anything, an image by its list.

    Args:
      uri: as in `s3://bucket/key`.
      options: limits and retry policy.
      on_attempt: called for every try, the failed ones too.
      on_version: called with what is read, before it is.

    Raises:
      StorageError: `not_found`, `forbidden`, `timeout`, `unreachable`, `truncated` or `too_large`.
      ResourcesError: if this process has no file descriptors left.
    """

    def read(deadline: Deadline) -> bytes:
        on_attempt()
        with storage_errors():
            store, key = locate(uri, options, deadline.remaining_s())
            found = obstore.get(store, key)
            size = found.meta["size"]
            on_version(_version_of(found.meta))
            check_size(size, options.max_bytes)
            if size <= _CHUNK_BYTES:
                return found.bytes().to_bytes()
            return join_chunks(found.stream(_CHUNK_BYTES), options.max_bytes)

    with said_if_slow(uri, options):
        return options.call(read)


def head(uri: str, options: RetryPolicy) -> FileVersion:
    """Which version of an object is there. Raises as `get`."""

    def ask(deadline: Deadline) -> FileVersion:
        with storage_errors():
            store, key = locate(uri, options, deadline.remaining_s())
            return _version_of(obstore.head(store, key))

    with said_if_slow(uri, options):
        return options.call(ask)


def _version_of(meta: Any) -> FileVersion:
    return file_version(meta["size"], meta["last_modified"].timestamp() * 1e6, meta["e_tag"])


def read(uri: str) -> bytes:
    """The whole content of an object, however long that takes: only silence is limited.

    Raises:
      FileNotFoundError: if there is none.
      UsageError, OSError: as `write`.
    """
    with open_to_read(uri) as file:
        return file.read()


def write(uri: str, data) -> None:
    """Makes an object of `data` (bytes-like), or replaces it: afterwards it is there whole, or as it was before.

    Raises:
      UsageError: if the store refuses: there's no such bucket, no permission.
      OSError: if the store can't be reached, or fails, for as long as `STORE_POLICY` says.
    """
    data = memoryview(data).cast("B")

    def put(deadline: Deadline) -> None:
        store, key = locate(uri, policy())
        obstore.put(store, key, data)

    call(put, "written", uri)


def create(uri: str, data) -> bool:
    """Makes an object of `data` (bytes-like) if there is none of this name; False if there is. Raises as `write`.

    A put whose answer got lost is tried again; what is there then is compared, so that it isn't taken for somebody
    else's.
    """
    data, is_retry = bytes(data), False

    def put(deadline: Deadline) -> bool:
        nonlocal is_retry
        store, key = locate(uri, policy())
        was_retry, is_retry = is_retry, True
        try:
            obstore.put(store, key, data, mode="create")
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return was_retry and obstore.get(store, key).bytes().to_bytes() == data
        return True

    return call(put, "created", uri)


def exists(uri: str) -> bool:
    """Whether there is an object of this name. Raises as `write`."""

    def head(deadline: Deadline) -> bool:
        store, key = locate(uri, policy())
        try:
            return bool(key) and bool(obstore.head(store, key))
        except FileNotFoundError:
            return False

    return call(head, "looked for", uri)


def list_uris(prefix: str) -> Iterator[str]:
    """URIs of all objects that begin with `prefix`, in the order of their names, at any depth. Raises as `write`."""
    return (found.path for found in list_objects(prefix))


def list_objects(prefix: str, after: str = "", until: str | None = None) -> Iterator[FileInfo]:
    """Like `list_uris`, with sizes in bytes, Unix times of their last change, and tags. Goes on where it stopped if
    the store fails.

    Args:
      prefix: what URIs begin with.
      after: the URI after which to begin; Azure has no such thing, and lists what lies before, too.
      until: the last one that is wanted; None for all.
    """
    start = prefix[: len(prefix) - len(prefix.split("://", 1)[1].partition("/")[2])]
    wanted = prefix.removeprefix(start)
    folder, _, name = wanted.rpartition("/")  # obstore lists whole parts of names only
    pages: Any = None
    last = max(wanted[:-1] if name else "", after.removeprefix(start))  # what lies before isn't asked for
    end = None if until is None else until.removeprefix(start)

    def next_page(deadline: Deadline) -> Any:
        nonlocal pages
        try:
            if pages is None:
                store, _ = locate(start, policy())
                pages = iter(obstore.list(store, folder or None, offset=last or None, chunk_size=1000))
            return next(pages, None)
        except BaseException:
            pages = None  # a new listing goes on behind what has been yielded
            raise

    while (page := call(next_page, "listed", prefix)) is not None:
        for found in page:
            if found["path"] > last:
                last = found["path"]
                if end is not None and last > end:
                    return
                if last.startswith(wanted):
                    yield FileInfo(start + last, found["size"], found["last_modified"].timestamp(), found["e_tag"])
                elif last > wanted:
                    return


def delete(uris: Iterable[str]) -> None:
    """Removes objects, in this order, a thousand with one request where the store can; those that aren't there are no
    error. Raises as `write`.
    """
    of_bucket = itertools.groupby(uris, key=lambda uri: uri.split("/", 3)[:3])
    for _, group in of_bucket:
        while portion := list(itertools.islice(group, _DELETED_TOGETHER)):
            _delete_together(portion)


def _delete_together(uris: Sequence[str]) -> None:
    def delete_all(deadline: Deadline) -> None:
        located = [locate(uri, policy()) for uri in uris]
        try:
            obstore.delete(located[0][0], [key for _, key in located])
        except FileNotFoundError:  # a store that deletes one by one, and stops there
            for store, key in located:
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(store, key)

    call(delete_all, "deleted", uris[0])
