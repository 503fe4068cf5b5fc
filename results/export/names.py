"""A file name for each image of an export: its URI below the folder that all have in common, made harmless, never given
twice.

So images of one folder keep their base names, those of several their folders. Not for reading: a name doesn't lead back
to its URI where it had to be changed.
"""

import re

_MAX_BYTES = 200  # of a folder's or file's name: filesystems take 255, suffixes come to it
_UNSAFE = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')  # what one filesystem or another refuses


def common_folder(first_uri: str, last_uri: str) -> str:
    """The folder, with its `/`, that all URIs between two lie in; empty if there is none."""
    length = next(
        (i for i, (a, b) in enumerate(zip(first_uri, last_uri, strict=False)) if a != b),
        min(len(first_uri), len(last_uri)),
    )
    return first_uri[: first_uri.rfind("/", 0, length) + 1]


class Names:
    """Gives names. Remembers a number for each (some 100 MB for a million).

    Args:
      folder: from `common_folder`.
      flat: no folders: `a/b.jpg` is `a__b.jpg`, and names differ without their extensions too.
    """

    def __init__(self, folder: str, flat: bool):
        self._folder = folder
        self._flat = flat
        self._taken: set[int] = set()

    def name(self, uri: str, image_id: str) -> str:
        """The image's name, `/` between folders. One that is taken, or had to be changed, gets the image's id."""
        wanted = uri.removeprefix(self._folder)
        segments = [_harmless(segment) for segment in wanted.split("/")]
        name = ("__" if self._flat else "/").join(segments)
        if self._flat and len(name.encode()) > _MAX_BYTES:
            name, wanted = _harmless(name), None
        changed = "/".join(segments) != wanted
        if changed or not self._take(name):
            folders, slash, file_name = name.rpartition("/")
            stem, extension = split_extension(file_name)
            name = f"{folders}{slash}{stem}-{image_id}{extension}"
            self._take(name)
        return name

    def _take(self, name: str) -> bool:
        # Filesystems of some machines don't tell `A` from `a`.
        key = hash((split_extension(name)[0] if self._flat else name).casefold())
        if key in self._taken:
            return False
        self._taken.add(key)
        return True


def split_extension(name: str) -> tuple[str, str]:
    """`a/b.c.jpg` -> `a/b.c`, `.jpg`."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem.rpartition("/")[2] and "/" not in extension else (name, "")


def _harmless(segment: str) -> str:
    safe = _UNSAFE.sub("_", segment).strip(" ")
    if not safe.strip("."):  # nothing, this folder, the one above
        return "_"
    encoded = safe.encode()
    if len(encoded) <= _MAX_BYTES:
        return safe
    extension = split_extension(safe)[1].encode()[-20:]
    return (encoded[: _MAX_BYTES - len(extension)] + extension).decode("utf-8", "ignore")
