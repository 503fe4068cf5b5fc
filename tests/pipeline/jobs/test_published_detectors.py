"""Detectors through the whole pipeline: bit for bit what a bare loop over the same images gives.

TensorFlow adds up sums in an order that depends on its number of threads (and on the processor's instructions), so
that the last bits of scores do, too. Pipeline and bare loop therefore run in one process of their own that has one
processor: there, TensorFlow gives the same bits every time, and whatever differs is the pipeline's doing.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from importlib import resources
from multiprocessing import get_context

import numpy as np
import pyarrow.dataset as ds
import pytest
from labelbeam.detectors.demo import MODEL_FOLDER
from labelbeam.pipeline.cli import main
from PIL import Image

from tests.standins import photos, standin

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "motorcycle_left.png")
MIN_SCORE = 0.1
COMPARED = ("detection_boxes", "detection_classes", "detection_scores", "detection_masks")


def take_one_processor():
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"


def label_and_loop(name, weights, image_folder, out):
    """Labels the images, then runs the bare loop over them; returns what that gives: {uri: outputs}."""
    assert (
        main(
            [
                "label",
                "--input",
                *image_folder,
                "--output",
                out,
                "--detector",
                name,
                "--weights",
                weights,
                "--min-score",
                str(MIN_SCORE),
            ]
        )
        == 0
    )
    return bare_loop(weights, image_folder)


def bare_loop(weights, image_folder):
    """{uri: outputs} by nothing but TensorFlow and Pillow."""
    import tensorflow as tf

    model = tf.saved_model.load(weights)  # holds the variables for as long as it is referenced
    call = model.signatures["serving_default"]
    found = {}
    for uri in image_folder:
        outputs = call(input_tensor=tf.constant(np.asarray(Image.open(uri).convert("RGB"))[None]))
        found[uri] = {name: outputs[name].numpy()[0] for name in COMPARED if name in outputs}
    return found


def assert_tables_equal_a_bare_loop(name, weights, image_folder, tmp_path):
    image_folder = [str(image) for image in image_folder]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=take_one_processor) as process:
        expected = process.submit(label_and_loop, name, weights, image_folder, str(tmp_path / "out")).result()
    images, detections, masks = read_tables(tmp_path / "out")
    assert sorted(images["uri"]) == sorted(image_folder)
    assert (images["status"] == "ok").all()
    for uri, outputs in expected.items():
        rows = detections[detections["uri"] == uri].sort_values("rank")
        height, width = np.asarray(Image.open(uri)).shape[:2]
        assert_equal_detections(rows, outputs, height, width)
        if "detection_masks" in outputs:
            assert_equal_masks(rows, masks, outputs, height, width)
        else:
            assert rows["mask_ref"].isna().all()
    return len(detections)


def read_tables(out):
    images, detections = (ds.dataset(out / table).to_table().to_pandas() for table in ("images", "detections"))
    masks = ds.dataset(out / "masks").to_table().to_pandas().set_index("mask_ref") if (out / "masks").exists() else None
    return images, detections, masks


def assert_equal_detections(rows, outputs, height, width):
    kept = outputs["detection_scores"] >= MIN_SCORE
    np.testing.assert_array_equal(rows["score"], outputs["detection_scores"][kept])
    assert rows["class_id"].tolist() == outputs["detection_classes"][kept].astype(int).tolist()
    np.testing.assert_array_equal(rows[["ymin", "xmin", "ymax", "xmax"]], outputs["detection_boxes"][kept])
    np.testing.assert_allclose(rows["x"] + rows["w"], rows["xmax"] * width, atol=1e-3)
    np.testing.assert_allclose(rows["y"] + rows["h"], rows["ymax"] * height, atol=1e-3)


def assert_equal_masks(rows, masks, outputs, height, width):
    """The reversed box through TF's crop_and_resize, then pycocotools' encoder."""
    import tensorflow as tf
    from pycocotools import mask as coco_mask

    for rank, mask_ref in zip(rows["rank"], rows["mask_ref"]):
        pasted = paste_by_tensorflow(
            tf, outputs["detection_masks"][rank], outputs["detection_boxes"][rank], height, width
        )
        expected = coco_mask.encode(np.asfortranarray(pasted.astype(np.uint8)))
        assert masks.loc[mask_ref, "counts"] == expected["counts"].decode()
        assert (masks.loc[mask_ref, "height"], masks.loc[mask_ref, "width"]) == (height, width)


def paste_by_tensorflow(tf, mask, box_yxyx, height, width):
    corner, size = box_yxyx[:2], np.maximum(box_yxyx[2:] - box_yxyx[:2], np.float32(1e-4))
    reverse = np.concatenate([(0 - corner) / size, (1 - corner) / size])[None].astype(np.float32)
    return tf.image.crop_and_resize(mask[None, :, :, None], reverse, [0], [height, width]).numpy()[0, :, :, 0] > 0.5


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name, folder, names",
    [
        ("centernet_resnet50v2_512x512", "centernet", PHOTOS),
        ("mask_rcnn_inception_resnet_v2_1024x1024", "mask_rcnn", PHOTOS[1:3]),
    ],
)  # 20 s an image
def test_published_graphs(name, folder, names, tmp_path):
    # The stand-ins find plenty: an empty comparison would prove nothing.
    assert assert_tables_equal_a_bare_loop(name, standin(folder), photos(*names), tmp_path) > 10 * len(names)


@pytest.mark.heavy
def test_demo_detector(tmp_path):
    with resources.as_file(resources.files("labelbeam.pipeline") / "demo_images") as folder:
        image_folder = sorted(folder.iterdir())[:6]
        assert assert_tables_equal_a_bare_loop("demo", str(MODEL_FOLDER), image_folder, tmp_path) > len(image_folder)
