"""GroupByChunk: a shuffle that brings the members of a stretch of a container to one worker, in the container's order.

A worker then reads a tar or TFRecord file forwards and decodes a Parquet row group once, instead of jumping to and fro.
For right before fetching. Not needed where no input is a container, if another shuffle has spread the references.
"""
from collections.abc import Iterable, Iterator

import apache_beam as beam

from .elements import ImageReference, image_id


class GroupByChunk(beam.PTransform):
    """PCollection[ImageReference] to the same references, spread over the workers.

    References of one chunk of a container (`MemberLocation.chunk`, about 64 MiB) stay together, sorted by their place
    in it. All others are spread one by one, by their image id.
    """

    def expand(self, references: beam.PCollection[ImageReference]) -> beam.PCollection[ImageReference]:
        return (references
                | "KeyByChunk" >> beam.Map(lambda r: (chunk_key(r), r)).with_output_types(tuple[str, ImageReference])
                | "Group" >> beam.GroupByKey()
                | "InOrder" >> beam.FlatMapTuple(_in_order).with_output_types(ImageReference))


def chunk_key(reference: ImageReference) -> str:
    """What references that are to be read together have in common; hexadecimal: paths may hold lone surrogates."""
    location = reference.location
    return image_id(reference.uri if location is None else f"{location.container}#{location.chunk}")


def _in_order(key: str, references: Iterable[ImageReference]) -> Iterator[ImageReference]:
    yield from sorted(references, key=lambda reference: reference.location.offset if reference.location else 0)
