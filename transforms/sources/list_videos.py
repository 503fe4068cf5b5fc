"""Videos that inputs and lists name: the frames of each, or the one frame of an entry as `clip.mp4#t=12.480`."""

import os
from collections.abc import Iterator
from dataclasses import replace

from ...storage.errors import StorageError
from ...storage.read_options import ReadOptions
from ...storage.read_policy import check_scheme
from ...storage.uris import is_local, scheme_of
from ..elements import ImageReference
from .containers.video import index, read_frames
from .frame_choice import FrameChoice
from .inputs import InputError, ListOptions, video_of


def frames_named(reference: ImageReference, options: ListOptions, read: ReadOptions) -> Iterator[ImageReference]:
    """The images that an entry of a list stands for: an image itself, or frames of a video.

    What can't be read (a video that isn't there, or may not be read) stays one image, which fails for the reason that
    reading it has.

    Args:
      reference: as the list has it.
      options: `frames_every`.
      read: what may be read, and how from http(s) servers.
    """
    found = None if reference.problem else video_of(reference.uri)
    if found is None or not _may_be_opened(found[0], read):
        yield reference
        return
    try:
        for frame in _frames_of(*found, options, read):
            yield replace(frame, listed_as=reference.listed_as, carried=reference.carried)
    except InputError as error:
        yield replace(reference, problem=str(error))
    except Exception:  # each object store's client has its own classes
        yield reference


def _frames_of(video: str, name: str, options: ListOptions, read: ReadOptions) -> Iterator[ImageReference]:
    """The chosen frames of a video, or the one of this name.

    Raises:
      InputError: if it is no video, or has no such frame.
      OSError: if it can't be read; clients of object stores raise errors of their own as well.
    """
    if not name:
        yield from index(video, FrameChoice(options.frames_every), read)
        return
    frames = read_frames(video, read)
    if (frame := frames.named(name)) is None:
        last = frames.name(frames.pts[-1])
        raise InputError(f"video {video}: no frame at #{name}; the last is #{last}, and times have milliseconds")
    yield frame


def _may_be_opened(video: str, read: ReadOptions) -> bool:
    try:
        check_scheme(scheme_of(video), read.allow_schemes)
    except StorageError:
        return False
    return not is_local(video) or os.path.isfile(video)  # else a pipe would be waited for
