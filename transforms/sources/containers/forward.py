"""Decoding forwards, frame after frame: what the readers of videos and of animations share."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, MutableMapping
from typing import Any

from ....storage.file_info import FileVersion
from ....storage.read_options import ReadOptions
from ...elements import ImageError, MemberLocation


class ForwardReader(ABC):
    """Decodes frames of a stretch; forwards, if they are asked for in their order. Not thread-safe.

    Args:
      path: of the file; it is opened by the first `read`.
      options: `deadline_s` is that of decoding up to a frame; the rest is for files on http(s) servers.
    """

    def __init__(self, path: str, options: ReadOptions):
        self._path = path
        self._options = options
        self._frames: Iterator[tuple[int, Any]] | None = None
        self._passed: float = -math.inf  # place of the frame that was decoded last
        self._ready: dict[int, Any] = {}  # expected frames that have been passed; None for damaged ones

    def read(self, location: MemberLocation, expected: MutableMapping[int, int]) -> Any:
        """A frame, as the decoder gives it; None if it is damaged, or isn't there.

        Args:
          location: where it is.
          expected: keyframes of further frames by their places, of this stretch, that will be asked for: those that
            lie before this one are kept. Frames that have been decoded are taken out.

        Raises:
          ImageError: `timeout`.
          InputError, OSError, StorageError: if the file can't be read, or isn't what its name says.
        """
        wanted = location.offset
        self._open()
        end = time.monotonic() + self._options.deadline_s
        if wanted in self._ready:
            return self._ready.pop(wanted)
        expected[wanted] = location.keyframe
        if self._frames is None or wanted <= self._passed:
            self._passed = -math.inf
            self._frames = self._decoded(min(expected.values()), expected)
        while wanted not in self._ready:
            if time.monotonic() > end:
                raise ImageError("timeout", f"not decoded within the deadline of {self._options.deadline_s:g} s")
            at, frame = next(self._frames, (math.inf, None))
            for place in list(expected):
                if self._passed < place <= at:
                    del expected[place]
                    self._ready[place] = self._kept(frame) if place == at else None
            self._passed = max(self._passed, at)
        return self._ready.pop(wanted)

    @property
    @abstractmethod
    def version(self) -> FileVersion:
        """Of the file, as it was when it was opened."""

    @abstractmethod
    def _open(self) -> None:
        """Opens the file, unless it is open."""

    @abstractmethod
    def _decoded(self, keyframe: int, expected: MutableMapping[int, int]) -> Iterator[tuple[int, Any]]:
        """Yields place and frame, None for one that is damaged, in the order in which they are shown, from a keyframe
        on; those that no expected one needs may be left out."""

    def _kept(self, frame: Any) -> Any:
        """A frame that stays as it is when others are decoded."""
        return frame

    def close(self) -> None:
        self._frames = None
        self._ready.clear()
