"""Objects of S3, Google Cloud Storage and Azure, through obstore (Rust's object_store): read, written, listed, deleted.

What is retryable is tried again by the caller's `RetryPolicy`; what isn't is said at once. Two kinds of callers: `get`
reads an image and raises `StorageError`; all others are for what a job can't go on without (tables, logs, listings,
weights), follow `STORE_POLICY` and
raise `UsageError` for what the user has to mend, `OSError` for a store that doesn't answer.
"""

import contextlib
import contextvars
import io
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO, TypeVar

import obstore
from obstore import exceptions

from .errors import StorageError, UsageError, check_own_resources, error_of_status
from .file_info import FileInfo, FileVersion, file_version
from .placed_stream import PlacedStream
from .read_options import ReadOptions
from .redaction import redact
from .retry import Deadline, RetryPolicy
from .size_limit import check_size, join_chunks
from .store_clients import locate

_log = logging.getLogger(__name__)

T = TypeVar("T")

STORE_POLICY = RetryPolicy(deadline_s=180.0, retries=100, backoff_s=1.0)  # long enough for a store's restart
_IMPATIENT_S = 5.0
RANGE_BYTES = 16 << 20  # of one request: what is larger is read in several, each with retries of its own
_CHUNK_BYTES = 1 << 20
SAY_AFTER_S = 4.0  # without an answer from a bucket that hasn't been asked before
_asked: set[str] = set()
_is_impatient: contextvars.ContextVar[bool] = contextvars.ContextVar("is_impatient", default=False)

_STATUS = re.compile(r"status code: (\d{3})")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>|\"message\": ?\"([^\"]*)\"")
_CAUSE = re.compile(r"\b(?:message|error): \"([^\"]+)\"")
_STORE_NAME = re.compile(r"^Generic \w+ error: (HTTP error: )?")
_DURATION = re.compile(r" in [\d.]+[mµn]?s - (HTTP error: )?")


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
        with _storage_errors():
            store, key = locate(uri, options, deadline.remaining_s())
            found = obstore.get(store, key)
            size = found.meta["size"]
            on_version(_version_of(found.meta))
            check_size(size, options.max_bytes)
            if size <= _CHUNK_BYTES:
                return found.bytes().to_bytes()
            return join_chunks(found.stream(_CHUNK_BYTES), options.max_bytes)

    with _said_if_slow(uri, options):
        return options.call(read)


def head(uri: str, options: RetryPolicy) -> FileVersion:
    """Which version of an object is there. Raises as `get`."""

    def ask(deadline: Deadline) -> FileVersion:
        with _storage_errors():
            store, key = locate(uri, options, deadline.remaining_s())
            return _version_of(obstore.head(store, key))

    with _said_if_slow(uri, options):
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


def open_to_read(uri: str) -> BinaryIO:
    """A seekable stream of an object. Its first request tells size and version; what is read then is of that version.

    Raises:
      FileNotFoundError: if there is none.
      UsageError, OSError: as `write`.
    """
    return io.BufferedReader(_ObjectReader(uri), 1 << 16)


def write(uri: str, data) -> None:
    """Makes an object of `data` (bytes-like), or replaces it: afterwards it is there whole, or as it was before.

    Raises:
      UsageError: if the store refuses: there's no such bucket, no permission.
      OSError: if the store can't be reached, or fails, for as long as `STORE_POLICY` says.
    """
    data = memoryview(data).cast("B")

    def put(deadline: Deadline) -> None:
        store, key = locate(uri, _policy())
        obstore.put(store, key, data)

    _call(put, "written", uri)


def create(uri: str, data) -> bool:
    """Makes an object of `data` (bytes-like) if there is none of this name; False if there is. Raises as `write`.

    A put whose answer got lost is tried again; what is there then is compared, so that it isn't taken for somebody
    else's.
    """
    data, is_retry = bytes(data), False

    def put(deadline: Deadline) -> bool:
        nonlocal is_retry
        store, key = locate(uri, _policy())
        was_retry, is_retry = is_retry, True
        try:
            obstore.put(store, key, data, mode="create")
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return was_retry and obstore.get(store, key).bytes().to_bytes() == data
        return True

    return _call(put, "created", uri)


