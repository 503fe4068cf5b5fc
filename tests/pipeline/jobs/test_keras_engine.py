"""Engine keras through the command line: published weights in, the same tables as the published graph's out."""

import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.pipeline.cli import main
from labelbeam.results.reader import open_label_set
from PIL import Image

from tests.detectors.keras.support.comparison import assert_same_detections, rows
from tests.standins import photos, standin

CENTERNET, MASK_RCNN = "centernet_resnet50v2_512x512", "mask_rcnn_inception_resnet_v2_1024x1024"
PHOTOS = ("coffee.png", "chelsea.png", "rocket.jpg")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def table_rows(detections, uri):
    """One image's rows of a table, as `comparison.py` takes them."""
    found = detections[detections["uri"] == uri].sort_values("rank")
    return {
        "detection_scores": found["score"].to_numpy(),
        "detection_classes": found["class_id"].to_numpy(),
        "detection_boxes": found[["ymin", "xmin", "ymax", "xmax"]].to_numpy(),
    }


@pytest.mark.heavy
def test_a_checkpoint_labels_as_the_published_graph_does(label, cache, centernet, centernet_checkpoint):
    from tests.detectors.keras.support.golden_weights import golden_tensors

    image_folder = photos(*PHOTOS)
    options = ("--engine", "keras", "--weights", centernet_checkpoint, "--min-score", "0.4", "--keep", "num_detections")
    code, printed, labels = label(*image_folder, options=options, detector=CENTERNET)
    assert code == 0 and f"Labelled {len(PHOTOS)} of {len(PHOTOS)} images" in printed and "loaded 1×" in printed
    found = table_rows(labels.frame("detections"), str(photos("coffee.png")[0]))
    golden = golden_tensors(centernet.golden, "coffee")
    kept = int((golden["detection_scores"] >= 0.4).sum())
    assert len(found["detection_scores"]) == kept > 3
    assert_same_detections(
        found, {k: v[:kept] for k, v in rows(golden).items()}, score_tolerance=2e-4, box_tolerance=2e-5
    )
    assert [file.name.startswith(CENTERNET) for file in cache.iterdir()] == [True]
    assert len(labels.frame("tensors")) == len(PHOTOS)

    code, printed, labels = label(*image_folder, options=options, detector=CENTERNET)
    assert code == 0 and "Nothing to do" in printed  # the same weights have the same fingerprint


@pytest.mark.heavy
def test_import_and_export_by_hand(label, tmp_path, capsys, centernet_checkpoint):
    file, folder = tmp_path / "centernet.weights.h5", tmp_path / "batched"
    assert main(["weights", "import", "--detector", CENTERNET, "--from", centernet_checkpoint, "--to", str(file)]) == 0
    assert main(["weights", "export", "--detector", CENTERNET, "--from", str(file), "--to", str(folder)]) == 0
    assert "takes any number of images a call" in capsys.readouterr().out
    image_folder = photos(*PHOTOS[:2])
    _, _, keras = label(*image_folder, options=("--engine", "keras", "--weights", str(file)), detector=CENTERNET)
    code, _, exported = label(*image_folder, options=("--weights", str(folder)), detector=CENTERNET, output="exported")
    assert code == 0
    one, two = (labels.frame("detections") for labels in (keras, exported))
    assert set(one["uri"]) == set(two["uri"]) == set(map(str, image_folder))
    for image in map(str, image_folder):
        assert_same_detections(table_rows(one, image), table_rows(two, image), score_tolerance=2e-4, box_tolerance=2e-5)


