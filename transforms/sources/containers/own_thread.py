"""A reader of frames in a thread of its own, one for as long as the file is open: whoever waits can give up when the
disk doesn't answer, which Python can't interrupt, and nobody else touches its decoder."""

import functools
from collections.abc import MutableMapping
from concurrent.futures import wait
from typing import Any

from ....storage.file_info import FileVersion
from ...elements import MemberLocation
from ...workers.own_thread import OwnThread
from .forward import ForwardReader


class ReadHangsError(Exception):
    """A read that isn't done in time; its thread is left alone."""


class ReaderInOwnThread:
    """As `ForwardReader`, but for `read`, which has a time limit. Not thread-safe.

    Args:
      reader: used and closed by the thread alone.
    """

    def __init__(self, reader: ForwardReader):
        self._reader = reader
        self._thread = OwnThread("labelbeam-frames")

    @property
    def version(self) -> FileVersion:
        """Of the file, as it was when it was opened: by the first `read`."""
        return self._reader.version

    def read(self, location: MemberLocation, expected: MutableMapping[int, int], within_s: float) -> Any:
        """See `ForwardReader.read`.

        Raises:
          ReadHangsError: if it takes longer than `within_s`; the reader can't be used any more.
        """
        done = self._thread.call(functools.partial(self._reader.read, location, expected))
        if not wait([done], within_s).done:
            raise ReadHangsError
        return done.result()

    def close(self) -> None:
        """Ends the thread once it has nothing to do, and has it close the reader; never waits."""
        self._thread.call(self._reader.close)
        self._thread.close()
