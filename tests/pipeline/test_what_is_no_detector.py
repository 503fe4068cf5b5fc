"""`labelbeam label --detector` with models of every kind: what works, and what is refused with one sentence."""

import io
import logging
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from labelbeam.pipeline.find_detector import find_detector

from tests.fakes.saved_models import save_detector

onnx_models = pytest.importorskip("tests.fakes.onnx_models")
pytest.importorskip("onnxruntime")

CLASSES = "tests.fakes.classes"
BOXES = {"boxes": np.zeros((5, 4)), "scores": np.full(5, 0.5), "labels": np.ones(5, np.int64)}
NAMES = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return Path(save_detector(tmp_path_factory.mktemp("good") / "model"))


def file(name, content=b"not a model"):
    return lambda folder, good: (folder / name).write_bytes(content) and folder / name


def empty_folder(folder, good):
    (folder / "empty").mkdir()
    return folder / "empty"


def folder_of_weights(folder, good):
    (folder / "best.pt").touch()
    return folder


def frozen(folder, good):
    (folder / "frozen_inference_graph.pb").write_bytes(tf.Graph().as_graph_def().SerializeToString())
    return folder / "frozen_inference_graph.pb"


def of_tf_hub_1(folder, good):
    without_signature(folder, good)
    (folder / "model" / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return folder / "model"


def without_signature(folder, good):
    tf.saved_model.save(tf.Module(), str(folder / "model"))
    return folder / "model"


def classifier(folder, good):
    return saved(change=lambda outputs, images: {"logits": tf.zeros([1, 1000])})(folder, good)


def saved(**options):
    return lambda folder, good: save_detector(folder / "model", **options)


def of_fixed_size(folder, good):
    module = tf.Module()
    spec = tf.TensorSpec([1, 320, 320, 3], tf.float32, "images")
    named = ("detection_boxes", "detection_classes", "detection_scores")
    serve = tf.function(lambda images: dict.fromkeys(named, tf.zeros([1, 5, 4])), input_signature=[spec])
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": serve})
    return folder / "model"


def five_coordinates(outputs, images):
    return {**outputs, "detection_boxes": tf.zeros([1, 5, 5])}


def cut_short(folder, good):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        archive.add(good, "ssd/saved_model")
    (folder / "ssd.tar.gz").write_bytes(whole.getvalue()[:-1000])
    return folder / "ssd.tar.gz"


def variables_cut_short(folder, good):
    shutil.copytree(good, folder / "model")
    data = next((folder / "model" / "variables").glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:-1])
    return folder / "model"


def needs_more(folder, good):
    (folder / "needs_more.py").write_text("import no_such_library")
    return "needs_more:Mine", "--detector-package", folder


def with_labels(name, content):
    def make(folder, good):
        (folder / name).write_text(content)
        return good, "--labels", folder / name

    return make


def onnx_with_an_unknown_operator(folder, good):
    import onnx

    model = onnx.load(onnx_models.save_model(folder / "m.onnx", BOXES))
    model.graph.node[0].op_type = "DeformableFancy"
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def onnx(outputs, decoder=None):
    def make(folder, good):
        path = onnx_models.save_model(folder / "m.onnx", outputs)
        if decoder is None:
            return path
        (folder / "m.yaml").write_text(
            f"name: m\nweights: m.onnx\nengines: [onnx]\nmasks: false\nlabels: {{1: a}}\nonnx: {{decoder: {decoder}}}"
        )
        return folder / "m.yaml"

    return make


