"""What a person sees of a job that runs."""

import io
import time

from labelbeam.pipeline.running.progress import describe, following
from labelbeam.transforms.workers.driver_link import (
    FAILED,
    LABELLED,
    LISTED,
    PASSED_OVER,
    Counts,
    DriverLink,
    TallyReader,
)

from tests.fakes.folders_of_parts import put_part


def test_what_workers_tell_adds_up(tmp_path):
    link = DriverLink(str(tmp_path))
    reader = TallyReader(link)
    one, two = link.tally(), link.tally()
    one.add(LISTED, 10)
    one.add(LABELLED)
    two.add(FAILED)
    two.add(PASSED_OVER, 3)
    one.flush()
    two.flush()
    assert reader.read() == Counts(listed=10, labelled=1, failed=1, passed_over=3)
    two.add(LABELLED, 4)
    two.close()
    assert reader.read() == Counts(10, 5, 1, 3) and reader.read().done == 6
    assert not link.is_stopping()
    link.ask_to_stop()
    assert link.is_stopping() and reader.read().done == 6


def test_without_a_folder_nothing_is_told(tmp_path):
    for link in (DriverLink(), DriverLink(str(tmp_path / "of another machine"))):
        link.tally().add(LABELLED)
        assert not link.is_stopping()
    assert not (tmp_path / "of another machine").exists()


def test_lines():
    assert describe(Counts(listed=1000, labelled=190, failed=10, passed_over=200), 100, 2.0) == (
        "labelbeam: 200 of 800 images (25%), 5 min left, 2.0 images/s, 10 failed, 1 min 40 s so far"
    )
    assert describe(Counts(labelled=36000), 3600, 10.0) == (
        "labelbeam: 36,000 images, 10.0 images/s, 0 failed, 1 h so far"
    )
    assert describe(Counts(listed=5), 1, None) == "labelbeam: 0 of 5 images (0%), 0 failed, 1 s so far"
    assert "12.5 s an image" in describe(Counts(listed=50, labelled=5), 60, 0.08)


class Stream(io.StringIO):
    """A log file or a terminal."""

    def __init__(self, terminal=False):
        super().__init__()
        self.isatty = lambda: terminal


def wait_for(text, stream):
    deadline = time.monotonic() + 20
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, stream.getvalue()
        time.sleep(0.02)


def test_a_log_file_gets_lines_and_a_terminal_a_bar(tmp_path):
    for terminal, expected in ((False, "labelbeam: 3 of 4 images (75%)"), (True, "3/4")):
        stream = Stream(terminal)
        with following(str(tmp_path), "job", stream, line_every_s=0.05) as follow:
            follow.link.tally().add(LISTED, 4)
            follow.link.tally().add(LABELLED, 3)
            wait_for(expected, stream)


def test_parts_are_counted_where_workers_tell_nothing(tmp_path, monkeypatch):
    from labelbeam.pipeline.running import progress

    monkeypatch.setattr(progress, "PARTS_EVERY_S", 0.0)
    put_part(tmp_path, "abc", job="job")
    put_part(tmp_path, "de", job="other")
    stream = Stream()
    with following(str(tmp_path), "job", stream, line_every_s=0.05):
        wait_for("labelbeam: 3 images", stream)


def test_a_store_that_is_down_or_a_closed_stream_ends_no_job(tmp_path, monkeypatch):
    from labelbeam.pipeline.running import progress

    def down(*_):
        raise OSError("the store is down")

    monkeypatch.setattr(progress, "PARTS_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "written_parts", down)
    stream = Stream()
    with following(str(tmp_path), "job", stream, line_every_s=0.05) as follow:
        wait_for("labelbeam: 0 images", stream)
        assert follow.facts() == {"done": 0, "failed": 0, "total": None, "images_per_s": None}
        stream.close()
        time.sleep(0.2)
        assert follow.counts().done == 0


def test_the_rate_leaves_loading_out(tmp_path):
    with following(str(tmp_path), "job", Stream()) as follow:
        tally = follow.link.tally()
        assert follow.rate(follow.counts()) is None
        tally.add(LABELLED)
        tally.flush()
        assert follow.rate(follow.counts()) is None
        tally.add(LABELLED, 9)
        tally.flush()
        assert follow.rate(follow.counts()) > 0
