"""When, with what and where an image was taken, from its EXIF data."""

import math
import re
from datetime import datetime
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from .pillow_errors import DECODER_ERRORS

_ZONE = re.compile(r"[+-]\d{2}:\d{2}")
_MAX_TEXT = 200  # characters of a camera's name


class ExifFacts(NamedTuple):
    """Facts of an image's EXIF data; None is what it doesn't say.

    Attributes:
      captured_at: ISO 8601, with its offset from UTC where the camera gave one, else its local time.
      camera: make and model.
      latitude, longitude: degrees (WGS 84), north and east are positive.
    """

    captured_at: str | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None


def exif_facts(image: Image.Image) -> ExifFacts:
    """The facts of an image that Pillow has opened; damaged EXIF data say nothing."""
    try:
        exif = image.getexif()
        taken, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    except DECODER_ERRORS:
        return ExifFacts()
    tag, gps = ExifTags.Base, ExifTags.GPS
    latitude = _degrees(place.get(gps.GPSLatitude), place.get(gps.GPSLatitudeRef), "S", 90)
    longitude = _degrees(place.get(gps.GPSLongitude), place.get(gps.GPSLongitudeRef), "W", 180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    return ExifFacts(
        _time(taken.get(tag.DateTimeOriginal), taken.get(tag.SubsecTimeOriginal), taken.get(tag.OffsetTimeOriginal)),
        _camera(_text(exif.get(tag.Make)), _text(exif.get(tag.Model))),
        latitude,
        longitude,
    )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    printable = "".join(character for character in value.partition("\0")[0] if character.isprintable())
    return printable.strip()[:_MAX_TEXT].encode("utf-8", "replace").decode()


def _camera(make: str, model: str) -> str | None:
    repeats_make = model.lower().startswith(make.lower())  # "Canon" and "Canon EOS 5D"
    return (model if repeats_make else f"{make} {model}").strip() or None


def _time(value: Any, fraction: Any, offset: Any) -> str | None:
    try:
        time = datetime.strptime(_text(value), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    digits, zone = _text(fraction), _text(offset)
    if digits.isascii() and digits.isdigit():
        time = time.replace(microsecond=int(digits[:6].ljust(6, "0")))
    return time.isoformat() + (zone if _ZONE.fullmatch(zone) else "")


def _degrees(value: Any, direction: Any, negative: str, most: int) -> float | None:
    """Degrees of (degrees, minutes, seconds)."""
    try:
        degrees, minutes, seconds = (float(part) for part in value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    total = degrees + minutes / 60 + seconds / 3600
    if not (math.isfinite(total) and 0 <= total <= most):
        return None
    return -total if _text(direction).upper() == negative else total
