"""Frames of videos and animations, which come decoded: what `read_bytes` is for files of images.

The stretches read last stay open in each process, at the frame that was read last (`sources/containers`).
"""

from typing import Any

from ..elements import ImageFacts, ImageReference, MemberLocation
from .options import ReadOptions


def is_frame(reference: ImageReference) -> bool:
    return reference.location is not None and reference.location.format in ("video", "animation")


def expect_frame(reference: ImageReference) -> None:
    """Says that a frame will be read. Threads come in any order: whoever decodes past it keeps it for its own."""
    from ..sources import containers

    containers.expect_frame(_location_of(reference))


def read_frame(reference: ImageReference, options: ReadOptions, facts: ImageFacts) -> Any:
    """A frame as its decoder gives it, an `av.VideoFrame` or, of an animation, a `PIL.Image.Image`.

    Args:
      reference: where the frame is.
      options: `deadline_s` is that of decoding, from the keyframe before at most; the others are for http(s) servers.
      facts: its `attempts` is counted up; `version` is set, to the file's.

    Raises:
      ImageError: as `sources.containers.read_frame`.
    """
    from ..sources import containers

    def set_version(version) -> None:
        facts.version = version

    facts.attempts += 1
    return containers.read_frame(_location_of(reference), options, set_version)


def _location_of(reference: ImageReference) -> MemberLocation:
    assert reference.location is not None  # it is a frame
    return reference.location
