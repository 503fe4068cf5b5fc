"""Clients of object stores, one a bucket and process: where the store is, and who asks.

Settings come, the first that has one: from `--storage-option KEY=VALUE`, from Beam's options of the store
(`--s3_endpoint_url`, `--impersonate_service_account`, …), from the environment. Credentials as each
provider's users expect: boto3's chain where boto3 is installed, Google's application default credentials where
google-auth is, Azure's environment; without any, S3 and Google's buckets are read as anybody.
"""

import functools
import logging
import math
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from obstore.store import AzureStore, GCSStore, S3Store

from ..errors import UsageError
from ..installation import install_hint
from ..retry import RetryPolicy
from . import options as store_options

_log = logging.getLogger(__name__)

_MAX_CLIENTS = 256
_SIGN_IN_S = 10  # of one request for a token
_HINTS = {
    "s3": "See --storage-option and credentials in docs/stores.md",
    "gs": "See --storage-option and credentials in docs/stores.md",
    "az": "Name the account, AZURE_STORAGE_ACCOUNT_NAME or --storage-option account_name=NAME; see docs/stores.md",
}
_CREDENTIALS_S = timedelta(minutes=30)  # as long as those of a role last at least
_lock = threading.Lock()


def locate(uri: str, policy: RetryPolicy, remaining_s: float | None = None) -> tuple[Any, str]:
    """The client of a URI's bucket, and its key there.

    A client bounds each of its requests by the policy's times. A request that may take less, because it is a retry,
    gets a client with half, a quarter, … of the deadline.

    Args:
      uri: as in `s3://bucket/key`.
      policy: its timeouts are the client's.
      remaining_s: seconds for the whole request, body included; None to limit silence only.

    Raises:
      UsageError: if no client can be made of the settings, or the URI has a user and a password.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise UsageError(f"{uri}: no bucket is named; expected one, as in {scheme}://bucket/key")
    if "@" in bucket and not scheme.lower().startswith("abfs"):
        raise UsageError(
            f"{scheme}://{bucket.rpartition('@')[2]}: user and password, or keys, in front of a bucket's name aren't "
            "used; give them to the client of the store, see docs/stores.md"
        )
    if remaining_s is None:
        timeout_s = None
    else:
        halvings = math.ceil(math.log2(max(1.0, policy.deadline_s / max(remaining_s, 0.01))) - 0.01)
        timeout_s = policy.deadline_s / 2**halvings
    times = policy.connect_timeout_s, policy.read_timeout_s, timeout_s
    with _lock:  # two clients made at the same moment would both be used
        return _client(scheme.lower(), bucket, times, store_options.current()), key


def close() -> None:
    """Drops all clients, and with them their connections."""
    _client.cache_clear()
    _google_credentials.cache_clear()
    _aws_credentials.cache_clear()


@functools.lru_cache(_MAX_CLIENTS)
def _client(
    scheme: str,
    bucket: str,
    times: tuple[float, float, float | None],
    options: "store_options.StoreOptions",
) -> Any:
    connect_s, read_s, timeout_s = times
    client_options: Any = {
        "connect_timeout": timedelta(seconds=connect_s),
        "read_timeout": timedelta(seconds=read_s),
        "timeout": timedelta(seconds=timeout_s) if timeout_s else timedelta(days=7),
        "allow_http": True,
        "pool_max_idle_per_host": "64",
        **options.client,
    }
    common: Any = {"client_options": client_options, "retry_config": {"max_retries": 0}}
    try:
        if scheme == "s3":
            return _s3(bucket, options, common)
        if scheme == "gs":
            return _gcs(bucket, options, common)
        return _azure(bucket, options, common)
    except UsageError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{scheme}://{bucket}: {error}. See --storage-option in docs/stores.md") from error
    except Exception as error:
        text = " ".join(str(error).partition("Debug source")[0].split())[:300]
        raise UsageError(f"{scheme}://{bucket}: {text}. {_HINTS.get(scheme, _HINTS['az'])}") from error


def _s3(bucket: str, options: "store_options.StoreOptions", common: Any) -> S3Store:
    config: Any = dict(options.s3)
    config.setdefault("disable_tagging", True)
    provider = None
    if "access_key_id" not in config and "skip_signature" not in config:
        found = _aws_credentials()
        if found is not None:
            provider, region = found
            if region and "region" not in config:
                config["region"] = region
            if provider is None:
                config["skip_signature"] = True
    if not {"region", "default_region"} & set(config) and not os.environ.get("AWS_REGION"):
        config["region"] = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
    if "endpoint" in config or any(
        os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    ):
        config.setdefault("endpoint", os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
        config.setdefault("virtual_hosted_style_request", False)
    return S3Store(bucket, config=config, credential_provider=provider, **common)


@functools.cache
def _aws_credentials() -> tuple[Callable[[], Any] | None, str | None] | None:
    """boto3's credentials (None: it has none) and region; None without boto3: obstore then looks for itself."""
    try:
        import boto3
    except ImportError:
        return None
    session = boto3.Session()
    credentials = session.get_credentials()
    if credentials is None:
        _log.warning("s3://: no credentials were found where boto3 looks for them; buckets are read anonymously")
        return None, session.region_name

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(timezone.utc) + _CREDENTIALS_S,
        }

    return provide, session.region_name


