import hashlib
import io
import logging
import pickle
import threading
import time

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, SlidingWindows, TimestampedValue
from labelbeam.labelset.rows import ERROR_KINDS
from labelbeam.transforms import fetch_images
from labelbeam.transforms.decode import decoding as decode
from labelbeam.transforms.elements import FailedImage, FetchedImage, ImageError, ImageReference
from labelbeam.transforms.execution_options import ExecutionOptions
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.fetch_images import FetchImages, ImageFetcher
from labelbeam.transforms.workers.driver_link import DriverLink
from PIL import Image

from tests.fakes.http_server import MisbehavingServer

WAIT_S = 60  # for what must happen; nothing waits as long unless it is broken


def png(seed=0, size_hw=(6, 8)):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


COLLECTED = []


def collect(image):
    """Keeps what a pipeline in this process gives, without a copy."""
    COLLECTED.append(image)


def fetch_all(references, *args, runner="FnApiRunner", then=collect, **kwargs):
    """Runs FetchImages over references in a pipeline; returns what came out, in the order it did."""
    COLLECTED.clear()
    with beam.Pipeline(runner=runner) as p:
        fetched = p | beam.Create(references, reshuffle=False) | FetchImages(*args, **kwargs)
        _ = fetched | beam.FlatMap(lambda batch: batch) | beam.Map(then)
    return list(COLLECTED)


def numbered(n):
    return [ImageReference(str(i)) for i in range(n)]


class Observed:
    """What fake readers and fake models in this process know of each other."""

    def __init__(self):
        self.lock = threading.Lock()
        self.read = self.reading = self.most_reading = self.taken = self.most_ahead = self.failures = 0

    def wait_until(self, condition):
        end = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end, "did not happen"
            time.sleep(0.001)


OBSERVED = Observed()


@pytest.fixture(autouse=True)
def observed():
    OBSERVED.__init__()
    return OBSERVED


def read_png(reference, options, facts):
    """Reads an image of that number, slowly enough that several threads meet here."""
    facts.attempts += 1
    with OBSERVED.lock:
        OBSERVED.reading += 1
        OBSERVED.most_reading = max(OBSERVED.most_reading, OBSERVED.reading)
    time.sleep(0.002)
    with OBSERVED.lock:
        OBSERVED.reading -= 1
        OBSERVED.read += 1
    return png(int(reference.uri))


def busy_model(image):
    """Is busy with an image until 7 more have been read: for ever, if reading waited for the model."""
    OBSERVED.wait_until(lambda: OBSERVED.read >= min(60, OBSERVED.taken + 8))
    time.sleep(0.005)  # time enough to read too far
    OBSERVED.most_ahead = max(OBSERVED.most_ahead, OBSERVED.read - OBSERVED.taken)
    OBSERVED.taken += 1
    collect(image)


def failing_model(image):
    """Fails at the third image, twice; what it has been given before comes again with the repeated bundle."""
    OBSERVED.taken += 1
    if OBSERVED.failures < 2 and OBSERVED.taken % 3 == 0:
        OBSERVED.failures += 1
        COLLECTED.clear()
        raise RuntimeError("the model is out of order")
    collect(image)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), (1, 2, 3)).save(folder / "turned.png", exif=exif)
    (folder / "text.jpg").write_text("<html>sign in</html>")
    (folder / "cut.png").write_bytes(png(size_hw=(60, 80))[:5000])
    with MisbehavingServer({"a.png": png(1)}) as server:
        uris = {
            "local": str(folder / "turned.png"),
            "http": server.url("/files/a.png"),
            "retried": server.url("/flaky/503/1/a.png"),
            "missing": str(folder / "no.jpg"),
            "text": str(folder / "text.jpg"),
            "cut": str(folder / "cut.png"),
            "404": server.url("/status/404"),
            "500": server.url("/status/500"),
            "folder": str(folder),
        }
        names = {uri: name for name, uri in uris.items()}
        images = fetch_all([ImageReference(uri) for uri in uris.values()], ExecutionOptions(retries=1, backoff_s=0.01))
    assert len(images) == len(uris), "exactly one element for every reference"
    return {names[image.reference.uri]: image for image in images}


