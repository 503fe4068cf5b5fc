"""Single requests to Google Cloud Storage through one client a process.

Beam's own filesystem asks twice for each file, and where there are no credentials it looks for them for 25 seconds first.
Signed in is as Beam would (`--impersonate_service_account` and the like included), without credentials anonymously, which
is right for public buckets and for the emulator that STORAGE_EMULATOR_HOST names. Nothing here is tried twice: that is
`object_stores.py`, which knows how long it is worth while.
"""

import contextlib
import http.client
import os
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from ..transforms.fetch.options import ReadOptions
from .http_connections import Deadline
from .limited_body import join_chunks, too_large
from .store_errors import StoreError

_CHUNK_BYTES = 1 << 18
_MAX_CONNECTIONS = 256
_clients: dict[int, tuple[PipelineOptions, Any]] = {}
_clients_lock = threading.Lock()

Listed = tuple[str, int, datetime]  # an object's key, its bytes, its last change


def get(bucket: str, key: str, options: ReadOptions, deadline: Deadline) -> bytes:
    """An object's bytes, by one request.

    Raises (as all functions here):
      StoreError: of any kind that an HTTP status can stand for; `too_large` before the body is read.
    """
    with _store_errors():
        client = _client()
        # Not `download_as_bytes`: it knows no limit, and tells the size when the body has been read.
        url = f"{client.api_endpoint}/download/storage/v1{client.bucket(bucket).blob(key).path}"
        with client._http.get(
            url,
            params={"alt": "media"},
            stream=True,
            timeout=_timeouts_s(options),
            headers={"Accept-Encoding": "identity"},
        ) as response:
            if not response.ok:
                raise StoreError.of_status(
                    response.status_code, f"HTTP status {response.status_code} {response.reason}"
                )
            declared = response.headers.get("Content-Length", "")
            if declared.isdecimal() and int(declared) > options.max_bytes:
                raise too_large(int(declared), options.max_bytes)
            return join_chunks(response.iter_content(_CHUNK_BYTES), options.max_bytes, deadline)


def put(bucket: str, key: str, data: bytes, options: ReadOptions, only_new: bool = False) -> bool:
    """Makes an object, or replaces it: afterwards it is there whole, or as it was before.

    Returns:
      False if `only_new` and there was one.
    """
    try:
        with _store_errors():
            _client().bucket(bucket).blob(key).upload_from_string(
                data,
                content_type="application/octet-stream",
                timeout=_timeouts_s(options),
                retry=None,
                if_generation_match=0 if only_new else None,
            )
    except StoreError as error:
        if only_new and error.status == 412:
            return False
        raise
    return True


def exists(bucket: str, key: str, options: ReadOptions) -> bool:
    with _store_errors():
        return _client().bucket(bucket).blob(key).exists(timeout=_timeouts_s(options), retry=None)


def list_page(bucket: str, prefix: str, token: str | None, options: ReadOptions) -> tuple[list[Listed], str | None]:
    """Up to 1,000 objects with a prefix, in order, and the token of the next page, None behind the last one."""
    with _store_errors():
        listing = _client().list_blobs(
            bucket,
            prefix=prefix,
            page_token=token,
            fields="items(name,size,updated),nextPageToken",
            timeout=_timeouts_s(options),
            retry=None,
        )
        found = [(blob.name, blob.size, blob.updated) for blob in next(listing.pages, ())]
        return found, listing.next_page_token


def delete(bucket: str, key: str, options: ReadOptions) -> None:
    """Removes an object; one that isn't there is no error."""
    try:
        with _store_errors():
            _client().bucket(bucket).delete_blob(key, timeout=_timeouts_s(options), retry=None)
    except StoreError as error:
        if error.kind != "not_found":
            raise


def _timeouts_s(options: ReadOptions) -> tuple[float, float]:
    return options.connect_timeout_s, options.read_timeout_s


def _client() -> Any:
    # Beam keeps the pipeline's options there for its filesystems, on workers too.
    pipeline_options = FileSystems._pipeline_options or PipelineOptions([])
    key = id(FileSystems._pipeline_options)
    with _clients_lock:
        if key not in _clients:  # the options are kept with it, so that no others get their id
            _clients[key] = pipeline_options, _new_client(pipeline_options)
        return _clients[key][1]


def _new_client(pipeline_options: PipelineOptions) -> Any:
    from apache_beam.io.gcp import gcsio
    from requests.adapters import HTTPAdapter

    _settle_credentials()
    client = gcsio.create_storage_client(pipeline_options)
    for scheme in ("http://", "https://"):  # a pool keeps as many connections as there may be threads
        client._http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=_MAX_CONNECTIONS))
    return client


def _settle_credentials() -> None:
    """Tells Beam in advance where there are no credentials: it would look for them five times, with pauses of 25 seconds."""
    import google.auth
    from apache_beam.internal.gcp import auth

    if not os.environ.get("STORAGE_EMULATOR_HOST"):
        try:
            google.auth.default()
            return
        except google.auth.exceptions.DefaultCredentialsError:
            pass
    with auth._Credentials._credentials_lock:
        auth._Credentials._credentials_init = True


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        import google.cloud.storage.exceptions as storage_errors
        from google.api_core import exceptions as api_errors
        from google.auth import exceptions as auth_errors
        from requests import exceptions as errors
    except ImportError as error:
        message = "gs:// needs google-cloud-storage on the workers: pip install 'labelbeam[gcp]'"
        raise StoreError("unreachable", message, False) from error
    try:
        yield
    except api_errors.GoogleAPICallError as error:
        raise StoreError.of_status(error.code or 0, str(error.message)) from error
    except errors.Timeout as error:
        raise StoreError("timeout", str(error), True) from error
    except (errors.ContentDecodingError, storage_errors.DataCorruption) as error:
        raise StoreError("truncated", str(error), True) from error
    except errors.ChunkedEncodingError as error:  # it wraps what urllib3 made of the error of http.client
        ended_early = any(isinstance(arg, http.client.IncompleteRead) for arg in getattr(error.args[0], "args", ()))
        raise StoreError("truncated" if ended_early else "unreachable", str(error), True) from error
    except (errors.ConnectionError, auth_errors.TransportError) as error:
        raise StoreError("unreachable", str(error), True) from error
    except auth_errors.GoogleAuthError as error:
        raise StoreError("forbidden", str(error), False) from error
    except errors.RequestException as error:  # a malformed address
        raise StoreError("unreachable", str(error), False) from error
