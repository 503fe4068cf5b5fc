"""Reads one image from S3 through one client a process.

Beam's own S3 filesystem makes a new client for each file that it opens: a seventh of a second of computing, and two
requests. Where to find the service and how to sign in is what Beam's `--s3_…` options say, else boto3's configuration.
"""
import contextlib
import threading
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, S3Options

from .elements import ImageError
from .fetch_options import ReadOptions
from .image_errors import kind_of_status

_client: Any = None
_client_lock = threading.Lock()


def get(uri: str, options: ReadOptions) -> bytes:
    """The bytes of `s3://bucket/key`; boto3 repeats requests by itself, but not bodies that break off.

    Raises:
      ImageError: `not_found`, `forbidden`, `timeout`, `unreachable` or `too_large`.
    """
    try:
        import botocore.exceptions as errors
    except ImportError as error:
        raise ImageError("unreachable", "s3:// needs boto3 on the workers: pip install 'labelbeam[aws]'") from error
    bucket, _, key = uri[len("s3://"):].partition("/")
    try:
        answer = _shared_client(options).get_object(Bucket=bucket, Key=key)
        with contextlib.closing(answer["Body"]) as body:  # its own `__enter__` gives the stream without boto3's checks
            num_bytes = answer["ContentLength"]
            if num_bytes > options.max_bytes:
                raise ImageError("too_large", f"{num_bytes:,} bytes, the limit is {options.max_bytes:,} (max_bytes)")
            return body.read()
    except errors.ClientError as error:
        raise ImageError(kind_of_status(error.response["ResponseMetadata"]["HTTPStatusCode"]), str(error)) from error
    except (errors.ReadTimeoutError, errors.ConnectTimeoutError) as error:
        raise ImageError("timeout", str(error)) from error
    except (errors.NoCredentialsError, errors.PartialCredentialsError) as error:
        raise ImageError("forbidden", str(error)) from error
    except (errors.IncompleteReadError, errors.ResponseStreamingError) as error:
        raise ImageError("truncated", str(error)) from error
    except errors.BotoCoreError as error:
        raise ImageError("unreachable", str(error)) from error


def _shared_client(options: ReadOptions) -> Any:
    """boto3's clients may be shared by threads; making one takes long, and is not thread-safe."""
    global _client
    with _client_lock:
        if _client is None:
            _client = _new_client(options)
        return _client


def _new_client(options: ReadOptions) -> Any:
    import boto3
    from botocore.config import Config

    # Beam keeps the pipeline's options there for its filesystems, on workers too.
    s3 = (FileSystems._pipeline_options or PipelineOptions([])).view_as(S3Options)
    config = Config(connect_timeout=options.connect_timeout_s, read_timeout=options.read_timeout_s,
                    retries={"mode": "standard", "total_max_attempts": options.retries + 1}, max_pool_connections=256)
    return boto3.session.Session().client(
        "s3", config=config, endpoint_url=s3.s3_endpoint_url, region_name=s3.s3_region_name,
        api_version=s3.s3_api_version, use_ssl=not s3.s3_disable_ssl, verify=s3.s3_verify,
        aws_access_key_id=s3.s3_access_key_id, aws_secret_access_key=s3.s3_secret_access_key,
        aws_session_token=s3.s3_session_token)
