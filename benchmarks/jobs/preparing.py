"""What is won by preparing images ahead?  python -m benchmarks.jobs.preparing [--device-ms 10]

A device that computes by itself, 10 ms an image, and takes what engine keras makes of an image for CenterNet (a resize
on the host). Once it is made in the threads that decode (`PreparingDetector`), once in the call `detect`, by 8 threads
at once, which the device waits for. JPEGs of 0.3 megapixels; time is what a job of all images takes longer than a job
of one batch, the sides in turns, each in processes of its own; the least of all rounds counts.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from labelbeam.detectors.keras.centernet.preprocess import INPUT_SIZE_HW, preprocess
from labelbeam.detectors.keras.detector import KerasInput
from labelbeam.detectors.protocol import Detections

from ..figures import Figure, arguments, in_own_process, publish
from ..free_detector import free_label_config, labels_seconds
from ..photos import write_jpegs
from .feeding import FakeDevice, FakeDeviceSpec

THREADS = 8
SIZE_WH = (640, 480)


class ResizingDevice(FakeDevice):
    """Makes its input in `detect`, as engine keras does with images that weren't prepared."""

    def __init__(self, seconds: float):
        super().__init__(seconds)
        self._host = ThreadPoolExecutor(THREADS)

    def detect(self, images: Sequence[np.ndarray | KerasInput]) -> list[Detections]:
        batch = np.empty((len(images), *INPUT_SIZE_HW, 3), np.float32)
        list(self._host.map(_put, images, batch))
        return super().detect(batch)


class PreparedDevice(ResizingDevice):
    """Has its input made ahead."""

    def prepare(self, image: np.ndarray) -> KerasInput:
        return KerasInput(*preprocess(image))


@dataclass(frozen=True)
class DeviceSpec(FakeDeviceSpec):
    """Loads either device."""

    ahead: bool = False

    def load(self) -> ResizingDevice:
        return (PreparedDevice if self.ahead else ResizingDevice)(self.seconds)


def _put(image: np.ndarray | KerasInput, out: np.ndarray) -> None:
    if isinstance(image, KerasInput):
        np.copyto(out, image.pixels)
    else:
        preprocess(image, out)


def milliseconds(folder: Path, few: int, many: int, device_ms: float, ahead: bool) -> float:
    """By the clock, that an image adds to a job; for a fresh process."""
    labels = free_label_config()
    spec = DeviceSpec(**{**vars(labels.detector), "seconds": device_ms / 1000, "ahead": ahead})
    labels = replace(labels, detector=spec)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        # The first job pays for what a process does once.
        _, few_s, many_s = (
            labels_seconds(labels, folder, Path(name, str(number)), count)
            for number, count in enumerate((few, few, many))
        )
    return 1000 * (many_s - few_s) / (many - few)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--device-ms", type=float, default=10.0, help="of an image (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the fastest counts (%(default)s)")
    args = parser.parse_args()
    rounds, (few, many) = (1, (16, 160)) if args.quick else (args.rounds, (16, 512))
    with tempfile.TemporaryDirectory() as name:
        folder = write_jpegs(Path(name, "jpegs"), many, SIZE_WH)
        found = [
            [in_own_process(milliseconds, folder, few, many, args.device_ms, ahead) for ahead in (True, False)]
            for _ in range(rounds)
        ]
    for (ahead_ms, _), (call_ms, _) in found:
        print(f"prepared ahead {ahead_ms:.2f} ms an image, in the call {call_ms:.2f}, the device {args.device_ms:g}")
    (ahead_ms, ahead_mib), (call_ms, call_mib) = map(min, zip(*found, strict=True))
    what = f"job, a device of {args.device_ms:g} ms an image, prepared ahead"
    publish(
        [
            Figure(
                what, "in the call", "ms an image", ahead_ms, call_ms, False, ours_mib=ahead_mib, theirs_mib=call_mib
            ),
            Figure(what, "the device alone", "ms an image", ahead_ms, args.device_ms, False),
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
