"""Processes that Beam starts here (workers, Prism, job servers) get sessions of their own: Ctrl-C of a terminal goes to
the command alone, which has them finish what is under way."""

import contextlib
import os
import signal
import subprocess
import types
from collections.abc import Iterator

from apache_beam.runners.portability import local_job_service
from apache_beam.utils import subprocess_server

_children: list[subprocess.Popen] = []


class _Child(subprocess.Popen):
    def __init__(self, *args, **options):
        super().__init__(*args, start_new_session=True, **options)
        _children.append(self)


_subprocess = types.SimpleNamespace(**{**vars(subprocess), "Popen": _Child})


@contextlib.contextmanager
def in_own_sessions() -> Iterator[None]:
    """While the context lasts, what Beam starts isn't reached by signals for this process's group."""
    modules = local_job_service, subprocess_server
    for module in modules:
        module.subprocess = _subprocess  # pyright: ignore[reportAttributeAccessIssue]  # its import of the name
    try:
        yield
    finally:
        for module in modules:
            module.subprocess = subprocess  # pyright: ignore[reportAttributeAccessIssue]


def kill_children() -> None:
    """Ends what has been started in such contexts and still runs, with all below it."""
    for child in _children:
        if child.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
