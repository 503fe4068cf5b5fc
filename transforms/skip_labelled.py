"""SkipLabelled: what was listed, each image once, less the images that finished parts of the output already hold.

One join by image id does both: repeats of a URI fall together, and so do a URI and its earlier label. The join is also the
shuffle that spreads the images over the workers. Not for deciding *whether* an output folder may be added to: that is
`pipeline/labelling.py`.
"""
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows

from . import output_files
from .elements import METRICS_NAMESPACE, ImageReference
from .given_boxes import BoxTables, ReadBoxes, joined


class ListedCounts(NamedTuple):
    """How many distinct images were listed, and how many of them were skipped because they're labelled already."""

    listed: int = 0
    skipped: int = 0


class SkipLabelled(beam.PTransform):
    """ImageReferences in; those that are still to be labelled out, and under `counts` one `ListedCounts`.

    Args:
      output: the output folder, whose finished parts are read; None where there's none to compare with.
      limit: label only so many of the distinct images (those with the smallest image ids: the same ones at each run, and a
        larger limit takes in those of a smaller one).
      boxes: tables of boxes that the references are to carry; None if there are none.
    """

    def __init__(self, output: str | None = None, limit: int | None = None, boxes: BoxTables | None = None):
        super().__init__()
        self._output = output
        self._limit = limit
        self._boxes = boxes

    def expand(self, references: beam.PCollection[ImageReference]):
        keyed = references | _KeyById()
        if self._limit is not None:
            keyed = keyed | _SmallestIds(self._limit)
        labelled = references.pipeline | _LabelledIds(self._output)
        sides = [keyed, labelled | "KeyLabelled" >> beam.Map(lambda image_id: (image_id, True))]
        if self._boxes is not None:
            sides.append(references.pipeline | ReadBoxes(self._boxes))
        split = tuple(sides) | beam.CoGroupByKey() | "AntiJoin" >> beam.ParDo(_AntiJoinFn()).with_outputs("counts", main="references")
        counts = split.counts | beam.CombineGlobally(_sum_counts)
        return {"references": split.references, "counts": counts}


class DistinctImages(beam.PTransform):
    """ImageReferences in, one of each image id out: for pipelines that keep no output folder."""

    def expand(self, references: beam.PCollection[ImageReference]) -> beam.PCollection[ImageReference]:
        return references | _KeyById() | beam.CombinePerKey(_first) | beam.Values().with_output_types(ImageReference)


class _KeyById(beam.PTransform):
    def expand(self, references):
        return references | beam.Map(lambda r: (r.image_id, r)).with_output_types(tuple[str, ImageReference])


class _SmallestIds(beam.PTransform):
    """The `limit` pairs with the smallest ids, each id once."""

    def __init__(self, limit: int):
        super().__init__()
        self._limit = limit

    def expand(self, keyed):
        return (keyed
                | "Distinct" >> beam.CombinePerKey(_first)
                | "Smallest" >> beam.combiners.Top.Smallest(self._limit, key=lambda pair: pair[0])
                | "Each" >> beam.FlatMap(lambda pairs: pairs).with_output_types(tuple[str, ImageReference]))


class _LabelledIds(beam.PTransform):
    """The image ids of every finished part of an output folder. A part is finished when its `images` file exists."""

    def __init__(self, output: str | None):
        super().__init__()
        self._output = output

    def expand(self, pipeline):
        patterns = [] if self._output is None else [output_files.join(self._output, "images", "part-*.parquet")]
        return (pipeline
                | "Output" >> beam.Create(patterns, reshuffle=False)
                | "Parts" >> beam.FlatMap(output_files.list_files)
                | "SpreadParts" >> beam.Reshuffle()
                | "Ids" >> beam.FlatMap(_read_ids).with_output_types(str))


def _read_ids(path: str) -> Iterator[str]:
    with output_files.open_to_read(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=["image_id"]):
            yield from batch.column(0).to_pylist()


class _AntiJoinFn(beam.DoFn):
    """Passes on the first reference of each id that has no label yet, with its boxes if the job has tables of them; counts
    in memory, one element a bundle."""

    def setup(self):
        self._without_boxes = Metrics.counter(METRICS_NAMESPACE, "images_without_boxes")

    def start_bundle(self):
        self._listed = self._skipped = 0

    def process(self, element):
        _, (references, labelled, *boxes) = element
        reference = next(iter(references), None)
        if reference is not None:  # else labelled earlier, or in a table of boxes, but not asked for this time
            self._listed += 1
            if next(iter(labelled), None):
                self._skipped += 1
            else:
                yield self._with_boxes(reference, *boxes)

    def _with_boxes(self, reference: ImageReference, parts=None) -> ImageReference:
        if parts is None:
            return reference
        given = joined(parts)
        if not given.data:
            self._without_boxes.inc()
        return replace(reference, boxes=given)

    def finish_bundle(self):
        yield beam.pvalue.TaggedOutput(
            "counts", GlobalWindows.windowed_value_at_end_of_window(ListedCounts(self._listed, self._skipped)))


def _first(references: Iterable[ImageReference]) -> ImageReference:
    return next(iter(references))


def _sum_counts(counts: Iterable[ListedCounts]) -> ListedCounts:
    listed = skipped = 0
    for count in counts:
        listed += count.listed
        skipped += count.skipped
    return ListedCounts(listed, skipped)
