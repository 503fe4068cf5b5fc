"""FetchImages: image references in, batches of decoded images out, read and decoded ahead of whatever comes after it.

To be fused with the model that takes the images: decoded pixels are some twenty times the size of their files, and
never worth a shuffle. So nothing that reshuffles or groups belongs right behind this transform.
"""

import contextlib
import hashlib
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import BoundedWindow, GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from ..detectors.device_share import processors
from ..storage import http_client
from ..storage.errors import ResourcesError, check_own_resources
from ..storage.files import max_open_files
from ..storage.http_client import Fetch, TakeRoom
from ..storage.redaction import redact
from ..storage.size_limit import announcing
from ..storage.uris import is_http
from . import coders  # noqa: F401  registers them
from .decode.decoding import DecodedImage, OpenedImage, open_image
from .decode.frame import check_frame_size, decoded_frame
from .elements import FailedImage, FetchedImage, FetchOutcome, ImageError, ImageFacts, ImageReference
from .execution_options import ExecutionOptions
from .fetch.options import DecodeOptions, ReadOptions
from .fetch.prefetch import Prefetch, Reserve
from .fetch.read_bytes import read_bytes, start_reading
from .fetch.read_frame import expect_frame, is_frame, read_frame
from .workers.driver_link import DriverLink
from .workers.in_flight import InFlight, in_flight_of
from .workers.loaded_detector import detector_in_process
from .workers.malloc import keep_large_blocks

# Reading checks its deadline itself wherever it can. Where it can't (names being resolved, network disks, clients of
# object stores), it is given up from outside: a little later, so that whoever can tell more of the cause comes first.
_GIVE_UP_FACTOR = 1.25

_log = logging.getLogger(__name__)

ReadBytes = Callable[[ImageReference, ReadOptions, ImageFacts], bytes]
MAX_BATCH_BYTES = 256 << 20  # of decoded pixels that wait for a call of the model
_GLOBAL_WINDOW = GlobalWindow()  # the only one, but making it again takes as long as ten lines
_FILES_OF_OTHERS = 128  # that a worker has open beside those of the images it reads: libraries, runner, model


@beam.typehints.with_input_types(ImageReference)
@beam.typehints.with_output_types(list[FetchOutcome])
class FetchImages(beam.PTransform):
    """PCollection[ImageReference] to PCollection[list[FetchOutcome]]: each image once, in the order in which they are
    ready, in batches for the model.

    An image that can't be read or decoded becomes a `FailedImage`; nothing about one image fails the job. A batch is
    full at `options.max_batch_size` images or at `MAX_BATCH_BYTES` of pixels, whichever comes first; its images are of
    one window, and its timestamp is the window's end. When the job is to stop, images under way are dropped.

    Not Beam's `BatchElements`: an element an image costs the thread that calls the model more than fetching does.

    Args:
      options: limits and times of reading, how far ahead to work, and how many images the model gets.
      decode: how images are decoded.
      read: reads an image's bytes; for tests, or for sources that `read_bytes` doesn't know. Must be picklable.
      output: the output folder below which journals are kept (`workers/in_flight.py`); None keeps none.
      link: tells when the job is to stop.
      detector: `DetectorHandler.key` of the one that gets the images: it is loaded while the first of them are fetched,
        and prepares them in the threads that decode. None: images are only decoded.
    """

    def __init__(
        self,
        options: ExecutionOptions = ExecutionOptions(),
        decode: DecodeOptions = DecodeOptions(),
        read: ReadBytes = read_bytes,
        output: str | None = None,
        link: DriverLink = DriverLink(),
        detector: str | None = None,
    ):
        super().__init__()
        self._settings = (options, decode, read, output, link, detector)

    def expand(self, references: beam.PCollection[ImageReference]) -> beam.PCollection[list[FetchOutcome]]:
        fn = _FetchDoFn if references.windowing.is_default() else _FetchInWindowsDoFn
        return references | beam.ParDo(fn(*self._settings))  # pyright: ignore[reportReturnType]  # Beam types | as PValue


