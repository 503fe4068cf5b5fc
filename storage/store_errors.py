"""From the exceptions of filesystems and clients to the closed list of reasons why an image could not be read.

Not for what goes wrong in decoding: `decode.py` knows that best itself.
"""

import errno

from apache_beam.io.filesystem import BeamIOError

from ..labelset.rows import ErrorKind
from ..transforms.elements import ImageError

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})  # of HTTP: the same request may succeed a little later
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})


class StoreError(ImageError):
    """What a request to an object store failed with, and whether the same request may succeed a little later."""

    def __init__(self, kind: ErrorKind, message: str, may_pass: bool, status: int | None = None):
        super().__init__(kind, message)
        self.may_pass = may_pass
        self.status = status

    @classmethod
    def of_status(cls, status: int, message: str) -> "StoreError":
        return cls(kind_of_status(status), message, status in RETRIED_STATUS, status)


def image_error(error: Exception) -> ImageError:
    """The `ImageError` for an exception of a filesystem: the local one's, Beam's, or an object store's client's."""
    if isinstance(error, BeamIOError) and error.exception_details:
        return image_error(next(iter(error.exception_details.values())))
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror  # the path is in the image's row already
    if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) in _MISSING:
        return ImageError("not_found", text)
    if isinstance(error, UnicodeEncodeError) or "null byte" in text:
        return ImageError("not_found", f"no file can have such a name: {text}")
    if isinstance(error, PermissionError):
        return ImageError("forbidden", text)
    if isinstance(error, IsADirectoryError):
        return ImageError("not_an_image", text)
    if isinstance(error, TimeoutError):
        return ImageError("timeout", text)
    if (status := _http_status(error)) is not None:
        return ImageError(kind_of_status(status), text)
    return ImageError("unreachable", f"{type(error).__name__}: {text}")


def _http_status(error: Exception) -> int | None:
    """The status in an exception of google.api_core or of Azure's client; None without one."""
    status = getattr(error, "code", None) or getattr(error, "status_code", None)
    return int(status) if isinstance(status, int) else None


def kind_of_status(status: int) -> ErrorKind:
    """The kind of failure that an HTTP status tells of."""
    if status in (404, 410):
        return "not_found"
    if status in (401, 403, 407, 451):
        return "forbidden"
    if status in (408, 504):
        return "timeout"
    return "unreachable"
