"""GroupByChunk: spreads images over the workers, the members of a stretch of a container to one of them, in order.

A worker then reads a tar or TFRecord file forwards and decodes a Parquet row group once, instead of jumping to and fro.
For right before fetching.
"""

import hashlib
from collections.abc import Iterable, Iterator

import apache_beam as beam

from ..labelset.rows import image_id
from .coders import ImageReferenceCoder, is_plain
from .elements import ImageReference
from .packs import PackFn, unpack

_CODER = ImageReferenceCoder()
_IMAGES_TOGETHER = 16  # to one worker at a time: few enough to spread the images of a small job


class GroupByChunk(beam.PTransform):
    """PCollection of encoded references (`ImageReferenceCoder`) to the references, spread over the workers.

    References of one chunk of a container (`MemberLocation.chunk`, at most 128 images and 64 MiB) stay together, sorted
    by their place in it. All others are spread a few at a time.
    """

    def expand(self, references: beam.PCollection[bytes]) -> beam.PCollection[ImageReference]:
        return (  # pyright: ignore[reportReturnType]  # its annotation says PValue
            references
            | "Pack" >> beam.ParDo(PackByChunkFn())
            | "Group" >> beam.GroupByKey()
            | "InOrder" >> beam.FlatMapTuple(_in_order).with_output_types(ImageReference)
        )


class PackByChunkFn(PackFn):
    def start_bundle(self):
        super().start_bundle()
        self._room = 0  # in the pack of images that are no members

    def keyed(self, element: bytes) -> tuple[bytes, bytes]:
        if not is_plain(element) and (location := _CODER.decode(element).location) is not None:
            return image_id(f"{location.container}#{location.chunk}").encode(), element
        if not self._room:
            self._key, self._room = hashlib.sha256(element).digest()[:16], _IMAGES_TOGETHER
        self._room -= 1
        return self._key, element


def _in_order(key: bytes, packs: Iterable[bytes]) -> Iterator[ImageReference]:
    references = map(_CODER.decode, unpack(packs))
    yield from sorted(references, key=lambda reference: reference.location.offset if reference.location else 0)
