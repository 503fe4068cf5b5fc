"""What labels may hold that loaders of data sets refuse, and what exports make of it: boxes, names."""

import hashlib
import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from labelbeam.results.export import FORMATS
from labelbeam.results.export.names import class_names, extension_of
from PIL import Image
from pycocotools.coco import COCO

from tests.fakes import output_folders
from tests.fakes.http_server import MisbehavingServer
from tests.fakes.output_folders import detections, labelled, write_part
from tests.results.export.outputs import run_export

SIZE_HW = (120, 160)
BOXES_YXYX = {
    "inside": [0.2, 0.2, 0.6, 0.6],
    "beyond two edges": [-0.05, -0.03, 0.3, 0.4],
    "beyond the others": [0.7, 0.6, 1.08, 1.2],
    "a line": [0.5, 0.5, 0.9, 0.5],
    "on the edge": [1.0, 0.1, 1.0, 0.8],
    "thinner than a pixel": [0.1, 0.5, 0.9, 0.504],
    "outside": [1.1, 1.1, 1.3, 1.4],
    "upside down": [0.8, 0.8, 0.6, 0.5],
}
KEPT = 4  # the first three and the thin one


@pytest.fixture
def odd_boxes(tmp_path):
    """A label set of one image with odd boxes."""
    Image.new("RGB", SIZE_HW[::-1], (40, 60, 200)).save(tmp_path / "a.jpg")
    n = len(BOXES_YXYX)
    found = detections(np.linspace(0.9, 0.5, n), [1, 2] * 4, list(BOXES_YXYX.values()))
    write_part(
        tmp_path / "out", [labelled(tmp_path / "a.jpg", SIZE_HW, found)], "none", tables=("detections", "images")
    )
    return tmp_path / "out"


def albumentations_takes(boxes, format):
    """What albumentations makes of the boxes of one image: refuses them all, or hands them back."""
    albumentations = pytest.importorskip("albumentations")
    params = albumentations.BboxParams(format=format, label_fields=["classes"])
    flip = albumentations.Compose([albumentations.HorizontalFlip(p=1)], bbox_params=params)
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    return flip(image=image, bboxes=np.float64(boxes), classes=list(range(len(boxes))))["bboxes"]


@pytest.mark.parametrize("format", [format for format in FORMATS if format != "yolo-seg"])
def test_boxes_without_area_in_the_image_are_left_out_and_counted(odd_boxes, tmp_path, format, capsys):
    assert run_export(odd_boxes, format, tmp_path / "to") == 0
    said = capsys.readouterr().out
    assert f"1 image with {KEPT - (format == 'voc')} detections" in said
    assert "3 detections: their box has no area" in said and "1 detection: their box lies outside the image" in said
    assert ("no wider or higher than a pixel" in said) == (format == "voc")


def test_albumentations_takes_the_boxes_of_coco(odd_boxes, tmp_path):
    assert run_export(odd_boxes, "coco", tmp_path / "to.json") == 0
    boxes = [row["bbox"] for row in COCO(str(tmp_path / "to.json")).dataset["annotations"]]
    assert len(albumentations_takes(boxes, "coco")) == KEPT


def test_albumentations_takes_the_boxes_of_voc(odd_boxes, tmp_path):
    assert run_export(odd_boxes, "voc", tmp_path / "to") == 0
    root = ElementTree.parse(tmp_path / "to" / "Annotations" / "a.xml").getroot()
    edges = ("xmin", "ymin", "xmax", "ymax")
    boxes = [[float(box.findtext(edge)) for edge in edges] for box in root.iter("bndbox")]
    assert len(albumentations_takes(boxes, "pascal_voc")) == KEPT - 1
    assert all(1 <= left < right <= 160 and 1 <= top < bottom <= 120 for left, top, right, bottom in boxes)


def test_albumentations_takes_the_boxes_of_yolo(odd_boxes, tmp_path):
    assert run_export(odd_boxes, "yolo", tmp_path / "to") == 0
    lines = (tmp_path / "to" / "labels" / "a.txt").read_text().splitlines()
    assert len(albumentations_takes([list(map(float, line.split()[1:])) for line in lines], "yolo")) == KEPT