@pytest.mark.heavy
def test_on_jax_without_tensorflow_once_the_weights_are_converted(cache, tmp_path, centernet_file):
    script = """
        import json, sys
        from labelbeam.pipeline.cli import main
        code = main(sys.argv[1:])
        print(json.dumps([code, "tensorflow" in sys.modules, sys.modules["keras"].backend.backend()]))
    """
    image, found = str(photos("coffee.png")[0]), {}
    for backend in ("tensorflow", "jax"):
        output = tmp_path / backend
        options = ("--detector", CENTERNET, "--engine", "keras", "--weights", centernet_file, "--backend", backend)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), "label", image, "-o", str(output), *options],
            capture_output=True,
            text=True,
        )
        assert done.stdout, done.stderr[-3000:]
        assert json.loads(done.stdout.splitlines()[-1]) == [0, backend == "tensorflow", backend], done.stderr[-2000:]
        record = json.loads(next(output.glob("_jobs/*.json")).read_text())
        assert sum(record["detector_loads"]["devices"].values()) == 1
        found[backend] = table_rows(open_label_set(str(output)).pandas("detections"), image)
    assert any((cache / "compiled").iterdir()), "what JAX compiled is kept for the next process"
    assert len(found["jax"]["detection_scores"]) > 3
    assert_same_detections(found["jax"], found["tensorflow"], score_tolerance=2e-4, box_tolerance=2e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        (("--precision", "bfloat16"), "use --precision float32, or --engine keras"),
        (("--backend", "tensorflow"), "--backend tensorflow: is of engine keras, and this detector runs on"),
        (("--engine", "keras", "--backend", "jax"), "Keras computes with tensorflow in this process already"),
        (("--engine", "keras", "--backend", "torch"), "the package torch isn't installed; pip install torch"),
        (
            ("--engine", "keras", "--weights", "/nowhere/ckpt-0"),
            "weights /nowhere/ckpt-0: found no such folder, checkpoint or file",
        ),
        (
            ("--engine", "keras", "--weights", "{file}", "--keep", "anchors"),
            "--keep anchors: .* has no such output; it has det",
        ),
        (
            ("--engine", "keras", "--weights", "{file}", "--boxes", "{boxes}"),
            "--boxes: .*give a detector with proposals",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    label, image_folder, tmp_path, centernet_file, options, message
):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("uri,x,y,w,h\nimage_folder/0.jpg,1,1,5,5\n")
    code, printed, _ = label(
        image_folder, detector=CENTERNET, options=[o.format(file=centernet_file, boxes=boxes) for o in options]
    )
    assert code == 2
    assert re.search(message, printed), printed


def test_another_detectors_weights_are_refused(label, image_folder, centernet_file):
    code, printed, _ = label(
        image_folder, detector=MASK_RCNN, options=("--engine", "keras", "--weights", centernet_file)
    )
    assert code == 2 and f"expected weights of {MASK_RCNN}, it holds those of {CENTERNET}" in printed


@pytest.mark.heavy
def test_mask_rcnn_and_its_own_boxes_again(tmp_path, cache):
    """Mask R-CNN equals the published graph in the tables, and finds the same again in its own proposals given as
    boxes.
    """
    weights, image = standin("mask_rcnn"), photos("coffee.png")[0]

    def label(out, *options):
        assert (
            main(
                [
                    "label",
                    "--input",
                    str(image),
                    "--output",
                    str(tmp_path / out),
                    "--detector",
                    MASK_RCNN,
                    "--weights",
                    weights,
                    "--max-detections",
                    "20",
                    *options,
                ]
            )
            == 0
        )
        tables = {t: pq.read_table(tmp_path / out / t).to_pandas() for t in ("detections", "masks")}
        return tables["detections"].sort_values("rank").merge(tables["masks"], on="detection_id")

    published = label("published")
    keras = label("keras", "--engine", "keras", "--keep", "proposal_boxes_normalized", "num_proposals")
    tensors = {
        row["name"]: np.frombuffer(row["data"], row["dtype"]).reshape(row["shape"])
        for row in pq.read_table(tmp_path / "keras" / "tensors").to_pylist()
    }
    boxes = tensors["proposal_boxes_normalized"][: int(tensors["num_proposals"])]
    columns = dict(zip(("ymin", "xmin", "ymax", "xmax"), boxes.T))
    pq.write_table(pa.table({"uri": [str(image)] * len(boxes), **columns}), tmp_path / "boxes.parquet")
    given = label("given", "--engine", "keras", "--boxes", str(tmp_path / "boxes.parquet"))
    height, width = np.asarray(Image.open(image)).shape[:2]
    for found in (keras, given):
        assert found["class_id"].tolist() == published["class_id"].tolist()
        np.testing.assert_allclose(found["score"], published["score"], atol=5e-5, rtol=0)
        edges = ["ymin", "xmin", "ymax", "xmax"]
        np.testing.assert_allclose(found[edges], published[edges], atol=1e-5)
        # A mask's edge may move where the difference of a thousandth crosses the threshold.
        assert (abs(found["area"] - published["area"]) <= np.maximum(2e-3 * published["area"], 4)).all()
        assert (found["height"] == height).all() and (found["width"] == width).all()
