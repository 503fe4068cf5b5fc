"""Whether labels can be written to the place that a person named: known before the job starts."""

import os
import tempfile

from ...storage.errors import UsageError
from ...storage.uris import STORE_SCHEMES, is_http, is_local, scheme_of

EXPECTED = "expected a folder, or a place in a store, as gs://bucket/labels"


def check_output_place(output: str) -> None:
    """Makes sure that an output folder can be written to, as far as can be told without a store's answer.

    Raises:
      UsageError: says what is wrong with the place, and what was expected.
    """
    if not output.strip():
        raise UsageError(f"--output '': empty (an unset variable?); {EXPECTED}")
    if scheme_of(output) == "file" and not is_local(output):
        raise UsageError(f"--output {output}: give the path itself, as {output.partition('://')[2] or '/labels'}")
    if is_local(output):
        _check_folder(output)
        return
    if is_http(output):
        raise UsageError(f"--output {output}: labels can't be written over http(s); {EXPECTED}")
    if not output.partition("://")[2].strip("/"):
        raise UsageError(f"--output {output}: no bucket is named; {EXPECTED}")
    if scheme_of(output) not in STORE_SCHEMES and not _beam_knows(output):
        raise UsageError(f"--output {output}: no such scheme; {EXPECTED}")


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


def _beam_knows(uri: str) -> bool:
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(uri)
    except ValueError:
        return False
    return True
