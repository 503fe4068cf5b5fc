"""SkipLabelled: what was listed, each image once, less the images that have a row; spread over the workers.

One join does both: repeats of a URI fall together, and so do a URI and its earlier label. It joins packs (`packs.py`)
of all images whose ids begin alike, since millions are to fit in one process. A second shuffle spreads those that are
left (`group_by_chunk.py`). References are encoded before the first and decoded after the second.
"""

import heapq
import pickle
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypedDict

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from ..labelset.begin import OpenJob
from ..labelset.counting import counting_parts
from ..labelset.parts import iter_part
from ..labelset.rows import ErrorKind, image_id
from ..storage.read_options import ReadOptions
from .ask_versions import AskVersions, RowVersion, has_changed
from .coders import ImageReferenceCoder
from .elements import METRICS_NAMESPACE, ImageReference
from .group_by_chunk import GroupByChunk
from .packs import PackFn, unpack
from .sources.box_prompts import BoxesOfImage, BoxTables, ReadBoxes, joined
from .workers.driver_link import LISTED, PASSED_OVER, DriverLink

_CODER = ImageReferenceCoder()
_ID_BYTES = 16
_FAILED, _OK = b"f", b"o"
IMAGES_CHANGED, VERSIONS_UNKNOWN = "images_changed", "versions_unknown"  # names of counters


class ListedCounts(NamedTuple):
    """How many distinct images were listed, and how many of them were skipped because they have a row already; of the
    others, the sum of the ids (see `parts.ids_sum`); of the skipped, how many had failed."""

    listed: int = 0
    skipped: int = 0
    ids_sum: int = 0
    failed_earlier: int = 0


class ToDo(TypedDict):
    """What `SkipLabelled` gives: the images that are still to be labelled, and one `ListedCounts`."""

    references: beam.PCollection[ImageReference]
    counts: beam.PCollection[ListedCounts]


