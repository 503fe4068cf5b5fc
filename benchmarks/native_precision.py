"""What does bfloat16 change in the labels? Engine native against itself, in float32 and in bfloat16, on the same pictures.

    python -m benchmarks.native_precision SAVED_MODEL_FOLDER --detector centernet_resnet50v2_512x512 [--pictures 100]

Detections above 0.3 in float32 look for a partner in bfloat16 (same class, IoU of 0.9 or more, each partner once, best scores
first). Prints the share that has one, the same the other way round, and the greatest difference of two partners' scores.
"""
import argparse

import numpy as np
from labelbeam.detectors.detector import Detections, DetectOptions
from labelbeam.detectors.native.detector import NativeDetector
from labelbeam.detectors.native.weights import find_weights_file

from .photos import crops

MIN_SCORE, MIN_IOU = 0.3, 0.9
LOOSER = 0.15  # partners may lie below the threshold


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Of one box `[4]` with boxes `[N, 4]`; two boxes without area overlap wholly if they are the same."""
    overlap = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    area = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - overlap
    same = np.abs(boxes - box).max(axis=1) < 1e-3
    return np.where(area > 0, overlap / np.maximum(area, 1e-12), same)


def partners(found: Detections, others: Detections) -> list[float]:
    """Score differences of the detections above the threshold that have a partner."""
    free, differences = np.ones(len(others), bool), []
    for box, class_id, score in zip(found.boxes_yxyx, found.class_ids, found.scores):
        if score >= MIN_SCORE and len(others):
            overlaps = np.where(free & (others.class_ids == class_id), iou(box, others.boxes_yxyx), 0)
            best = int(overlaps.argmax())
            if overlaps[best] >= MIN_IOU:
                free[best] = False
                differences.append(abs(float(score - others.scores[best])))
    return differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("saved_model", help="folder of the published SavedModel, or a .weights.h5 file")
    parser.add_argument("--detector", required=True)
    parser.add_argument("--pictures", type=int, default=100)
    args = parser.parse_args()
    pictures, file = crops(args.pictures), find_weights_file(args.detector, args.saved_model)
    found = {}
    for precision in ("float32", "bfloat16"):
        detector = NativeDetector(args.detector, file, DetectOptions(min_score=LOOSER, masks=False), precision=precision,
                                  max_batch_size=4)
        found[precision] = [d for start in range(0, len(pictures), 4) for d in detector.detect(pictures[start:start + 4])]
    print(f"{args.detector}, {len(pictures)} pictures")
    for one, other in (("float32", "bfloat16"), ("bfloat16", "float32")):
        count = sum(int((d.scores >= MIN_SCORE).sum()) for d in found[one])
        differences = [x for a, b in zip(found[one], found[other]) for x in partners(a, b)]
        print(f"{one}: {count} detections above {MIN_SCORE}; with a partner in {other}: {len(differences) / max(count, 1):.2%}; "
              f"scores differ by {max(differences, default=0):.3f} at most, {np.mean(differences or [0]):.4f} on average")


if __name__ == "__main__":
    main()
