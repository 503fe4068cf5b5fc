"""Settings of object stores: `--storage-option KEY=VALUE`, and Beam's own options, which Beam hands to each worker."""

import functools
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError

_S3_OF_BEAM = {
    "s3_endpoint_url": "endpoint",
    "s3_access_key_id": "access_key_id",
    "s3_secret_access_key": "secret_access_key",
    "s3_session_token": "session_token",
    "s3_region_name": "region",
}
_PREFIXES = {"aws": "s3", "s3": "s3", "gs": "gcs", "gcs": "gcs", "google": "gcs", "az": "azure", "azure": "azure"}
_CLIENT_KEYS = frozenset(
    {
        "allow_invalid_certificates",
        "proxy_url",
        "proxy_excludes",
        "root_certificate",
        "http1_only",
        "http2_only",
        "user_agent",
    }
)

Settings = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class StoreOptions:
    """obstore's configuration, by store, and of its HTTP client. Hashable: a client is made for each."""

    s3: Settings = ()
    gcs: Settings = ()
    azure: Settings = ()
    client_settings: Settings = ()
    impersonate_service_account: str | None = None

    @property
    def client(self) -> dict[str, Any]:
        return dict(self.client_settings)


_options: StoreOptions | None = None


def configure(storage_options: Iterable[str], **beam: Any) -> None:
    """Says what holds in this process, for commands that run no pipeline. `configure(())` takes it back.

    Args:
      storage_options: KEY=VALUE each, as `parse` takes them.
      beam: values of Beam's options of stores, as `s3_endpoint_url`.
    """
    global _options
    storage_options = list(storage_options)
    _options = parse(storage_options, beam) if storage_options or beam else None


def current() -> StoreOptions:
    """Those of `configure`, else those of the pipeline's options that Beam keeps for its filesystems, on workers
    too.
    """
    if _options is not None:
        return _options
    beam = sys.modules.get("apache_beam.io.filesystems")
    pipeline_options = beam and beam.FileSystems._pipeline_options  # no public way; see docs/architecture.md
    return _of_pipeline(pipeline_options) if pipeline_options is not None else StoreOptions()


@functools.lru_cache(8)  # by identity: Beam's options have no equality
def _of_pipeline(pipeline_options: Any) -> StoreOptions:
    values = pipeline_options.get_all_options()
    return parse(values.get("storage_option") or (), values)


def parse(storage_options: Iterable[str], beam: Mapping[str, Any] | None = None) -> StoreOptions:
    """Options of the stores' clients.

    Args:
      storage_options: KEY=VALUE each: a name of obstore's configuration, with the store's prefix if it is for one of
        them alone (`aws_region=…`, `azure_account_name=…`), else for all that know it.
      beam: values of Beam's options; those that are None don't count.

    Raises:
      UsageError: if one isn't KEY=VALUE.
    """
    beam = beam or {}
    found: dict[str, dict[str, Any]] = {"s3": {}, "gcs": {}, "azure": {}, "client": {}}
    for name, ours in _S3_OF_BEAM.items():
        if beam.get(name):
            found["s3"][ours] = beam[name]
    if beam.get("s3_verify") in (False, "false", "False", "0"):
        found["client"]["allow_invalid_certificates"] = True
    for option in storage_options:
        key, equals, value = option.partition("=")
        if not equals or not key.strip():
            raise UsageError("--storage-option: expected KEY=VALUE, as in region=eu-west-1")
        key = key.strip().lower()
        prefix, _, rest = key.partition("_")
        if key in _CLIENT_KEYS:
            found["client"][key] = _value(value)
        elif prefix in _PREFIXES and rest:
            found[_PREFIXES[prefix]][rest] = _value(value)
        else:
            for store in _stores_that_know(key):
                found[store][key] = _value(value)
    return StoreOptions(
        *(tuple(sorted(found[name].items())) for name in ("s3", "gcs", "azure", "client")),
        impersonate_service_account=beam.get("impersonate_service_account"),
    )


def _value(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)


def _stores_that_know(key: str) -> tuple[str, ...]:
    if key == "skip_signature":
        return "s3", "gcs", "azure"
    if key in ("service_account", "service_account_key", "base_url", "bearer_token", "application_credentials"):
        return ("gcs",)
    if key in (
        "account_name",
        "account_key",
        "sas_key",
        "tenant_id",
        "client_id",
        "client_secret",
        "use_emulator",
        "use_azure_cli",
    ):
        return ("azure",)
    return ("s3",)
