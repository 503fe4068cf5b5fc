"""What libcurl's errors stand for, in the project's words."""

import math
import os
import socket
from http import HTTPStatus

from ..errors import StorageError, check_own_resources, error_of_status
from ..libcurl import pycurl
from ..redaction import redact
from ..retry import Deadline, RetryPolicy
from .urls import Url

_RETRY_AFTER = pycurl.RETRY_AFTER  # pyright: ignore[reportAttributeAccessIssue]  # newer than the stubs


def status_text(status: int) -> str:
    """A status as messages show it, as in `404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def error_of_answer(curl: pycurl.Curl, status: int) -> StorageError:
    """The error for an answer with a status that is none of success, and what it says of trying again."""
    return error_of_status(status, f"HTTP status {status_text(status)}", curl.getinfo(_RETRY_AFTER))


def error_of_curl(
    code: int, text: str, curl: pycurl.Curl, only_refused: bool, url: Url, options: RetryPolicy, deadline: Deadline
) -> StorageError:
    """The error for one of libcurl's, but for a name that can't be resolved.

    Args:
      code, text: libcurl's.
      curl: the handle of the transfer that has failed.
      only_refused: whether it found addresses, none of them public.
      url: what was asked for.
      options, deadline: of the file that is read.

    Raises:
      ResourcesError, MemoryError: if it's about this process.
    """
    text = redact(" ".join(text.split()))
    where = url.host
    match code:
        case pycurl.E_URL_MALFORMAT | pycurl.E_UNSUPPORTED_PROTOCOL:
            return StorageError("unreachable", "malformed URL")
        case pycurl.E_OUT_OF_MEMORY:
            check_descriptors()  # libcurl says so, too, where it can't make a pipe
            raise MemoryError(text)
        case pycurl.E_OPERATION_TIMEDOUT:
            return _timeout(text, where, options, deadline)
        case pycurl.E_COULDNT_CONNECT:
            if only_refused:
                message = f"{url.name} has no public address, and only public hosts may be read (--public-hosts-only)"
                return StorageError("forbidden", message)
            number = curl.getinfo(pycurl.OS_ERRNO)
            check_own_resources(number)
            return StorageError(
                "unreachable", f"no connection to {where}: {os.strerror(number) if number else text}", True
            )
        case pycurl.E_SSL_CONNECT_ERROR:
            return StorageError("unreachable", f"no secure connection to {where}: {text}", retryable=True)
        case pycurl.E_PEER_FAILED_VERIFICATION | pycurl.E_SSL_CERTPROBLEM:
            return StorageError("unreachable", f"no secure connection to {where}: {text}")
        case pycurl.E_PARTIAL_FILE:
            return StorageError("truncated", f"{where} ended its answer early: {text}", retryable=True)
        case pycurl.E_BAD_CONTENT_ENCODING | pycurl.E_WRITE_ERROR:
            return StorageError("truncated", f"{where} sent a body that breaks its own Content-Encoding")
        case pycurl.E_GOT_NOTHING | pycurl.E_RECV_ERROR | pycurl.E_SEND_ERROR | pycurl.E_FTP_WEIRD_SERVER_REPLY:
            return StorageError("unreachable", f"the connection to {where} broke: {text}", retryable=True)
        case _:
            return StorageError("unreachable", f"{where}: {text}")


def check_descriptors() -> None:
    """Raises ResourcesError if this process can't open another file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        check_own_resources(error.errno, error)


def _timeout(text: str, where: str, options: RetryPolicy, deadline: Deadline) -> StorageError:
    if deadline.remaining_s() <= 0.001:  # libcurl counts in milliseconds
        return deadline.error()
    if "too slow" in text:
        message = f"{where} sent nothing for {math.ceil(options.read_timeout_s)} s"
    else:
        message = f"{where} did not accept a connection within {options.connect_timeout_s:g} s"
    return StorageError("timeout", message, retryable=True)


def error_of_name(name: str) -> StorageError:
    """The error for a name that libcurl couldn't resolve. It doesn't tell whether the resolver itself had trouble, so
    that is asked here, which may take as long as resolvers take.
    """
    try:
        socket.getaddrinfo(name, None)
        may_resolve_later = True
    except socket.gaierror as error:
        may_resolve_later = error.errno == socket.EAI_AGAIN
    except (OSError, UnicodeError):
        may_resolve_later = False
    return StorageError("unreachable", f"the name {name} can't be resolved", may_resolve_later)
