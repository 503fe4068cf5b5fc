"""Whether labels can be written to the place that a person named: known before the job starts."""

import os
import re
import tempfile

from ...storage.errors import UsageError
from ...storage.uris import STORE_SCHEMES, absolute, is_http, is_local, scheme_of, written_here

EXPECTED = "expected a folder, or a place in a store, as gs://bucket/labels"


def check_output_place(output: str) -> None:
    """Makes sure that an output folder can be written to, as far as can be told without a store's answer.

    Raises:
      UsageError: says what is wrong with the place, and what was expected.
    """
    if problem := why_no_place(output):
        raise UsageError(f"--output {output or repr('')}: {problem}")
    if is_local(output):
        _check_folder(output)


def why_no_place(output: str) -> str | None:
    """What is wrong with the name of an output folder; None if it may be one."""
    if not output.strip():
        return f"empty (an unset variable?); {EXPECTED}"
    if re.match(r"(?i)file:/", output):
        path = absolute(output)
        return f"give the path itself, as {path if is_local(path) else '/labels'}"
    if is_local(output):
        return None
    if ours := written_here(output):
        return f"write {ours}; {scheme_of(output)}:// is not known here"
    if is_http(output):
        return f"labels aren't written or read over http(s); {EXPECTED}"
    if not output.partition("://")[2].strip("/"):
        return f"no bucket is named; {EXPECTED}"
    return None if scheme_of(output) in STORE_SCHEMES else _why_beam_cannot(output)


def _check_folder(output: str) -> None:
    folder = os.path.abspath(output)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise UsageError(f"--output {output}: {folder} is a file; {EXPECTED}")
    try:
        with tempfile.TemporaryDirectory(prefix=".labelbeam-", dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"--output {output}: can't be written to ({error.strerror}); {EXPECTED}") from error


def _why_beam_cannot(uri: str) -> str | None:
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(uri)
    except ValueError:
        return f"no such scheme; {EXPECTED}"
    except BeamIOError as error:  # its client isn't installed, or not configured
        causes = "; ".join(map(str, error.exception_details.values())) if error.exception_details else str(error)
        return f"Beam's filesystem for {scheme_of(uri)}:// can't be used here ({causes})"
    return None