_Item = tuple[ImageReference, BoundedWindow]
_Result = tuple[FetchedImage | FailedImage, BoundedWindow]


@beam.typehints.with_input_types(ImageReference)
@beam.typehints.with_output_types(list[FetchOutcome])
class _FetchDoFn(beam.DoFn):
    """Keeps up to `prefetch_images` images under way, while the steps behind it are busy with those that it has put
    out. For elements in the global window: asked for more than an element, Beam takes several times as long for it."""

    _fetcher: "ImageFetcher"  # from setup on
    _ahead: Prefetch[_Item, _Result]

    def __init__(
        self,
        options: ExecutionOptions,
        decode: DecodeOptions,
        read: ReadBytes,
        output: str | None,
        link: DriverLink,
        detector: str | None,
    ):
        self._detector = detector
        self._options = options
        self._batch_size = options.max_batch_size
        self._is_stopping = link.stop_check()
        self._decode = decode
        self._read = read
        self._output = output
        self._in_flight = in_flight_of(None)

    def setup(self):
        keep_large_blocks()
        options = self._options
        self._in_flight = in_flight_of(self._output)
        self._fetcher = ImageFetcher(options, self._decode, self._read, self._in_flight, self._detector)
        self._ahead = self._new_ahead()
        if (at_once := _reads_at_once()) < options.read_threads:
            _log.warning(
                "%d images are read at once instead of %d: this process may have no more than %d files and connections "
                "open (`ulimit -n`)",
                at_once,
                options.read_threads,
                max_open_files(),
            )

    def _new_ahead(self) -> Prefetch[_Item, _Result]:
        """Empty between bundles. A DoFn whose bundle fails half way is torn down, never used again."""
        options, share = self._options, self._in_flight.budget_share
        return Prefetch(
            self._fetch,
            self._give_up,
            threads=min(options.read_threads, _reads_at_once()),
            producers=options.decode_threads or processors(),
            max_bytes=int(options.prefetch_bytes * share),
            max_encoded_bytes=int(options.prefetch_encoded_bytes * share),
            max_made=max(1, int(options.prefetch_decoded * share)),
            at_once=options.handed_on_at_once,
            read_s=options.deadline_s * _GIVE_UP_FACTOR,
            start=lambda item, arrived, take_room: self._fetcher.start(item[0], arrived, take_room),
        )

    def start_bundle(self):
        self._in_flight.refresh()  # another worker may have died of an image of this bundle, which is now repeated here
        self._batches: dict[BoundedWindow, list[FetchOutcome]] = {}  # that aren't full yet
        self._batches_bytes = 0

    def process(self, reference: ImageReference) -> Iterator[WindowedValue]:
        return self._work_ahead(reference, _GLOBAL_WINDOW)

    def _work_ahead(self, reference: ImageReference, window: BoundedWindow) -> Iterator[WindowedValue]:
        if self._is_stopping():
            return
        self._ahead.submit((reference, window))
        # Nothing comes out until `prefetch_images` are under way: a model that is fed earlier runs while nothing is
        # read.
        yield from self._full_batches(leave=self._options.prefetch_images - 1)

    def finish_bundle(self):
        yield from self._full_batches(leave=0)
        yield from map(self._hand_on, list(self._batches))

    def _full_batches(self, leave: int) -> Iterator[WindowedValue]:
        for image, window in self._ahead.results(leave):
            if self._is_stopping():
                self._ahead.close()
                self._ahead = self._new_ahead()
                self._batches.clear()
                return
            self._batches_bytes += image.num_bytes_in_memory
            if self._batches_bytes > MAX_BATCH_BYTES:
                yield from map(self._hand_on, list(self._batches))
            batch = self._batches.setdefault(window, [])
            batch.append(image)
            if len(batch) == self._batch_size or self._batches_bytes >= MAX_BATCH_BYTES:
                yield self._hand_on(window)  # a large image must not wait for the next one to be decoded

    def _hand_on(self, window: BoundedWindow) -> WindowedValue:
        batch = self._batches.pop(window)
        self._batches_bytes -= sum(image.num_bytes_in_memory for image in batch)
        return WindowedValue(batch, window.max_timestamp(), (window,))

    def teardown(self):
        if hasattr(self, "_ahead"):
            self._ahead.close()
        http_client.close_idle()

    def _fetch(self, item: _Item, reserve: Reserve, fetch: Fetch | None = None) -> _Result:
        reference, window = item
        with announcing(reserve.encoded):
            return self._fetcher.fetch(reference, reserve, fetch), window

    def _give_up(self, item: _Item) -> _Result:
        reference, window = item
        message = f"not read within the deadline of {self._options.deadline_s:g} s: reading hangs, and was given up"
        return FailedImage(reference, ImageFacts(attempts=1), "timeout", message), window


