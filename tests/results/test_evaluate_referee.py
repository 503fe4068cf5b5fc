"""`labelbeam evaluate` against pycocotools on the same detections: equal to the last digit."""

import contextlib
import io
import json

import numpy as np
import pytest
from labelbeam.labelset.masks import encode_box_mask
from labelbeam.results.evaluate.evaluation import evaluate
from labelbeam.results.evaluate.json_lists import iter_items
from labelbeam.results.evaluate.scoring import FIGURES
from labelbeam.results.reader import open_label_set
from labelbeam.results.stored_labels import iter_labels
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.fakes.output_folders import detections, failed, labelled, write_part

SIZE_HW = (240, 320)
CATEGORIES = {number: f"class_{number}" for number in (1, 2, 3, 5, 8)}
NUM_IMAGES = 60


def random_boxes(rng, n):
    starts = rng.uniform(0, 0.8, (n, 2))
    return np.clip(np.concatenate([starts, starts + rng.uniform(0.01, 0.6, (n, 2)) ** 2], axis=1), 0, 1)


def truth_of(rng, image_id, first_id):
    """Objects of all sizes, some of them crowds, with polygons, or run lengths if crowds."""
    rows = []
    for number, (ymin, xmin, ymax, xmax) in enumerate(random_boxes(rng, rng.integers(0, 9)) * [*SIZE_HW, *SIZE_HW]):
        crowd = bool(rng.random() < 0.2)
        outline = [[xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax]]
        if crowd:
            [rle] = coco_mask.frPyObjects(outline, *SIZE_HW)
            outline = {"size": list(SIZE_HW), "counts": rle["counts"].decode()}
        rows.append(
            {
                "id": first_id + number,
                "image_id": image_id,
                "category_id": int(rng.choice(list(CATEGORIES))),
                "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                "area": (xmax - xmin) * (ymax - ymin) * 0.8,
                "iscrowd": int(crowd),
                "segmentation": outline,
            }
        )
    return rows


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A label set with many equal scores, crowded images with more than 100 detections, failed and missing images."""
    folder, rng = tmp_path_factory.mktemp("referee"), np.random.default_rng(0)
    images, rows, annotated = [], [], []
    ids = rng.permutation(10 * NUM_IMAGES)[:NUM_IMAGES].tolist()
    for number, image_id in enumerate(ids):
        of_image = truth_of(rng, image_id, len(rows) + 1)
        rows += of_image
        name = f"{number}.jpg"
        annotated.append({"id": image_id, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1]})
        if number % 15 == 1:
            images.append(failed(f"/d/{name}"))
        if number % 15 in (1, 2):
            continue
        near = np.array([[y, x, y + h, x + w] for x, y, w, h in (row["bbox"] for row in of_image)]).reshape(-1, 4)
        near = near / [*SIZE_HW, *SIZE_HW] + rng.normal(0, 0.02, near.shape)
        boxes = np.clip(np.concatenate([near, random_boxes(rng, 130 if number % 9 == 0 else 4)]), 0, 1)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
        classes = [row["category_id"] for row in of_image] + rng.choice([1, 2, 3], len(boxes) - len(near)).tolist()
        scores = np.sort(np.round(rng.random(len(boxes)), 1))[::-1]
        images.append(labelled(f"/d/{name}", SIZE_HW, detections(scores, classes, boxes)))
    order = rng.permutation(len(images))
    write_part(folder / "out", [images[i] for i in order[::2]], labels={str(i): n for i, n in CATEGORIES.items()})
    write_part(folder / "out", [images[i] for i in order[1::2]], stem="part-b")
    categories = [{"id": id, "name": name} for id, name in CATEGORIES.items()]
    content = {"info": {}, "images": annotated, "annotations": rows, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("only_labelled", [False, True])
@pytest.mark.parametrize("iou", ["bbox", "segm"])
def test_figures_are_those_of_pycocotools(case, iou, only_labelled):
    result = evaluate(str(case / "out"), str(case / "instances.json"), iou=iou, only_labelled=only_labelled)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(case / "instances.json"))
        ids = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
        found = {
            ids[labels.uri.rpartition("/")[2]]: labels
            for labels in iter_labels(open_label_set(str(case / "out")))
            if labels.failure is None
        }
        rows = [
            {
                "image_id": image_id,
                "category_id": int(labels.class_ids[rank]),
                "score": float(labels.scores[rank]),
                **(
                    {"bbox": labels.boxes_xywh[rank].tolist()}
                    if iou == "bbox"
                    else {"segmentation": {"size": list(SIZE_HW), "counts": labels.counts[labels.mask_refs[rank]]}}
                ),
            }
            for image_id, labels in sorted(found.items())
            for rank in range(len(labels.scores))
        ]
        scorer = COCOeval(truth, truth.loadRes(rows), iou)
        if only_labelled:
            scorer.params.imgIds = sorted(found)
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    assert [-1 if (value := result["figures"][name]) is None else value for name in FIGURES] == scorer.stats.tolist()
    assert 0.01 < result["figures"]["AP"] < 0.95 and result["detections"] == len(rows)
    for row in result["classes"]:
        k = scorer.params.catIds.index(row["id"])
        precision, recall = scorer.eval["precision"][:, :, k, 0, -1], scorer.eval["recall"][:, k, 0, -1]
        assert (row["AP"], row["AR_100"]) == (precision.mean(), recall.mean())
        at = scorer.params.recThrs * 2 * precision[0] / np.maximum(precision[0] + scorer.params.recThrs, 1e-9)
        assert row["best_F1"] == pytest.approx(at.max(), abs=1e-12)
        assert row["best_F1_score"] == scorer.eval["scores"][0, at.argmax(), k, 0, -1]


def test_masks_are_those_of_the_tables(case):
    """What stands in the label set is what was found, so that the referee measures the same."""
    labels = next(image for image in iter_labels(open_label_set(str(case / "out"))) if len(image.scores))
    found = detections([0.5], boxes_yxyx=[[0, 0, 1, 1]])
    assert encode_box_mask(found.masks[0], found.boxes_yxyx[0], *SIZE_HW).area and labels.mask(0).shape == SIZE_HW


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_lists_are_read_item_by_item(monkeypatch, chunk):
    class Slow(io.StringIO):
        def read(self, size=-1):
            return super().read(min(size, chunk))

    content = {"a": 1, "rows": [1.5, -20, {"x": ["ä", "\n]"]}, []], "b": {"rows": [9]}, "none": [], "n": 12345}
    for text in (json.dumps(content), json.dumps(content, indent=2)):
        assert list(iter_items(Slow(text), ("rows", "none"))) == [
            ("rows", None),
            *(("rows", item) for item in content["rows"]),
            ("none", None),
        ]
    assert list(iter_items(Slow(" {} "), ("rows",))) == []
    for broken in (
        "",
        "[1]",
        '{"rows": [1, 2',
        '{"rows": [1 2]}',
        '{"rows": 3}',
        '{"rows": [1]',
        '{"rows" [1]}',
        '{"a": }',
    ):
        with pytest.raises(ValueError):
            list(iter_items(Slow(broken), ("rows",)))
