"""What a file is by its first bytes, where Pillow can't say. Takes time in proportion to the bytes, no more."""

import codecs

_SNIFFED_BYTES = 1024

_HEIC_BRANDS = frozenset(b"heic heix heim heis hevc hevx mif1 msf1".split())
_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")

# Images that people have and Pillow doesn't decode: "not an image" would be wrong.
_IMAGE_PREFIXES = {
    "JPEG XL": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"),
    "JPEG XR": (b"II\xbc\x01",),
    "OpenEXR": (b"\x76\x2f\x31\x01",),
    "Radiance HDR": (b"#?RADIANCE", b"#?RGBE"),
    "GIMP": (b"gimp xcf ",),
    "BPG": (b"BPG\xfb",),
    "FLIF": (b"FLIF",),
    "Photoshop's large": (b"8BPS\x00\x02",),
    "camera raw": (
        b"FUJIFILMCCD-RAW",
        b"IIRO",
        b"IIRS",
        b"MMOR",
        b"IIU\x00",
        b"FOVb",
        b"\x00MRM",
        b"II\x1a\x00\x00\x00HEAPCCDR",
    ),
}
_OTHER_PREFIXES = {
    "a PDF document": (b"%PDF",),
    "a zip archive": (b"PK\x03\x04",),
    "a file compressed with gzip": (b"\x1f\x8b",),
    "a file compressed with bzip2": (b"BZh",),
    "a file compressed with xz": (b"\xfd7zXZ",),
    "a file compressed with zstd": (b"\x28\xb5\x2f\xfd",),
    "a 7-Zip archive": (b"7z\xbc\xaf\x27\x1c",),
    "a RAR archive": (b"Rar!\x1a\x07",),
    "text in UTF-16": (b"\xff\xfe", b"\xfe\xff"),
    "a video (Matroska or WebM)": (b"\x1a\x45\xdf\xa3",),
    "a pointer of Git LFS, whose file was not fetched": (b"version https://git-lfs",),
}


def image_format_not_decoded(data: bytes) -> str | None:
    """The name of an image format that Pillow doesn't decode; None for all others."""
    if data[4:8] == b"ftyp":
        if data[8:12] == b"crx ":
            return "camera raw"
        return "HEIC" if data[8:12] in _HEIC_BRANDS else None
    for name, prefixes in _IMAGE_PREFIXES.items():
        if data.startswith(prefixes):
            return name
    return "SVG" if _is_svg(data[:_SNIFFED_BYTES]) else None


def is_postscript(data: bytes) -> bool:
    return data.startswith(_POSTSCRIPT)


def kind_of_bytes(data: bytes) -> str:
    """What a file that is no image seems to be, for a person. Says nothing of its content, which may be secret."""
    for name, prefixes in _OTHER_PREFIXES.items():
        if data.startswith(prefixes):
            return name
    if data[4:8] == b"ftyp":
        return "a video (MP4 or QuickTime)"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "a video (AVI)"
    if data[128:132] == b"DICM":
        return "a DICOM file"
    head = data[:_SNIFFED_BYTES].removeprefix(codecs.BOM_UTF8)
    if not head.strip(b"\0"):
        return "nothing but zero bytes, at least at its start"
    start = head.lstrip()[:15].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start.startswith((b"<?xml", b"<")):
        return "XML"
    if any(byte < 9 or 13 < byte < 32 or byte == 127 for byte in head) or not _is_utf8(head):
        return "binary data of no format known to Pillow"
    return "JSON" if start.startswith((b"{", b"[")) else "text"


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut in two at the end
    except UnicodeDecodeError:
        return False
    return True


def _is_svg(head: bytes) -> bool:
    """Whether `<svg` is the first element; each step goes on behind what it has skipped."""
    place = 0
    while True:
        while head[place : place + 1].isspace():
            place += 1
        for opening, closing in ((b"<?xml", b">"), (b"<!--", b"-->"), (b"<!DOCTYPE svg", b">")):
            if head.startswith(opening, place):
                end = head.find(closing, place + len(opening))
                if end < 0:
                    return False
                place = end + len(closing)
                break
        else:
            return head.startswith(b"<svg", place) and head[place + 4 : place + 5] in (b" ", b"\t", b"\r", b"\n", b">")
