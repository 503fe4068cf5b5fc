"""What a person can mend (`UsageError`), and what reading and writing bytes fails with (`StorageError`)."""

import errno
import json
from typing import Any, Literal

StorageErrorKind = Literal["not_found", "forbidden", "timeout", "unreachable", "too_large", "truncated", "not_a_file"]

_RETRYABLE_STATUS = frozenset({408, 429, 500, 502, 503, 504})  # the same request may succeed a little later
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
_OWN_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT})


class UsageError(ValueError):
    """What the user gave can't be used: the message names the thing, what was expected and what to do.

    The command line prints it without a traceback and ends with exit code 2.

    Example:
      >>> try:
      ...     labelbeam.LabelConfig("demo", min_score=7)
      ... except labelbeam.UsageError as error:
      ...     print(error)
      --min-score 7: expected a number from 0 to 1
    """


class ConfigError(UsageError):
    """A configuration file has an unknown key, a wrong type or a missing value."""


class WeightsError(UsageError):
    """Weights that can't be fetched, read, or that don't belong to the detector."""


class StorageError(Exception):
    """Why a file couldn't be read or written where it lies.

    Attributes:
      kind: one of `StorageErrorKind`.
      message: a sentence for a person, without credentials.
      retryable: whether the same request may succeed a little later.
      retry_after_s: seconds that the server asks to be left alone, 0 if it doesn't.
    """

    def __init__(self, kind: StorageErrorKind, message: str, retryable: bool = False, retry_after_s: float = 0.0):
        super().__init__(message)
        self.kind: StorageErrorKind = kind
        self.message = message
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class ResourcesError(OSError):
    """This process has run out of something of its own (open files, memory, disk): no file that it reads is to
    blame.
    """


def shorten(value: Any, most: int = 60) -> str:
    """A text, or a value as JSON, as messages show it: with as much of its middle left out as there are letters too
    many.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[len(text) - (most - 1) // 2 :]}"


def error_of_status(status: int, message: str, retry_after_s: float = 0.0) -> StorageError:
    """The error that an HTTP status stands for."""
    if status in (404, 410):
        kind = "not_found"
    elif status in (401, 403, 407, 451):
        kind = "forbidden"
    elif status in (408, 504):
        kind = "timeout"
    else:
        kind = "unreachable"
    return StorageError(kind, message, status in _RETRYABLE_STATUS, retry_after_s)


def check_own_resources(number: int | None, error: BaseException | None = None) -> None:
    """Raises ResourcesError if an errno is about this process rather than about what it reads."""
    if number == errno.EMFILE:
        raise ResourcesError(
            number,
            "this process has as many files and connections open as it may. Raise the limit (`ulimit -n`), "
            "or work on fewer images at once (--read-threads)",
        ) from error
    if number in _OWN_RESOURCES:
        raise ResourcesError(number, f"this machine has run out of something: {errno.errorcode[number]}") from error


def storage_error(error: Exception) -> StorageError:
    """The `StorageError` for an exception of a filesystem: the operating system's, Beam's, or that of an object
    store's client.

    Raises:
      ResourcesError, MemoryError: if it's about this process.
    """
    if isinstance(error, StorageError):
        return error
    if isinstance(error, UsageError):  # a store that isn't set up
        return StorageError("unreachable", str(error))
    if isinstance(error, (ResourcesError, MemoryError)):
        raise error
    if details := getattr(error, "exception_details", None):  # of a BeamIOError: one exception a path
        inner = next(iter(details.values()))
        if isinstance(inner, Exception):
            return storage_error(inner)
    number = getattr(error, "errno", None)
    check_own_resources(number, error)
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror  # whoever asked knows the path
    if isinstance(error, FileNotFoundError) or number in _MISSING:
        return StorageError("not_found", text)
    if isinstance(error, UnicodeEncodeError) or "embedded null" in text:
        return StorageError("not_found", f"no file can have such a name: {text}")
    if isinstance(error, PermissionError):
        return StorageError("forbidden", text)
    if isinstance(error, IsADirectoryError):
        return StorageError("not_a_file", text)
    if isinstance(error, TimeoutError):
        return StorageError("timeout", text, retryable=True)
    status = getattr(error, "code", None) or getattr(error, "status_code", None)  # google.api_core's, Azure's
    if isinstance(status, int):
        return error_of_status(status, text)
    return StorageError("unreachable", f"{type(error).__name__}: {text}")
