"""Videos as containers: which frames are listed, and what is read of them."""

import os
import random
import threading

import numpy as np
import pytest
from labelbeam.storage.read_options import ReadOptions
from labelbeam.transforms.decode.frame import decoded_frame
from labelbeam.transforms.elements import ImageError, ImageReference
from labelbeam.transforms.fetch.options import DecodeOptions
from labelbeam.transforms.sources.containers import close_containers, expect_frame, index_members, read_frame
from labelbeam.transforms.sources.inputs import InputError, ListOptions

from tests.fakes.videos import SIZE_WH, number_of, write_sound, write_video


@pytest.fixture(autouse=True)
def closed_containers():
    yield
    close_containers()


def listed(path, every="1f"):
    return list(index_members(str(path), ListOptions(frames_every=every)))


def names(path, every):
    return [reference.uri.removeprefix(f"{path}#") for reference in listed(path, every)]


def pixels_of(reference, **options):
    return decoded_frame(read_frame(reference.location, ReadOptions()), DecodeOptions(**options)).pixels


def numbers(references):
    return [number_of(pixels_of(reference)) for reference in references]


@pytest.mark.parametrize(
    "name, codec, bframes",
    [
        ("a.mp4", "mpeg4", 0),
        ("a.mp4", "libx264", 2),
        ("a.m4v", "libx264", 0),
        ("a.mov", "mpeg4", 2),
        ("a.avi", "mpeg4", 2),
        ("a.avi", "libx264", 2),
        ("a.mkv", "libx264", 3),
        ("a.webm", "libvpx", 0),
    ],
)
def test_each_frame_has_its_time_and_its_own_pixels(tmp_path, name, codec, bframes):
    path = write_video(tmp_path / name, codec=codec, bframes=bframes)
    references = listed(path)
    assert [reference.location.time_s for reference in references] == pytest.approx([i / 25 for i in range(60)])
    assert references[13].uri == f"{path}#t=0.520"
    assert numbers(references) == list(range(60))
    shuffled = random.Random(1).sample(range(60), 20)
    assert numbers([references[i] for i in shuffled]) == shuffled


@pytest.mark.parametrize(
    "every, expected",
    [("1", [0, 25, 50]), ("0.5", [0, 13, 25, 38, 50]), ("7f", range(0, 60, 7)), ("keyframes", [0, 12, 24, 36, 48])],
)
def test_frames_every(tmp_path, every, expected):
    path = write_video(tmp_path / "a.mp4", codec="libx264", bframes=2)
    references = listed(path, every)
    assert [round(reference.location.time_s * 25) for reference in references] == list(expected)
    assert numbers(references) == list(expected)


def test_frames_that_are_far_apart_are_read_without_those_between(tmp_path):
    path = write_video(tmp_path / "a.mkv", frames=300, gop=10, codec="libx264", bframes=2)
    references = listed(path, "55f")
    for reference in references:
        expect_frame(reference.location)
    assert numbers(references) == list(range(0, 300, 55))


def test_threads_may_ask_for_the_frames_of_a_stretch_in_any_order(tmp_path):
    references = listed(write_video(tmp_path / "a.mp4"), "5f")
    for reference in references:
        expect_frame(reference.location)
    assert numbers(references[3:5] + references[:3] + references[5:]) == [15, 20, 0, 5, 10, *range(25, 60, 5)]
    for reference in references:  # a bundle that is repeated
        expect_frame(reference.location)
    assert numbers(references) == list(range(0, 60, 5))


def test_variable_rates(tmp_path):
    times = [0, 10, 400, 1500, 1501, 1502, 4200, 4700, 5000]
    path = write_video(tmp_path / "a.mp4", times_ms=times)
    assert [reference.location.time_s for reference in listed(path)] == pytest.approx([t / 1000 for t in times])
    assert names(path, "1") == ["t=0.000", "t=1.500", "t=4.200", "t=5.000"]
    assert numbers(listed(path)) == list(range(9))


def test_frames_within_a_millisecond_have_names_of_their_own(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=30, rate=2500)
    assert names(path, "10f") == ["t=0.000000", "t=0.004000", "t=0.008000"]
    assert len(set(names(path, "1f"))) == 30


@pytest.mark.parametrize("turned, size_hw", [(90, (64, 48)), (-90, (64, 48)), (180, (48, 64))])
def test_rotation_is_applied_or_ignored(tmp_path, turned, size_hw):
    [reference] = listed(write_video(tmp_path / "a.mp4", frames=1, turned=turned))
    assert pixels_of(reference).shape[:2] == size_hw
    assert pixels_of(reference, exif_orientation="ignore").shape[:2] == SIZE_WH[::-1]


def test_stretches_have_at_most_128_frames(tmp_path):
    references = listed(write_video(tmp_path / "a.mp4", frames=300))
    assert [reference.location.chunk for reference in references] == [0] * 128 + [1] * 128 + [2] * 44


