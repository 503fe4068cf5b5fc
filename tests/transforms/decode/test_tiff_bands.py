"""Large TIFFs are decoded in bands to the pixels that Pillow makes of the whole, and take little more than those."""

import io
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from labelbeam.transforms.decode import tiff_bands
from labelbeam.transforms.decode.decoding import decode
from labelbeam.transforms.elements import ImageError
from labelbeam.transforms.fetch.options import DecodeOptions
from PIL import Image

SIZE_HW = (203, 157)
BACKGROUND = (1, 2, 3)
SMOOTH = np.kron(np.random.default_rng(1).integers(0, 256, (26, 20, 4)), np.ones((8, 8, 1)))[: SIZE_HW[0], : SIZE_HW[1]]


def pixels_of(mode: str) -> Image.Image:
    if mode in ("RGBA", "CMYK"):
        return Image.fromarray(SMOOTH.astype(np.uint8), mode)
    if mode in ("I;16", "F"):
        grey = SMOOTH[..., 0]
        return Image.fromarray((grey * 257).astype(np.uint16) if mode == "I;16" else (grey / 255).astype(np.float32))
    return Image.fromarray(SMOOTH[..., :3].astype(np.uint8)).convert(mode)


def in_strips(mode: str = "RGB", orientation: int = 1, **options) -> bytes:
    file = io.BytesIO()
    pixels_of(mode).save(file, "TIFF", tiffinfo={274: orientation, 278: 16}, strip_size=16 * 157 * 3, **options)
    return file.getvalue()


def in_tiles(dtype: type = np.uint8, **options) -> bytes:
    file = io.BytesIO()
    array = (SMOOTH[..., :3] * (257 if dtype is np.uint16 else 1)).astype(dtype)
    tifffile.imwrite(file, array, tile=(32, 48), photometric="rgb", **options)
    return file.getvalue()


FILES = {
    "tiles": in_tiles(),
    "tiles, deflate": in_tiles(compression="zlib", predictor=True),
    "tiles, Motorola": in_tiles(byteorder=">", compression="zlib"),
    "tiles, BigTIFF": in_tiles(bigtiff=True, compression="zlib"),
    "strips": in_strips(compression="tiff_adobe_deflate"),
    "strips, LZW": in_strips(compression="tiff_lzw"),
    "strips, JPEG": in_strips(compression="jpeg", quality=90),
    "strips, PackBits": in_strips("CMYK", compression="packbits"),
    "strips, palette": in_strips("P", compression="packbits"),
    "strips, two colours": in_strips("1", compression="group4"),
    "strips, transparent": in_strips("RGBA", compression="tiff_adobe_deflate"),
    "strips, 16 bits": in_strips("I;16", compression="tiff_lzw"),
    "strips, floats": in_strips("F", compression="tiff_adobe_deflate"),
    **{f"turned {n}": in_strips(orientation=n, compression="tiff_lzw") for n in range(2, 9)},
}


def opened(data: bytes):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("orientation", ["apply", "ignore"])
@pytest.mark.parametrize("name", FILES)
def test_bands_give_the_pixels_of_the_whole(name, orientation, monkeypatch):
    options = DecodeOptions(exif_orientation=orientation, background_rgb=BACKGROUND)
    whole = decode(FILES[name], options)
    monkeypatch.setattr(tiff_bands, "BAND_PIXELS", 10_000)
    assert tiff_bands.decode_in_bands(opened(FILES[name]), FILES[name], BACKGROUND) is not None
    np.testing.assert_array_equal(decode(FILES[name], options), whole)


def test_damage_is_reported_as_it_is_of_the_whole(monkeypatch):
    data = FILES["tiles, deflate"]
    middle = len(data) // 2
    damaged = data[:middle] + bytes(200) + data[middle + 200 :]
    with pytest.raises(ImageError) as whole:
        decode(damaged, DecodeOptions())
    monkeypatch.setattr(tiff_bands, "BAND_PIXELS", 10_000)
    assert tiff_bands.decode_in_bands(opened(damaged), damaged, BACKGROUND) is None
    with pytest.raises(ImageError) as in_bands:
        decode(damaged, DecodeOptions())
    assert in_bands.value.args == whole.value.args


def test_one_strip_is_left_to_pillow(monkeypatch):
    monkeypatch.setattr(tiff_bands, "BAND_PIXELS", 10_000)
    file = io.BytesIO()
    pixels_of("RGB").save(file, "TIFF", tiffinfo={278: SIZE_HW[0]}, strip_size=1 << 24)
    assert tiff_bands.decode_in_bands(opened(file.getvalue()), file.getvalue(), BACKGROUND) is None


_DECODE_AND_SAY_MEMORY = """
import sys
from labelbeam.transforms.decode.decoding import decode
from labelbeam.transforms.elements import ImageError
from labelbeam.transforms.fetch.options import DecodeOptions
def kib(what):
    [line] = [line for line in open("/proc/self/status") if line.startswith(what)]
    return int(line.split()[1])
data = open(sys.argv[1], "rb").read()
before = kib("VmRSS")
print(decode(data, DecodeOptions()).nbytes / 1024, kib("VmHWM") - before)
"""


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_tiff_takes_little_more_than_its_pixels(tmp_path):
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, np.zeros((8000, 8000, 3), np.uint8), tile=(256, 256), photometric="rgb", compression="zlib")
    command = [sys.executable, "-c", _DECODE_AND_SAY_MEMORY, str(path)]
    array_kib, peak_kib = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert array_kib == 8000 * 8000 * 3 / 1024
    assert array_kib <= peak_kib < 1.6 * array_kib  # Pillow's own pixels would be 1.3 times the array on top