class SkipLabelled(beam.PTransform):
    """ImageReferences in; under `references` those that are still to be labelled, spread over the workers as
    `GroupByChunk` does it; under `counts` one `ListedCounts`.

    Args:
      labelled: the job, or the output folder, whose images aren't labelled again; None where there's none to compare
        with.
      limit: label only so many of the distinct images (those with the smallest image ids: the same ones at each run,
        and a larger limit takes in those of a smaller one).
      retry: error kinds; images that failed with one of them count as not labelled.
      relabel_changed: limits and retry policy of asking whether files of labelled images have changed since; those that
        have count as not labelled. None: nothing is asked.
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
        relabel_changed: ReadOptions | None = None,
    ):
        super().__init__()
        self._link = link
        self._relabel_changed = relabel_changed
        self._retry = tuple(retry)
        self._known = labelled
        self._limit = limit
        self._boxes = boxes

    def expand(self, references: Any) -> ToDo:  # a PCollection[ImageReference]
        if self._limit is not None:
            references |= _SmallestIds(self._limit)
        if self._relabel_changed is not None:
            references |= AskVersions(self._relabel_changed, self._link)
        with_versions = self._relabel_changed is not None
        labelled = references.pipeline | _LabelledIds(self._known, self._retry, with_versions)
        sides = [
            references | "PackListed" >> beam.ParDo(_PackReferencesFn()),
            labelled | "PackLabelled" >> beam.ParDo(_PackIdsFn()),
        ]
        if self._boxes is not None:
            sides.append(
                references.pipeline
                | ReadBoxes(self._boxes)
                | "BoxesByBucket" >> beam.MapTuple(lambda id_, boxes: (_bucket_of(bytes.fromhex(id_)), (id_, boxes)))
            )
        anti_join = _AntiJoinFn(self._known, self._link, with_versions)
        split: Any = (
            tuple(sides)
            | beam.CoGroupByKey()
            | "AntiJoin" >> beam.ParDo(anti_join).with_outputs("counts", main="references")
        )
        counts = split.counts | beam.CombineGlobally(_sum_counts)
        return {"references": split.references | GroupByChunk(), "counts": counts}


class DistinctImages(beam.PTransform):
    """ImageReferences in, one of each image id out: for pipelines that keep no output folder."""

    def expand(self, references: beam.PCollection[ImageReference]) -> beam.PCollection[ImageReference]:
        return (  # pyright: ignore[reportReturnType]  # its annotation says PValue
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
        held = accumulator.get(reference.image_id)
        if held is None or (held.listed_as is None and reference.listed_as is not None):
            accumulator[reference.image_id] = reference
        return accumulator if len(accumulator) < 2 * self._limit + 1000 else self.compact(accumulator)

    def merge_accumulators(self, accumulators):
        merged = {}
        for accumulator in accumulators:
            merged = self.compact({**accumulator, **merged})
        return merged

    def compact(self, accumulator):
        return {id_: accumulator[id_] for id_ in heapq.nsmallest(self._limit, accumulator)}

    def extract_output(self, accumulator) -> list[ImageReference]:
        return list(self.compact(accumulator).values())


class _LabelledIds(beam.PTransform):
    """The image ids of a label set: of the parts that counted when the job began, and of those that it took over."""

    def __init__(self, known: OpenJob | str | None, retry: tuple[ErrorKind, ...], with_versions: bool):
        super().__init__()
        self._known = known
        self._retry = retry
        self._with_versions = with_versions

    def expand(self, pipeline):
        return (
            pipeline
            | "Known" >> beam.Create([] if self._known is None else [self._known], reshuffle=False)
            | "Parts" >> beam.FlatMap(_parts_of).with_output_types(tuple[str, str])
            | "SpreadParts" >> beam.Reshuffle()
            | "Ids" >> beam.FlatMap(_read_ids, self._known, self._retry, self._with_versions).with_output_types(bytes)
        )


def _parts_of(known: OpenJob | str) -> Iterator[tuple[str, str]]:
    """Output folder and stem of each part."""
    if isinstance(known, str):
        yield from ((known, stem) for stem in counting_parts(known))
        return
    with known.reading():
        state = known.state()
    yield from ((known.output, stem) for stem in [*state.parts, *state.adopted])


def _read_ids(
    part: tuple[str, str], known: OpenJob | str | None, retry: tuple[ErrorKind, ...], with_versions: bool
) -> Iterator[bytes]:
    """16 bytes for an image that was labelled, 17 for one that failed; with versions, 17 and a `RowVersion` for all."""
    if isinstance(known, OpenJob):
        known.attend()
    versions = ["num_bytes", "modified_at", "etag", "labelled_at"] if with_versions else []
    for batch in iter_part(*part, "images", ["image_id", "error_kind", *versions]):
        if retry:
            batch = batch.filter(pc.invert(pc.is_in(batch.column("error_kind"), pa.array(retry))))
        failed = batch.column("error_kind").is_valid().to_pylist()
        columns = [batch.column(name) for name in versions]
        columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in columns]
        rows = zip(*(column.to_pylist() for column in columns), strict=True) if with_versions else [()] * len(failed)
        for hex_id, has_failed, version in zip(batch.column("image_id").to_pylist(), failed, rows, strict=True):
            flag = _FAILED if has_failed else _OK if with_versions else b""
            yield bytes.fromhex(str(hex_id)) + flag + (pickle.dumps(version) if with_versions else b"")


def _bucket_of(id_: bytes) -> bytes:
    """One of 4,096: enough for any cluster; of 10⁹ images, a bucket's 250,000 still fit in memory."""
    return bytes((id_[0], id_[1] & 0xF0))


class _PackReferencesFn(PackFn):
    """Packs 16 bytes of the image's id, and the encoded reference."""

    def keyed(self, element: ImageReference) -> tuple[bytes, bytes]:
        id_ = bytes.fromhex(image_id(element.uri))  # which the element needn't keep: it's encoded here
        return _bucket_of(id_), id_ + _CODER.encode(element)


class _PackIdsFn(PackFn):
    def keyed(self, element: bytes) -> tuple[bytes, bytes]:
        return _bucket_of(element), element


