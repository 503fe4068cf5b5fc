import base64
import json
import os
import re

import numpy as np
import pytest
from labelbeam.labelset.rows import image_id
from labelbeam.pipeline.cli import main
from labelbeam.results.drawing.terminal_images import terminal_encoder
from PIL import Image

from tests.fakes.output_folders import detections, failed, labelled, write_part

BLUE = (40, 60, 200)


def blue_pixels(path):
    with Image.open(path) as file:
        return int((np.asarray(file.convert("RGB")) == BLUE).all(axis=-1).sum())


@pytest.fixture
def output(tmp_path, monkeypatch):
    """A label set of two images of one name, one with another name, one that failed; the working directory is
    elsewhere.
    """
    images = []
    for name in ("a/photo.png", "b/photo.png", "b/other.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (120, 90), BLUE).save(path)
        images.append(labelled(path, (90, 120), detections([0.9, 0.5], [1, 2])))
    write_part(tmp_path / "out", images)
    write_part(tmp_path / "out", [failed("http://host/broken.jpg")], stem="part-b", tables=("detections", "images"))
    (tmp_path / "out" / "_label_set.json").write_text(json.dumps({"settings": {"detector": "demo"}}))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "out"


def show(output, image, *options):
    return main(["show", str(output), str(image), *map(str, options)])


def test_an_image_is_drawn_and_its_detections_are_listed(output, tmp_path, capsys):
    assert show(output, tmp_path / "a" / "photo.png", "--output", tmp_path / "new" / "drawn.png") == 0
    printed = capsys.readouterr().out
    assert re.search(r"0\.90  ball +x 0\.0, y 22\.5, w 60\.0, h 45\.0, mask", printed) and "0.50  box" in printed
    with Image.open(tmp_path / "new" / "drawn.png") as file:
        assert file.size == (120, 90) and file.format == "PNG"
    assert 90 * 120 * 0.3 < blue_pixels(tmp_path / "new" / "drawn.png") < 90 * 120 * 0.9


@pytest.mark.parametrize("image", ["other.png", "b/other.png", "../b/other.png", "{id}", "{uri}"])
def test_an_image_is_found_by_uri_id_and_the_end_of_its_uri(output, tmp_path, image, capsys):
    uri = str(tmp_path / "b" / "other.png")
    assert show(output, image.format(id=image_id(uri), uri=uri)) == 0
    assert uri in capsys.readouterr().out
    assert blue_pixels(tmp_path / "here" / "other-labels.png")


def test_a_name_of_two_images_is_not_guessed(output, tmp_path, capsys):
    assert show(output, "photo.png") == 2
    said = capsys.readouterr().err
    assert "2 images of" in said and str(tmp_path / "a" / "photo.png") in said and "Give the image_id of one" in said


@pytest.mark.parametrize(
    "image, said",
    [
        ("nothing.png", "nothing.png: not among the 4 images of"),
        ("broken.jpg", r"http://host/broken.jpg: has no labels, since it failed: truncated: cut short.*--retry-failed"),
    ],
)
def test_what_cannot_be_shown_is_said(output, image, said, capsys):
    assert show(output, image) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not os.listdir()


def test_a_image_that_is_gone_is_said(output, tmp_path, capsys):
    (tmp_path / "b" / "other.png").unlink()
    assert show(output, "other.png") == 2
    assert "other.png: labelled, but can't be shown" in capsys.readouterr().err


def test_a_folder_that_is_no_label_set_is_said(tmp_path, capsys):
    assert show(tmp_path, "a.png") == 2
    assert "not the output folder of a label set" in capsys.readouterr().err


def test_a_label_set_without_masks_is_shown(tmp_path, capsys):
    Image.new("RGB", (120, 90), BLUE).save(tmp_path / "a.png")
    write_part(
        tmp_path, [labelled(tmp_path / "a.png", (90, 120), detections([0.9]))], "none", tables=("detections", "images")
    )
    (tmp_path / "_label_set.json").write_text('{"settings": {"mask_format": "none"}}')
    assert show(tmp_path, "a.png", "--output", tmp_path / "drawn.png") == 0
    assert ", mask" not in capsys.readouterr().out
    assert blue_pixels(tmp_path / "drawn.png") > 90 * 120 * 0.8


@pytest.mark.parametrize(
    "path, said", [("drawn.gif", "expected a name that ends in .png"), ("/dev/null/a.png", "can't be written")]
)
def test_a_image_that_cannot_be_written_is_said(output, path, said, capsys):
    assert show(output, "other.png", "--output", path) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "environ, begins",
    [({"TERM": "xterm-kitty"}, "\033_Ga=T,f=100,m="), ({"TERM_PROGRAM": "iTerm.app"}, "\033]1337;File=inline=1;")],
)
def test_terminals_that_show_images_get_them_whole(environ, begins):
    png = bytes(range(256)) * 40
    text = terminal_encoder(environ)(png)
    assert text.startswith(begins)
    payload = "".join(re.findall(r"[;:]([A-Za-z0-9+/=]+)(?:\033\\|\a)", text))
    assert base64.b64decode(payload) == png
    assert all(len(chunk) <= 4096 for chunk in re.findall(r"\033_G[^;]*;([^\033]*)", text))


@pytest.mark.parametrize("environ", [{}, {"TERM": "xterm-256color"}, {"TERM": "screen", "KITTY_WINDOW_ID": "1"}])
def test_other_terminals_get_none(environ):
    assert terminal_encoder(environ) is None
