"""Twenty videos that try to break a job, among twenty good ones; kills; and memory over two hours of video."""

import random
import time
from pathlib import Path

import pytest
from labelbeam.pipeline.running.exit_codes import ExitCode
from labelbeam.storage.read_options import ReadOptions
from labelbeam.transforms.decode.frame import decoded_frame
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.sources.containers import close_containers, expect_frame, index_members, read_frame

from tests.fakes.images import save_image
from tests.fakes.labels import Labels
from tests.fakes.videos import number_of, write_sound, write_video
from tests.pipeline.jobs.failures.forked_job import PART_IMAGES, start

SECONDS = 4  # of each good video, a frame each


def good_videos(folder):
    for number in range(20):
        name = f"good-{number:02}.{('mp4', 'mov', 'avi', 'mkv', 'm4v')[number % 5]}"
        turned = 90 if name.endswith(("mp4", "mov")) else 0
        codec = "libx264" if number % 2 else "mpeg4"
        write_video(folder / name, SECONDS * 10, rate=10, codec=codec, bframes=number % 3, turned=turned)


def hostile_videos(folder) -> dict[str, str | None]:
    """Makes them; {entry of a list: error kind of the one row that it has}."""
    whole = write_video(folder / "whole.mp4", 40, rate=10).read_bytes()
    matroska = write_video(folder / "whole.mkv", 40, rate=10).read_bytes()
    save_image(folder / "whole.jpg", 1)
    header = whole.rindex(b"moov")
    contents = {
        "empty.mp4": b"",
        "zeros.mp4": bytes(10_000),
        "garbage.mkv": random.Random(1).randbytes(20_000),
        "garbage.webm": random.Random(2).randbytes(20_000),
        "text.avi": b"this is no video\n" * 100,
        "page.mp4": b"<!DOCTYPE html><html>sign in</html>",
        "image.mov": (folder / "whole.jpg").read_bytes(),
        "archive.m4v": b"PK\x03\x04" + bytes(500),
        "playlist.mp4": b"#EXTM3U\n#EXTINF:4,\nwhole.mp4\n#EXT-X-ENDLIST\n",
        "script.mov": b"ffconcat version 1.0\nfile whole.mp4\n",
        "without-index.mp4": whole[: header - 4],
        "damaged-index.mp4": whole[:header] + bytes(len(whole) - header),
        "header.mkv": matroska[:60],
        "unknown-codec.mp4": whole.replace(b"mp4v", b"xxxx").replace(b"esds", b"xxxx"),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    write_sound(folder / "sound.mp4")
    write_sound(folder / "sound.mkv")
    write_video(folder / "nothing.mp4", frames=0)
    write_video(folder / "large.mp4", frames=1, size_wh=(320, 240))
    kinds = dict.fromkeys([*contents, "sound.mp4", "sound.mkv", "nothing.mp4", "good-00.mp4#t=99.5"], "bad_input")
    return {**kinds, "large.mp4": "too_large", "gone.mp4": "not_found"}


def label_list(folder, entries, tmp_path, **options):
    (folder / "list.txt").write_text("\n".join(entries))
    process = start(folder / "list.txt", tmp_path / "out", tmp_path / "calls", seconds=0.0, **options)
    process.join(timeout=300)
    assert process.exitcode == ExitCode.DONE, Path(f"{tmp_path}/calls.{process.pid}").read_text()
    return Labels(tmp_path / "out").frame("images")


@pytest.mark.heavy
def test_twenty_hostile_videos_among_twenty_good_ones(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    good_videos(folder)
    hostile = hostile_videos(folder)
    assert len(hostile) == 20
    good = sorted(path.name for path in folder.glob("good-*"))
    images = label_list(folder, [*good, *hostile], tmp_path, max_pixels=10_000)
    assert images.image_id.is_unique
    bad = images[images.status == "failed"]
    assert bad.listed_as.is_unique and bad.set_index("listed_as").error_kind.to_dict() == hostile
    assert not bad[bad.error_kind == "bad_input"].time_s.any()
    sound = images[images.status == "ok"]
    assert sound.groupby("listed_as").time_s.apply(list).apply(sorted).to_dict() == {
        name: pytest.approx(list(range(SECONDS))) for name in good
    }


@pytest.mark.heavy
def test_what_of_a_video_is_whole_is_labelled(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    data = write_video(folder / "whole.mp4", 100, rate=10, options={"movflags": "faststart"}).read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    damaged = data[: len(data) // 2] + b"\xff" * 700 + data[len(data) // 2 + 700 :]
    (folder / "damaged.mp4").write_bytes(damaged)
    images = label_list(folder, ["cut.mp4", "damaged.mp4"], tmp_path)
    cut, damaged = (images[images.listed_as == name].sort_values("time_s") for name in ("cut.mp4", "damaged.mp4"))
    assert cut.status.tolist() == ["ok"] * (len(cut) - 1) + ["failed"] and 3 < len(cut) < 9
    assert cut.error_kind.iloc[-1] == "bad_input" and "cut off" in cut.error_message.iloc[-1]
    assert damaged.time_s.tolist() == pytest.approx(list(range(10)))
    kinds = damaged.error_kind.fillna("").tolist()
    assert set(kinds) == {"", "truncated"} and kinds.count("") > 6


@pytest.mark.heavy
def test_a_job_that_is_killed_goes_on_with_the_frames_that_have_no_rows(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(2):
        write_video(folder / f"{number}.mp4", 150, rate=1, codec="libx264", bframes=2, gop=50)
    log = tmp_path / "calls"
    rng = random.Random(3)
    for _ in range(4):
        process = start(folder, tmp_path / "out", log, seconds=0.02)
        before = log.stat().st_size if log.exists() else 0
        while process.is_alive() and (log.stat().st_size if log.exists() else 0) < before + 20:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.join()
    for name in ("out", "whole"):
        process = start(folder, tmp_path / name, log if name == "out" else tmp_path / "other", seconds=0.0)
        process.join(timeout=300)
        assert process.exitcode == ExitCode.DONE
    disturbed, whole = (Labels(tmp_path / name).frame("images").set_index("image_id") for name in ("out", "whole"))
    same = ["uri", "status", "time_s", "width", "height", "num_detections"]
    assert len(whole) == 300 and set(whole.status) == {"ok"}
    assert disturbed.sort_index()[same].equals(whole.sort_index()[same])
    assert log.stat().st_size < 300 + 5 * (PART_IMAGES + 32 + 8)  # what is repeated is an open part a kill


def resident_mib() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@pytest.mark.heavy
def test_memory_does_not_grow_while_two_hours_of_video_are_read(tmp_path):
    path = write_video(tmp_path / "a.mp4", 7200, rate=1, size_wh=(320, 240), gop=30)
    peaks, references = [], list(index_members(str(path)))
    assert len(references) == 7200
    for number, reference in enumerate(references):
        expect_frame(reference.location)
        frame = decoded_frame(read_frame(reference.location, ReadOptions()), DecodeOptions())
        if number % 1800 == 1799:
            assert number_of(frame.pixels) == number % 576
            peaks.append(resident_mib())
    close_containers()
    print(peaks)
    assert peaks[-1] < peaks[0] + 10  # beside what a runner keeps of each image, some kilobytes
