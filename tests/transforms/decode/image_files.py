"""Image files for the decoder's tests, whole and odd, and what it makes of them."""

import io
import struct
import zlib

import numpy as np
import pytest
from labelbeam.transforms.decode.decoding import decode
from labelbeam.transforms.elements import ImageError
from labelbeam.transforms.fetch.options import DecodeOptions
from PIL import Image

OPTIONS = DecodeOptions()
# Blocks of flat colour survive JPEG almost unchanged; no two sides of the image are alike.
UPRIGHT = np.kron(
    np.array(
        [[[250, 10, 10], [10, 250, 10], [10, 10, 250]], [[250, 250, 10], [10, 250, 250], [120, 120, 120]]], np.uint8
    ),
    np.ones((16, 16, 1), np.uint8),
)


def saved(image, format, **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()


def png(size_wh, bits, colour_type, raw, *chunks):
    """A PNG file byte by byte: `raw` with its filter bytes, `chunks` before it."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size_wh, bits, colour_type, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(*c) for c in chunks),
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b""),
        ]
    )


def tiff(samples, photometric=1, sample_format=1, bits=None, byte_order="<", compression=1):
    """A TIFF file of one strip, byte by byte; `samples` `[height, width]` of the file's type, or packed bytes."""
    height, width = samples.shape
    data = samples.astype(samples.dtype.newbyteorder(byte_order)).tobytes()
    tags = [
        (256, width),
        (257, height),
        (258, bits or samples.dtype.itemsize * 8),
        (259, compression),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, height),
        (279, len(data)),
        (339, sample_format),
    ]
    entries = b"".join(struct.pack(byte_order + "HHII", tag, 4, 1, value) for tag, value in tags)
    header = (b"II" if byte_order == "<" else b"MM") + struct.pack(byte_order + "HI", 42, 8 + len(data))
    return header + data + struct.pack(byte_order + "H", len(tags)) + entries + bytes(4)


def grey(data):
    """The grey levels of a decoded image of one row."""
    pixels = decode(data, OPTIONS)
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


def kind_of(data, options=OPTIONS):
    with pytest.raises(ImageError) as caught:
        decode(data, options)
    return caught.value.kind


def message_of(data, options=OPTIONS):
    with pytest.raises(ImageError) as caught:
        decode(data, options)
    return caught.value.message
