"""`labelbeam estimate`, through the command line: what it counts, what it says, what it refuses. Whether its
forecasts come true is for `benchmarks/jobs/estimate.py`."""

import json

import numpy as np
import pytest
from labelbeam.pipeline.cli import main
from labelbeam.pipeline.estimating import estimate
from labelbeam.pipeline.estimating.feeding import describe_feeding, feeding
from labelbeam.pipeline.estimating.sample_run import SampleRun

from tests.fakes.images import save_image


@pytest.fixture
def run(tmp_path, fake_detector, capsys, monkeypatch):
    """Runs `labelbeam estimate` with the fake detector; returns (exit code, what it printed, its JSON)."""
    monkeypatch.setattr(estimate, "MIN_SAMPLE_S", 0.0)  # no longer run: that takes ten seconds by its nature

    def run(*inputs, options=(), detector=fake_detector):
        file = tmp_path / "estimate.json"
        code = main(["estimate", "--input", *map(str, inputs), "--detector", detector, "--json", str(file), *options])
        printed = capsys.readouterr()
        return code, printed.out + printed.err, json.loads(file.read_text()) if code == 0 else None

    return run


class TestWhatIsCounted:
    @pytest.mark.heavy
    def test_a_job_from_its_inputs(self, run, image_folder, tmp_path):
        code, printed, found = run(image_folder, options=["--workers", "1", "3", "--price-per-hour", "2"])
        assert code == 0, printed
        assert (found["listed"], found["skipped"], found["todo"], found["sampled"]) == (6, 0, 6, 6)
        assert found["read_bytes"]["value"] == pytest.approx(sum(p.stat().st_size for p in image_folder.iterdir()))
        assert 100 < found["table_bytes"] < 100_000 and found["image_s"]["value"] > 0 and found["start_s"] > 0
        for forecast, images_each in zip(found["forecasts"], (6, 2)):
            expected_s = found["list_s"] + found["start_s"] + images_each * found["image_s"]["value"]
            assert forecast["seconds"] == pytest.approx(expected_s)
            assert forecast["worker_hours"] == pytest.approx(forecast["workers"] * expected_s / 3600)
            assert forecast["price"] == pytest.approx(2 * forecast["worker_hours"])
        assert "6 images to label; listing takes" in printed and "worker hours" in printed
        host = found["feeding"]["host_ms"]
        assert host["fetch"] > 0 and host["decode"] > 0 and host["resize"] == 0 and host["rows"] > 0
        assert found["feeding"]["model_ms"] > 0 and "of a processor an image: " in printed
        assert {path.name for path in tmp_path.iterdir()} == {"images", "estimate.json"}, "nothing is left behind"

    @pytest.mark.heavy
    def test_what_is_labelled_already_is_left_out_and_stays_as_it_is(self, run, label, image_folder, tmp_path):
        code, printed, labels = label(image_folder, options=["--limit", "4"])
        assert code == 0, printed
        before = sorted((path, path.stat().st_mtime_ns) for path in labels.folder.rglob("*"))
        code, printed, found = run(image_folder, options=["--output", str(labels.folder)])
        assert (found["listed"], found["skipped"], found["todo"]) == (6, 4, 2)
        assert "2 images to label (6 listed, 4 labelled already)" in printed
        assert before == sorted((path, path.stat().st_mtime_ns) for path in labels.folder.rglob("*"))

    @pytest.mark.heavy
    def test_failures_of_the_sample_are_told(self, run, image_folder):
        (image_folder / "bad.jpg").write_bytes(b"no image at all")
        code, printed, found = run(image_folder)
        assert code == 0 and found["failures"] == {"not_an_image": 1}
        assert "1 of those timed (1 not_an_image)" in printed

    @pytest.mark.heavy
    def test_the_sample_is_as_large_as_asked_for_and_random_by_its_seed(self, run, tmp_path):
        for number in range(40):
            save_image(tmp_path / "many" / f"{number}.jpg", number, (20 + number, 20))

        def total(seed):
            code, printed, found = run(
                tmp_path / "many", options=["--sample", "5", "--batch-size", "4", "--seed", str(seed)]
            )
            assert code == 0 and found["sampled"] == 5, printed
            return found["read_bytes"]["value"]

        assert total(1) == total(1) != total(2)

    @pytest.mark.heavy
    def test_a_fast_detector_gets_more_images(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(estimate, "MIN_SAMPLE_S", 1000.0)
        for number in range(40):
            save_image(tmp_path / "many" / f"{number}.jpg", number)
        code, printed, found = run(tmp_path / "many", options=["--sample", "5", "--batch-size", "4"])
        assert code == 0 and found["sampled"] == 40 - 4 - 5, printed


class TestRefusals:
    @pytest.mark.parametrize(
        "options, named",
        [
            (["--runner=PrismRunner"], "--runner"),
            (["--no-such-option", "1"], "unknown option --no-such-option"),
            (["--retry-failed", "rain"], "--retry-failed rain"),
            (["--json", "/dev/null/estimate.json"], "--json"),
        ],
    )
    def test_options_that_cannot_be_used(self, run, image_folder, options, named):
        code, printed, _ = run(image_folder, options=options)
        assert code == 2 and named in printed

    @pytest.mark.parametrize(
        "options", [["--price-per-hour", "-1"], ["--price-per-hour", "nan"], ["--workers", "0"], ["--sample", "0"]]
    )
    def test_numbers_that_make_no_sense(self, run, image_folder, options, capsys):
        with pytest.raises(SystemExit) as raised:
            run(image_folder, options=options)
        assert raised.value.code == 2 and options[0] in capsys.readouterr().err

    def test_nothing_to_label(self, run, label, image_folder):
        _, _, labels = label(image_folder)
        code, printed, _ = run(image_folder, options=["--output", str(labels.folder)])
        assert code == 2 and "nothing to label: 6 images listed, and all are labelled in" in printed

    def test_a_folder_with_another_label_set(self, run, label, image_folder):
        _, _, labels = label(image_folder)
        code, printed, _ = run(image_folder, options=["--output", str(labels.folder), "--min-score", "0.9"])
        assert code == 2 and "holds another label set" in printed and "min_score" in printed


class TestFeeding:
    """By hand: 8 ms of a processor an image, of which decoding takes 5, on 2 processors: one every 4 ms."""

    HOST_MS = {"fetch": 1.0, "decode": 5.0, "resize": 1.5, "rows": 0.5}

    def test_a_device_that_is_slower_than_the_host_never_waits(self):
        found = feeding(self.HOST_MS, read_ms=0.1, model_ms=4.1, cores=2)
        assert (found.prepared_ms, found.waits_for, found.cores) == (4.0, None, 2)
        assert describe_feeding(found) == [
            "  host        8 ms of a processor an image: decode 5, resize 1.5, fetch 1, rows 0.5",
            "  model       4.1 ms an image; the host prepares one in 4 ms",
            "  device      one as fast as the model never waits for the host; it takes 2 processors to feed it",
        ]

    def test_one_that_is_faster_waits_for_the_slowest_stage(self):
        found = feeding(self.HOST_MS, read_ms=0.1, model_ms=1.0, cores=2)
        assert (found.waits_for, found.cores) == ("decode", 8)
        assert "waits 75% of the time, most of all for decode; it takes 8 processors to feed it" in "".join(
            describe_feeding(found)
        )

    def test_reads_that_take_longer_than_processors_are_what_it_waits_for(self):
        found = feeding(self.HOST_MS, read_ms=20.0, model_ms=10.0, cores=2)
        assert (found.prepared_ms, found.waits_for, found.cores) == (20.0, "fetch", 1)

    @pytest.mark.heavy
    def test_of_a_network_that_resizes_on_the_host(self, run, tmp_path):
        models = pytest.importorskip("tests.fakes.onnx_models")
        outputs = {"logits": np.zeros((5, 2)), "boxes": np.full((5, 4), 0.5)}
        model = models.save_model(tmp_path / "m.onnx", outputs)
        for number in range(4):
            save_image(tmp_path / "large" / f"{number}.jpg", number, (1500, 2000))
        code, printed, found = run(tmp_path / "large", detector=model)
        assert code == 0, printed
        assert found["feeding"]["host_ms"]["resize"] > 0 and "resize" in printed

    @pytest.mark.heavy
    def test_nothing_is_said_where_no_image_can_be_decoded(self, run, tmp_path):
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "bad.jpg").write_bytes(b"no image at all")
        code, printed, found = run(tmp_path / "bad")
        assert code == 0 and found["feeding"] is None and "host" not in printed