def _gcs(bucket: str, options: "store_options.StoreOptions", common: Any) -> GCSStore:
    config: Any = dict(options.gcs)
    provider: Any
    signs = {"service_account", "service_account_key", "application_credentials", "bearer_token"} & set(config)
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        config.setdefault("base_url", emulator if "://" in emulator else f"http://{emulator}")
        provider = _no_token
    elif config.get("skip_signature"):
        provider = _no_token
    elif signs:
        provider = None
    else:
        provider = _google_credentials(options.impersonate_service_account)
        if provider is None:
            provider, config["skip_signature"] = _no_token, True
    return GCSStore(bucket, config=config, credential_provider=provider, **common)


def _no_token() -> dict[str, Any]:
    """For emulators; and for writes, which object_store signs even if it's told not to: it would ask the metadata
    server.
    """
    return {"token": "anonymous", "expires_at": None}


@functools.cache
def _google_credentials(impersonate: str | None) -> Callable[[], Any] | None:
    """Provides tokens of Google's application default credentials; None if there are none."""
    # Asked for once, for seconds: where there's no network, google-auth would look for the metadata server much longer.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "2")
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    try:
        import google.auth
        import google.auth.impersonated_credentials
        from google.auth.exceptions import DefaultCredentialsError
        from google.auth.transport.requests import Request
    except ImportError as error:
        raise UsageError(
            f"gs:// needs google-auth to sign in: {install_hint('gcp')}, or --storage-option skip_signature=true for "
            "public buckets"
        ) from error
    _log.info("gs://: looking for credentials: the environment, gcloud's file, the machine's metadata server")
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    try:
        credentials, _ = google.auth.default(scopes=scopes)
    except DefaultCredentialsError:
        _log.warning(
            "gs://: no credentials were found; buckets are read anonymously. "
            "`gcloud auth application-default login` makes some"
        )
        return None
    if impersonate:
        principal, *delegates = reversed(impersonate.split(","))
        credentials = google.auth.impersonated_credentials.Credentials(credentials, principal, scopes, delegates[::-1])
    request, lock = functools.partial(Request(), timeout=_SIGN_IN_S), threading.Lock()

    def provide() -> dict[str, Any]:
        with lock:
            if not credentials.valid:
                credentials.refresh(request)
        expiry = credentials.expiry
        return {"token": credentials.token, "expires_at": expiry and expiry.replace(tzinfo=timezone.utc)}

    return provide


def _azure(bucket: str, options: "store_options.StoreOptions", common: Any) -> AzureStore:
    config: Any = dict(options.azure)
    container, at, host = bucket.partition("@")  # abfs://container@account.dfs.core.windows.net/path
    if at:
        config.setdefault("account_name", host.partition(".")[0])
    return AzureStore(container, config=config, **common)
