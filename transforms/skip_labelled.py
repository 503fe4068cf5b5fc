"""SkipLabelled: what was listed, each image once, less the images that finished parts of the output already hold.

One join does both: repeats of a URI fall together, and so do a URI and its earlier label. It joins packs (`packs.py`) of all
images whose ids begin alike, since millions are to fit in one process. Those that are left come out in long runs:
`group_by_chunk.py` spreads them over the workers. Not for deciding *whether* an output folder may be added to: that is
`pipeline/label_config.py`.
"""

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows

from ..labelset.begin import OpenJob
from ..labelset.counting import counting_parts
from ..labelset.parts import ids_sum, iter_part
from ..labelset.rows import ErrorKind
from .coders import ImageReferenceCoder
from .elements import METRICS_NAMESPACE, ImageReference
from .packs import PackFn, unpack
from .sources.box_prompts import BoxesOfImage, BoxTables, ReadBoxes, joined
from .workers.driver_link import LISTED, PASSED_OVER, DriverLink

_CODER = ImageReferenceCoder()
_BUCKET_DIGITS = 3  # 4,096 buckets: enough for any cluster; of 10⁹ images, a bucket's 250,000 still fit in memory


class ListedCounts(NamedTuple):
    """How many distinct images were listed, and how many of them were skipped because they're labelled already; of the
    others, the sum of the ids (see `parts.ids_sum`)."""

    listed: int = 0
    skipped: int = 0
    ids_sum: int = 0


class SkipLabelled(beam.PTransform):
    """ImageReferences in; those that are still to be labelled out, and under `counts` one `ListedCounts`.

    Args:
      labelled: the job, or the output folder, whose images aren't labelled again; None where there's none to compare with.
      limit: label only so many of the distinct images (those with the smallest image ids: the same ones at each run, and a
        larger limit takes in those of a smaller one).
      retry: error kinds; images that failed with one of them count as not labelled.
      link: is told of every image.
      boxes: tables of boxes that the references are to carry; None if there are none.
    """

    def __init__(
        self,
        labelled: OpenJob | str | None = None,
        limit: int | None = None,
        boxes: BoxTables | None = None,
        retry: Collection[ErrorKind] = (),
        link: DriverLink = DriverLink(),
    ):
        super().__init__()
        self._link = link
        self._retry = tuple(retry)
        self._known = labelled
        self._limit = limit
        self._boxes = boxes

    def expand(self, references: beam.PCollection[ImageReference]):
        if self._limit is not None:
            references |= _SmallestIds(self._limit)
        labelled = references.pipeline | _LabelledIds(self._known, self._retry)
        sides = [
            references | "PackListed" >> beam.ParDo(_PackReferencesFn()),
            labelled | "PackLabelled" >> beam.ParDo(_PackIdsFn()),
        ]
        if self._boxes is not None:
            sides.append(
                references.pipeline
                | ReadBoxes(self._boxes)
                | "BoxesByBucket" >> beam.MapTuple(lambda id_, boxes: (_bucket_of(id_), (id_, boxes)))
            )
        split = (
            tuple(sides)
            | beam.CoGroupByKey()
            | "AntiJoin" >> beam.ParDo(_AntiJoinFn(self._link)).with_outputs("counts", main="references")
        )
        counts = split.counts | beam.CombineGlobally(_sum_counts)
        return {"references": split.references, "counts": counts}


class DistinctImages(beam.PTransform):
    """ImageReferences in, one of each image id out: for pipelines that keep no output folder."""

    def expand(self, references: beam.PCollection[ImageReference]) -> beam.PCollection[ImageReference]:
        return (
            references
            | "KeyById" >> beam.Map(lambda r: (r.image_id, r)).with_output_types(tuple[str, ImageReference])
            | beam.CombinePerKey(lambda found: next(iter(found)))
            | beam.Values().with_output_types(ImageReference)
        )


class _SmallestIds(beam.PTransform):
    """The `limit` references with the smallest ids, each id once."""

    def __init__(self, limit: int):
        super().__init__()
        self._limit = limit

    def expand(self, references):
        return (
            references
            | "Smallest" >> beam.CombineGlobally(_SmallestIdsFn(self._limit))
            | "Each" >> beam.FlatMap(lambda found: found).with_output_types(ImageReference)
        )


