"""Large scenes in tiles, by labelbeam and by SAHI: the same detector, tiles and overlap; boxes' AP and s/image.

    python -m venv --system-site-packages /tmp/sahi && /tmp/sahi/bin/pip install sahi
    /tmp/sahi/bin/python -m benchmarks.detectors.tiles_vs_sahi --scenes FOLDER     # of detectors.demo.large_scenes
    … --scenes FOLDER --crop 1280 1920 --detector centernet_resnet50v2_512x512 --engine keras --weights FILE

SAHI runs in its default way (merging by intersection over the smaller), with greedy suppression by IoU, and as that
without the whole image: so it looks at an image as often as labelbeam does without larger tiles. CPU
seconds count all threads of the process: on a busy machine they say more than the time. With `--crop`, for detectors
that don't know the scenes' toys, there is no AP.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from labelbeam.detectors.config import load_config
from labelbeam.detectors.load import prepare
from labelbeam.detectors.protocol import Detections, DetectOptions, Detector
from labelbeam.detectors.tiling.detector import TiledDetector
from labelbeam.detectors.tiling.options import TileOptions
from PIL import Image
from sahi.models.base import DetectionModel
from sahi.predict import get_sliced_prediction
from sahi.prediction import ObjectPrediction

from .tiles import MAX_DETECTIONS, average_precision


class _Counted:
    """A detector that counts how many images it is given."""

    def __init__(self, detector: Detector):
        self._detector, self.batches, self.looks = detector, detector.batches, 0

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.looks += len(images)
        return self._detector.detect(images)


class Wrapped(DetectionModel):
    """A labelbeam detector as SAHI wants one."""

    def __init__(self, detector: Detector, labels: dict[int, str]):
        self._detector, self._labels = detector, labels
        super().__init__(confidence_threshold=0.05, load_at_init=False)
        self.category_mapping = {str(i): name for i, name in labels.items()}

    def perform_inference(self, image: np.ndarray) -> None:
        [self._found] = self._detector.detect([np.ascontiguousarray(image)])
        self._size = np.tile(np.array(image.shape[:2], np.float32), 2)

    def _create_object_prediction_list_from_original_predictions(self, shift_amount_list=None, full_shape_list=None):
        shift, shape = _first(shift_amount_list) or [0, 0], _first(full_shape_list)
        found: Detections = self._found
        self._object_prediction_list_per_image = [
            [
                ObjectPrediction(
                    bbox=[x0, y0, x1, y1],
                    category_id=int(class_id),
                    category_name=self._labels.get(int(class_id), str(class_id)),
                    score=float(score),
                    shift_amount=shift,
                    full_shape=shape,
                )
                for (y0, x0, y1, x1), class_id, score in zip(
                    (found.boxes_yxyx * self._size).tolist(), found.class_ids, found.scores, strict=True
                )
                if x1 > x0 and y1 > y0
            ]
        ]


def _first(pairs):
    """SAHI gives a list of pairs, or the only pair itself."""
    return pairs[0] if pairs and isinstance(pairs[0], list) else pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--detector", default="demo")
    parser.add_argument("--engine")
    parser.add_argument("--weights")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--crop", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="only so much of each scene")
    args = parser.parse_args()
    config = load_config(args.detector)
    options = DetectOptions(min_score=0.05, masks=False)
    detector = _Counted(prepare(config, engine=args.engine, weights=args.weights, options=options).load())
    side = config.input_size_hw[0]
    tiles = TileOptions(config.input_size_hw)
    wrapped = Wrapped(detector, config.labels)
    ways = {
        "labelbeam": lambda image: _rows(TiledDetector(detector, tiles, MAX_DETECTIONS).detect([image])[0], image),
        "labelbeam, no larger tiles": lambda image: _rows(
            TiledDetector(detector, TileOptions(tiles.size_hw, tiles.overlap, False), MAX_DETECTIONS).detect([image])[
                0
            ],
            image,
        ),
        "SAHI": lambda image: _sahi(wrapped, image, side, tiles.overlap, "GREEDYNMM", "IOS"),
        "SAHI, suppression": lambda image: _sahi(wrapped, image, side, tiles.overlap, "NMS", "IOU"),
        "SAHI, suppression, no whole image": lambda image: _sahi(
            wrapped, image, side, tiles.overlap, "NMS", "IOU", whole=False
        ),
    }
    truth = json.loads((args.scenes / "instances.json").read_text())
    height, width = args.crop or (None, None)
    images = {
        i["id"]: np.asarray(Image.open(args.scenes / i["file_name"]))[:height, :width].copy() for i in truth["images"]
    }
    results, seconds, cpu_seconds, looks = ({way: [] for way in ways} for _ in range(4))
    next(iter(ways.values()))(next(iter(images.values())))  # what is done once
    for turn in range(args.rounds):
        for image_id, image in images.items():
            for way, detect in ways.items():
                started, cpu_started, looks_before = time.perf_counter(), time.process_time(), detector.looks
                rows = detect(image)
                seconds[way].append(time.perf_counter() - started)
                cpu_seconds[way].append(time.process_time() - cpu_started)
                looks[way].append(detector.looks - looks_before)
                if turn == 0:
                    results[way] += [{"image_id": image_id, **row} for row in rows]
    print("| | box AP | looks | s/image | shortest | CPU s/image | CPU ms/look |\n|---|---|---|---|---|---|---|")
    for way in ways:
        ap = "" if args.crop else f"{average_precision(args.scenes / 'instances.json', results[way], 'bbox'):.3f}"
        num_looks, cpu = statistics.mean(looks[way]), statistics.mean(cpu_seconds[way])
        shortest = statistics.mean(min(seconds[way][i :: len(images)]) for i in range(len(images)))
        print(
            f"| {way} | {ap} | {num_looks:.0f} | {statistics.mean(seconds[way]):.2f} | {shortest:.2f} | {cpu:.2f} "
            f"| {cpu / num_looks * 1000:.0f} |"
        )


def _rows(found: Detections, image: np.ndarray) -> list[dict]:
    boxes = (found.boxes_yxyx * np.tile(np.array(image.shape[:2], np.float32), 2)).tolist()
    return [
        {"category_id": int(c), "score": float(s), "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for (y0, x0, y1, x1), c, s in zip(boxes, found.class_ids, found.scores, strict=True)
    ]


def _sahi(
    model: Wrapped, image: np.ndarray, side: int, overlap: float, kind: str, metric: str, whole: bool = True
) -> list[dict]:
    found = get_sliced_prediction(
        image,
        model,
        slice_height=side,
        slice_width=side,
        overlap_height_ratio=overlap,
        overlap_width_ratio=overlap,
        perform_standard_pred=whole,
        postprocess_type=kind,
        postprocess_match_metric=metric,
        verbose=0,
    )
    return [
        {"category_id": o.category.id, "score": float(o.score.value), "bbox": o.bbox.to_xywh()}
        for o in found.object_prediction_list
    ]


if __name__ == "__main__":
    main()
