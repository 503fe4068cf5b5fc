"""Whole objects of S3 and Google Cloud Storage: read, written, listed and deleted with a patience that ends.

What may pass is tried again, with exponential backoff and jitter; what can't is said at once. Beam's filesystems do less
well there: for S3 they make a client for each file, and when a store is down they wait for ten minutes without a word.
Every other store is left to them: see `knows`.
"""

import contextlib
import contextvars
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..transforms.elements import ImageError, ImageFacts
from ..transforms.fetch.options import ReadOptions
from . import gcs_client, s3_client
from .errors import UsageError
from .files import FileInfo
from .http_connections import Deadline
from .store_errors import StoreError

_log = logging.getLogger(__name__)

T = TypeVar("T")

# For what a job can't go on without: tables, listings. Long enough for a store's restart.
PATIENCE = ReadOptions(max_bytes=1 << 40, deadline_s=180.0, retries=100, backoff_s=1.0)
_IMPATIENCE_S = 5.0
_is_impatient: contextvars.ContextVar[bool] = contextvars.ContextVar("is_impatient", default=False)
_MAX_PAUSE_S = 20.0
_CLIENTS = {"s3": s3_client, "gs": gcs_client}


def knows(uri: str) -> bool:
    return _scheme(uri) in _CLIENTS


def get_image(uri: str, options: ReadOptions, facts: ImageFacts) -> bytes:
    """The bytes of an image.

    Args:
      uri: `s3://bucket/key` or `gs://bucket/name`.
      options: limits and patience.
      facts: its `attempts` is counted up for every try, the failed ones too.

    Raises:
      ImageError: `not_found`, `forbidden`, `timeout`, `unreachable`, `truncated` (each time it is asked for) or
        `too_large`.
    """
    client, bucket, key = _locate(uri)
    deadline = Deadline(options.deadline_s)

    def get() -> bytes:
        facts.attempts += 1
        return client.get(bucket, key, options, deadline)

    return _with_retries(get, options, deadline)


def read(uri: str) -> bytes:
    """The whole content of a small object.

    Raises:
      FileNotFoundError: if there is none.
      UsageError, OSError: as `write`.
    """
    client, bucket, key = _locate(uri)
    try:
        return _patiently(lambda deadline: client.get(bucket, key, PATIENCE, deadline), "read", uri)
    except _NotFoundError as error:
        raise FileNotFoundError(uri) from error


def write(uri: str, data) -> None:
    """Makes an object of `data` (bytes-like), or replaces it: afterwards it is there whole, or as it was before.

    Raises:
      UsageError: if the store refuses: there's no such bucket, no permission, no client installed.
      OSError: if the store can't be reached, or fails, for `PATIENCE.deadline_s`.
    """
    client, bucket, key = _locate(uri)
    data = bytes(data)
    _patiently(lambda _: client.put(bucket, key, data, PATIENCE), "written", uri)


def create(uri: str, data) -> bool:
    """Makes an object of `data` (bytes-like) if there is none of this name; False if there is. Raises as `write`.

    A put whose answer got lost is tried again; what is there then is compared, so that it isn't taken for somebody else's.
    """
    client, bucket, key = _locate(uri)
    data = bytes(data)
    tries = itertools.count()

    def put(deadline: Deadline) -> bool:
        first = next(tries) == 0
        if client.put(bucket, key, data, PATIENCE, only_new=True):
            return True
        return not first and client.get(bucket, key, PATIENCE, deadline) == data

    return _patiently(put, "created", uri)


def exists(uri: str) -> bool:
    """Whether there is an object of this name. Raises as `write`."""
    client, bucket, key = _locate(uri)
    return bool(key) and _patiently(lambda _: client.exists(bucket, key, PATIENCE), "looked for", uri)


def list_uris(prefix: str) -> Iterator[str]:
    """URIs of all objects that begin with `prefix`, in the order of their names, at any depth. Raises as `write`."""
    return (found.path for found in list_objects(prefix))


def list_objects(prefix: str) -> Iterator[FileInfo]:
    """Like `list_uris`, with sizes in bytes and Unix times of their last change."""
    client, bucket, key_prefix = _locate(prefix)
    start = prefix[: len(prefix) - len(key_prefix)]
    token = None
    while True:
        page, token = _patiently(
            lambda _, token=token: client.list_page(bucket, key_prefix, token, PATIENCE), "listed", prefix
        )
        yield from (FileInfo(start + key, num_bytes, changed.timestamp()) for key, num_bytes, changed in page)
        if not token:
            return


def delete(uri: str) -> None:
    """Removes an object; one that isn't there is no error. Raises as `write`."""
    client, bucket, key = _locate(uri)
    _patiently(lambda _: client.delete(bucket, key, PATIENCE), "deleted", uri)


class _NotFoundError(UsageError):
    """There is no such object, or no such bucket."""


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """For what is only worth a try: within the context, this thread waits for a store for seconds instead of minutes."""
    token = _is_impatient.set(True)
    try:
        yield
    finally:
        _is_impatient.reset(token)


def _patiently(request: Callable[[Deadline], T], done: str, uri: str) -> T:
    patience_s = min(_IMPATIENCE_S, PATIENCE.deadline_s) if _is_impatient.get() else PATIENCE.deadline_s
    deadline = Deadline(patience_s)
    try:
        return _with_retries(lambda: request(deadline), PATIENCE, deadline, f"{uri} can't be {done} now")
    except ImageError as error:
        # Not `from error`: what a job failed with is this sentence, not the innermost error of a client.
        message = f"{uri} can't be {done}: {' '.join(error.message.split())}"
        if getattr(error, "may_pass", True):
            raise OSError(f"{message}. Tried for up to {patience_s:.0f} s")
        if error.kind in ("not_found", "forbidden"):
            message += ". See that the bucket exists, and that credentials and endpoint are those of its store"
        raise (_NotFoundError if error.kind == "not_found" else UsageError)(message)


def _with_retries(request: Callable[[], T], options: ReadOptions, deadline: Deadline, warning: str | None = None) -> T:
    for retry in itertools.count():
        try:
            return request()
        except StoreError as error:
            pause_s = random.uniform(0, min(options.backoff_s * 2 ** min(retry, 16), _MAX_PAUSE_S))
            if not error.may_pass or retry == options.retries or pause_s >= deadline.remaining_s():
                raise
            if warning and retry == 0:
                _log.warning("%s, trying again for up to %.0f s: %s", warning, deadline.remaining_s(), error.message)
        time.sleep(pause_s)


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].lower()


def _locate(uri: str) -> tuple:
    """Client, bucket and key of `scheme://bucket/key`."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return _CLIENTS[scheme.lower()], bucket, key