class _SmallestIdsFn(beam.CombineFn):
    """In memory that depends on the limit alone, however many images there are."""

    def __init__(self, limit: int):
        self._limit = limit

    def create_accumulator(self) -> dict[str, ImageReference]:
        return {}

    def add_input(self, accumulator, reference: ImageReference):
        accumulator.setdefault(reference.image_id, reference)
        return accumulator if len(accumulator) < 2 * self._limit + 1000 else self.compact(accumulator)

    def merge_accumulators(self, accumulators):
        merged = {}
        for accumulator in accumulators:
            merged = self.compact({**accumulator, **merged})
        return merged

    def compact(self, accumulator):
        return {image_id: accumulator[image_id] for image_id in heapq.nsmallest(self._limit, accumulator)}

    def extract_output(self, accumulator) -> list[ImageReference]:
        return list(self.compact(accumulator).values())


class _LabelledIds(beam.PTransform):
    """The image ids of a label set: of the parts that counted when the job began, and of those that it took over."""

    def __init__(self, known: OpenJob | str | None, retry: tuple[ErrorKind, ...]):
        super().__init__()
        self._known = known
        self._retry = retry

    def expand(self, pipeline):
        return (
            pipeline
            | "Known" >> beam.Create([] if self._known is None else [self._known], reshuffle=False)
            | "Parts" >> beam.FlatMap(_parts_of).with_output_types(tuple[str, str])
            | "SpreadParts" >> beam.Reshuffle()
            | "Ids" >> beam.FlatMap(_read_ids, self._retry).with_output_types(str)
        )


def _parts_of(known: OpenJob | str) -> Iterator[tuple[str, str]]:
    """Output folder and stem of each part."""
    if isinstance(known, str):
        yield from ((known, stem) for stem in counting_parts(known))
        return
    with known.reading():
        state = known.state()
    yield from ((known.output, stem) for stem in [*state.parts, *state.adopted])


def _read_ids(part: tuple[str, str], retry: tuple[ErrorKind, ...] = ()) -> Iterator[str]:
    for batch in iter_part(*part, "images", ["image_id", *["error_kind"] * bool(retry)]):
        if retry:
            batch = batch.filter(pc.invert(pc.is_in(batch.column("error_kind"), pa.array(retry))))
        yield from batch.column(0).to_pylist()


def _bucket_of(image_id: str) -> str:
    return image_id[:_BUCKET_DIGITS]


class _PackReferencesFn(PackFn):
    def keyed(self, element: ImageReference) -> tuple[str, bytes]:
        return _bucket_of(element.image_id), _CODER.encode(element)


class _PackIdsFn(PackFn):
    def keyed(self, element: str) -> tuple[str, bytes]:
        return _bucket_of(element), bytes.fromhex(element)


class _AntiJoinFn(beam.DoFn):
    """Passes on the first reference of each id that has no label yet, with its boxes if the job has tables of them; counts
    in memory, one element a bundle."""

    def __init__(self, link: DriverLink):
        self._link = link

    def setup(self):
        self._without_boxes = Metrics.counter(METRICS_NAMESPACE, "images_without_boxes")
        self._tally = self._link.tally()

    def teardown(self):
        self._tally.close()

    def start_bundle(self):
        self._listed = self._skipped = self._ids_sum = 0

    def process(self, element):
        _, (listed, labelled, *boxes) = element
        references = {}
        for reference in map(_CODER.decode, unpack(listed)):
            references.setdefault(reference.image_id, reference)
        labelled = set(unpack(labelled))  # some of images that weren't asked for this time
        todo = {id_: reference for id_, reference in references.items() if bytes.fromhex(id_) not in labelled}
        self._listed += len(references)
        self._skipped += len(references) - len(todo)
        self._ids_sum += ids_sum(todo)
        if boxes:
            todo = self._with_boxes(todo, *boxes)
        yield from todo.values()

    def _with_boxes(
        self, references: dict[str, ImageReference], boxes: Iterable[tuple[str, BoxesOfImage]]
    ) -> dict[str, ImageReference]:
        parts = defaultdict(list)
        for image_id, part in boxes:
            parts[image_id].append(part)
        self._without_boxes.inc(len(references.keys() - parts.keys()))
        return {
            image_id: replace(reference, boxes=joined(parts[image_id])) for image_id, reference in references.items()
        }

    def finish_bundle(self):
        self._tally.add(LISTED, self._listed)
        self._tally.add(PASSED_OVER, self._skipped)
        self._tally.flush()
        yield beam.pvalue.TaggedOutput(
            "counts",
            GlobalWindows.windowed_value_at_end_of_window(
                ListedCounts(self._listed, self._skipped, self._ids_sum % (1 << 128))
            ),
        )


def _sum_counts(counts: Iterable[ListedCounts]) -> ListedCounts:
    counts = list(counts)
    return ListedCounts(
        sum(c.listed for c in counts), sum(c.skipped for c in counts), sum(c.ids_sum for c in counts) % (1 << 128)
    )
