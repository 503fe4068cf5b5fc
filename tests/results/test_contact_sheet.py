import numpy as np
import pytest
from labelbeam.results.drawing.contact_sheet import write_contact_sheet
from labelbeam.storage.errors import UsageError
from PIL import Image

from tests.fakes.output_folders import detections, failed, labelled, write_part

BLUE = (40, 60, 200)


def make_output(folder, sizes_hw, scores=(0.9, 0.5)):
    images = []
    for index, (height, width) in enumerate(sizes_hw):
        path = folder / f"{index}.png"
        Image.new("RGB", (width, height), BLUE).save(path)
        images.append(labelled(path, (height, width), detections(scores, [1, 2][: len(scores)])))
    write_part(folder / "out", images)
    return str(folder / "out")


def draw(output, to_path, **options):
    write_contact_sheet(output, str(to_path), **options)
    with Image.open(to_path) as file:
        return np.asarray(file.convert("RGB"))


def blue(sheet):
    return (sheet == BLUE).all(axis=-1).sum()


def test_images_are_shown_in_a_grid(tmp_path):
    output = make_output(tmp_path, [(90, 120)] * 5)
    heights, widths = zip(*(draw(output, tmp_path / "sheet.png", columns=columns).shape[:2] for columns in (1, 3, 5)))
    assert heights[0] > 2 * heights[1] > 2 * heights[2]
    assert widths[0] * 2 < widths[1] < widths[2]


@pytest.mark.parametrize("size_hw", [(600, 800), (16, 12), (30, 2000), (2000, 30), (1, 500), (1, 1)])
def test_images_of_every_shape_are_scaled_to_their_tile(tmp_path, size_hw):
    output = make_output(tmp_path, [size_hw], scores=())
    sheet = draw(output, tmp_path / "sheet.png")
    ys, xs = np.nonzero((sheet == BLUE).all(axis=-1))
    shown_hw = np.array([np.ptp(ys) + 1, np.ptp(xs) + 1])
    assert shown_hw[1] == 480 or shown_hw[0] == 640
    scale = shown_hw.max() / max(size_hw)
    np.testing.assert_allclose(shown_hw, np.maximum(1, np.multiply(size_hw, scale)), atol=1)


def test_detections_below_the_score_or_beyond_the_number_are_not_drawn(tmp_path):
    output = make_output(tmp_path, [(90, 120)])
    both, one, best, none = (
        blue(draw(output, tmp_path / "sheet.png", **options))
        for options in ({}, {"min_score": 0.6}, {"max_detections": 1}, {"min_score": 0.95})
    )
    assert both < one == best < none == 480 * 360


def test_what_cannot_be_shown_says_why(tmp_path):
    output = make_output(tmp_path, [(90, 120)] * 2)
    plain = draw(output, tmp_path / "sheet.png", min_score=1)
    (tmp_path / "0.png").unlink()
    write_part(tmp_path / "out", [failed("c.png", "words " * 500)], stem="part-b", tables=("detections", "images"))
    sheet = draw(output, tmp_path / "sheet.png", min_score=1)
    assert blue(sheet) == blue(plain) // 2
    red = (sheet.astype(int) @ [2, -1, -1] > 150).any(axis=0)  # headings of both tiles
    assert red[:508].any() and red[1000:].any() and not red[508:1000].any()


def test_a_mask_file_that_is_gone_is_said_and_spares_the_others(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (120, 90), BLUE).save(tmp_path / name)
    images = [labelled(tmp_path / name, (90, 120), detections([0.5])) for name in ("a.png", "b.png")]
    write_part(tmp_path, images, "png")
    whole = blue(draw(str(tmp_path), tmp_path / "sheet.png"))
    next((tmp_path / "masks_png").rglob("*.png")).unlink()
    assert blue(draw(str(tmp_path), tmp_path / "sheet.png")) == whole // 2 > 0


def test_the_sample_follows_the_seed(tmp_path):
    output = make_output(tmp_path, [(90, 120 + 20 * i) for i in range(8)])
    sheets = [draw(output, tmp_path / "sheet.png", num_images=2, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(sheets[0], sheets[1]) and not np.array_equal(sheets[0], sheets[2])


@pytest.mark.parametrize("name, format", [("sheet.png", "PNG"), ("sheet.jpg", "JPEG"), ("new/SHEET.JPEG", "JPEG")])
def test_the_name_decides_the_format(tmp_path, name, format):
    write_contact_sheet(make_output(tmp_path, [(90, 120)]), str(tmp_path / name))
    with Image.open(tmp_path / name) as file:
        assert file.format == format


@pytest.mark.parametrize("name", ["sheet.gif", "sheet"])
def test_other_names_are_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(UsageError, match=f"{name}: expected a name that ends in .png, .jpg, .jpeg"):
        write_contact_sheet(str(tmp_path / "nothing"), str(tmp_path / name))


def test_a_folder_without_labels_is_refused(tmp_path):
    (tmp_path / "_label_set.json").write_text('{"settings": {}}')
    with pytest.raises(UsageError, match="no labelled images"):
        write_contact_sheet(str(tmp_path), str(tmp_path / "sheet.png"))


def test_no_images_or_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one image and one column, got 3 and 0"):
        write_contact_sheet(str(tmp_path), str(tmp_path / "sheet.png"), num_images=3, columns=0)