def test_stretches_have_at_most_so_many_bytes_of_the_video(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", frames=60)
    limit = path.stat().st_size // 5
    monkeypatch.setattr("labelbeam.transforms.sources.containers.video.CHUNK_BYTES", limit)
    chunks = [reference.location.chunk for reference in listed(path)]
    assert chunks == sorted(chunks) and 4 <= len(set(chunks)) <= 10


def test_sound_beside_the_images_changes_nothing(tmp_path):
    assert names(write_video(tmp_path / "a.mp4", sound=True), "1") == ["t=0.000", "t=1.000", "t=2.000"]


def damaged(tmp_path, damage):
    """A video that something is wrong with."""
    path = tmp_path / "x.mp4"
    if damage == "sound":
        return write_sound(path)
    if damage == "nothing":
        write_video(path, frames=0)
    elif damage == "playlist":
        write_video(tmp_path / "other.mp4")
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\nother.mp4\n#EXT-X-ENDLIST\n")
    else:
        path.write_bytes({"empty": b"", "garbage": random.Random(3).randbytes(5000)}.get(damage) or b"")
    if damage == "cut":
        path.write_bytes(write_video(tmp_path / "whole.mp4").read_bytes()[:-3000])
    return path


@pytest.mark.parametrize(
    "damage, message",
    [
        ("sound", "only sound"),
        ("nothing", "without"),
        ("playlist", "no video"),
        ("empty", "no video, or damaged at its start"),
        ("garbage", "no video, or damaged at its start"),
        ("cut", "no video, or damaged at its start"),
    ],
)
def test_what_is_no_video_says_so(tmp_path, damage, message):
    with pytest.raises(InputError, match=rf"x\.mp4: .*{message}"):
        listed(damaged(tmp_path, damage))


@pytest.mark.parametrize("name, options", [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {}), ("a.avi", {})])
def test_a_video_that_is_cut_off_has_the_frames_before_and_a_problem(tmp_path, name, options):
    path = write_video(tmp_path / name, frames=200, options=options, size_wh=(320, 240))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *frames, last = listed(path)
    assert 50 < len(frames) < 150 and not any(reference.problem for reference in frames)
    assert "cut off" in last.problem or "can't be read on" in last.problem
    assert numbers(frames[:40]) == list(range(40))


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_broken_packets_fail_their_frames_up_to_the_next_keyframe(tmp_path, codec):
    path = write_video(tmp_path / "a.mp4", frames=60, codec=codec, gop=20, size_wh=(128, 96))
    import av

    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    before, after = next((a, b) for a, b in zip(keys, keys[1:]) if a > 10 and b > a + 3)
    broken = before + 2
    data = bytearray(path.read_bytes())
    place, size = places[broken]
    data[place : place + size] = bytes([0xFF]) * size
    path.write_bytes(data)
    references = listed(path)
    assert len(references) == 60
    outcomes = []
    for reference in references:
        try:
            outcomes.append(number_of(pixels_of(reference)))
        except ImageError as error:
            assert error.kind == "truncated" and "damaged at" in error.message
            outcomes.append(None)
    assert outcomes == [*range(broken), *[None] * (after - broken), *range(after, 60)]


def test_a_video_that_is_replaced_fails_its_frames(tmp_path):
    references = listed(write_video(tmp_path / "a.mp4"))
    (tmp_path / "a.mp4").write_bytes(b"other")
    with pytest.raises(ImageError) as error:
        read_frame(references[0].location, ReadOptions())
    assert error.value.kind == "truncated" and "changed since" in error.value.message
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(ImageError) as error:
        read_frame(references[0].location, ReadOptions())
    assert error.value.kind == "not_found"


def test_a_disk_that_hangs_is_given_up(tmp_path):
    [reference, *_] = listed(write_video(tmp_path / "a.mp4"))
    (tmp_path / "a.mp4").unlink()
    os.mkfifo(tmp_path / "a.mp4")  # which makes who opens it wait
    for _ in range(2):
        with pytest.raises(ImageError) as error:
            read_frame(reference.location, ReadOptions(deadline_s=0.1))
        assert error.value.kind == "timeout" and "reading hangs" in error.value.message
    os.close(os.open(tmp_path / "a.mp4", os.O_RDWR | os.O_NONBLOCK))


def test_frames_of_one_stretch_are_read_by_one_thread(tmp_path):
    """And that ends with it."""
    references = listed(write_video(tmp_path / "a.mp4"))
    close_containers()
    others = set(threading.enumerate())
    readers = set()
    for reference in references:
        read_frame(reference.location, ReadOptions())
        readers |= {thread for thread in threading.enumerate() if thread not in others}
    [reader] = readers
    close_containers()
    reader.join(10)
    assert not reader.is_alive()


def test_a_name_may_hold_what_urls_escape(tmp_path):
    path = write_video(tmp_path / "a.mp4").rename(tmp_path / "50% #1 é?.mp4")
    assert names(path, "12f")[1] == "t=0.480"
    assert np.shape(pixels_of(listed(path)[0])) == (48, 64, 3)
    assert isinstance(listed(path)[0], ImageReference)


@pytest.mark.parametrize("every", ["0", "-1", "0f", "often", "1e3", "f", ""])
def test_other_choices_are_refused(every):
    with pytest.raises(InputError, match="expected seconds"):
        ListOptions(frames_every=every)
