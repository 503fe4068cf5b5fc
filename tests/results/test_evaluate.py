"""`labelbeam evaluate`: its figures are pycocotools' own, and no image gets lost on the way to them."""

import csv
import json
import sys

import pytest
from labelbeam.detectors.demo.dataset import file_name, write_scenes
from labelbeam.pipeline.cli import main
from labelbeam.results.evaluate.evaluation import evaluate
from labelbeam.results.evaluate.scoring import FIGURES
from labelbeam.storage.errors import UsageError
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.fakes.labels import Labels
from tests.fakes.output_folders import NAMES, detections, failed, labelled, write_part
from tests.pipeline.jobs.test_demo_accuracy import coco_results

SIZE_HW = (40, 60)
LABELS = {str(class_id): name for class_id, name in NAMES.items()}


def direct(annotations, rows, kind):
    """The figures and the precisions of a plain pycocotools run."""
    truth = COCO(str(annotations))
    scorer = COCOeval(truth, truth.loadRes(rows), kind)
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    return scorer


@pytest.fixture(scope="module", params=[12, pytest.param(500, marks=pytest.mark.heavy)])
def scenes(tmp_path_factory, request):
    """Generated scenes with known truth, which the demo detector hasn't been trained on, and their label set by it."""
    folder = tmp_path_factory.mktemp("evaluate")
    seeds = range(2000, 2000 + request.param)
    write_scenes(folder / "scenes", seeds)
    code = main(
        [
            "label",
            "--input",
            str(folder / "scenes" / "*.jpg"),
            "--output",
            str(folder / "out"),
            "--detector",
            "demo",
            "--min-score",
            "0.001",
        ]
    )
    assert code == 0
    return folder / "out", folder / "scenes" / "instances.json", seeds


@pytest.mark.parametrize("iou", ["bbox", "segm"])
def test_figures_equal_a_direct_run_of_pycocotools_to_the_last_digit(scenes, iou, tmp_path, capsys):
    output, annotations, seeds = scenes
    rows = coco_results(Labels(output), {file_name(seed): seed for seed in seeds})[iou]
    expected = direct(annotations, rows, iou)
    capsys.readouterr()
    assert (
        main(
            [
                "evaluate",
                str(output),
                "--annotations",
                str(annotations),
                "--iou",
                iou,
                "--per-class",
                "--json",
                str(tmp_path / "figures.json"),
            ]
        )
        == 0
    )
    result = json.loads((tmp_path / "figures.json").read_text())
    assert [
        -1 if result["figures"][name] is None else result["figures"][name] for name in FIGURES
    ] == expected.stats.tolist()
    assert result["figures"]["AP"] > 0.5 and result["detections"] == len(rows)
    for row in result["classes"]:
        precision = expected.eval["precision"][:, :, expected.params.catIds.index(row["id"]), 0, -1]
        assert (row["AP"] if row["AP"] is not None else -1) == (precision.mean() if precision.max() > -1 else -1)
    printed = capsys.readouterr().out
    assert f"  AP         {result['figures']['AP']:.3f}  IoU" in printed and "ball" in printed
    assert "note" not in printed and "without" not in printed