class TestElements:
    def test_pixels_of_those_that_could_be_fetched(self, fetched):
        assert fetched["local"].pixels.shape == (30, 20, 3)
        assert (fetched["local"].pixels == (1, 2, 3)).all()
        assert np.array_equal(fetched["http"].pixels, decode.decode(png(1), DecodeOptions()))

    def test_kinds_of_failures(self, fetched):
        kinds = {name: image.kind for name, image in fetched.items() if isinstance(image, FailedImage)}
        assert kinds == {
            "missing": "not_found",
            "text": "not_an_image",
            "cut": "truncated",
            "404": "not_found",
            "500": "unreachable",
            "folder": "not_an_image",
        }
        assert set(kinds.values()) <= set(ERROR_KINDS)
        assert "an HTML page" in fetched["text"].message

    def test_facts_of_a_image(self, fetched):
        data = png(1)
        for name, attempts in (("http", 1), ("retried", 2)):
            facts = fetched[name].facts
            assert (facts.width, facts.height, facts.num_bytes, facts.attempts) == (8, 6, len(data), attempts)
            assert facts.sha256 == hashlib.sha256(data).hexdigest()
            assert facts.fetch_ms > 0 and facts.decode_ms > 0
        assert (fetched["local"].facts.width, fetched["local"].facts.height) == (20, 30), "those after it was turned"

    def test_facts_of_failures_are_what_was_learnt(self, fetched):
        missing, cut, down = (fetched[name].facts for name in ("missing", "cut", "500"))
        assert missing.attempts == 1 and missing.fetch_ms is not None
        assert (missing.num_bytes, missing.sha256, missing.width, missing.decode_ms) == (None,) * 4
        assert (cut.num_bytes, cut.width) == (5000, None) and cut.sha256 and cut.decode_ms is not None
        assert down.attempts == 2


