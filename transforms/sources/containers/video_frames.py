"""A video's frames: when they are shown, what they are called, and where in the file they end."""

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ...elements import ImageReference, MemberLocation
from .members import CHUNK_BYTES, CHUNK_IMAGES

_NAMED_WITHIN_S = 0.000501  # of a frame's time: names have milliseconds
_NAME = re.compile(r"t=\d+(\.\d+)?")
_MOST_CHUNKS = 1 << 20  # of a video, by bytes


@dataclass(frozen=True)
class Frames:
    """A video's frames: when they are shown.

    Attributes:
      path: of the video.
      pts: of all frames, ascending, in units of `time_base`.
      keyframes: those that need no other frame, likewise.
      time_base: seconds.
      ends: bytes of the packets of all frames up to and with each, in the order of `pts`.
      num_bytes: of a frame's pixels.
      problem: why there may be more frames than these; empty if there aren't.
    """

    path: str
    pts: Sequence[int]
    keyframes: Sequence[int]
    time_base: Fraction
    ends: Sequence[int]
    num_bytes: int
    problem: str

    def bytes_up_to(self, pts: int) -> int:
        """Bytes of the video up to and with a frame: what decoding it from the start reads."""
        return self.ends[bisect.bisect_left(self.pts, pts)]

    def name(self, pts: int) -> str:
        """What names a frame: its time, with milliseconds, or more digits where frames are closer than that."""
        place = bisect.bisect_left(self.pts, pts)
        beside = [self.pts[at] for at in (place - 1, place + 1) if 0 <= at < len(self.pts)]
        is_dense = any(abs(other - pts) * self.time_base < Fraction(1, 1000) for other in beside)
        return f"t={self._seconds(pts):.{6 if is_dense else 3}f}"

    def reference(self, pts: int, chunk: int) -> ImageReference:
        keyframe = self.keyframes[max(0, bisect.bisect_right(self.keyframes, pts) - 1)]
        location = MemberLocation(
            self.path, "video", pts, self.num_bytes, chunk=chunk, keyframe=keyframe, time_s=self._seconds(pts)
        )
        return ImageReference(f"{self.path}#{self.name(pts)}", location)

    def named(self, name: str) -> ImageReference | None:
        """The frame of this name, `t=12.480`; None if there is none."""
        if not _NAME.fullmatch(name):
            return None
        seconds = float(name.removeprefix("t="))
        after = bisect.bisect_left(self.pts, self.pts[0] + Fraction(seconds) / self.time_base)
        nearest = min(self.pts[max(0, after - 1) : after + 1], key=lambda pts: abs(self._seconds(pts) - seconds))
        if abs(self._seconds(nearest) - seconds) > _NAMED_WITHIN_S:
            return None
        by_number = bisect.bisect_left(self.pts, nearest) // CHUNK_IMAGES
        return self.reference(nearest, by_number * _MOST_CHUNKS + self.bytes_up_to(nearest) // CHUNK_BYTES)

    def why_not(self, name: str) -> str:
        """Why there is no frame of this name."""
        last = self.name(self.pts[-1])
        return f"video {self.path}: no frame at #{name}; the last is #{last}, and times have milliseconds"

    def _seconds(self, pts: int) -> float:
        return float((pts - self.pts[0]) * self.time_base)
