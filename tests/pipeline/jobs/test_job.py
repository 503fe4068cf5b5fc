"""Whole jobs through the command line: real JPEGs, a real SavedModel, real Parquet files."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset.masks import decode_rle
from labelbeam.labelset.rows import image_id
from labelbeam.pipeline import job as job_module
from PIL import Image

from tests.fakes.images import save_image
from tests.fakes.saved_models import expected_outputs


def test_every_input_has_one_row_and_every_reference_resolves(label, image_folder):
    (image_folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    code, printed, labels = label(image_folder)
    assert code == 0
    images, detections, masks = (labels.frame(t) for t in ("images", "detections", "masks"))
    assert sorted(images["uri"]) == sorted(str(p) for p in image_folder.iterdir())
    assert images["image_id"].tolist() == [image_id(uri) for uri in images["uri"]]
    failed = images[images["status"] == "failed"]
    assert failed["uri"].tolist() == [str(image_folder / "broken.jpg")]
    assert "1 failed" not in printed and "failed      1" in printed

    counts = detections.groupby("image_id").size().reindex(images["image_id"], fill_value=0)
    assert counts.tolist() == images["num_detections"].fillna(0).tolist()
    assert detections["detection_id"].is_unique
    assert set(detections["mask_ref"]) == set(masks["mask_ref"]) and len(masks) == len(detections)


def test_rows_hold_what_the_model_found_in_the_images_own_pixels(label, image_folder):
    _, _, labels = label(image_folder)
    images = labels.frame("images").set_index("image_id")
    detections = labels.frame("detections")
    assert len(detections) == 6 * 4  # the fifth box of each image has score 0.15
    for image, rows in detections.groupby("image_id"):
        pixels = np.asarray(Image.open(images.loc[image, "uri"]))
        expected = expected_outputs(pixels)
        rows = rows.sort_values("rank")
        np.testing.assert_allclose(rows[["ymin", "xmin", "ymax", "xmax"]], expected["boxes"][:4], atol=1e-6)
        np.testing.assert_allclose(rows["score"], expected["scores"][:4], atol=1e-6)
        assert rows["class_name"].tolist()[:2] == ["ball", "box"]
        height, width = pixels.shape[:2]
        np.testing.assert_allclose(rows["x"], expected["boxes"][:4, 1] * width, rtol=1e-5)
        np.testing.assert_allclose(rows["h"], (expected["boxes"][:4, 2] - expected["boxes"][:4, 0]) * height, rtol=1e-4)


def test_the_model_is_loaded_once(label, image_folder):
    _, printed, _ = label(image_folder)
    assert "loaded 1× in" in printed


def test_the_same_command_again_finds_nothing_to_do(label, image_folder):
    _, _, labels = label(image_folder)
    before = labels.parts()
    code, printed, labels = label(image_folder)
    assert code == 0 and "Nothing to do: 6 images, labelled already" in printed
    assert labels.parts() == before and "loaded" not in printed
    assert [(r["status"], r["written"], r["skipped"]) for r in labels.records()] == [
        ("complete", 6, 0),
        ("complete", 0, 6),
    ]


def test_new_images_are_added_to_those_labelled(label, image_folder):
    label(image_folder)
    for i in range(5):
        save_image(image_folder / "more" / f"{i}.png", 100 + i)
    code, printed, labels = label(image_folder)
    assert code == 0 and "Labelled 5 of 11 images" in printed and "skipped     6" in printed
    assert len(labels.frame("images")) == labels.frame("images")["image_id"].nunique() == 11


def test_an_image_listed_twice_is_labelled_once(label, image_folder, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join([str(image_folder / "0.jpg")] * 3 + [str(image_folder / "1.jpg")]))
    _, _, labels = label(listed, image_folder, image_folder / "0.jpg")
    assert len(labels.frame("images")) == 6
    assert labels.records()[0]["listed"] == 6


@pytest.mark.heavy
def test_limit_takes_the_same_images_and_a_larger_limit_adds_to_them(label, image_folder):
    _, _, labels = label(image_folder, options=["--limit", "2"])
    first = set(labels.frame("images")["uri"])
    assert len(first) == 2
    _, printed, labels = label(image_folder, options=["--limit", "4"])
    assert "Labelled 2 of 4" in printed and first < set(labels.frame("images")["uri"])


def test_another_label_set_is_refused_naming_what_differs(label, image_folder):
    label(image_folder)
    code, printed, labels = label(image_folder, options=["--min-score", "0.5", "--mask-format", "none"])
    assert code == 2
    assert 'mask_format ("rle" there, "none" now)' in printed and "min_score (0.3 there, 0.5 now)" in printed
    assert len(labels.records()) == 1


def test_tables_of_unknown_origin_are_refused(label, image_folder):
    _, _, labels = label(image_folder)
    (labels.folder / "_label_set.json").unlink()
    code, printed, _ = label(image_folder)
    assert code == 2 and "what made them isn't known" in printed


def test_parts_carry_the_label_set_and_are_sorted(label, image_folder):
    _, _, labels = label(image_folder)
    [part] = labels.parts()
    held = json.loads(pq.read_schema(part).metadata[b"labelbeam.label_set"])
    assert held["detector"] == "fake" and held["min_score"] == 0.3
    assert held["fingerprint"] == json.loads((labels.folder / "_label_set.json").read_text())["fingerprint"]
    assert pq.ParquetFile(part).metadata.row_group(0).column(0).compression == "ZSTD"
    for name in ("images", "detections", "masks"):
        [path] = labels.parts(name)
        assert path.name == part.name
        ids = pq.read_table(path).column("image_id").to_pylist()
        assert ids == sorted(ids)
    assert not list(labels.folder.rglob("*.tmp"))


def test_keep_writes_further_outputs(label, image_folder):
    _, _, labels = label(image_folder, options=["--keep", "detection_multiclass_scores", "anchors"])
    tensors = labels.frame("tensors")
    assert len(tensors) == 2 * 6
    for _, row in tensors.iterrows():
        array = np.frombuffer(row["data"], row["dtype"]).reshape(row["shape"])
        expected = (7, 4) if row["name"] == "anchors" else (5, 3)
        assert array.shape == expected
    code, printed, _ = label(image_folder, options=["--keep", "features"], output="other")
    assert code == 2 and "--keep features" in printed and "anchors" in printed


@pytest.mark.heavy
def test_masks_as_files_hold_what_the_table_would(label, image_folder):
    _, _, rle = label(image_folder)
    _, _, png = label(image_folder, options=["--mask-format", "png"], output="png")
    masks = rle.frame("masks").set_index("detection_id")
    detections = png.frame("detections")
    assert len(detections) == len(masks)
    for detection_id, mask_ref in zip(detections["detection_id"], detections["mask_ref"]):
        row = masks.loc[detection_id]
        expected = decode_rle(row["counts"], row["height"], row["width"])
        np.testing.assert_array_equal(np.asarray(Image.open(png.folder / mask_ref)).astype(bool), expected)


def test_without_masks(label, image_folder):
    _, printed, labels = label(image_folder, options=["--mask-format", "none"])
    assert labels.frame("detections")["mask_ref"].isna().all()
    assert not (labels.folder / "masks").exists() and " masks" not in printed


@pytest.mark.heavy
def test_elements_that_a_runner_loses_are_noticed_and_labelled_by_the_next_run(label, image_folder, monkeypatch):
    import apache_beam as beam

    whole = job_module.LabelReferences.expand
    monkeypatch.setattr(
        job_module.LabelReferences,
        "expand",
        lambda self, references: whole(
            self, references | "Lose" >> beam.Filter(lambda r: not r.uri.endswith(("2.jpg", "4.jpg")))
        ),
    )
    code, printed, labels = label(image_folder)
    assert code == 1
    assert "6 rows were expected in images, but 4 were written" in printed
    assert labels.records()[0]["status"] == "incomplete"

    monkeypatch.undo()
    code, printed, labels = label(image_folder)
    assert code == 0 and "Labelled 2 of 6" in printed and len(labels.frame("images")) == 6


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--detector", "demoo"], "did you mean demo"),
        (["--min-scor", "0.5"], "did you mean --min-score"),
        (["--min-score", "3"], "--min-score 3.0: expected a number from 0 to 1"),
        (["--engine", "keras"], "--engine keras: detector fake runs on saved_model"),
        (["--precision", "bfloat16"], "--precision bfloat16"),
        (["--weights", "/no/such/folder"], "no such folder"),
        (["--exif-orientation", "turn"], "invalid choice"),
        (["--batch-size", "0"], "--batch-size"),
        (["--background-rgb", "1,2"], "three numbers from 0 to 255"),
    ],
)
def test_a_command_that_cannot_work_ends_before_the_work_starts(label, image_folder, arguments, named, capsys):
    try:
        code, printed, _labels = label(image_folder, options=arguments)
    except SystemExit as error:  # argparse
        code, printed = error.code, capsys.readouterr().err
    assert code == 2 and named in printed


def test_an_input_that_matches_nothing_is_named(label, image_folder, tmp_path):
    code, printed, labels = label(image_folder, str(tmp_path / "nothing" / "*.jpg"))
    assert code == 2 and str(tmp_path / "nothing" / "*.jpg") in printed
    assert not labels.folder.exists()
