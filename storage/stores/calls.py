"""How stores are asked: tried again by a policy, what takes long said, and errors in the project's words."""

import contextlib
import contextvars
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from obstore import exceptions

from ..errors import StorageError, UsageError, check_own_resources, error_of_status
from ..redaction import redact
from ..retry import Deadline, RetryPolicy

_log = logging.getLogger(__name__)

T = TypeVar("T")

STORE_POLICY = RetryPolicy(deadline_s=180.0, retries=100, backoff_s=1.0)  # long enough for a store's restart
_IMPATIENT_S = 5.0
SAY_AFTER_S = 4.0  # without an answer from a bucket that hasn't been asked before
_asked: set[str] = set()
_is_impatient: contextvars.ContextVar[bool] = contextvars.ContextVar("is_impatient", default=False)

_STATUS = re.compile(r"status code: (\d{3})")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>|\"message\": ?\"([^\"]*)\"")
_CAUSE = re.compile(r"\b(?:message|error): \"([^\"]+)\"")
_STORE_NAME = re.compile(r"^Generic \w+ error: (HTTP error: )?")
_DURATION = re.compile(r" in [\d.]+[mµn]?s - (HTTP error: )?")


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


class _NotFoundError(UsageError, FileNotFoundError):
    """There is no such object, or no such bucket."""


def policy() -> RetryPolicy:
    """The policy of what a job can't go on without."""
    if not _is_impatient.get():
        return STORE_POLICY
    limit_s = min(_IMPATIENT_S, STORE_POLICY.deadline_s)
    return replace(STORE_POLICY, deadline_s=limit_s, connect_timeout_s=limit_s, read_timeout_s=limit_s)


def call(request: Callable[[Deadline], T], done: str, uri: str) -> T:
    """What a request gives that a job can't go on without, tried again as `policy` says.

    Args:
      request: called with what is left of the time.
      done: what is done with the object, for messages: `read`, `written`, …
      uri: of the object.

    Raises:
      FileNotFoundError: if there is none.
      UsageError: if the store refuses: there's no such bucket, no permission.
      OSError: if the store can't be reached, or fails, for as long as the policy says.
    """
    limits = policy()

    def attempt(deadline: Deadline) -> T:
        with storage_errors():
            return request(deadline)

    def warn(error: StorageError, deadline: Deadline) -> None:
        say_no_more()
        _log.warning(
            "%s can't be %s now, trying again for up to %.0f s: %s", uri, done, deadline.remaining_s(), error.message
        )

    try:
        with said_if_slow(uri, limits) as say_no_more:
            return limits.call(attempt, warn)
    except StorageError as error:
        message = f"{uri} can't be {done}: {error.message}"
        if error.retryable or error.kind == "timeout":
            raise OSError(f"{message}. Tried for up to {limits.deadline_s:.0f} s") from None
        if error.kind in ("not_found", "forbidden"):
            message += ". See that the bucket exists, and that credentials and endpoint are those of its store"
        raise (_NotFoundError if error.kind == "not_found" else UsageError)(message) from None


@contextlib.contextmanager
def said_if_slow(uri: str, policy: RetryPolicy) -> Iterator[Callable[[], None]]:
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
def storage_errors() -> Iterator[None]:
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
    if status := status_of(error):
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


def status_of(error: Exception) -> int | None:
    """The HTTP status of one of obstore's errors; None if there was no answer."""
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