WRONG = {
    "a text file": (file("notes.txt"), r"expected a SavedModel's folder, .*; notes\.txt is no model .*give the model"),
    "an empty folder": (empty_folder, r"expected a SavedModel, a folder with saved_model\.pb .*; found nothing"),
    "PyTorch's weights": (
        file("best.pt"),
        r"best\.pt is weights of PyTorch; export the model with torch\.onnx\.export",
    ),
    "a folder of them": (folder_of_weights, r"found \['best\.pt'\].* best\.pt is weights of PyTorch; export the model"),
    "Keras' older format": (file("m.h5"), r"m\.h5 is weights or a model in Keras' older format; load them in Keras"),
    "Keras' format": (file("m.keras"), r"m\.keras is a model of Keras; load it with .* and write a SavedModel"),
    "TensorFlow Lite": (file("m.tflite"), r"m\.tflite is a TensorFlow Lite model, .*; give the SavedModel"),
    "a frozen graph": (
        frozen,
        r"frozen_inference_graph\.pb is a frozen graph of TensorFlow 1; give the folder saved_mo",
    ),
    "TF Hub's first format": (
        of_tf_hub_1,
        r"a module in TF Hub's format of TensorFlow 1, .*; take its version for Tens",
    ),
    "no signature": (without_signature, r"expected a signature 'serving_default'; the SavedModel has none\. Export it"),
    "a classifier": (classifier, r"lacks detection_boxes, .*; it has logits\. Is it a detector\? Wrap one that names"),
    "another dtype": (
        saved(dtype=tf.int32),
        r"expected one input, uint8 or float32 .*takes input_tensor: int32 .*Expor",
    ),
    "another shape": (of_fixed_size, r"expected one input, .*takes images: float32 \[1, 320, 320, 3\]\. Export it"),
    "no scores": (
        saved(leave_out=["detection_scores"]),
        r"lacks detection_scores, .*; it has anchors, detection_boxes",
    ),
    "boxes of five": (
        saved(change=five_coordinates),
        r"expected detection_boxes of \[N, 4\] .*gives \[1, 5, 5\]\. Expo",
    ),
    "an id with two names": (with_labels("l.pbtxt", "item{id:1 name:'a'} item{id:1 name:'b'}"), r"id 1 has two names"),
    "no labels in it": (with_labels("l.txt", "\n\n"), r"labels .*l\.txt: there are no names in it"),
    "an archive cut short": (cut_short, r"ssd\.tar\.gz: can't be unpacked .*; expected a whole .*Fetch it again"),
    "variables cut short": (variables_cut_short, r"isn't whole: variables.* can't be read .*; copy or fetch it again"),
    "an unknown operator": (
        onnx_with_an_unknown_operator,
        r"can't be opened as an ONNX model .*DeformableFancy.*; fetch",
    ),
    "outputs of another decoder": (
        onnx(BOXES, "yolo"),
        r"don't fit decoder yolo: expected .*, got .*Name the right one",
    ),
    "outputs without meaning": (
        onnx({"a": np.zeros((3, 3))}),
        r"what its outputs a \[N, 3, 3\] mean can't be told; wri",
    ),
    "no detector": (lambda *_: f"{CLASSES}:NoDetector", r"expected a class with batches and detect; it lacks batches"),
    "arguments": (
        lambda *_: f"{CLASSES}:WantsArguments",
        r"made without arguments; WantsArguments\(\): missing a requ",
    ),
    "no such module": (
        lambda *_: "no_such:Detector",
        r"No module named 'no_such'; give the module's file or folder with",
    ),
    "needs what isn't there": (needs_more, r"needs_more needs no_such_library, which isn't installed"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_detector_is_refused_with_one_sentence(label, good, image_folder, tmp_path, kind, monkeypatch):
    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    make, sentence = WRONG[kind]
    (tmp_path / "given").mkdir()
    detector, *options = made if isinstance(made := make(tmp_path / "given", good), tuple) else (made,)
    code, printed, labels = label(image_folder, detector=str(detector), options=[str(option) for option in options])
    assert code == 2 and not labels.folder.exists(), printed
    lines = [line for line in printed.splitlines() if line.startswith("labelbeam: ")]
    assert len(lines) == 1 and "Traceback" not in printed, printed
    assert re.search(sentence, lines[0]), lines[0]


def in_archive(folder, good):
    with tarfile.open(folder / "ssd.tar.gz", "w:gz") as archive:
        archive.add(good, "ssd/saved_model")
    return folder / "ssd.tar.gz"


def in_zoo_folder(folder, good):
    shutil.copytree(good, folder / "ssd" / "saved_model")
    return folder / "ssd"


def configured(folder, good):
    (folder / "m.yaml").write_text(f"name: m\nweights: {good}\nengines: [saved_model]\nmasks: true\nlabels: {{1: a}}")
    return folder / "m.yaml"


def yolo(folder, good):
    return onnx_models.save_model(folder / "m.onnx", {"output0": np.full((6, 30), 0.4)}, metadata=NAMES)


DETR = {"logits": np.zeros((5, 2)), "pred_boxes": np.full((5, 4), 0.5)}
RIGHT = {
    "a SavedModel's folder": lambda folder, good: good,
    "its saved_model.pb": lambda folder, good: good / "saved_model.pb",
    "a folder of the model zoo": in_zoo_folder,
    "an archive of the model zoo": in_archive,
    "a configuration": configured,
    "any batch": saved(batch=None),
    "without masks": saved(masks=False),
    "without num_detections": saved(leave_out=["num_detections"]),
    "image files": saved(input_kind="encoded_image"),
    "tf.train.Examples": saved(input_kind="example"),
    "floats": saved(input_kind="float_pixels"),
    "ONNX, decoder boxes_scores_labels": onnx(BOXES),
    "ONNX, decoder detr": onnx(DETR),
    "ONNX, decoder yolo": yolo,
    "a class": lambda *_: f"{CLASSES}:Brightest",
}


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_a_detector_gives_detections_with_the_names_of_the_label_map(good, tmp_path, kind, monkeypatch):
    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "given").mkdir()
    (tmp_path / "label_map.pbtxt").write_text("item { id: 1 name: 'cat' } item { id: 2 display_name: 'dog' }")
    spec = find_detector(str(RIGHT[kind](tmp_path / "given", good)), labels=str(tmp_path / "label_map.pbtxt"))
    assert spec.config.labels == {1: "cat", 2: "dog"}
    for found in spec.load().detect([np.full((40, 60, 3), 90, np.uint8), np.full((30, 30, 3), 9, np.uint8)]):
        assert len(found) and found.boxes_yxyx.shape == (len(found), 4)


def test_a_label_map_that_lacks_ids_or_is_off_by_one_is_told(label, good, image_folder, tmp_path, caplog):
    (tmp_path / "l.json").write_text('{"0": "ball", "1": "box"}')  # the model's ids are 1, 2, 3, 1, 2
    with caplog.at_level(logging.WARNING):
        code, printed, _ = label(image_folder, detector=str(good), options=["--labels", str(tmp_path / "l.json")])
    assert code == 0 and "has an id 0 (ball)" in caplog.text and "off by one" in caplog.text
    assert "12 detections of classes that the label map lacks, called class_<id> in the tables" in printed


def test_a_class_that_cannot_be_made_is_one_sentence(label, image_folder, capsys):
    code, printed, _ = label(image_folder, detector=f"{CLASSES}:RaisesWhenMade")
    sentence = "making a RaisesWhenMade fails: OSError: no weights here; `labelbeam detectors --check tests.fakes"
    assert code == 1 and printed.count(sentence) == 1, printed
