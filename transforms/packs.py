"""Packs: many small elements with one key as one element, so that a shuffle of millions takes little memory.

Of each key and each element of a shuffle runners keep some hundred bytes beside what is in them, and several copies.
Packed and compressed, dozens share that. Not for images or rows, which are never worth a shuffle.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

ELEMENTS_AT_ONCE = 100_000  # in memory, before they are packed
_COMPRESSED_FROM = 512  # bytes; of fewer, zlib saves little and takes as long as for thousands
_PLAIN, _COMPRESSED = b"p", b"z"  # what a pack begins with
_CODER = beam.coders.IterableCoder(beam.coders.BytesCoder())


def unpack(packs: Iterable[bytes]) -> Iterator[bytes]:
    """The elements of all packs, one after the other."""
    for packed in packs:
        yield from _CODER.decode(zlib.decompress(packed[1:]) if packed.startswith(_COMPRESSED) else packed[1:])


@beam.typehints.with_output_types(tuple[bytes, bytes])
class PackFn(beam.DoFn):
    """Elements in, pairs of a key and a pack out, several a key. For bounded collections in the global window.

    Subclasses say what of an element is packed, and under which key: bytes, since Beam encodes strings in Python.
    """

    def keyed(self, element: Any) -> tuple[bytes, bytes]:
        raise NotImplementedError

    def start_bundle(self):
        self._elements: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self._count = 0

    def process(self, element: Any) -> Iterator[tuple[bytes, bytes]]:
        key, data = self.keyed(element)
        self._elements[key].append(data)
        self._count += 1
        if self._count >= ELEMENTS_AT_ONCE:
            yield from self._packs()
            self.start_bundle()

    def finish_bundle(self):
        at_end = GlobalWindows.windowed_value_at_end_of_window(None)
        yield from map(at_end.with_value, self._packs())

    def _packs(self) -> Iterator[tuple[bytes, bytes]]:
        for key, elements in self._elements.items():
            packed = _CODER.encode(elements)
            if len(packed) < _COMPRESSED_FROM:
                yield key, _PLAIN + packed
            else:
                yield key, _COMPRESSED + zlib.compress(packed, level=1)  # URIs of one collection shrink to a quarter