@pytest.mark.parametrize("windowing", [FixedWindows(10), SlidingWindows(20, 10)])
def test_batches_are_of_one_window_and_at_its_end(tmp_path, windowing):
    for i in range(25):
        (tmp_path / f"{i}.png").write_bytes(png(i))

    class Placed(beam.DoFn):
        def process(self, batch, timestamp=beam.DoFn.TimestampParam, window=beam.DoFn.WindowParam):
            assert 0 < len(batch) <= 3 and timestamp == window.max_timestamp()
            yield from ((image.reference.uri, float(window.start)) for image in batch)

    earlier = [0] if isinstance(windowing, FixedWindows) else [0, 10]
    expected = [(str(tmp_path / f"{i}.png"), i // 10 * 10 - before) for i in range(25) for before in earlier]
    with beam.Pipeline(runner="FnApiRunner") as p:
        placed = (
            p
            | beam.Create(range(25), reshuffle=False)
            | beam.Map(lambda i: TimestampedValue(ImageReference(str(tmp_path / f"{i}.png")), i))
            | beam.WindowInto(windowing)
            | FetchImages(ExecutionOptions(prefetch_images=4, batch_size=3))
            | beam.ParDo(Placed())
        )
        assert_that(placed, equal_to(expected))


@pytest.mark.parametrize(
    "max_bytes, sizes", [(1 << 20, [2, 4, 4]), (3 * 6 * 8 * 3, [1, 3, 3, 3]), (6 * 8 * 3 - 1, [1] * 10)]
)
def test_batches_are_full_by_count_or_by_bytes(monkeypatch, max_bytes, sizes):
    monkeypatch.setattr(fetch_images, "MAX_BATCH_BYTES", max_bytes)
    with beam.Pipeline(runner="FnApiRunner") as p:
        references = p | beam.Create(numbered(10), reshuffle=False)
        batches = references | FetchImages(ExecutionOptions(batch_size=4), read=read_png)
        assert_that(batches | beam.Map(len), equal_to(sizes))


def noted(element, what):
    happened.append(what)
    return element


def test_an_image_as_large_as_a_batch_does_not_wait_for_the_next(monkeypatch):
    global happened
    happened = []
    monkeypatch.setattr(fetch_images, "MAX_BATCH_BYTES", 1)
    with beam.Pipeline(runner="FnApiRunner") as p:
        references = (
            p
            | beam.Create(numbered(3), reshuffle=False)
            | "Given" >> beam.Map(noted, "reference").with_output_types(ImageReference)
        )
        images = references | FetchImages(ExecutionOptions(batch_size=4, prefetch_images=1), read=read_png)
        _ = images | "Taken" >> beam.Map(noted, "batch")
    assert happened == ["reference", "batch"] * 3


def test_sizes_are_sampled_without_pickling_pixels(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png())
    pickled = []

    def reduce(self, protocol):
        pickled.append(self)
        return object.__reduce_ex__(self, protocol)

    monkeypatch.setattr(FetchedImage, "__reduce_ex__", reduce)
    images = fetch_all([ImageReference(str(tmp_path / "a.png"))] * 200)
    assert len(images) == 200
    assert not pickled
    pickle.dumps(images[0])
    assert len(pickled) == 1, "the test sees when one is pickled"


class TestAhead:
    def test_reads_while_the_model_runs_and_no_further_than_allowed(self, observed):
        images = fetch_all(
            numbered(60),
            ExecutionOptions(prefetch_images=8, read_threads=3, batch_size=1),
            read=read_png,
            then=busy_model,
        )
        assert len(images) == 60
        assert observed.most_ahead == 8

    def test_threads_are_bounded(self, observed):
        assert len(fetch_all(numbered(100), ExecutionOptions(read_threads=3), read=read_png)) == 100
        assert 2 <= observed.most_reading <= 3

    @pytest.mark.parametrize("prefetch_bytes", [1, 200, 10_000])
    def test_any_budget_passes_every_image(self, prefetch_bytes):
        images = fetch_all(numbered(100), ExecutionOptions(prefetch_bytes=prefetch_bytes), read=read_png)
        assert sorted(int(image.reference.uri) for image in images) == list(range(100))
        assert all(isinstance(image, FetchedImage) for image in images)

    def test_a_bundle_that_failed_is_repeated_whole(self, observed):
        images = fetch_all(numbered(20), runner="BundleBasedDirectRunner", read=read_png, then=failing_model)
        assert observed.failures == 2
        assert sorted(int(image.reference.uri) for image in images) == list(range(20))

    def test_threads_end_with_the_job(self, observed):
        fetch_all(numbered(20), read=read_png)
        observed.wait_until(lambda: not [t for t in threading.enumerate() if t.name == "labelbeam-fetch"])


class TestHosts:
    @pytest.mark.heavy
    def test_a_slow_host_leaves_threads_to_others(self):
        with MisbehavingServer() as slow, MisbehavingServer({"a.png": png()}) as quick:
            hanging = [ImageReference(slow.url(f"/hang?{number}")) for number in range(6)]
            good = [ImageReference(quick.url(f"/files/a.png?{number}")) for number in range(20)]
            images = fetch_all(hanging + good, ExecutionOptions(read_threads=4, max_per_host=2, deadline_s=1))
        assert [isinstance(image, FetchedImage) for image in images[:20]] == [True] * 20, (
            "those of the quick host come first"
        )
        assert [image.kind for image in images[20:]] == ["timeout"] * 6
        assert {image.facts.attempts for image in images[20:]} == {1}, (
            "waiting for the host is no part of an image's deadline"
        )

    def test_no_more_requests_at_once_than_allowed(self):
        with MisbehavingServer({"short": b"abc"}) as server:
            references = [ImageReference(server.url(f"/drip/short?{number}")) for number in range(24)]
            images = fetch_all(references, ExecutionOptions(max_per_host=3))
            assert {image.kind for image in images} == {"not_an_image"}
            assert server.most_active == 3

    def test_a_host_that_refuses_rests_as_it_asks_for(self):
        with MisbehavingServer({"a.png": png()}) as server:
            server.refuse_until = time.monotonic() + 1
            images = fetch_all([ImageReference(server.url(f"/limited/a.png?{number}")) for number in range(200)])
            assert all(isinstance(image, FetchedImage) for image in images)
            assert len(server.requests) - 200 <= 16 + 1, "those under way when it began, and no more until it was over"


HANG = threading.Event()


def read_and_hang(reference, options, facts):
    if int(reference.uri) == 3:
        HANG.wait(WAIT_S)
    return read_png(reference, options, facts)


def read_and_fail(reference, options, facts):
    facts.attempts += 1
    raise [ZeroDivisionError("a bug"), MemoryError(), ImageError("forbidden", "no"), ZeroDivisionError("again")][
        int(reference.uri)
    ]


class TestWhatNobodyForesaw:
    def test_a_read_that_hangs_is_given_up(self):
        options = ExecutionOptions(deadline_s=1, read_threads=3)
        HANG.clear()
        try:
            images = fetch_all(numbered(20), options, read=read_and_hang)
        finally:
            HANG.set()
        failures = {int(image.reference.uri): image for image in images if isinstance(image, FailedImage)}
        assert len(images) == 20 and failures.keys() == {3}
        assert failures[3].kind == "timeout" and "deadline of 1 s" in failures[3].message

    def test_errors_of_reading(self, caplog):
        with caplog.at_level(logging.WARNING, logger=fetch_images.__name__):
            images = fetch_all(numbered(4), read=read_and_fail)
        failures = sorted(images, key=lambda image: image.reference.uri)
        assert [failure.kind for failure in failures] == ["internal", "out_of_memory", "forbidden", "internal"]
        assert "ZeroDivisionError: a bug" in failures[0].message
        assert len([record for record in caplog.records if record.name == fetch_images.__name__]) == 1, "once a cause"

    @pytest.mark.parametrize(
        "error, kind, message",
        [
            (MemoryError(), "out_of_memory", "memory"),
            (ZeroDivisionError("a bug"), "internal", "ZeroDivisionError: a bug"),
            (TypeError("a bug"), "internal", "TypeError: a bug"),
        ],
    )
    def test_errors_of_decoding(self, monkeypatch, error, kind, message):
        def fail(self):
            raise error

        monkeypatch.setattr(decode.OpenedImage, "decode", fail)
        image = ImageFetcher(ExecutionOptions(), DecodeOptions(), read_png).fetch(ImageReference("1"))
        assert image.kind == kind and message in image.message
        assert image.facts.num_bytes and image.facts.decode_ms is not None

    def test_room_is_asked_for_before_decoding_and_only_for_images(self):
        asked = []
        fetcher = ImageFetcher(ExecutionOptions(), DecodeOptions(), read_png)
        fetcher.fetch(ImageReference("1"), asked.append)
        assert asked == [6 * 8 * 3]
        fetcher = ImageFetcher(ExecutionOptions(), DecodeOptions(max_pixels=10), read_png)
        assert fetcher.fetch(ImageReference("1"), asked.append).kind == "too_large"
        assert len(asked) == 1


def test_a_job_that_is_to_stop_drops_what_is_under_way(tmp_path):
    link = DriverLink(str(tmp_path))
    read = []

    def read_and_stop(reference, options, facts):
        read.append(reference)
        if len(read) == 30:
            link.ask_to_stop()
        return png()

    options = ExecutionOptions(read_threads=4, prefetch_images=16, batch_size=4)
    images = fetch_all(numbered(2000), options, read=read_and_stop, link=link)
    assert 0 < len(images) < 1000
    assert fetch_all(numbered(10), options, read=read_and_stop, link=link) == []


def test_an_image_that_lacks_memory_beside_others_is_decoded_alone(monkeypatch):
    decode_once = decode.OpenedImage.decode
    tries = []

    def decode_sometimes(self):
        tries.append(self)
        if len(tries) == 1:
            raise MemoryError
        return decode_once(self)

    monkeypatch.setattr(decode.OpenedImage, "decode", decode_sometimes)
    fetcher = ImageFetcher(ExecutionOptions(), DecodeOptions(), read=lambda *_: png())
    assert isinstance(fetcher.fetch(ImageReference("a")), FetchedImage) and len(tries) == 2
