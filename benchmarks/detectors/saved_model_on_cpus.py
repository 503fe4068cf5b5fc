"""How should engine saved_model keep a CPU's cores busy: with several calls of the published graph at once, or one
with all threads?

    python -m benchmarks.detectors.saved_model_on_cpus SAVED_MODEL [--images 24] [--rounds 3] [--quick] [--json FILE]

Every way runs in processes of its own, since TensorFlow's threads are set once a process; rounds alternate between
the ways, and the median counts. `intra` are threads that share one operation, `inter` those that run operations side
by side; TensorFlow takes as many as there are cores for both. The last rows let grappler run the whole graph's
convolutions in bfloat16 (`auto_mixed_precision_onednn_bfloat16`), which labelbeam doesn't offer: they say what it
would win, and what it does to detections above 0.3 (the share that is matched by one of the same class with an IoU of
0.9).
"""

import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from labelbeam.detectors.device_share import processors
from labelbeam.detectors.protocol import Detections, DetectOptions

from ..figures import Figure, arguments, in_own_process, publish
from ..photos import crops
from .keras_precision import LOOSER, MIN_SCORE, score_differences


class Way(NamedTuple):
    """How the graph is run; 0 threads leave their number to TensorFlow."""

    calls: int
    intra: int = 0
    inter: int = 0
    bfloat16: bool = False

    def __str__(self) -> str:
        threads = f", {self.intra} intra and {self.inter} inter threads" if self.intra else ""
        return (
            f"{self.calls} call{'s' * (self.calls > 1)} at once{threads}{', convolutions in bfloat16' * self.bfloat16}"
        )


def measure(saved_model: str, way: Way, batch: int) -> tuple[float, list[Detections]]:
    """Images a second, and what was found."""
    import tensorflow as tf
    from labelbeam.detectors.saved_model import SavedModelDetector

    tf.config.threading.set_intra_op_parallelism_threads(way.intra)
    tf.config.threading.set_inter_op_parallelism_threads(way.inter)
    if way.bfloat16:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    detector = SavedModelDetector(saved_model, DetectOptions(min_score=LOOSER, masks=False), concurrent_calls=way.calls)
    images = crops(batch)
    detector.detect(images[:2])  # traces, optimises, and fills oneDNN's caches
    began = time.perf_counter()
    found = detector.detect(images)
    return len(images) / (time.perf_counter() - began), found


def ways(cores: int) -> list[Way]:
    """The first is the peer of all others."""
    found = [Way(1), Way(2), Way(2 * cores), Way(cores, intra=1, inter=cores), Way(cores, intra=1, inter=1)]
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        found += [Way(1, bfloat16=True), Way(2, bfloat16=True)]
    return list(dict.fromkeys(found))


def share_matched(found: list[Detections], others: list[Detections], batch: int) -> float:
    matched = sum(
        len(score_differences(a, b, image.shape[:2])) for a, b, image in zip(found, others, crops(batch), strict=True)
    )
    return matched / max(1, sum(int((d.scores >= MIN_SCORE).sum()) for d in found))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("saved_model", help="folder of the published SavedModel")
    parser.add_argument("--images", type=int, default=24, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rounds = 1 if args.quick else args.rounds
    measured = {way: [] for way in ways(processors())}
    for _ in range(rounds):
        for way, results in measured.items():
            results.append(in_own_process(measure, args.saved_model, way, args.images))
    peer, *others = measured
    name = Path(args.saved_model).name
    rates = {way: statistics.median(rate for (rate, _), _ in results) for way, results in measured.items()}
    peaks = {way: max(peak for _, peak in results) for way, results in measured.items()}
    publish(
        [
            Figure(
                f"{name}, {way}",
                str(peer),
                "images/s",
                rates[way],
                rates[peer],
                higher_is_better=True,
                ours_mib=peaks[way],
                theirs_mib=peaks[peer],
            )
            for way in others
        ],
        args.json,
    )
    (_, reference), _ = measured[peer][0]
    for way in others:
        (_, found), _ = measured[way][0]
        share = share_matched(reference, found, args.images)
        print(f"{way}: {share:.1%} of the detections are matched; {np.mean([len(d) for d in found]):.1f} an image")


if __name__ == "__main__":
    main()
