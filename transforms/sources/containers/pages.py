"""Pages of TIFF files, and frames of animated GIF, WebP and PNG files: `scan.tif#page=3`, the first is 1."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ....storage.read_options import ReadOptions
from ...elements import ImageReference, MemberLocation
from ..inputs import InputError
from . import animation, tiff
from .http_copies import open_at_any_place
from .members import problem_at

MAX_PAGES = 65_535  # of a file: what has more is made to keep its readers busy


@dataclass(frozen=True)
class Pages:
    """A file's pages.

    Attributes:
      path: of the file.
      locations: where they are, in their order; none if the file can't be made sense of.
      is_one_image: whether there is one page, which is what the file is without its number.
      problem: why there may be more pages than these; empty if there aren't.
    """

    path: str
    locations: Sequence[MemberLocation]
    is_one_image: bool
    problem: str

    def listed(self) -> Iterator[ImageReference]:
        """The pages, and a problem if there may be more. A file with one page, or none, is an image as any other."""
        if self.is_one_image or not self.locations:
            yield ImageReference(self.path)
        else:
            yield from map(self._reference, range(len(self.locations)))
        if self.problem and self.locations:
            yield problem_at(self.path, f"after page={len(self.locations)}", self.problem)

    def named(self, name: str) -> ImageReference | None:
        """The page of this name, `page=3`; None if there is none."""
        number = int(name.removeprefix("page="))
        return self._reference(number - 1) if 1 <= number <= len(self.locations) else None

    def why_not(self, name: str) -> str:
        """Why there is no page of this name."""
        rest = f". What follows is unknown: {self.problem}" if self.problem else ""
        return f"image {self.path}: no page at #{name}; the last is #page={len(self.locations)}{rest}"

    def _reference(self, index: int) -> ImageReference:
        return ImageReference(f"{self.path}#page={index + 1}", self.locations[index])


def read_pages(path: str, read: ReadOptions = ReadOptions()) -> Pages:
    """Looks for a file's pages, without decoding any.

    Args:
      path: absolute path or URI.
      read: limits; and how files on http(s) servers are read.

    Raises:
      InputError: if there are more than `MAX_PAGES`.
      StorageError: `too_large` for an animation of more than `max_bytes`; or from a server.
      OSError: if it can't be read; clients of object stores raise errors of their own as well.
    """
    with open_at_any_place(path, read) as file:
        num_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(animation.HEAD_BYTES)
        if (opened := tiff.opened(file, head, num_bytes)) is not None:
            locations, problem = tiff.pages(path, opened, MAX_PAGES)
            is_one_image = [location.offset for location in locations] == [opened.first]
        else:
            locations, problem = animation.pages(path, file, head, num_bytes, read.max_bytes)
            is_one_image = len(locations) == 1
    if len(locations) > MAX_PAGES:
        raise InputError(f"image {path}: it has more than {MAX_PAGES:,} pages, which no file has for good reasons")
    return Pages(path, locations, is_one_image, problem)
