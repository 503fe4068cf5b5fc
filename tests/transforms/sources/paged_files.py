"""Files with several pages for tests: each page has one colour, which tells its number, from 1."""

import io
import struct

import numpy as np
from PIL import Image

SIZE_WH = (48, 32)


def colour(number):
    """RGB of the page with this number."""
    return (number % 8 * 30 + 10, number // 8 % 8 * 30 + 10, 60)


def number_of(pixels):
    """Of a page, from its pixels; modulo 64."""
    red, green, _ = np.median(pixels.reshape(-1, 3), axis=0)
    return round((red - 10) / 30) + 8 * round((green - 10) / 30)


def image(number, size_wh=SIZE_WH):
    return Image.new("RGB", size_wh, colour(number))


def write_pages(path, count=5, **options):
    """Writes a file of pages by Pillow; its extension tells the format."""
    images = [image(number) for number in range(1, count + 1)]
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


class TiffWriter:
    """Writes TIFF files that Pillow doesn't: page by page, uncompressed, with any tags.

    Args:
      order: `<` or `>`.
      is_big: BigTIFF.
    """

    def __init__(self, order="<", is_big=False):
        self.order, self._is_big = order, is_big
        self._offset = "Q" if is_big else "I"
        mark = {"<": b"II", ">": b"MM"}[order]
        head = self.pack("HHHQ", 43, 8, 0, 16) if is_big else self.pack("HI", 42, 8)
        self.data = bytearray(mark + head)
        self._link = 8 if is_big else 4  # where the place of the next directory is to be written

    def pack(self, form, *values):
        return struct.pack(self.order + form, *values)

    def add(self, number=1, tags=None, size_wh=SIZE_WH, left_out=()):
        """Adds a page.

        Args:
          number: tells its colour.
          tags: {tag: numbers} beside those of its pixels, or instead of them.
          left_out: tags that it isn't to have.

        Returns:
          Where its directory is.
        """
        width, height = size_wh
        pixels = np.full((height, width, 3), colour(number), np.uint8).tobytes()
        place = len(self.data)
        self.data += pixels
        half = len(pixels) // 2
        entries = {256: [width], 257: [height], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 278: [height // 2]}
        entries |= {273: [place, place + half], 279: [half, len(pixels) - half]} | (tags or {})
        offset = self.directory({tag: numbers for tag, numbers in entries.items() if tag not in left_out})
        self.link(offset)
        size = 20 if self._is_big else 12
        self._link = (
            offset
            + struct.calcsize(self.order + ("Q" if self._is_big else "H"))
            + size * (len(entries) - len(set(left_out) & set(entries)))
        )
        return offset

    def directory(self, entries):
        """Writes a directory that nothing names yet; returns where it is."""
        fields = []
        for tag, values in sorted(entries.items()):
            kind, data = (2, values) if isinstance(values, bytes) else (4, self.pack(f"{len(values)}I", *values))
            count = len(values)
            if len(data) > struct.calcsize(self._offset):
                place = len(self.data)
                self.data += data
                data = self.pack(self._offset, place)
            size = struct.calcsize(self._offset)
            fields.append(self.pack("HH" + self._offset, tag, kind, count) + data.ljust(size, b"\0"))
        offset = len(self.data)
        self.data += (
            self.pack("Q" if self._is_big else "H", len(fields)) + b"".join(fields) + self.pack(self._offset, 0)
        )
        return offset

    def link(self, offset):
        """Has the page that was added last, or the head, name a directory as the next."""
        self.data[self._link : self._link + struct.calcsize(self._offset)] = self.pack(self._offset, offset)


def cyclic_tiff(pages=3):
    """A TIFF file whose last page is followed by its first."""
    writer = TiffWriter()
    first, *_ = [writer.add(number) for number in range(1, pages + 1)]
    writer.link(first)
    return bytes(writer.data)


def tiff_of_many(pages, size_wh=(1, 1)):
    """A TIFF file of pages that share their pixels."""
    writer = TiffWriter()
    writer.add(1, size_wh=size_wh, tags={278: [1], 273: [8], 279: [3]})
    start, end = 8 + 3 * size_wh[0] * size_wh[1], len(writer.data)
    body = bytes(writer.data[start:end])
    [first] = struct.unpack("<I", writer.data[4:8])
    out = io.BytesIO()
    out.write(writer.data[:start])
    for number in range(pages):
        place = start + number * len(body)
        following = place + len(body) + (first - start) if number < pages - 1 else 0
        page = bytearray(body)
        page[-4:] = struct.pack("<I", following)
        out.write(page)
    return out.getvalue()
