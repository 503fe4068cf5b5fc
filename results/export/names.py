"""A file name for each image of an export: its URI below the folder that all have in common, made harmless, never given
twice.

So images of one folder keep their base names, those of several their folders.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping

from ...storage.uris import is_http
from ...transforms.sources.inputs import image_extensions

_MAX_BYTES = 200  # of a folder's or file's name: filesystems take 255, suffixes come to it
_SIGNATURES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"\0\0\0\x0cjP  ": ".jp2",
}
_OF_BRANDS = {b"ftypavif": ".avif", b"ftypheic": ".heic", b"ftypheix": ".heic", b"ftypmif1": ".heic"}
_UNSAFE = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')  # what one filesystem or another refuses


def common_folder(first_uri: str, last_uri: str) -> str:
    """The folder, with its `/`, that all URIs between two lie in; empty if there is none."""
    length = next(
        (i for i, (a, b) in enumerate(zip(first_uri, last_uri, strict=False)) if a != b),
        min(len(first_uri), len(last_uri)),
    )
    return first_uri[: first_uri.rfind("/", 0, length) + 1]


class Names:
    """Gives names. Remembers two numbers for each (some 200 MB for a million).

    Args:
      folder: from `common_folder`.
      flat: no folders: `a/b.jpg` is `a__b.jpg`, and names differ without their extensions too.
    """

    def __init__(self, folder: str, flat: bool):
        self._folder = folder
        self._flat = flat
        self._taken: set[int] = set()
        self._stems: set[int] = set()
        self._open_stems: set[int] = set()

    def name(self, uri: str, image_id: str) -> str:
        """The image's name, `/` between folders. One that is taken, or had to be changed, gets the image's id.

        The query of an http(s) URI, where signatures are, isn't part of it. One without an image's extension is to get
        one when the bytes are seen: it differs from all others without their extensions.
        """
        wanted = uri.removeprefix(self._folder)
        if is_http(uri):
            wanted = re.split("[?#]", wanted, maxsplit=1)[0]
        segments = [_harmless(segment) for segment in wanted.split("/")]
        name = ("__" if self._flat else "/").join(segments)
        changed = "/".join(segments) != wanted
        if self._flat and len(name.encode()) > _MAX_BYTES:
            name, changed = _harmless(name), True
        if changed or not self._take(name):
            folders, slash, file_name = name.rpartition("/")
            stem, extension = split_extension(file_name)
            name = f"{folders}{slash}{stem}-{image_id}{extension}"
            self._take(name)
        return name

    def _take(self, name: str) -> bool:
        # Filesystems of some machines don't tell `A` from `a`, nor the two ways to write `é`.
        folded = unicodedata.normalize("NFC", name).casefold()
        without = split_extension(folded)[0] if has_image_extension(name) else folded
        key, stem = hash(folded), hash(without)
        is_open = not has_image_extension(name)
        if stem in (self._stems if self._flat or is_open else self._open_stems) or key in self._taken:
            return False
        self._taken.add(key)
        self._stems.add(stem)
        if is_open:
            self._open_stems.add(stem)
        return True


def class_names(categories: Mapping[int, str], in_format: Callable[[str], str] = str) -> dict[int, str]:
    """Names for classes that a format can hold: one line without outer blanks, each once.

    Args:
      categories: class id -> name, as in the label map.
      in_format: what the format makes of a name of one line.
    """
    given: dict[int, str] = {}
    for id, name in categories.items():
        clean = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
        clean = in_format(clean or f"class_{id}")
        while clean in given.values():
            clean = f"{clean} ({id})"
        given[id] = clean
    return given


def has_image_extension(name: str) -> bool:
    return split_extension(name)[1].lower() in image_extensions()


def extension_of(first_bytes: bytes) -> str:
    """The usual extension of an image's format, told by its first 16 bytes; empty if they're of no usual one."""
    for signature, extension in _SIGNATURES.items():
        if first_bytes.startswith(signature):
            return extension
    return _OF_BRANDS.get(first_bytes[4:12], ".webp" if first_bytes[8:12] == b"WEBP" else "")


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