ODD_NAMES = {
    1: "traffic: light",
    2: "#tag",
    3: "  cup ",
    4: "cup",
    5: "two\nlines",
    6: "bell\x07",
    7: "",
    8: 'a "b" <c> & é',
}


def test_names_of_classes_are_lines_and_differ():
    assert class_names(ODD_NAMES) == {
        1: "traffic: light",
        2: "#tag",
        3: "cup",
        4: "cup (4)",
        5: "two lines",
        6: "bell",
        7: "class_7",
        8: 'a "b" <c> & é',
    }


@pytest.fixture
def odd_names(tmp_path, monkeypatch):
    monkeypatch.setattr(output_folders, "NAMES", ODD_NAMES)
    Image.new("RGB", SIZE_HW[::-1], (40, 60, 200)).save(tmp_path / "a.jpg")
    found = detections(np.linspace(0.9, 0.5, 8), list(ODD_NAMES))
    write_part(
        tmp_path / "out", [labelled(tmp_path / "a.jpg", SIZE_HW, found)], "none", tables=("detections", "images")
    )
    return tmp_path / "out"


def test_odd_classes_are_read_back_by_the_tools(odd_names, tmp_path, capsys):
    supervision = pytest.importorskip("supervision")
    assert run_export(odd_names, "voc", tmp_path / "voc", "--copy-images") == 0
    said = capsys.readouterr().out
    assert r"renamed   class 'two\nlines': 'two lines'" in said and "class 'traffic: light': 'traffic_ light'" in said
    voc = supervision.DetectionDataset.from_pascal_voc(
        str(tmp_path / "voc/JPEGImages"), str(tmp_path / "voc/Annotations")
    )
    written = (tmp_path / "voc" / "labelmap.txt").read_text().splitlines()[1:]
    assert sorted(voc.classes) == sorted(line.removesuffix(":::") for line in written) and len(voc.classes) == 8
    assert run_export(odd_names, "yolo", tmp_path / "yolo", "--copy-images") == 0
    to = tmp_path / "yolo"
    yolo = supervision.DetectionDataset.from_yolo(str(to / "images"), str(to / "labels"), str(to / "data.yaml"))
    assert yolo.classes == list(yaml.safe_load((to / "data.yaml").read_text())["names"].values())
    assert len(set(yolo.classes)) == 8
    assert run_export(odd_names, "coco", tmp_path / "coco", "--copy-images") == 0
    to = tmp_path / "coco"
    coco = supervision.DetectionDataset.from_coco(str(to / "images"), str(to / "annotations/instances_default.json"))
    assert set(coco.classes) == set(class_names(ODD_NAMES).values())
    assert run_export(odd_names, "cvat", tmp_path / "cvat.xml") == 0
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert [name.text for name in root.iterfind("meta/task/labels/label/name")] == list(class_names(ODD_NAMES).values())
    assert {box.get("label") for box in root.iter("box")} == set(class_names(ODD_NAMES).values())


def test_odd_classes_are_whole_and_differ_in_formats_of_json(odd_names, tmp_path):
    names = list(class_names(ODD_NAMES).values())
    for format in ("coco-results", "fiftyone", "geojson", "megadetector", "label-studio"):
        assert run_export(odd_names, format, tmp_path / format, "--copy-images") == 0
    results = json.loads(next((tmp_path / "coco-results").glob("*.json")).read_text())
    assert [row["category_id"] for row in results] == list(ODD_NAMES)
    labels = json.loads((tmp_path / "fiftyone" / "labels.json").read_text())
    assert [labels["classes"][found["label"]] for found in labels["labels"]["a"]] == names
    [features] = [json.loads(path.read_text())["features"] for path in (tmp_path / "geojson").rglob("*.geojson")]
    assert [feature["properties"]["classification"]["name"] for feature in features] == names
    camera_trap = json.loads((tmp_path / "megadetector" / "detections.json").read_text())
    categories = camera_trap["detection_categories"]
    assert [categories[found["category"]] for found in camera_trap["images"][0]["detections"]] == names
    config = ElementTree.parse(tmp_path / "label-studio" / "label_config.xml").getroot()
    assert [label.get("value") for label in config.iterfind("RectangleLabels/Label")] == names
    [task] = json.loads((tmp_path / "label-studio" / "tasks.json").read_text())
    assert [region["value"]["rectanglelabels"] for region in task["predictions"][0]["result"]] == [[n] for n in names]


