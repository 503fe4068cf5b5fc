"""COCO average precision of a SavedModel with the published signature, on scenes drawn from seeds.

    python -m labelbeam.detectors.demo.evaluate detectors/demo/model

This judges the detector by itself, without any pipeline: the scenes go through a JPEG encoder and straight into the
graph. To judge what a job has written, compare its tables with the `instances.json` of `dataset`. Needs
`pycocotools`, which `pip install labelbeam[test]` brings.
"""

import argparse
import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from .dataset import coco_instances, jpeg_bytes
from .scenes import EVALUATION_SEEDS, Scene, draw_scene

_FIGURES = ("", "_50", "_75", "_small", "_medium", "_large")


def average_precision(
    folder: Path, seeds: Sequence[int] = EVALUATION_SEEDS, score_threshold: float = 0.05
) -> dict[str, float]:
    """Box and mask AP with up to 100 detections a scene.

    Args:
        folder: of the SavedModel.
        seeds: of the scenes.
        score_threshold: detections have to score more than this to count.

    Returns:
        `box` and `mask`: AP@[.5:.95]; `box_50` and `box_75`: at one IoU; `box_small` (below 32 x 32 pixels),
        `box_medium` and `box_large` (from 96 x 96 pixels), and the same of `mask`. -1 where there is nothing to find.

    Raises:
        ImportError: without pycocotools.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError("average_precision needs pycocotools: pip install labelbeam[test]") from error

    detect = tf.saved_model.load(str(folder)).signatures["serving_default"]
    results = []

    def labelled() -> Iterator[Scene]:
        for seed in seeds:
            scene = draw_scene(seed)
            results.extend(_coco_results(detect, scene, score_threshold))
            yield scene

    figures = {}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables
        truth = COCO()
        truth.dataset = coco_instances(labelled())
        truth.createIndex()
        for kind, name, other in (("bbox", "box", "segmentation"), ("segm", "mask", "bbox")):
            # One kind at a time: with both, loadRes would measure masks by their boxes' areas.
            rows = [{key: value for key, value in result.items() if key != other} for result in results]
            if not rows:
                figures |= {f"{name}{figure}": 0.0 for figure in _FIGURES}
                continue
            scorer = COCOeval(truth, truth.loadRes(rows), kind)
            scorer.evaluate()
            scorer.accumulate()
            scorer.summarize()
            figures |= {
                f"{name}{figure}": round(float(value), 4) for figure, value in zip(_FIGURES, scorer.stats, strict=False)
            }
    return figures


def _coco_results(detect, scene: Scene, score_threshold: float) -> list[dict]:
    from pycocotools import mask as coco_mask

    height, width = scene.image.shape[:2]
    image = np.asarray(Image.open(io.BytesIO(jpeg_bytes(scene.image))))
    outputs = {name: value.numpy()[0] for name, value in detect(input_tensor=image[None]).items()}
    results = []
    for row in np.flatnonzero(outputs["detection_scores"] > score_threshold):
        box = outputs["detection_boxes"][row]
        ymin, xmin, ymax, xmax = (box * [height, width, height, width]).tolist()
        pasted = paste_mask(outputs["detection_masks"][row], box, (height, width))
        results.append(
            {
                "image_id": scene.seed, "category_id": int(outputs["detection_classes"][row]),
                "score": float(outputs["detection_scores"][row]), "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                "segmentation": coco_mask.encode(np.asfortranarray(pasted, np.uint8)),
            }
        )  # fmt: skip
    return results


def paste_mask(mask: np.ndarray, box_yxyx: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A mask in the image, as users of the published models paste it: `crop_and_resize` with the box turned inside
    out, then > 0.5.

    Args:
        mask: float32 [33, 33].
        box_yxyx: float32 [4], shares of the image.
        size_hw: size of the image.

    Returns:
        bool [H, W].
    """
    extent = np.maximum(box_yxyx[2:] - box_yxyx[:2], 1e-4)
    inverse = np.concatenate([-box_yxyx[:2] / extent, (1 - box_yxyx[:2]) / extent]).astype(np.float32)
    return tf.image.crop_and_resize(mask[None, ..., None], inverse[None], [0], size_hw)[0, ..., 0].numpy() > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description="COCO average precision on unseen scenes.")
    parser.add_argument("model", type=Path, help="folder of a SavedModel")
    parser.add_argument("--scenes", type=int, default=len(EVALUATION_SEEDS), help="how many of the evaluation scenes")
    options = parser.parse_args()
    for name, figure in average_precision(options.model, EVALUATION_SEEDS[: options.scenes]).items():
        print(f"{name:12} {figure:.4f}")


if __name__ == "__main__":
    main()