def exists(uri: str) -> bool:
    """Whether there is an object of this name. Raises as `write`."""

    def head(deadline: Deadline) -> bool:
        store, key = locate(uri, _policy())
        try:
            return bool(key) and bool(obstore.head(store, key))
        except FileNotFoundError:
            return False

    return _call(head, "looked for", uri)


def list_uris(prefix: str) -> Iterator[str]:
    """URIs of all objects that begin with `prefix`, in the order of their names, at any depth. Raises as `write`."""
    return (found.path for found in list_objects(prefix))


def list_objects(prefix: str) -> Iterator[FileInfo]:
    """Like `list_uris`, with sizes in bytes, Unix times of their last change, and tags. Goes on where it stopped if
    the store fails.
    """
    start = prefix[: len(prefix) - len(prefix.split("://", 1)[1].partition("/")[2])]
    wanted = prefix.removeprefix(start)
    folder = wanted.rpartition("/")[0]  # obstore lists whole parts of names only
    pages: Any = None
    last = ""

    def next_page(deadline: Deadline) -> Any:
        nonlocal pages
        try:
            if pages is None:
                store, _ = locate(start, _policy())
                pages = iter(obstore.list(store, folder or None, offset=last or None, chunk_size=1000))
            return next(pages, None)
        except BaseException:
            pages = None  # a new listing goes on behind what has been yielded
            raise

    while (page := _call(next_page, "listed", prefix)) is not None:
        for found in page:
            if found["path"] > last:
                last = found["path"]
                if last.startswith(wanted):
                    yield FileInfo(start + last, found["size"], found["last_modified"].timestamp(), found["e_tag"])


def delete(uri: str) -> None:
    """Removes an object; one that isn't there is no error. Raises as `write`."""

    def delete_once(deadline: Deadline) -> None:
        store, key = locate(uri, _policy())
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(store, key)

    _call(delete_once, "deleted", uri)


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """For what is only worth a try: within the context, this thread waits for a store for seconds instead of
    minutes.
    """
    token = _is_impatient.set(True)
    try:
        yield
    finally:
        _is_impatient.reset(token)


class _ObjectReader(PlacedStream):
    """Reads ranges of an object, each with one request."""

    def __init__(self, uri: str):
        super().__init__()
        self._uri = uri
        self._start, self._data = 0, b""  # the range read last
        self._version = None
        self._fetch(0, RANGE_BYTES)

    def readinto(self, buffer) -> int:
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        if not self._start <= self._place < self._start + len(self._data):
            self._fetch(self._place, max(wanted, _CHUNK_BYTES))
        begin = self._place - self._start
        data = self._data[begin : begin + wanted]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _fetch(self, start: int, length: int) -> None:
        def get_range(deadline: Deadline) -> None:
            store, key = locate(self._uri, _policy())
            options: Any = {"range": (start, start + min(length, RANGE_BYTES))}
            if self._version:
                options["if_match"] = self._version
            try:
                found = obstore.get(store, key, options=options)
            except exceptions.GenericError as error:
                if self._size >= 0 or _status_of(error) != 416:  # the range of an empty object
                    raise
                found = obstore.get(store, key)
            self._size, self._version = found.meta["size"], found.meta["e_tag"]
            self._start, self._data = start, found.bytes().to_bytes()

        _call(get_range, "read", self._uri)


class _NotFoundError(UsageError, FileNotFoundError):
    """There is no such object, or no such bucket."""


