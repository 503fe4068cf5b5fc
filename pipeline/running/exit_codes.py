"""What `labelbeam` ends with, decided in one place."""

import enum
from collections.abc import Mapping
from typing import Any

from ...results.text import counted


class ExitCode(enum.IntEnum):
    DONE = 0
    FAILED = 1  # the job failed, is incomplete or was lost, or too many images failed
    USAGE = 2  # the command can't be used as it is: known before the work started
    INTERRUPTED = 130  # by Ctrl-C, SIGTERM or SIGHUP; the same command goes on


def code_of_record(record: Mapping[str, Any], max_failed: float | int | None = None) -> ExitCode:
    """The exit code of a job that has closed, from its record.

    Args:
      max_failed: see `too_many_failed`.
    """
    if record["status"] == "interrupted":
        return ExitCode.INTERRUPTED
    if record["status"] != "complete" or too_many_failed(record, max_failed):
        return ExitCode.FAILED
    return ExitCode.DONE


def too_many_failed(record: Mapping[str, Any], max_failed: float | int | None) -> str | None:
    """A sentence, if more images failed than may; None if not.

    Args:
      record: of the job.
      max_failed: a number, or a share of the images tried if it's a float. None: all may fail but one.
    """
    tried, failed = record["written"], sum(record["failures"].values())
    if max_failed is None:
        return f"none of {counted(tried, 'image')} could be labelled" if tried and failed == tried else None
    most = max_failed * tried if isinstance(max_failed, float) else max_failed
    if failed <= most:
        return None
    allowed = f"{max_failed:.2%}" if isinstance(max_failed, float) else f"{max_failed:,}"
    return f"{failed:,} of {counted(tried, 'image')} failed, and --max-failed is {allowed}"
