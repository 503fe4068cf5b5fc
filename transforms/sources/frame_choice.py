"""Which frames of a video are images: `--frames-every`."""

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

_SECONDS = re.compile(r"\d+(\.\d+)?|\.\d+")
_NUMBER = re.compile(r"(\d+)f")


@dataclass(frozen=True)
class FrameChoice:
    """What `--frames-every` says.

    Args:
      every: seconds, as `1` or `0.5`: the first frame, and of each further stretch of so many seconds the first that
        begins in it; `Nf`, as `10f`: the first of every N frames; or `keyframes`.

    Raises:
      ValueError: if it is none of these.
    """

    every: str = "1"

    def __post_init__(self):
        number = _NUMBER.fullmatch(self.every)
        seconds = _SECONDS.fullmatch(self.every)
        if not (self.every == "keyframes" or (number and int(number[1])) or (seconds and Fraction(self.every))):
            raise ValueError(
                f"--frames-every {self.every}: expected seconds, as 0.5, a number of frames, as 10f, or keyframes"
            )

    def choose(self, pts: Sequence[int], keyframes: Sequence[int], time_base: Fraction) -> Sequence[int]:
        """The chosen ones of a video's frames.

        Args:
          pts: times of all frames in units of `time_base`, ascending.
          keyframes: those of frames that need no other, likewise.
          time_base: in seconds.
        """
        if self.every == "keyframes":
            return keyframes
        if number := _NUMBER.fullmatch(self.every):
            return pts[:: int(number[1])]
        step, chosen, place = Fraction(self.every) / time_base, [], 0
        while place < len(pts):
            chosen.append(pts[place])
            begun = (pts[place] - pts[0]) // step
            place = bisect.bisect_left(pts, pts[0] + (begun + 1) * step)
        return chosen
