import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelbeam.transforms.decode.decoding import open_image
from labelbeam.transforms.decode.exif import ExifFacts
from labelbeam.transforms.fetch.options import DecodeOptions
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

TAG, GPS = ExifTags.Base, ExifTags.GPS
PLACE = {
    GPS.GPSLatitudeRef: "S",
    GPS.GPSLatitude: (33.0, 51.0, 25.2),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (151.0, 12.0, 54.0),
}
TIME = {TAG.DateTimeOriginal: "2024:05:01 12:30:05"}


def facts(format="JPEG", make="Reconyx", model="HC500", taken=TIME, place=PLACE, read_exif=True):
    exif = Image.Exif()
    exif[TAG.Make], exif[TAG.Model] = make, model
    exif.get_ifd(ExifTags.IFD.Exif).update(taken)
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, format, exif=exif)
    return open_image(file.getvalue(), DecodeOptions(read_exif=read_exif)).decode().exif


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_when_with_what_and_where(format):
    found = facts(format)
    assert (found.captured_at, found.camera) == ("2024-05-01T12:30:05", "Reconyx HC500")
    assert (found.latitude, found.longitude) == (pytest.approx(-33.857), pytest.approx(151.215))


def test_only_for_those_who_ask():
    assert facts(read_exif=False) == ExifFacts()


@pytest.mark.parametrize(
    "more, expected",
    [
        ({TAG.OffsetTimeOriginal: "+02:00"}, "2024-05-01T12:30:05+02:00"),
        ({TAG.SubsecTimeOriginal: "25", TAG.OffsetTimeOriginal: "-11:30"}, "2024-05-01T12:30:05.250000-11:30"),
        ({TAG.OffsetTimeOriginal: "Z", TAG.SubsecTimeOriginal: "x"}, "2024-05-01T12:30:05"),
        ({TAG.DateTimeOriginal: "0000:00:00 00:00:00"}, None),
        ({TAG.DateTimeOriginal: "    :  :     :  :  "}, None),
    ],
)
def test_times(more, expected):
    assert facts(taken=TIME | more).captured_at == expected


@pytest.mark.parametrize(
    "make, model, camera",
    [("Canon", "Canon EOS 5D", "Canon EOS 5D"), ("", "X", "X"), ("A\0garbage", "B  ", "A B"), ("", "", None)],
)
def test_cameras(make, model, camera):
    assert facts(make=make, model=model).camera == camera


@pytest.mark.parametrize(
    "place",
    [
        {},
        {GPS.GPSLatitude: (1.0, 2.0, 3.0)},
        PLACE | {GPS.GPSLatitude: (91.0, 0.0, 0.0)},
        PLACE | {GPS.GPSLongitude: (IFDRational(0, 0), IFDRational(0, 0), IFDRational(0, 0))},
    ],
)
def test_places_that_make_no_sense_are_none(place):
    found = facts(place=place)
    assert found.latitude is None and found.longitude is None


EXIF = b"Exif\0\0MM\0*\0\0\0\x08"


@settings(max_examples=100, deadline=1000)
@given(st.binary(max_size=300))
def test_damaged_data_say_nothing(data):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=EXIF + data)
    found = open_image(file.getvalue(), DecodeOptions(read_exif=True)).decode()
    assert found.pixels.shape[2] == 3 and len(found.exif) == 4
