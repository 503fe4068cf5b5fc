"""A reader of frames in a thread of its own, one for as long as the file is open: whoever waits can give up when the
disk doesn't answer, which Python can't interrupt, and nobody else touches its decoder."""

import threading
from collections.abc import MutableMapping
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

from ....storage.file_info import FileVersion
from ...elements import MemberLocation
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
        self._asked: SimpleQueue[tuple[Future, MemberLocation, MutableMapping[int, int]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="labelbeam-frames", daemon=True).start()

    @property
    def version(self) -> FileVersion:
        """Of the file, as it was when it was opened: by the first `read`."""
        return self._reader.version

    def read(self, location: MemberLocation, expected: MutableMapping[int, int], within_s: float) -> Any:
        """See `ForwardReader.read`.

        Raises:
          ReadHangsError: if it takes longer than `within_s`; the reader can't be used any more.
        """
        done: Future[Any] = Future()
        self._asked.put((done, location, expected))
        if not wait([done], within_s).done:
            raise ReadHangsError
        return done.result()

    def close(self) -> None:
        """Ends the thread once it has nothing to do, and has it close the reader; never waits."""
        self._asked.put(None)

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            done, location, expected = asked
            try:
                done.set_result(self._reader.read(location, expected))
            except BaseException as error:  # raised again by `read`
                done.set_exception(error)
        self._reader.close()
