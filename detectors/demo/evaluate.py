"""COCO average precision of a SavedModel with the published signature, on scenes drawn from seeds.

    python -m labelbeam.detectors.demo.evaluate detectors/demo/model

This judges the detector by itself, without any pipeline: the scenes go through a JPEG encoder and straight into the graph. To judge what a job has written,
compare its tables with the `instances.json` of `dataset`. Needs `pycocotools`, which `pip install labelbeam[test]` brings.
"""
import argparse
import contextlib
import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from .scenes import EVALUATION_SEEDS, draw_scene
from .shapes import CLASS_NAMES


def average_precision(folder: Path, seeds=EVALUATION_SEEDS, score_threshold: float = 0.05, jpeg_quality: int = 90) -> dict[str, float]:
    """Box and mask AP@[.5:.95] with up to 100 detections a scene.

    Returns:
        `box`, `mask`: the mean AP; `box_50`, `box_75`, `box_small` (below 32 x 32 pixels), `box_medium`, `box_large`, and the same of `mask`.

    Raises:
        ImportError: without pycocotools.
    """
    try:
        from pycocotools import mask as coco_mask
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError("average_precision needs pycocotools: pip install labelbeam[test]") from error

    detect = tf.saved_model.load(str(folder)).signatures["serving_default"]
    images, annotations, results = [], [], []
    for image_id, seed in enumerate(seeds, start=1):
        scene = draw_scene(seed)
        height, width = scene.image.shape[:2]
        images.append({"id": image_id, "height": height, "width": width})
        for box, class_id, mask in zip(scene.boxes_yxyx, scene.class_ids, scene.masks, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "category_id": int(class_id), "bbox": _xywh(box),
                    "area": float(mask.sum()), "iscrowd": 0, "segmentation": coco_mask.encode(np.asfortranarray(mask, np.uint8)),
                }
            )  # fmt: skip
        outputs = {name: value.numpy()[0] for name, value in detect(input_tensor=_as_jpeg(scene.image, jpeg_quality)[None]).items()}
        for row in np.flatnonzero(outputs["detection_scores"] > score_threshold):
            box = outputs["detection_boxes"][row]
            pasted = paste_mask(outputs["detection_masks"][row], box, (height, width))
            results.append(
                {
                    "image_id": image_id, "category_id": int(outputs["detection_classes"][row]),
                    "score": float(outputs["detection_scores"][row]), "bbox": _xywh(box * [height, width, height, width]),
                    "segmentation": coco_mask.encode(np.asfortranarray(pasted, np.uint8)),
                }
            )  # fmt: skip

    figures = {}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables
        truth = COCO()
        categories = [{"id": class_id, "name": name} for class_id, name in enumerate(CLASS_NAMES, start=1)]
        truth.dataset = {"images": images, "annotations": annotations, "categories": categories}
        truth.createIndex()
        for kind, name in (("bbox", "box"), ("segm", "mask")):
            # loadRes derives masks from boxes where there are any, so each kind gets its own copy.
            drop = {"bbox": "segmentation", "segm": "bbox"}[kind]
            rows = [{key: value for key, value in result.items() if key != drop} for result in results]
            if not rows:
                figures |= {name: 0.0}
                continue
            scorer = COCOeval(truth, truth.loadRes(rows), kind)
            scorer.evaluate()
            scorer.accumulate()
            scorer.summarize()
            names = (name, f"{name}_50", f"{name}_75", f"{name}_small", f"{name}_medium", f"{name}_large")
            figures |= dict(zip(names, (round(float(figure), 4) for figure in scorer.stats[:6]), strict=True))
    return figures


def paste_mask(mask: np.ndarray, box_yxyx: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A mask in the picture, as users of the published models paste it: `crop_and_resize` with the box turned inside out, then > 0.5.

    Args:
        mask: float32 [33, 33].
        box_yxyx: float32 [4], shares of the picture.
        size_hw: size of the picture.

    Returns:
        bool [H, W].
    """
    extent = np.maximum(box_yxyx[2:] - box_yxyx[:2], 1e-4)
    inverse = np.concatenate([-box_yxyx[:2] / extent, (1 - box_yxyx[:2]) / extent]).astype(np.float32)
    return tf.image.crop_and_resize(mask[None, ..., None], inverse[None], [0], size_hw)[0, ..., 0].numpy() > 0.5


def _as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _xywh(box_yxyx: np.ndarray) -> list[float]:
    ymin, xmin, ymax, xmax = (float(edge) for edge in box_yxyx)
    return [xmin, ymin, xmax - xmin, ymax - ymin]


def main() -> None:
    parser = argparse.ArgumentParser(description="COCO average precision on unseen scenes.")
    parser.add_argument("model", type=Path, help="folder of a SavedModel")
    parser.add_argument("--scenes", type=int, default=len(EVALUATION_SEEDS), help="how many of the evaluation scenes")
    options = parser.parse_args()
    for name, figure in average_precision(options.model, EVALUATION_SEEDS[: options.scenes]).items():
        print(f"{name:12} {figure:.4f}")


if __name__ == "__main__":
    main()