def _policy() -> RetryPolicy:
    if not _is_impatient.get():
        return STORE_POLICY
    limit_s = min(_IMPATIENT_S, STORE_POLICY.deadline_s)
    return replace(STORE_POLICY, deadline_s=limit_s, connect_timeout_s=limit_s, read_timeout_s=limit_s)


def _call(request: Callable[[Deadline], T], done: str, uri: str) -> T:
    policy = _policy()

    def attempt(deadline: Deadline) -> T:
        with _storage_errors():
            return request(deadline)

    def warn(error: StorageError, deadline: Deadline) -> None:
        say_no_more()
        _log.warning(
            "%s can't be %s now, trying again for up to %.0f s: %s", uri, done, deadline.remaining_s(), error.message
        )

    try:
        with _said_if_slow(uri, policy) as say_no_more:
            return policy.call(attempt, warn)
    except StorageError as error:
        message = f"{uri} can't be {done}: {error.message}"
        if error.retryable or error.kind == "timeout":
            raise OSError(f"{message}. Tried for up to {policy.deadline_s:.0f} s") from None
        if error.kind in ("not_found", "forbidden"):
            message += ". See that the bucket exists, and that credentials and endpoint are those of its store"
        raise (_NotFoundError if error.kind == "not_found" else UsageError)(message) from None


@contextlib.contextmanager
def _said_if_slow(uri: str, policy: RetryPolicy) -> Iterator[Callable[[], None]]:
    """Says what is waited for when the first thing that is asked of a bucket takes long: there may be no network.
    Gives a function that has it said no more.
    """
    place = "/".join(uri.split("/", 3)[:3])
    if place in _asked:
        yield lambda: None
        return
    _asked.add(place)
    timer = threading.Timer(
        SAY_AFTER_S,
        lambda: _log.warning(
            "%s: no answer for %g s. Credentials are looked for in the environment, in files and at the machine's "
            "metadata server, then the store is asked, for up to %.0f s",
            redact(place),
            SAY_AFTER_S,
            policy.deadline_s,
        ),
    )
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    """obstore's errors as StorageErrors. They are coarse: what happened is told by their texts alone."""
    try:
        yield
    except (StorageError, UsageError):
        raise
    except FileNotFoundError as error:
        raise StorageError("not_found", _message_of(error)) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise StorageError("forbidden", _message_of(error)) from error
    except exceptions.PreconditionError as error:
        raise StorageError("truncated", "the object was replaced while it was read") from error
    except (exceptions.BaseError, OSError, ValueError) as error:
        raise _error_of_text(error) from error


def _error_of_text(error: Exception) -> StorageError:
    text, message = str(error), _message_of(error)
    check_own_resources(24 if "Too many open files" in text else None, error)
    if status := _status_of(error):
        return error_of_status(status, message)
    if "kind: Timeout" in text or "TimedOut" in text or "operation timed out" in text:
        return StorageError("timeout", message, retryable=True)
    if "contained empty path segment" in text or "illegal character sequence" in text:
        hint = "an object whose name has an empty, '.' or '..' part can't be read"
        return StorageError("not_found", f"{hint}: {message}")
    if "IncompleteBody" in text or "UnexpectedEof" in text:
        return StorageError("truncated", message, retryable=True)
    if "source: Header {" in text:  # an answer without its length: no store's
        return StorageError("unreachable", message)
    return StorageError("unreachable", message, retryable=isinstance(error, exceptions.GenericError))


def _status_of(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _message_of(error: Exception) -> str:
    """What is worth telling a person: the service's own message, else the first line of obstore's and its innermost
    cause.
    """
    text = str(error)
    if found := _MESSAGE.search(text):
        return redact((found[1] or found[2]).partition("\nRequestId")[0].strip())
    line = " ".join(text.partition("\n\nDebug source:")[0].partition(": <")[0].split())
    line = _DURATION.sub(": ", _STORE_NAME.sub("", line))
    cause = _CAUSE.search(text)
    return redact(f"{line} ({cause[1]})" if cause else line)
