import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.results.export.outputs import labels_by_name, make_output, run_export


def test_pycocotools_evaluates_results_against_the_coco_export(tmp_path):
    output = make_output(tmp_path)
    assert (
        run_export(output, "coco", tmp_path / "truth.json")
        == run_export(output, "coco-results", tmp_path / "found.json")
        == 0
    )
    truth = COCO(str(tmp_path / "truth.json"))
    found = truth.loadRes(str(tmp_path / "found.json"))
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)
    scores = [row["score"] for row in json.loads((tmp_path / "found.json").read_text())]
    wanted = np.concatenate([labels.scores for labels in labels_by_name(output).values()])
    np.testing.assert_array_equal(np.sort(np.float32(scores)), np.sort(wanted))


def test_without_masks_results_are_boxes(tmp_path):
    assert run_export(make_output(tmp_path, "none"), "coco-results", tmp_path / "found.json") == 0
    results = json.loads((tmp_path / "found.json").read_text())
    assert len(results) == 5 and all(row.keys() == {"image_id", "category_id", "bbox", "score"} for row in results)
