"""Downloads of weights: hundreds of megabytes, which go on where they broke off, and are whole or not there."""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from ...storage.errors import WeightsError
from ...storage.http.transfer import new_handle, set_proxy
from ...storage.libcurl import pycurl
from ...storage.redaction import redact

TRIES = 5  # in a row without a single byte more
CONNECT_TIMEOUT_S = 30
STALL_S = 60  # without a byte
MAX_REDIRECTS = 10
PROGRESS_S = 10
_PROTOCOLS = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
_NO_SUCH_SERVER = (pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_CONNECT, pycurl.E_PEER_FAILED_VERIFICATION)

_log = logging.getLogger(__name__)


def download(url: str, path: Path, sha256: str | None = None, wait: Callable[[float], None] = time.sleep) -> None:
    """Downloads a file to `path`. What an earlier try has got, beside it as `NAME.part`, isn't fetched again.

    Args:
      url: of http or https; may redirect.
      path: where to put it, once it is whole.
      sha256: of the content, in hex; None takes what comes.
      wait: waits so many seconds between two tries.

    Raises:
      WeightsError: if the server refuses, sends a web page, breaks off again and again, or the content isn't the
        expected one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, tag = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.etag")
    fruitless = 0
    while fruitless < TRIES:
        before = part.stat().st_size if part.exists() else 0
        transfer = _Transfer(url, part, tag)
        problem = transfer.run()
        if problem is None:
            break
        after = part.stat().st_size if part.exists() else 0
        if transfer.is_final:
            raise _failed(url, problem)
        fruitless = fruitless + 1 if after <= before else 0
        _log.info("The download of %s broke off at %s bytes (%s); it goes on.", redact(url), f"{after:,}", problem)
        wait(min(2.0**fruitless, 30))
    else:
        raise _failed(url, f"it broke off {TRIES} times in a row ({problem})")
    if sha256 is not None and (found := _sha256(part)) != sha256:
        part.unlink()
        raise _failed(url, f"its SHA-256 is {found}, expected {sha256}: it isn't the file that was meant, or damaged")
    part.rename(path)
    tag.unlink(missing_ok=True)


class _Transfer:
    """One request for what is still missing of a file.

    Attributes:
      is_final: whether the server's answer says that another try is of no use.
    """

    def __init__(self, url: str, part: Path, tag: Path):
        self._url, self._part, self._tag = url, part, tag
        self._headers: dict[str, str] = {}
        self._status = 0
        self._file = None
        self._reported = time.monotonic()
        self.is_final = False

    def run(self) -> str | None:
        """Returns None if the file is whole now, else what went wrong."""
        have = self._part.stat().st_size if self._part.exists() and self._tag.exists() else 0
        curl = new_handle()
        set_proxy(curl, self._url.partition(":")[0].lower())
        curl.setopt(pycurl.URL, self._url)
        curl.setopt(pycurl.USERAGENT, "labelbeam")
        curl.setopt(pycurl.FOLLOWLOCATION, 1)
        curl.setopt(pycurl.MAXREDIRS, MAX_REDIRECTS)
        curl.setopt(pycurl.REDIR_PROTOCOLS, _PROTOCOLS)
        curl.setopt(pycurl.CONNECTTIMEOUT, CONNECT_TIMEOUT_S)
        curl.setopt(pycurl.LOW_SPEED_TIME, STALL_S)
        curl.setopt(pycurl.HEADERFUNCTION, self._header)
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        if have:  # if the file has changed since, the server sends all of the new one
            curl.setopt(pycurl.HTTPHEADER, [f"Range: bytes={have}-", f"If-Range: {self._tag.read_text()}"])
        try:
            curl.perform()
        except pycurl.error as error:
            self.is_final = error.args[0] in _NO_SUCH_SERVER
            whole = self._status in (200, 206) and not self._is_page()  # what there was of it
            return (None if whole else self._refusal()) or str(error.args[-1])
        else:
            return self._refusal()
        finally:
            curl.close()
            if self._file is not None:
                self._file.close()

    def _header(self, line: bytes) -> None:
        text = line.decode("iso-8859-1").strip()
        if text.startswith("HTTP/"):
            self._headers, self._status = {}, int(text.split()[1])  # what was before redirected
        name, _, value = text.partition(":")
        self._headers[name.lower()] = value.strip()

    def _write(self, chunk: bytes) -> int:
        if self._status not in (200, 206) or self._is_page():
            return 0  # which ends the transfer
        if self._file is None:
            self._file = open(self._part, "ab" if self._status == 206 else "wb")  # noqa: SIM115 - closed by `run`
            tag = self._headers.get("etag", "")
            with contextlib.suppress(FileNotFoundError):
                self._tag.unlink()
            if tag.startswith('"'):  # a weak one doesn't tell whether bytes are the same
                self._tag.write_text(tag)
        self._file.write(chunk)
        if time.monotonic() - self._reported > PROGRESS_S:
            self._reported = time.monotonic()
            left = self._headers.get("content-length", "?")
            _log.warning("Downloading %s: %.0f MB of %s bytes", redact(self._url), self._file.tell() / 1e6, left)
        return len(chunk)

    def _refusal(self) -> str | None:
        """Why the answer isn't (the rest of) the file; None if it is."""
        status = self._status
        if status == 416:  # nothing is left to send, or what there is isn't of this file
            self._part.unlink(missing_ok=True)
            return "the server has fewer bytes than were there already"
        if status in (200, 206):
            if self._is_page():
                self.is_final = True
                return "the server sent a web page, which may ask you to log in"
            return None if self._file is not None else "the server sent nothing"
        if status == 0:
            return None
        self.is_final = 400 <= status < 500 and status not in (408, 429)
        return f"HTTP status {status}"

    def _is_page(self) -> bool:
        return self._headers.get("content-type", "").startswith("text/html")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _failed(url: str, problem: str) -> WeightsError:
    return WeightsError(
        f"weights {redact(url)}: the download failed: {problem}. Check the address, or download it by hand and "
        "give the file with --weights"
    )