class _AntiJoinFn(beam.DoFn):
    """Passes on the first reference of each id that has no row yet, encoded, with its boxes if the job has tables of
    them; counts in memory, one element a bundle."""

    def __init__(self, known: OpenJob | str | None, link: DriverLink, with_versions: bool):
        self._known = known
        self._link = link
        self._with_versions = with_versions

    def setup(self):
        self._changed = Metrics.counter(METRICS_NAMESPACE, IMAGES_CHANGED)
        self._unknown = Metrics.counter(METRICS_NAMESPACE, VERSIONS_UNKNOWN)
        self._without_boxes = Metrics.counter(METRICS_NAMESPACE, "images_without_boxes")
        if isinstance(self._known, OpenJob):
            self._known.attend()
        self._tally = self._link.tally()

    def teardown(self):
        self._tally.close()

    def start_bundle(self):
        self._listed = self._skipped = self._ids_sum = self._failed_earlier = 0

    def process(self, element):
        _, (listed, labelled, *boxes) = element
        references: dict[bytes, bytes] = {}
        for packed in unpack(listed):
            id_, encoded = packed[:_ID_BYTES], packed[_ID_BYTES:]
            # Always the same of several; with what a list says of the image, if one names it: `u` comes last.
            references[id_] = min(encoded, references.get(id_, encoded))
        labelled = set(unpack(labelled))  # some of images that weren't asked for this time
        if self._with_versions:
            labelled, references = self._unchanged(labelled, references), _without_versions(references)
        self._listed += len(references)
        failed = [id_ for id_ in references if id_ + _FAILED in labelled]
        todo = {id_: encoded for id_, encoded in references.items() if id_ not in labelled}
        for id_ in failed:
            todo.pop(id_, None)
        self._failed_earlier += len(failed)
        self._skipped += len(references) - len(todo)
        self._ids_sum += sum(int.from_bytes(id_, "big") for id_ in todo)
        yield from self._with_boxes(todo, *boxes) if boxes else todo.values()

    def _unchanged(self, labelled: set[bytes], references: dict[bytes, bytes]) -> set[bytes]:
        """The ids that have a row, in the form that they have without versions, less those whose files have changed."""
        unchanged: set[bytes] = set()
        changed: set[bytes] = set()
        for packed in labelled:
            id_, flag = packed[:_ID_BYTES], packed[_ID_BYTES : _ID_BYTES + 1]
            if (encoded := references.get(id_)) is None:
                continue
            now, row = _CODER.decode(encoded).version, RowVersion(*pickle.loads(packed[_ID_BYTES + 1 :]))
            has = None if now is None else has_changed(now, row)
            if has is None:
                self._unknown.inc()
            if has:
                changed.add(id_)
            else:
                unchanged.add(id_ + (_FAILED if flag == _FAILED else b""))
        self._changed.inc(len(changed - {packed[:_ID_BYTES] for packed in unchanged}))
        return unchanged

    def _with_boxes(self, references: dict[bytes, bytes], boxes: Iterable[tuple[str, BoxesOfImage]]) -> Iterator[bytes]:
        parts = defaultdict(list)
        for hex_id, part in boxes:
            parts[bytes.fromhex(hex_id)].append(part)
        self._without_boxes.inc(len(references.keys() - parts.keys()))
        for id_, encoded in references.items():
            yield _CODER.encode(replace(_CODER.decode(encoded), boxes=joined(parts[id_])))

    def finish_bundle(self):
        self._tally.add(LISTED, self._listed)
        self._tally.add(PASSED_OVER, self._skipped)
        self._tally.flush()
        yield TaggedOutput(
            "counts",
            GlobalWindows.windowed_value_at_end_of_window(
                ListedCounts(self._listed, self._skipped, self._ids_sum % (1 << 128), self._failed_earlier)
            ),
        )


def _without_versions(references: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {id_: _CODER.encode(replace(_CODER.decode(encoded), version=None)) for id_, encoded in references.items()}


def _sum_counts(counts: Iterable[ListedCounts]) -> ListedCounts:
    listed, skipped, ids, failed_earlier = map(sum, zip(ListedCounts(), *counts, strict=True))
    return ListedCounts(listed, skipped, ids % (1 << 128), failed_earlier)
