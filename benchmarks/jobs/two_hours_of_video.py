"""Does memory grow along a video, and what is done again after a kill?  python -m benchmarks.jobs.two_hours_of_video

Writes a video of two hours (320×240 pixels, 2 frames a second), labels one frame of each second with a detector that
costs nothing, and prints the process's resident memory in ten stretches of the job. Then the same in another folder,
killed (SIGKILL) in the middle and resumed: how many frames were labelled twice. Peer: the first stretch.
"""

import os
import signal
import statistics
import tempfile
import time
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
from labelbeam.transforms.execution_options import ExecutionOptions

import labelbeam

from ..figures import Figure, arguments, publish
from ..free_detector import run_free_job

FRAMES_PER_SECOND = 2
SIZE_WH = (320, 240)
_SAMPLE_S = 0.1


def write_video(path: Path, seconds: int) -> None:
    """Smooth colours that move, a keyframe each ten seconds."""
    rng = np.random.default_rng(0)
    width, height = SIZE_WH
    ground = np.kron(rng.integers(0, 256, (height // 16, width // 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 10 * FRAMES_PER_SECOND
        for number in range(seconds * FRAMES_PER_SECOND):
            frame = av.VideoFrame.from_ndarray(np.roll(ground, number, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def label(video: Path, output: Path, seconds: int) -> None:
    result = run_free_job(video, output, seconds)
    skipped_file(output).write_text(str(result.record["skipped"]))


def skipped_file(output: Path) -> Path:
    """Says how many frames the last whole job found labelled."""
    return output.with_suffix(".skipped")


def parts_of(output: Path) -> list[Path]:
    return list((output / "images").glob("part-*.parquet"))


def run(video: Path, output: Path, seconds: int, kill_at_parts: int | None = None) -> tuple[list[float], float]:
    """Labels a video in a process of its own; kills it once there are so many parts.

    Returns:
      Its resident memory in MiB, sampled from its first part on, and its time in seconds.
    """
    process = get_context("spawn").Process(target=label, args=(video, output, seconds))
    started = time.monotonic()
    process.start()
    assert process.pid is not None
    samples = []
    while process.exitcode is None:
        if len(parts := parts_of(output)) > 0:
            samples.append(_resident_mib(process.pid))
        if kill_at_parts is not None and len(parts) >= kill_at_parts:
            os.kill(process.pid, signal.SIGKILL)
        process.join(_SAMPLE_S)
    if process.exitcode != (0 if kill_at_parts is None else -signal.SIGKILL):
        raise RuntimeError(f"the job ended with {process.exitcode}")
    return [mib for mib in samples if mib], time.monotonic() - started


def _resident_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def main() -> None:
    parser = arguments(__doc__)
    args = parser.parse_args()
    seconds = 1800 if args.quick else 7200
    num_parts = seconds // ExecutionOptions.part_images
    with tempfile.TemporaryDirectory() as folder:
        video, whole, killed = (Path(folder) / name for name in ("two-hours.mp4", "whole", "killed"))
        write_video(video, seconds)
        samples, whole_s = run(video, whole, seconds)
        tenths = [statistics.median(tenth) for tenth in np.array_split(np.array(samples), 10)]
        print(f"{seconds:,} frames in {whole_s:.0f} s; MiB by tenths: {', '.join(f'{mib:.0f}' for mib in tenths)}")
        run(video, killed, seconds, kill_at_parts=num_parts // 2)
        before = sum(pq.read_metadata(part).num_rows for part in parts_of(killed))
        run(video, killed, seconds)
        uris = labelbeam.open_label_set(str(killed)).arrow("images")["uri"].to_pylist()
        if not len(uris) == len(set(uris)) == seconds:
            raise AssertionError(f"{len(uris)} rows of {len(set(uris))} frames")
        resumed = seconds - int(skipped_file(killed).read_text())
        again = resumed + before - seconds
        print(f"Killed with {before:,} frames in parts; {resumed:,} labelled by the second job, {again} of them again")
    what = f"resident memory, last tenth of {seconds:,} frames"
    publish([Figure(what, "first tenth", "MiB", tenths[-1], tenths[0], False)], args.json)


if __name__ == "__main__":
    main()
