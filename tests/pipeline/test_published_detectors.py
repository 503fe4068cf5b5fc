"""Both published graphs, with stand-in weights, through the whole pipeline: equal to a bare loop over the same pictures."""
import numpy as np
import pyarrow.dataset as ds
import pytest
from labelbeam.pipeline.cli import main
from PIL import Image

from ..standins import photos, standin

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "motorcycle_left.png")
MIN_SCORE = 0.1


def label(name, weights, tmp_path):
    out = tmp_path / "out"
    pictures = list(map(str, photos(*PHOTOS)))
    assert main(["label", "--input", *pictures, "--output", str(out), "--detector", name, "--weights", weights,
                 "--min-score", str(MIN_SCORE)]) == 0
    tables = {t: ds.dataset(out / t).to_table().to_pandas() for t in ("images", "detections")}
    if (out / "masks").exists():
        tables["masks"] = ds.dataset(out / "masks").to_table().to_pandas().set_index("mask_ref")
    assert sorted(tables["images"]["uri"]) == sorted(pictures)
    assert (tables["images"]["status"] == "ok").all()
    return pictures, tables


def bare_loop(weights, pictures):
    """{uri: (picture, outputs)} by nothing but TensorFlow and Pillow."""
    import tensorflow as tf
    model = tf.saved_model.load(weights).signatures["serving_default"]
    for uri in pictures:
        picture = np.asarray(Image.open(uri).convert("RGB"))
        yield uri, picture, {k: v.numpy()[0] for k, v in model(input_tensor=tf.constant(picture[None])).items()}


def assert_equal_detections(rows, outputs, picture):
    kept = outputs["detection_scores"] >= MIN_SCORE
    assert len(rows) == kept.sum()
    np.testing.assert_allclose(rows["score"], outputs["detection_scores"][kept], atol=1e-6, rtol=0)
    assert rows["class_id"].tolist() == outputs["detection_classes"][kept].astype(int).tolist()
    np.testing.assert_allclose(rows[["ymin", "xmin", "ymax", "xmax"]], outputs["detection_boxes"][kept], atol=1e-6, rtol=0)
    height, width = picture.shape[:2]
    np.testing.assert_allclose(rows["x"] + rows["w"], rows["xmax"] * width, atol=1e-3)
    np.testing.assert_allclose(rows["y"] + rows["h"], rows["ymax"] * height, atol=1e-3)


@pytest.mark.heavy
@pytest.mark.parametrize("name, folder", [("centernet_resnet50v2_512x512", "centernet"),
                                          ("mask_rcnn_inception_resnet_v2_1024x1024", "mask_rcnn")])
def test_tables_equal_a_bare_loop(name, folder, tmp_path):
    weights = standin(folder)
    pictures, tables = label(name, weights, tmp_path)
    compared = 0
    for uri, picture, outputs in bare_loop(weights, pictures):
        rows = tables["detections"][tables["detections"]["uri"] == uri].sort_values("rank")
        assert_equal_detections(rows, outputs, picture)
        if "detection_masks" in outputs:
            assert_equal_masks(rows, tables["masks"], outputs, picture)
        else:
            assert rows["mask_ref"].isna().all()
        compared += len(rows)
    assert compared > 10 * len(PHOTOS)  # the stand-ins find plenty: an empty comparison would prove nothing


def assert_equal_masks(rows, masks, outputs, picture):
    """Masks bit for bit: the reversed box through TF's crop_and_resize, then pycocotools' encoder."""
    import tensorflow as tf
    from pycocotools import mask as coco_mask
    height, width = picture.shape[:2]
    for rank, mask_ref in zip(rows["rank"], rows["mask_ref"]):
        pasted = paste_by_tensorflow(tf, outputs["detection_masks"][rank], outputs["detection_boxes"][rank], height, width)
        expected = coco_mask.encode(np.asfortranarray(pasted.astype(np.uint8)))
        assert masks.loc[mask_ref, "counts"] == expected["counts"].decode()
        assert (masks.loc[mask_ref, "height"], masks.loc[mask_ref, "width"]) == (height, width)


def paste_by_tensorflow(tf, mask, box_yxyx, height, width):
    corner, size = box_yxyx[:2], np.maximum(box_yxyx[2:] - box_yxyx[:2], np.float32(1e-4))
    reverse = np.concatenate([(0 - corner) / size, (1 - corner) / size])[None].astype(np.float32)
    return tf.image.crop_and_resize(mask[None, :, :, None], reverse, [0], [height, width]).numpy()[0, :, :, 0] > 0.5
