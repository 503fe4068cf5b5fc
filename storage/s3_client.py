"""Single requests to S3, and to what speaks its protocol, through one client a process.

Beam's own S3 filesystem makes a new client for each file that it opens: a seventh of a second of computing, and two
requests. Where to find the service and how to sign in is what Beam's `--s3_…` options say, else boto3's configuration.
Nothing here is tried twice: that is `object_stores.py`, which knows how long it is worth while.
"""

import contextlib
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, S3Options

from ..transforms.fetch.options import ReadOptions
from .http_connections import Deadline
from .limited_body import join_chunks, too_large
from .store_errors import StoreError

_CHUNK_BYTES = 1 << 18
_clients: dict[tuple, tuple[PipelineOptions, Any]] = {}
_clients_lock = threading.Lock()

Listed = tuple[str, int, datetime]  # an object's key, its bytes, its last change


def get(bucket: str, key: str, options: ReadOptions, deadline: Deadline) -> bytes:
    """An object's bytes, by one request.

    Raises (as all functions here):
      StoreError: of any kind that an HTTP status can stand for; `too_large` before the body is read.
    """
    with _store_errors():
        answer = _client(options).get_object(Bucket=bucket, Key=key)
        with contextlib.closing(answer["Body"]) as body:  # its own `__enter__` gives the stream without boto3's checks
            if answer["ContentLength"] > options.max_bytes:
                raise too_large(answer["ContentLength"], options.max_bytes)
            return join_chunks(body.iter_chunks(_CHUNK_BYTES), options.max_bytes, deadline)


def put(bucket: str, key: str, data: bytes, options: ReadOptions, only_new: bool = False) -> bool:
    """Makes an object, or replaces it: afterwards it is there whole, or as it was before.

    Returns:
      False if `only_new` and there was one.
    """
    condition = {"IfNoneMatch": "*"} if only_new else {}
    try:
        with _store_errors():
            _client(options).put_object(
                Bucket=bucket, Key=key, Body=data, ContentType="application/octet-stream", **condition
            )
    except StoreError as error:
        if only_new and error.status == 412:
            return False
        raise
    return True


def exists(bucket: str, key: str, options: ReadOptions) -> bool:
    try:
        with _store_errors():
            _client(options).head_object(Bucket=bucket, Key=key)
    except StoreError as error:
        if error.kind == "not_found":
            return False
        raise
    return True


def list_page(bucket: str, prefix: str, token: str | None, options: ReadOptions) -> tuple[list[Listed], str | None]:
    """Up to 1,000 objects with a prefix, in order, and the token of the next page, None behind the last one."""
    with _store_errors():
        page = _client(options).list_objects_v2(
            Bucket=bucket, Prefix=prefix, **({"ContinuationToken": token} if token else {})
        )
    found = [(item["Key"], item["Size"], item["LastModified"]) for item in page.get("Contents", ())]
    return found, page.get("NextContinuationToken")


def delete(bucket: str, key: str, options: ReadOptions) -> None:
    """Removes an object; one that isn't there is no error."""
    with _store_errors():
        _client(options).delete_object(Bucket=bucket, Key=key)


def _client(options: ReadOptions) -> Any:
    """boto3's clients may be shared by threads; making one takes long, and is not thread-safe."""
    # Beam keeps the pipeline's options there for its filesystems, on workers too.
    pipeline_options = FileSystems._pipeline_options or PipelineOptions([])
    key = (id(FileSystems._pipeline_options), options.connect_timeout_s, options.read_timeout_s)
    with _clients_lock:
        if key not in _clients:  # the options are kept with it, so that no others get their id
            _clients[key] = pipeline_options, _new_client(pipeline_options.view_as(S3Options), options)
        return _clients[key][1]


def _new_client(s3: S3Options, options: ReadOptions) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=256,
    )
    return boto3.session.Session().client(
        "s3",
        config=config,
        endpoint_url=s3.s3_endpoint_url,
        region_name=s3.s3_region_name,
        api_version=s3.s3_api_version,
        use_ssl=not s3.s3_disable_ssl,
        verify=s3.s3_verify,
        aws_access_key_id=s3.s3_access_key_id,
        aws_secret_access_key=s3.s3_secret_access_key,
        aws_session_token=s3.s3_session_token,
    )


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        import botocore.exceptions as errors
    except ImportError as error:
        raise StoreError(
            "unreachable", "s3:// needs boto3 on the workers: pip install 'labelbeam[aws]'", False
        ) from error
    try:
        yield
    except errors.ClientError as error:
        raise StoreError.of_status(error.response["ResponseMetadata"]["HTTPStatusCode"], str(error)) from error
    except (errors.ReadTimeoutError, errors.ConnectTimeoutError) as error:
        raise StoreError("timeout", str(error), True) from error
    except (errors.IncompleteReadError, errors.ResponseStreamingError) as error:
        raise StoreError("truncated", str(error), True) from error
    except (errors.NoCredentialsError, errors.PartialCredentialsError) as error:
        raise StoreError("forbidden", str(error), False) from error
    except (errors.ConnectionError, errors.HTTPClientError) as error:  # no connection, or a broken one
        raise StoreError("unreachable", str(error), True) from error
    except errors.BotoCoreError as error:  # no region, a malformed name of a bucket, …
        raise StoreError("unreachable", str(error), False) from error
