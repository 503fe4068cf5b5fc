"""Temporary folders that end with their process: what one that was killed has left, the next one deletes."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator

_PREFIX = "labelbeam-"
_NAME = re.compile(_PREFIX + r"[a-z-]+\.[a-z0-9_]{8}")  # of a folder that its process holds locked


@contextlib.contextmanager
def temporary_folder(what: str) -> Iterator[str]:
    """A folder on this machine, for as long as the context lasts.

    It is locked until then, or until its process dies: so whose process has died is known, in whatever container that
    was.

    Args:
      what: it is for, small letters and dashes; part of its name.
    """
    _delete_left()
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{what}-")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a filesystem without locks: then nobody else deletes it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = ".".join(folder.rsplit("-", 1))
            os.rename(folder, locked)
            folder = locked
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _delete_left() -> None:
    """Deletes the folders of this user whose process has died."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):  # it lives, or is somebody else's, or another has just deleted it
                    _delete_if_left(entry.path)


def _delete_if_left(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