def test_a_name_that_a_suffix_would_make_is_given_once():
    assert class_names({1: "a (3)", 2: "a", 3: "a"}) == {1: "a (3)", 2: "a", 3: "a (3) (3)"}


def test_images_without_an_extension_get_one_and_signatures_stay_out_of_names(tmp_path):
    supervision = pytest.importorskip("supervision")
    file = io.BytesIO()
    Image.new("RGB", SIZE_HW[::-1], (40, 60, 200)).save(file, "PNG")
    names = ["p/1.jpg?w=640", "p/1.jpg?w=320", "p/2.png?X-Amz-Signature=0123456789abcdef", "photo/3", "image.php?id=4"]
    paths = [name.partition("?")[0] for name in names]
    with MisbehavingServer(dict.fromkeys(paths, file.getvalue())) as server:
        uris = [server.url(f"/files/{name}") for name in names]
        images = [labelled(uri, SIZE_HW, detections([0.5])) for uri in uris]
        write_part(tmp_path / "out", images, "none", tables=("detections", "images"))
        for format in FORMATS:
            if format == "yolo-seg":
                continue
            assert run_export(tmp_path / "out", format, tmp_path / format, "--copy-images") == 0
            written = [path.name for path in (tmp_path / format).rglob("*") if path.is_file()]
            assert not any("Signature" in name or "0123456789abcdef" in name or "w=" in name for name in written)
    to = tmp_path / "yolo"
    assert {path.suffix for path in (to / "images").iterdir()} == {".jpg", ".png"}
    dataset = supervision.DetectionDataset.from_yolo(str(to / "images"), str(to / "labels"), str(to / "data.yaml"))
    assert len(dataset) == 5 and all(len(found) == 1 for _, _, found in dataset)
    listed = json.loads((tmp_path / "coco" / "annotations" / "instances_default.json").read_text())["images"]
    assert all((tmp_path / "coco" / "images" / image["file_name"]).is_file() for image in listed)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF"])
def test_extensions_are_told_by_the_first_bytes(format):
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, format)
    assert Image.registered_extensions()[extension_of(file.getvalue()[:16])] == format
    assert extension_of(b"no image at all") == extension_of(b"") == ""


@pytest.mark.parametrize("way", ["--copy-images", "--link-images"])
def test_an_image_that_was_replaced_since_is_left_out_and_named(tmp_path, way, capsys):
    for name in ("kept.png", "replaced.png"):
        Image.new("RGB", SIZE_HW[::-1], (40, 60, 200)).save(tmp_path / name)
    images = [labelled(tmp_path / name, SIZE_HW, detections([0.5])) for name in ("kept.png", "replaced.png")]
    for image in images:
        with open(image.reference.uri, "rb") as file:
            image.facts.sha256 = hashlib.sha256(file.read()).hexdigest()
    write_part(tmp_path / "out", images)
    Image.new("RGB", SIZE_HW[::-1], (9, 99, 9)).save(tmp_path / "replaced.png")  # of the same size
    assert run_export(tmp_path / "out", "coco", tmp_path / "to", way) == 1
    said = capsys.readouterr().out
    assert "1 image with 1 detection" in said and "1 image: gone, or not what was labelled" in said
    assert "replaced.png: the image has changed since it was labelled" in said
    assert [path.name for path in (tmp_path / "to" / "images").iterdir()] == ["kept.png"]
