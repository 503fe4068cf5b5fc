"""Buckets of image ids: elements packed by the first digits of their id, so that a join by id takes little memory.

Of each key and of each element of a shuffle runners keep some hundred bytes beside what is in them, and several copies. Packed,
dozens of images share that. Not for telling images apart: those of a bucket have only the beginning of their ids in common.
"""
import zlib
from collections import defaultdict
from collections.abc import Iterable

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

_DIGITS = 3  # 4,096 buckets: keys enough for any cluster; of 10⁹ images, a bucket's 250,000 still fit in a worker's memory
_ELEMENTS_AT_ONCE = 100_000  # in memory: some 25 a bucket
_PACK_CODER = beam.coders.IterableCoder(beam.coders.BytesCoder())


def bucket_of(image_id: str) -> str:
    return image_id[:_DIGITS]


def pack(elements: Iterable[bytes]) -> bytes:
    return zlib.compress(_PACK_CODER.encode(list(elements)), level=1)  # URIs of one collection shrink to a quarter


def unpack(packs: Iterable[bytes]) -> Iterable[bytes]:
    """The elements of all packs, one after the other."""
    return (element for packed in packs for element in _PACK_CODER.decode(zlib.decompress(packed)))


class PackByBucket(beam.PTransform):
    """Pairs of an image id and some bytes in; pairs of a bucket and a pack of such bytes out, several a bucket.

    For bounded collections in the global window.
    """

    def expand(self, pairs: beam.PCollection[tuple[str, bytes]]) -> beam.PCollection[tuple[str, bytes]]:
        return pairs | beam.ParDo(_PackFn()).with_output_types(tuple[str, bytes])


class _PackFn(beam.DoFn):
    def start_bundle(self):
        self._buckets: defaultdict[str, list[bytes]] = defaultdict(list)
        self._count = 0

    def process(self, pair: tuple[str, bytes]):
        image_id, element = pair
        self._buckets[bucket_of(image_id)].append(element)
        self._count += 1
        if self._count >= _ELEMENTS_AT_ONCE:
            yield from self._packed()
            self.start_bundle()

    def finish_bundle(self):
        for pair in self._packed():
            yield GlobalWindows.windowed_value_at_end_of_window(pair)

    def _packed(self) -> Iterable[tuple[str, bytes]]:
        return ((bucket, pack(elements)) for bucket, elements in self._buckets.items())
