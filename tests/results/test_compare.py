"""`labelbeam compare`: what is matched, missing and added, and the page that shows it."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from labelbeam.labelset.masks import encode_box_mask
from labelbeam.pipeline.cli import main
from labelbeam.results.compare import comparison as compare_module
from labelbeam.results.compare.comparison import compare
from labelbeam.results.matching import MaskColumns, box_iou, mask_iou, match_greedily, pairs_of_equal_keys
from labelbeam.storage.errors import UsageError
from PIL import Image
from pycocotools import mask as coco_mask

from tests.fakes.output_folders import detections, failed, labelled, write_part

SIZE_HW = (40, 80)
BOXES = [[0.1, 0.1, 0.5, 0.3], [0.2, 0.5, 0.9, 0.7], [0.5, 0.75, 0.8, 0.95]]


def found(uri, scores=(0.9, 0.8, 0.7), class_ids=(1, 2, 1), boxes=BOXES):
    return labelled(uri, SIZE_HW, detections(scores, list(class_ids)[: len(scores)], np.float32(boxes)[: len(scores)]))


def folders(tmp_path, images_a, images_b, **options):
    write_part(tmp_path / "a", images_a, **options)
    write_part(tmp_path / "b", images_b, **options)
    return str(tmp_path / "a"), str(tmp_path / "b")


# What pairs and overlaps are


def test_overlaps_of_boxes_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    boxes, others = (rng.uniform(0, 50, (200, 4)).astype(np.float32) for _ in range(2))
    expected = coco_mask.iou(others.astype(float), boxes.astype(float), [0] * 200).diagonal()
    np.testing.assert_allclose(box_iou(boxes, others), expected, rtol=1e-9)
    np.testing.assert_array_equal(box_iou(boxes, others), box_iou(others, boxes))
    np.testing.assert_array_equal(box_iou(boxes, boxes), 1)


def test_boxes_without_area_overlap_as_lines_do():
    line, half, elsewhere, point = [[10, 0, 0, 20]], [[10, 0, 0, 10]], [[11, 0, 0, 20]], [[3, 3, 0, 0]]
    for one, other, expected in ((line, line, 1), (line, half, 0.5), (line, elsewhere, 0), (point, point, 1)):
        assert box_iou(np.float32(one), np.float32(other)) == pytest.approx(expected)


def mask_columns(masks):
    encoded = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    return MaskColumns(
        "",
        pa.array([""] * len(masks)),
        pa.array([rle["counts"].decode() for rle in encoded]),
        np.int64([mask.sum() for mask in masks]),
        np.int64([coco_mask.toBbox(rle) for rle in encoded]),
        np.int64([mask.shape for mask in masks]),
    )


def test_overlaps_of_masks_are_those_of_pycocotools():
    rng = np.random.default_rng(1)
    masks = [rng.random((13, 17)) < share for share in (0, 0, 0.02, 0.3, 0.7, 1, 1)]
    masks += [np.pad(np.ones((5, 6), bool), ((3, 5), (2, 9))), np.pad(np.ones((6, 6), bool), ((2, 5), (2, 9)))]
    columns = mask_columns(masks)
    first, second = (grid.ravel() for grid in np.meshgrid(range(len(masks)), range(len(masks))))
    for min_iou in (0.0, 0.4):
        found = mask_iou(columns, columns, first, second, min_iou)
        for one, other, overlap in zip(first.tolist(), second.tolist(), found.tolist()):
            [[expected]] = coco_mask.iou(columns.rles(np.array([one])), columns.rles(np.array([other])), [0])
            expected = expected if masks[one].any() or masks[other].any() else 1
            assert overlap == pytest.approx(expected, abs=1e-12) or (overlap == 0 and expected < min_iou)


def test_greedy_matching_is_that_of_a_plain_loop():
    rng = np.random.default_rng(2)
    for size in (0, 1, 5, 30):
        first, second = (grid.ravel() for grid in np.meshgrid(np.arange(size), np.arange(size // 2 + 1)))
        iou = np.round(rng.random(len(first)), 1)  # many are equal
        expected, used = [], set()
        for pair in sorted(range(len(first)), key=lambda p: (-iou[p], first[p] + second[p])):
            if not {("a", first[pair]), ("b", second[pair])} & used:
                used |= {("a", first[pair]), ("b", second[pair])}
                expected.append(pair)
        assert match_greedily(first, second, iou).tolist() == sorted(expected)


def test_pairs_have_equal_keys():
    first, second = pairs_of_equal_keys(np.array([7, 2, 7, 3]), np.array([1, 2, 7, 7]))
    assert list(zip(first.tolist(), second.tolist())) == [(0, 2), (0, 3), (1, 1), (2, 2), (2, 3)]


# Whole label sets


@pytest.mark.parametrize("iou", ["bbox", "segm"])
@pytest.mark.parametrize("mask_format", ["rle", "png"])
def test_a_label_set_agrees_with_itself(tmp_path, iou, mask_format):
    images = [found(f"{i}.jpg", scores) for i, scores in enumerate([(0.9, 0.8, 0.7), (0.5,), ()])]
    a, _ = folders(tmp_path, images, images, mask_format=mask_format)
    result = compare(a, a, iou=iou)
    assert (
        result["detections"]["agreement"] == 1 and result["detections"]["in_a"] == result["detections"]["matched"] == 4
    )
    assert result["detections"]["greatest_absolute_score_shift"] == 0 and result["detections"]["mean_iou"] == 1
    assert result["images"]["agreeing"] == result["images"]["compared"] == 3
    assert result["most_different"] == result["renamed"] == [] and result["differing_settings"] == {}


def test_what_is_missing_added_and_shifted_is_told_by_class(tmp_path):
    moved = [BOXES[0], [0.2, 0.52, 0.9, 0.72], [0, 0, 0.05, 0.05]]
    a, b = folders(
        tmp_path, [found("x.jpg"), found("y.jpg")], [found("x.jpg", (0.85, 0.82, 0.6), boxes=moved), found("y.jpg")]
    )
    result = compare(a, b)
    total, (ball, box) = result["detections"], sorted(result["classes"], key=lambda row: row["name"])
    assert [total[name] for name in ("in_a", "in_b", "matched", "missing", "added")] == [6, 6, 5, 1, 1]
    assert total["agreement"] == pytest.approx(10 / 12)
    assert (ball["missing"], ball["added"], ball["matched"], box["missing"], box["matched"]) == (1, 1, 3, 0, 2)
    assert ball["mean_score_shift"] == pytest.approx(-0.05 / 3) and box["mean_score_shift"] == pytest.approx(0.01)
    assert (
        total["greatest_absolute_score_shift"] == pytest.approx(0.05) and result["scores"]["p99_absolute_shift"] == 0.05
    )
    assert result["scores"]["histogram"] == [[-0.05, 1], [0.0, 3], [0.02, 1]]
    assert box["mean_iou"] == pytest.approx((1 + 9 / 11) / 2)
    (image,) = result["most_different"]
    assert image["uri"] == "x.jpg" and image["difference"] == pytest.approx(0.7 + 0.6 + 0.05 + 0.02)
    assert image["fates_a"] == ["matched", "matched", "unmatched"]
    swapped = compare(b, a)["detections"]
    assert (swapped["matched"], swapped["mean_iou"]) == (total["matched"], total["mean_iou"])
    assert compare(a, b, min_iou=0.9)["detections"]["missing"] == 2


def test_matches_may_lie_below_the_least_score_that_counts(tmp_path):
    a, b = folders(
        tmp_path,
        [found("x.jpg", (0.9, 0.52, 0.3))],
        [found("x.jpg", (0.9, 0.6, 0.48), (1, 1, 2), [BOXES[0], BOXES[2], BOXES[1]])],
    )
    result = compare(a, b, min_score=0.5)
    assert {
        k: result["detections"][k] for k in ("in_a", "in_b", "matched", "missing", "added", "fell_below", "rose_above")
    } == {"in_a": 2, "in_b": 2, "matched": 1, "missing": 0, "added": 0, "fell_below": 1, "rose_above": 1}
    (image,) = result["most_different"]
    assert image["fates_a"] == ["matched", "matched_below_min_score", "below_min_score"]


def test_detections_under_another_name_are_told(tmp_path):
    a, b = folders(tmp_path, [found("x.jpg")], [found("x.jpg", class_ids=(1, 1, 7))])
    result = compare(a, b)
    assert result["detections"]["missing"] == result["detections"]["added"] == 2
    assert sorted(result["renamed"], key=lambda row: row["a"]) == [
        {"a": "ball", "b": "class_7", "detections": 1},
        {"a": "box", "b": "ball", "detections": 1},
    ]


def test_masks_are_compared_on_request(tmp_path):
    small = detections([0.9], boxes_yxyx=[BOXES[0]])
    large = detections([0.9], boxes_yxyx=[BOXES[0]])
    large.masks[:] = 1
    a, b = folders(tmp_path, [labelled("x.jpg", SIZE_HW, small)], [labelled("x.jpg", SIZE_HW, large)])
    assert compare(a, b)["detections"]["mean_iou"] == 1
    areas = [encode_box_mask(one.masks[0], one.boxes_yxyx[0], *SIZE_HW).area for one in (small, large)]
    assert compare(a, b, iou="segm")["detections"]["mean_iou"] == pytest.approx(areas[0] / areas[1])


def test_images_that_cannot_be_compared_are_counted_and_named(tmp_path):
    turned = labelled("turned.jpg", SIZE_HW[::-1], detections([0.5]))
    a, b = folders(
        tmp_path,
        [found("both.jpg"), found("a.jpg"), failed("f.jpg"), failed("fa.jpg"), found("fb.jpg"), found("turned.jpg")],
        [found("both.jpg"), found("b.jpg"), failed("f.jpg"), found("fa.jpg"), failed("fb.jpg"), turned],
    )
    images = compare(a, b)["images"]
    assert images.pop("examples") == {
        "only_in_a": ["a.jpg"],
        "only_in_b": ["b.jpg"],
        "failed_in_both": ["f.jpg"],
        "failed_in_a": ["fa.jpg"],
        "failed_in_b": ["fb.jpg"],
        "of_another_size": ["turned.jpg"],
    }
    assert images == {
        "compared": 1,
        "agreeing": 1,
        "only_in_a": 1,
        "only_in_b": 1,
        "failed_in_both": 1,
        "failed_in_a": 1,
        "failed_in_b": 1,
        "of_another_size": 1,
    }


def random_label_set(folder, seed, num_images=60, parts=3):
    """Images with jittered boxes, spread over parts in an order of their own."""
    rng, images = np.random.default_rng(seed), []
    for number in range(num_images):
        starts = np.random.default_rng(number).uniform(0, 0.7, (12, 2)) + rng.normal(0, 0.02, (12, 2))
        boxes = np.clip(np.concatenate([starts, starts + 0.25], axis=1), 0, 1)
        images.append(
            found(f"{number}.jpg", np.sort(rng.uniform(0.1, 1, 12))[::-1], rng.integers(1, 4, 12).tolist(), boxes)
        )
    for part, chosen in enumerate(np.array_split(rng.permutation(num_images), parts)):
        write_part(folder, [images[i] for i in chosen], stem=f"part-{part}")
    return str(folder)


def test_ranges_of_images_and_portions_of_pairs_change_nothing(tmp_path, monkeypatch):
    a, b = random_label_set(tmp_path / "a", 1), random_label_set(tmp_path / "b", 2, parts=4)
    once = compare(a, b)
    assert 0.2 < once["detections"]["agreement"] < 0.8 and once["renamed"]
    assert len(once["most_different"]) == 12
    monkeypatch.setattr(compare_module, "MAX_ROWS", {"bbox": 100})
    monkeypatch.setattr(compare_module, "MAX_PAIRS", 7)
    again = compare(a, b)

    def rounded(value):  # sums of floats in another order
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items() if k != "examples"}
        return (
            [rounded(v) for v in value]
            if isinstance(value, list)
            else round(value, 9)
            if isinstance(value, float)
            else value
        )

    once["renamed"], again["renamed"] = (sorted(r["renamed"], key=str) for r in (once, again))
    assert rounded(again) == rounded(once)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.sources += [attributes["src"]] if "src" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []


def test_the_page_holds_images_of_both_and_needs_nothing_else(tmp_path, capsys):
    for name in ("x&<y>.png", "gone.png"):
        Image.new("RGB", SIZE_HW[::-1], (40, 60, 200)).save(tmp_path / name)
    uri, gone = tmp_path / "x&<y>.png", tmp_path / "gone.png"
    a, b = folders(tmp_path, [found(uri), found(gone)], [found(uri, (0.9, 0.8)), found(gone, (0.9,))])
    gone.unlink()
    page_file, json_file = tmp_path / "out" / "page.html", tmp_path / "figures.json"
    assert main(["compare", a, b, "--html", str(page_file), "--json", str(json_file)]) == 0
    printed, text = capsys.readouterr().out, page_file.read_text()
    page = Page(text)
    assert len(page.sources) == 2 and all(link.startswith("data:") for link in page.sources + page.links)
    assert "http:" not in re.sub(r'base64,[^"]*', "", text)
    drawn = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))), int) for source in page.sources
    ]
    reddish = [int(((image[..., 0] > 150) & (image[..., 1] < 130)).sum()) for image in drawn]
    assert drawn[0].shape == (400, 800, 3) and reddish[0] > 20 and reddish[1] == 0  # what is missing stands out in A
    assert "x&amp;&lt;y&gt;.png" in text and "can't be shown" in text and "ball 0.70 only" in text
    assert "agreement 66.7 %" in printed and "3 missing, 0 added" in printed
    assert json.loads(json_file.read_text())["detections"]["missing"] == 3


TEXTS_AND_LINES = """cells => cells.map(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return [cell.innerText, range.getClientRects().length];
})"""


@pytest.mark.heavy
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page(tmp_path, chromium, width, colours):
    uris = [
        tmp_path / "a very long folder's name that has to be broken somewhere on a phone" / f"{i}.png" for i in range(2)
    ]
    uris[0].parent.mkdir()
    for uri in uris:
        Image.new("RGB", (800, 400), (40, 60, 200)).save(uri)
    images = [
        [labelled(uri, (400, 800), detections(scores, boxes_yxyx=BOXES[: len(scores)])) for uri in uris]
        for scores in ((0.9, 0.8, 0.7), (0.9, 0.75))
    ]
    a, b = folders(tmp_path, *images)
    tiles = {"size_hw": [1024, 1024], "overlap": 0.2, "larger_tiles": True}
    (tmp_path / "b" / "_label_set.json").write_text(json.dumps({"settings": {"min_score": 0.25, "tiles": tiles}}))
    for other, drawn in ((b, 4), (a, 0)):
        assert main(["compare", a, other, "--html", str(tmp_path / "page.html")]) == 0
        page, complaints, requests = (
            chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=colours),
            [],
            [],
        )
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].map(image => image.naturalWidth)") == [800] * drawn
        assert ("A and B say the same" in page.inner_text("body")) == (other == a)
        cells = page.locator(".settings td").evaluate_all(TEXTS_AND_LINES)
        assert not cells or json.dumps(tiles) in [text for text, _ in cells]
        assert not [text for text, lines in cells if lines > 1 and len(text) < 6]
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
        assert dark == (colours == "dark")
        assert not complaints and all(url.startswith(("file:", "data:")) for url in requests)


def test_a_label_set_equals_itself_in_words(tmp_path, capsys):
    a, b = folders(tmp_path, [found("x.jpg")], [found("x.jpg", (0.9, 0.8, 0.69))])
    assert main(["compare", a, a]) == 0
    assert "agreement 100.0 %, all of them equal" in capsys.readouterr().out
    assert main(["compare", a, b]) == 0
    assert "agreement 100.0 %\n" in capsys.readouterr().out


def test_settings_that_differ_are_told(tmp_path, capsys):
    write_part(tmp_path / "a", [found("x.jpg")], precision="float32")
    write_part(tmp_path / "b", [found("x.jpg")], precision="bfloat16")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert re.search(r"precision +float32 → bfloat16", capsys.readouterr().out)


def test_label_sets_without_anything_to_compare(tmp_path, capsys):
    write_part(tmp_path / "good", [found("x.jpg")])

    def refusal(other, *options):
        assert main(["compare", str(tmp_path / "good"), str(tmp_path / other), *options]) == 2
        return capsys.readouterr().err

    write_part(tmp_path / "failed", [failed("x.jpg")], tables=("images",))
    assert re.search("failed in both, 0 in .*good and 1 in .*failed", refusal("failed"))
    write_part(tmp_path / "others", [found("y.jpg")])
    assert "have no image in common" in refusal("others")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_label_set.json").write_text('{"settings": {}}')
    assert "no labelled images; no job has finished a part yet" in refusal("empty")
    assert "not the output folder of a label set" in refusal("nowhere")
    write_part(tmp_path / "bare", [found("x.jpg")], "none", tables=("detections", "images"))
    assert "holds detections without masks" in refusal("bare", "--iou", "segm")
    write_part(tmp_path / "twice", [found("x.jpg")])
    write_part(tmp_path / "twice", [found("x.jpg")], stem="part-b")
    assert "labelbeam repair" in refusal("twice")
    assert "--min-iou 0.0: expected a number above 0" in refusal("good", "--min-iou", "0")
    assert "--html" in refusal("good", "--html", str(tmp_path))


def test_nothing_found_in_either_is_a_result(tmp_path, capsys):
    a, b = folders(tmp_path, [found("x.jpg", ())], [found("x.jpg", ())])
    assert main(["compare", a, b, "--html", str(tmp_path / "page.html")]) == 0
    assert "0 in A, 0 in B" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--min-score 2"):
        compare(a, b, min_score=2)
