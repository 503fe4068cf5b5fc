"""TIFF's own tags: how an image is turned, whether it is a thumbnail, what its pixels need; and memory for these."""

import contextlib
import io
import struct
from typing import Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from ..elements import ImageError
from .pillow_errors import DECODER_ERRORS, as_image_errors

_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 255, 330, 50706
ORIENTATION = ExifTags.Base.Orientation
_MAX_SUB_IFDS = 16
OF_PIXELS = frozenset(  # TIFF 6.0, its supplements, LERC; and what is asked here
    [_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, *range(256, 260), 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317]
    + [320, *range(322, 326), _SUB_IFDS, 332, *range(336, 342), 347, *range(512, 522), *range(529, 533), 50674]
    + [_DNG_VERSION]
)
_IS_REDUCED, _IS_REDUCED_IN_OLD = 1, 2  # TIFF 6.0: "a reduced-resolution version of another image in this file"


def check_is_no_thumbnail(image: TiffImageFile, data: bytes) -> None:
    """Refuses camera raw files, which are TIFFs with a small copy of the image in front.

    Raises:
      ImageError: `unsupported`.
    """
    is_reduced = _number(image, _SUBFILE_TYPE) & _IS_REDUCED or _number(image, _OLD_SUBFILE_TYPE) == _IS_REDUCED_IN_OLD
    is_raw = data[8:10] == b"CR" or (_DNG_VERSION in image.tag_v2 and _SUB_IFDS in image.tag_v2)
    if is_reduced or is_raw or _is_smaller_than_inside(image, data):
        raise ImageError(
            "unsupported",
            f"TIFF file whose first image, {image.width}×{image.height} pixels, is by its own words a small copy of "
            "another one, as in camera raw files (NEF, DNG, CR2, …), which Pillow does not decode; convert it",
        )


def _is_smaller_than_inside(image: TiffImageFile, data: bytes) -> bool:
    """Whether an image that belongs to this one has more pixels: those below an image are smaller copies of it."""
    offsets: Any = image.tag_v2.get(_SUB_IFDS, ())
    for offset in (offsets if isinstance(offsets, tuple) else (offsets,))[:_MAX_SUB_IFDS]:
        with contextlib.suppress(*DECODER_ERRORS):  # what lies beside the pixels says nothing of them
            file = io.BytesIO(data)
            file.seek(offset)
            inside = ImageFileDirectory_v2(data[:8])
            inside.load(file)
            if inside[ExifTags.Base.ImageWidth] * inside[ExifTags.Base.ImageLength] > image.width * image.height:
                return True
    return False


def orientation(image: Image.Image) -> int:
    """The orientation that Pillow is going to apply by itself when it loads the image: TIFF's own tag."""
    return _number(image, ORIENTATION, 1) if isinstance(image, TiffImageFile) else 1


def pixels_only(data: bytes) -> bytes | None:
    """A TIFF file whose first directory has the tags that the pixels or their orientation need; None if it is that
    already, or no TIFF file.

    Pillow stops reading a directory at a value that lies beyond the end of the file.
    """
    byte_order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if byte_order is None or len(data) < 8:
        return None
    (start,) = struct.unpack_from(f"{byte_order}I", data, 4)
    (count,) = struct.unpack(f"{byte_order}H", data[start : start + 2].ljust(2, b"\0"))
    entries = [data[place : place + 12] for place in range(start + 2, start + 2 + 12 * count, 12)]
    if not all(len(entry) == 12 for entry in entries):
        return None
    kept = [entry for entry in entries if struct.unpack_from(f"{byte_order}H", entry)[0] in OF_PIXELS]
    if len(kept) == count:
        return None
    directory = struct.pack(f"{byte_order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:start] + directory + data[start + len(directory) :]


def make_room(image: TiffImageFile) -> None:
    """Gives a large TIFF the memory for its pixels, before Pillow does.

    Pillow would compare them with `Image.MAX_IMAGE_PIXELS`, a setting of the whole process, though the caller has a
    limit of its own already.
    """
    width, height = image.size
    if Image.MAX_IMAGE_PIXELS is None or width * height <= Image.MAX_IMAGE_PIXELS:
        return
    stored = (height, width) if orientation(image) > 4 else (width, height)
    with as_image_errors("TIFF file"):
        image.im = Image.new(image.mode, stored).im


def _number(image: Image.Image, tag: int, default: int = 0) -> int:
    with as_image_errors("TIFF file"):
        value: Any = image.tag_v2.get(tag, default)  # pyright: ignore[reportAttributeAccessIssue]  of TiffImageFile
    return value if isinstance(value, int) else default
