"""Videos and files of several pages that inputs and lists name: the frames or pages of each, or the one of an entry as
`clip.mp4#t=12.480` or `scan.tif#page=3`.
"""

import os
from collections.abc import Iterator
from dataclasses import replace

from ...storage.errors import StorageError
from ...storage.read_options import ReadOptions
from ...storage.read_policy import check_scheme
from ...storage.uris import is_local, scheme_of
from ..elements import ImageReference
from .containers.pages import read_pages
from .containers.video import index, read_frames
from .frame_choice import FrameChoice
from .inputs import InputError, ListOptions, format_of, with_several_images


def frames_named(reference: ImageReference, options: ListOptions, read: ReadOptions) -> Iterator[ImageReference]:
    """The images that a file or an entry of a list stands for: an image itself, frames of a video, or pages.

    What can't be read (a file that isn't there, or may not be read) stays one image, which fails for the reason that
    reading it has.

    Args:
      reference: as the list has it.
      options: `frames_every` and `pages`.
      read: what may be read, and how from http(s) servers.
    """
    found = None if reference.problem else with_several_images(reference.uri, options.pages)
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


def _frames_of(file: str, name: str, options: ListOptions, read: ReadOptions) -> Iterator[ImageReference]:
    """The chosen frames of a video, the pages of another file, or the one of this name.

    Raises:
      InputError: if it isn't what its name says, or has no such frame or page.
      OSError: if it can't be read; clients of object stores raise errors of their own as well.
    """
    is_video = format_of(file) == "video"
    if not name:
        yield from index(file, FrameChoice(options.frames_every), read) if is_video else read_pages(file, read).listed()
        return
    found = read_frames(file, read) if is_video else read_pages(file, read)
    if (image := found.named(name)) is None:
        raise InputError(found.why_not(name))
    yield image


def _may_be_opened(file: str, read: ReadOptions) -> bool:
    try:
        check_scheme(scheme_of(file), read.allow_schemes)
    except StorageError:
        return False
    return not is_local(file) or os.path.isfile(file)  # else a pipe would be waited for