class TestUncertainty:
    def sample_run(self, finished_s, steps_s):
        return SampleRun(len(finished_s), 0.0, steps_s, finished_s, [0] * len(finished_s), {}, 0)

    def test_an_even_rate_has_none(self):
        even = self.sample_run([0.1 * number for number in range(1, 41)], 4.0)
        mean = estimate.seconds_an_image(even, batch_size=10)
        assert mean.value == pytest.approx(0.1) and mean.uncertainty == pytest.approx(0, abs=1e-9)

    def test_of_batches_that_differ(self):
        """Four batches of 10, which take 1, 2, 1 and 2 s: 0.15 s ± 2 × 0.0577 / √4, by hand."""
        ends = [end for end in (1.0, 3.0, 4.0, 6.0) for _ in range(10)]
        mean = estimate.seconds_an_image(self.sample_run(ends, 6.0), batch_size=10)
        assert mean.value == pytest.approx(0.15) and mean.uncertainty == pytest.approx(0.0577, abs=1e-4)

    def test_a_last_batch_that_is_not_full_is_no_surprise(self):
        """50 images in batches of 16, each of which is ready at once, 0.1 s an image."""
        ends = [0.1 * min(50, 16 * (number // 16 + 1)) for number in range(50)]
        mean = estimate.seconds_an_image(self.sample_run(ends, 5.0), batch_size=16)
        assert mean.value == pytest.approx(0.1) and mean.uncertainty == pytest.approx(0, abs=1e-9)

    def test_a_single_batch_tells_nothing(self):
        assert estimate.seconds_an_image(self.sample_run([1.0] * 6, 1.2), batch_size=16) == (pytest.approx(0.2), 0.0)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.3, "12 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5_900, "98 min"),
        (7_000, "1.9 h"),
        (86400 * 12.34, "12.3 days"),
    ],
)
def test_durations_for_a_person(seconds, text):
    assert estimate.rounded_duration(seconds) == text