def annotate(path, file_names, boxes=((0, 10, 30, 20),), categories=NAMES, size_hw=SIZE_HW, first_id=1):
    """Annotations with the same boxes (x, y, w, h) in every image, all of the first category."""
    images = [
        {"id": number, "file_name": str(name), "height": size_hw[0], "width": size_hw[1]}
        for number, name in enumerate(file_names, start=1)
    ]
    rows = []
    for image in images:
        for x, y, w, h in boxes:
            rows.append(
                {
                    "id": first_id + len(rows),
                    "image_id": image["id"],
                    "category_id": next(iter(categories)),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )
    path.write_text(
        json.dumps(
            {
                "images": images,
                "annotations": rows,
                "categories": [{"id": i, "name": name} for i, name in categories.items()],
            }
        )
    )
    return str(path)


def found(uri, scores=(0.9,)):
    """A labelled image with a detection in the annotated place."""
    return labelled(uri, SIZE_HW, detections(scores, boxes_yxyx=[[0.25, 0, 0.75, 0.5]] * len(scores)))


def test_images_that_failed_or_are_missing_count_and_are_named(tmp_path, capsys):
    write_part(
        tmp_path / "out",
        [
            found("/d/a.jpg"),
            failed("/d/b.jpg"),
            found("/d/other.jpg"),
            labelled("/d/turned.jpg", SIZE_HW[::-1], detections([0.5])),
        ],
        labels=LABELS,
    )
    annotations = annotate(tmp_path / "i.json", ["a.jpg", "b.jpg", "c.jpg", "turned.jpg"])
    result = evaluate(str(tmp_path / "out"), annotations)
    images = result["images"]
    assert (images["annotated"], images["scored"]) == (4, 1)
    assert images["failed"] == {"b.jpg": "truncated"} and images["missing"] == ["c.jpg"]
    assert images["of_another_size"] == ["turned.jpg"] and images["not_annotated_examples"] == ["/d/other.jpg"]
    assert result["figures"]["AR_100"] == 0.25
    assert evaluate(str(tmp_path / "out"), annotations, only_labelled=True)["figures"]["AR_100"] == 1.0
    assert main(["evaluate", str(tmp_path / "out"), "--annotations", annotations]) == 0
    printed = capsys.readouterr().out
    for line in (
        "1 failed, count as images in which nothing was found: b.jpg (truncated)",
        "1 missing from the label set",
        "1 of another size",
        "1 labelled images aren't in the annotations: /d/other.jpg",
    ):
        assert line in printed


def test_equal_file_names_in_different_folders_are_told_apart(tmp_path):
    uris = [
        "/data/day/a.jpg",
        "/data/night/a.jpg",
        "https://host/x/a.jpg?token=night/a.jpg",
        "/data/s.tar#deep/day%/a.jpg",
    ]
    nothing = labelled(uris[1], SIZE_HW, detections([]))
    write_part(tmp_path / "out", [found(uris[0]), nothing, found(uris[2]), found(uris[3])], labels=LABELS)
    annotations = annotate(tmp_path / "i.json", ["day/a.jpg", "night/a.jpg", "a.jpg", "./day%/a.jpg"])
    result = evaluate(str(tmp_path / "out"), annotations)
    assert result["images"]["scored"] == 4 and result["figures"]["AR_100"] == 0.75


def test_two_images_for_one_annotation_are_refused_until_a_table_says_which(tmp_path):
    write_part(tmp_path / "out", [found("/day/a.jpg"), found("/night/a.jpg")], labels=LABELS)
    annotations = annotate(tmp_path / "i.json", ["a.jpg"])
    with pytest.raises(
        UsageError, match="/(day|night)/a.jpg and /(day|night)/a.jpg both seem to be image 1 .* --image-ids"
    ):
        evaluate(str(tmp_path / "out"), annotations)
    with (tmp_path / "ids.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["uri", "id"], ["/night/a.jpg", 1]])
    result = evaluate(str(tmp_path / "out"), annotations, image_ids=str(tmp_path / "ids.csv"))
    assert result["images"]["scored"] == 1 and result["images"]["not_annotated_examples"] == ["/day/a.jpg"]


@pytest.mark.parametrize(
    "table, named",
    [
        ("uri,id\n/a.jpg,9\n", "line 2: the annotations have no image with the id '9'"),
        ("path,id\n", "expected the columns uri and id"),
    ],
)
def test_a_table_of_ids_that_does_not_fit_is_refused(tmp_path, table, named):
    write_part(tmp_path / "out", [found("/a.jpg")], labels=LABELS)
    (tmp_path / "ids.csv").write_text(table)
    with pytest.raises(UsageError, match=named):
        evaluate(str(tmp_path / "out"), annotate(tmp_path / "i.json", ["a.jpg"]), image_ids=str(tmp_path / "ids.csv"))


def test_classes_are_matched_by_name_on_request(tmp_path):
    write_part(tmp_path / "out", [found("/a.jpg")], labels=LABELS)
    annotations = annotate(tmp_path / "i.json", ["a.jpg"], categories={7: "ball"})
    with pytest.raises(UsageError, match="--match-classes name goes by names alone"):
        evaluate(str(tmp_path / "out"), annotations)
    assert evaluate(str(tmp_path / "out"), annotations, match_classes="name")["figures"]["AP"] == pytest.approx(1)


def test_what_makes_figures_low_is_said(tmp_path):
    write_part(
        tmp_path / "out",
        [labelled("/a.jpg", SIZE_HW, detections([0.9, 0.8, 0.7], [1, 2, 7]))],
        labels=LABELS,
        min_score=0.3,
        max_detections=10,
    )
    annotations = annotate(tmp_path / "i.json", ["a.jpg"], categories={1: "ball", 2: "crate"})
    notes = "\n".join(evaluate(str(tmp_path / "out"), annotations)["notes"])
    assert "--min-score 0.3" in notes and "--max-detections 10" in notes and "2 (box / crate)" in notes
    assert "1 detections are of classes that the annotations don't have: class_7" in notes


def test_an_annotation_with_the_id_0_can_be_found(tmp_path):
    write_part(tmp_path / "out", [found("/a.jpg")], labels=LABELS)
    annotations = annotate(tmp_path / "i.json", ["a.jpg"], first_id=0)
    assert evaluate(str(tmp_path / "out"), annotations)["figures"]["AP"] == pytest.approx(1)


def test_masks_in_png_files_give_the_same_figures(tmp_path):
    results = []
    for mask_format in ("rle", "png"):
        write_part(tmp_path / mask_format, [found("/a.jpg", (0.9, 0.4))], mask_format, labels=LABELS)
        result = evaluate(str(tmp_path / mask_format), annotate(tmp_path / "i.json", ["a.jpg"]), iou="segm")
        results.append(result["figures"])
    assert results[0] == results[1] and results[0]["AP50"] == pytest.approx(1)


def test_nothing_found_is_a_result(tmp_path):
    write_part(tmp_path / "out", [labelled("/a.jpg", SIZE_HW, detections([]))], labels=LABELS)
    for iou in ("bbox", "segm"):
        result = evaluate(str(tmp_path / "out"), annotate(tmp_path / "i.json", ["a.jpg"]), iou=iou)
        assert result["figures"]["AP"] == 0 and result["detections"] == 0


def test_label_sets_without_anything_to_evaluate(tmp_path, capsys):
    annotations = annotate(tmp_path / "i.json", ["a.jpg"])

    def refusal(output, *options):
        assert main(["evaluate", str(tmp_path / output), "--annotations", annotations, *options]) == 2
        return capsys.readouterr().err

    write_part(tmp_path / "failed", [failed("/a.jpg")])
    assert "all 1 annotated images in it failed (1 truncated)" in refusal("failed")
    write_part(tmp_path / "bare", [found("/a.jpg")], "none", tables=("detections", "images"), labels=LABELS)
    assert "holds detections without masks" in refusal("bare", "--iou", "segm")
    write_part(tmp_path / "others", [found("/b.jpg")], labels=LABELS)
    assert "none of its images is annotated" in refusal("others")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_label_set.json").write_text('{"settings": {}}')
    assert "no labelled images; no job has finished a part yet" in refusal("empty")
    assert "not the output folder of a label set" in refusal("nowhere")
    write_part(tmp_path / "twice", [found("/a.jpg")], labels=LABELS)
    write_part(tmp_path / "twice", [found("/a.jpg")], stem="part-b", labels=LABELS)
    assert "labelbeam repair" in refusal("twice")
    assert "is a folder" in refusal("others", "--json", str(tmp_path))


@pytest.mark.parametrize(
    "content, named",
    [
        ("{", "isn't valid JSON"),
        ("[]", "isn't valid JSON in COCO's format"),
        ('{"images": 3}', "'images' is no list"),
        ('{"info": {}}', "has no list 'images'"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1}], "categories": []}',
            "number 1 of 'annotations' has no 'category_id', 'bbox', 'area'",
        ),
        ('{"images": [], "annotations": [], "categories": []}', "the list 'images' is empty"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 2, "category_id": 1, '
            '"bbox": [0, 0, 1, 1], "area": 1}],'
            ' "categories": [{"id": 1, "name": "ball"}]}',
            "annotation 1 belongs to image 2",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "category_id": 1, '
            '"bbox": [], "area": 1}], "categories": [{"id": 1, "name": "ball"}]}',
            "annotation 1: expected four numbers as bbox",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}], "annotations": [],'
            ' "categories": [{"id": 1, "name": "ball"}]}',
            "images 1 and 2 have one file name",
        ),
    ],
)
def test_annotations_that_are_none_are_refused(tmp_path, content, named):
    write_part(tmp_path / "out", [found("/a.jpg")], labels=LABELS)
    (tmp_path / "i.json").write_text(content)
    with pytest.raises(UsageError, match=named):
        evaluate(str(tmp_path / "out"), str(tmp_path / "i.json"))
    with pytest.raises(UsageError, match="no such file"):
        evaluate(str(tmp_path / "out"), str(tmp_path / "gone.json"))


def test_without_hotcoco_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    write_part(tmp_path / "out", [found("/a.jpg")], labels=LABELS)
    with pytest.raises(UsageError, match="pip install 'hotcoco"):
        evaluate(str(tmp_path / "out"), annotate(tmp_path / "i.json", ["a.jpg"]))
