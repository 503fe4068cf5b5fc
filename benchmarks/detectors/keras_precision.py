"""What does bfloat16 change in the labels? Engine keras against itself, in float32 and in bfloat16, on the same images.

    python -m benchmarks.detectors.keras_precision SAVED_MODEL_FOLDER --detector centernet_resnet50v2_512x512 \
        [--images 100]

For two label sets that exist already, `labelbeam compare A B` does the same and more.

Detections above 0.3 in float32 are matched with those in bfloat16 (same class, IoU of 0.9 or more, each once,
greatest overlap first). Prints the share that has one, the same the other way round, and the greatest difference of
scores of two that match.
"""

import numpy as np
from labelbeam.detectors.keras.detector import KerasDetector
from labelbeam.detectors.keras.weights import find_weights_file
from labelbeam.detectors.protocol import Detections, DetectOptions
from labelbeam.results.matching import box_iou, match_greedily, pairs_of_equal_keys

from ..figures import Figure, arguments, publish
from ..photos import crops

MIN_SCORE, MIN_IOU = 0.3, 0.9
LOOSER = 0.15  # of the threshold, for what they are matched with


def boxes_xywh(found: Detections, size_hw: tuple[int, int]) -> np.ndarray:
    """Float64 `[N, 4]` in pixels."""
    top_left, bottom_right = (corners * np.float64(size_hw) for corners in np.split(found.boxes_yxyx, 2, axis=1))
    return np.concatenate([top_left, bottom_right - top_left], axis=1)[:, [1, 0, 3, 2]]


def score_differences(found: Detections, others: Detections, size_hw: tuple[int, int]) -> np.ndarray:
    """Score differences of the detections above the threshold that are matched."""
    order = np.argsort(others.class_ids, kind="stable")
    first, second = pairs_of_equal_keys(found.class_ids, others.class_ids[order])
    second = order[second]
    overlaps = box_iou(boxes_xywh(found, size_hw)[first], boxes_xywh(others, size_hw)[second])
    candidates = overlaps >= MIN_IOU
    first, second, overlaps = first[candidates], second[candidates], overlaps[candidates]
    chosen = match_greedily(first, second, overlaps)
    chosen = chosen[found.scores[first[chosen]] >= MIN_SCORE]
    return np.abs(found.scores[first[chosen]] - others.scores[second[chosen]])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("saved_model", help="folder of the published SavedModel, or a .weights.h5 file")
    parser.add_argument("--detector", required=True)
    parser.add_argument("--images", type=int, help="default: 100, with --quick 12")
    args = parser.parse_args()
    images, file = crops(args.images or (12 if args.quick else 100)), find_weights_file(args.detector, args.saved_model)
    found, figures = {}, []
    for precision in ("float32", "bfloat16"):
        detector = KerasDetector(
            args.detector, file, DetectOptions(min_score=LOOSER, masks=False), precision=precision, max_batch_size=4
        )
        found[precision] = [d for start in range(0, len(images), 4) for d in detector.detect(images[start : start + 4])]
    print(f"{args.detector}, {len(images)} images")
    for one, other in (("float32", "bfloat16"), ("bfloat16", "float32")):
        count = sum(int((d.scores >= MIN_SCORE).sum()) for d in found[one])
        differences = np.concatenate(
            [
                score_differences(a, b, image.shape[:2])
                for a, b, image in zip(found[one], found[other], images, strict=True)
            ]
        )
        print(
            f"{one}: {count} detections above {MIN_SCORE}; "
            f"matched in {other}: {len(differences) / max(count, 1):.2%}; "
            f"scores differ by {differences.max(initial=0):.3f} at most, "
            f"{differences.sum() / max(len(differences), 1):.4f} on average"
        )
        figures.append(
            Figure(
                f"{args.detector}, {len(images)} images: detections of {one} found in {other}",
                "all of them",
                "%",
                100 * len(differences) / max(count, 1),
                100,
                higher_is_better=True,
            )
        )
    print()
    publish(figures, args.json)


if __name__ == "__main__":
    main()