class _FetchInWindowsDoFn(_FetchDoFn):
    """For elements in any windows: Beam calls it once for each window of an element."""

    def process(self, reference: ImageReference, window: Any = beam.DoFn.WindowParam) -> Iterator[WindowedValue]:
        return self._work_ahead(reference, window)


class ImageFetcher:
    """Makes a `FetchedImage` or a `FailedImage` of a reference, in the calling thread; called from many threads at
    once.

    Args:
      options: limits and times of reading.
      decode: how images are decoded.
      read: reads an image's bytes.
      in_flight: is told what is worked on, and knows the images that aren't to be.
      detector: see `FetchImages`.
    """

    def __init__(
        self,
        options: ExecutionOptions,
        decode: DecodeOptions,
        read: ReadBytes = read_bytes,
        in_flight: InFlight | None = None,
        detector: str | None = None,
    ):
        self._detector = detector
        self._prepared_bytes = 0  # of the image that was prepared last
        self._options = options
        self._decode = decode
        self._read = read
        self._in_flight = in_flight or in_flight_of(None)
        self._reads_at_once = min(options.read_threads, _reads_at_once())
        self._warned_of: set[type] = set()

    def start(self, reference: ImageReference, arrived: Callable[[Fetch], None], take_room: TakeRoom) -> Fetch | None:
        """Begins to read an image if no thread is needed for that; `arrived` is called when it has ended."""
        frame = is_frame(reference)
        if self._read is not read_bytes or not (frame or is_http(reference.uri)):
            return None  # before the id is asked for, which takes a hash
        if self._in_flight.quarantined(reference.image_id):
            return None
        if frame:
            expect_frame(reference)
            return None
        return start_reading(reference, self._options, self._reads_at_once, arrived, take_room)

    def fetch(
        self,
        reference: ImageReference,
        reserve: Callable[[int], None] = lambda num_bytes: None,
        fetch: Fetch | None = None,
    ) -> FetchedImage | FailedImage:
        """Reads and decodes an image, or says why it can't be done; raises nothing about the image.

        Args:
          reference: the image.
          reserve: called with the bytes that the image will take, decoded or prepared, whatever is more, when they are
            known; may wait.
          fetch: what `start` has begun, when it has ended.
        """
        facts = ImageFacts()
        image_id = reference.image_id

        def reserve_either(num_bytes: int) -> None:
            reserve(max(num_bytes, self._prepared_bytes))

        if quarantine := self._in_flight.quarantined(image_id):
            return FailedImage(reference, facts, quarantine.kind, quarantine.message)
        try:
            if is_frame(reference):
                image = self._decode_frame(reference, facts, reserve_either)
            else:
                data = self._read_bytes(reference, facts, fetch)
                image = self._decode_bytes(data, image_id, facts, reserve_either)
        except ImageError as error:
            return FailedImage(reference, facts, error.kind, error.message)
        pixels = image.pixels
        if (detector := detector_in_process(self._detector)) is not None:
            pixels = detector.prepare(pixels, image_id)
            self._prepared_bytes = pixels.nbytes
        return FetchedImage(reference, facts, pixels, self._in_flight.runs_alone(image_id), image.area)

    def _read_bytes(self, reference: ImageReference, facts: ImageFacts, fetch: Fetch | None) -> bytes:
        started = time.monotonic()
        try:
            with self._as_image_errors("reading"):
                if fetch is None:
                    data = self._read(reference, self._options, facts)
                else:
                    data = read_bytes(reference, self._options, facts, fetch)
        finally:
            facts.fetch_ms = _ms_since(started) + (fetch.seconds * 1000 if fetch else 0.0)
        facts.num_bytes = len(data)
        facts.sha256 = hashlib.sha256(data).hexdigest()
        return data

    def _decode_bytes(
        self, data: bytes, image_id: str, facts: ImageFacts, reserve: Callable[[int], None]
    ) -> DecodedImage:
        with self._as_image_errors("decoding"):
            with self._in_flight.work("open", [image_id]):
                opened = open_image(data, self._decode)
            reserve(opened.num_bytes_decoded)
            started = time.monotonic()
            try:
                image = self._decode_opened(data, image_id, opened)
            finally:
                facts.decode_ms = _ms_since(started)
        _note(image, facts)
        return image

    def _decode_frame(
        self, reference: ImageReference, facts: ImageFacts, reserve: Callable[[int], None]
    ) -> DecodedImage:
        """Frames of a stretch wait for each other, which is no fault of a disk: so no deadline of `Prefetch` runs, and
        decoding has one of its own."""
        reserve(check_frame_size(reference, self._decode))
        started = time.monotonic()
        try:
            with self._as_image_errors("decoding"), self._in_flight.work("decode", [reference.image_id]):
                image = decoded_frame(read_frame(reference, self._options, facts), self._decode)
        finally:
            facts.decode_ms = _ms_since(started)
        _note(image, facts)
        return image

    def _decode_opened(self, data: bytes, image_id: str, opened: OpenedImage) -> DecodedImage:
        """Decodes an image; once more with no other if memory didn't suffice, since others may have held it."""
        try:
            with self._in_flight.work("decode", [image_id]):
                return opened.decode()
        except MemoryError:
            pass
        with self._in_flight.work("decode", [image_id], alone=True):
            return open_image(data, self._decode).decode()

    @contextlib.contextmanager
    def _as_image_errors(self, doing: str) -> Iterator[None]:
        """A fault of our own must not stop a job: the image fails alone, as `internal`, with a traceback once a
        cause."""
        try:
            yield
        except (ImageError, ResourcesError):  # the latter is about this process: the job ends with its message
            raise
        except MemoryError as error:
            raise ImageError("out_of_memory", f"{doing} it ran out of memory") from error
        except Exception as error:
            check_own_resources(getattr(error, "errno", None), error)
            if type(error) not in self._warned_of:
                self._warned_of.add(type(error))
                _log.error(
                    "%s an image failed by a fault of labelbeam's own; please report it. The image is marked as failed "
                    "(internal); others with the same error are not logged.\n%s",
                    doing.capitalize(),
                    redact(traceback.format_exc()),
                )
            raise ImageError("internal", f"{doing} it failed: {type(error).__name__}: {error}") from error


def _note(image: DecodedImage, facts: ImageFacts) -> None:
    facts.height, facts.width = image.size_hw
    facts.captured_at, facts.camera, facts.latitude, facts.longitude = image.exif


def _reads_at_once() -> int:
    """As many as there may be open files for: a connection takes up to four, those to find its host included."""
    return max(1, (max_open_files() - _FILES_OF_OTHERS) // 4)


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000
