"""Tables of boxes: what they may look like, how they reach the detector, and what is said of wrong ones."""

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that
from labelbeam.labelset.rows import image_id
from labelbeam.transforms.detect import Detect, DetectorHandler
from labelbeam.transforms.elements import ImageReference
from labelbeam.transforms.fetch_images import FetchImages
from labelbeam.transforms.skip_labelled import SkipLabelled
from labelbeam.transforms.sources.box_prompts import joined, open_tables, read_boxes
from labelbeam.transforms.sources.inputs import InputError
from PIL import Image

from tests.fakes.detectors import FakeBoxClassifierLoader

NORMALISED = np.float32([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.25, 0.25, 0.5, 0.75]])


def write_parquet(path, uris, boxes, **more):
    columns = dict(zip(("ymin", "xmin", "ymax", "xmax"), np.float32(boxes).reshape(-1, 4).T))
    pq.write_table(pa.table({"uri": uris, **columns, **more}), path)
    return path


@pytest.fixture
def images(tmp_path):
    for name, size in (("a", (40, 20)), ("b", (30, 60)), ("c", (10, 10))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    return tmp_path


def assert_boxes_reach_the_detector(references, tables, expected):
    """`expected`: URI -> boxes that a detector is to be given, through the real transforms."""

    def compare(images):
        found = {image.reference.uri: image.detections.boxes_yxyx for image in images}
        assert found.keys() == expected.keys()
        for uri, boxes in expected.items():
            np.testing.assert_allclose(found[uri], np.reshape(boxes, (-1, 4)))

    with beam.Pipeline(runner="FnApiRunner") as p:
        todo = p | beam.Create(references) | SkipLabelled(None, boxes=tables)
        labelled = todo["references"] | FetchImages() | Detect(DetectorHandler(FakeBoxClassifierLoader(), batch_size=4))
        assert_that(labelled | beam.FlatMap(lambda batch: batch), compare)


def test_each_image_gets_its_own_boxes_in_their_order(images):
    names = [str(images / name) for name in ("a.png", "b.png", "c.png")]
    write_parquet(images / "boxes-1.parquet", [names[0], names[1], names[0]], NORMALISED)
    write_parquet(images / "boxes-2.parquet", ["a.png"], [[0.5, 0.5, 0.75, 1.005]])  # relative to the table's folder
    assert_boxes_reach_the_detector(
        [ImageReference(name) for name in names],
        open_tables([str(images / "boxes-*.parquet")]),
        {names[0]: [NORMALISED[0], NORMALISED[2], [0.5, 0.5, 0.75, 1]], names[1]: NORMALISED[1], names[2]: []},
    )


def test_boxes_in_pixels_are_those_of_the_image(images):
    (images / "boxes.csv").write_text("image,x,y,w,h,note\na.png,10,5,20,10,left to right\nb.png,0,0,30,60,\n")
    names = [str(images / name) for name in ("a.png", "b.png")]
    assert_boxes_reach_the_detector(
        [ImageReference(name) for name in names],
        open_tables([str(images / "boxes.csv")], "image"),
        {names[0]: [0.25, 0.25, 0.75, 0.75], names[1]: [0, 0, 1, 1]},
    )


def test_rows_of_one_image_may_lie_anywhere_in_a_table(tmp_path):
    rng = np.random.default_rng(0)
    low = rng.random((200_000, 2)) / 2
    boxes = np.float32(np.concatenate([low, low + 0.3], axis=1))
    owners = rng.integers(0, 1000, len(boxes))
    write_parquet(tmp_path / "boxes.parquet", [f"/{owner}.png" for owner in owners], boxes)
    parts = {}
    for key, part in read_boxes(str(tmp_path / "boxes.parquet")):
        parts.setdefault(key, []).append(part)
    for owner in (0, 17, 999):
        given = joined(reversed(parts[image_id(f"/{owner}.png")])).normalised_yxyx((1, 1))
        np.testing.assert_array_equal(given, boxes[owners == owner])


def test_the_fingerprint_follows_the_content(tmp_path):
    write_parquet(tmp_path / "a.parquet", ["x"], NORMALISED[:1])
    write_parquet(tmp_path / "b.parquet", ["x"], NORMALISED[1:2])
    one, two = (open_tables([str(tmp_path / name)]).sha256 for name in ("a.parquet", "b.parquet"))
    assert one != two and one == open_tables([str(tmp_path / "a.parquet")]).sha256


@pytest.mark.parametrize(
    "text, message",
    [
        ("uri,ymin,xmin,ymax\na.png,0,0,1\n", "expected the columns uri, and ymin, xmin, ymax, xmax"),
        (
            "uri,ymin,xmin,ymax,xmax\na.png,0,0,120,200\n",
            "edges from 0 to 1.*Boxes in pixels have the columns x, y, w, h",
        ),
        ("uri,ymin,xmin,ymax,xmax\na.png,0.5,0,0.1,1\n", "upper left before lower right"),
        ("uri,ymin,xmin,ymax,xmax\na.png,0.5,0,,1\n", "no nulls"),
        ("uri,x,y,w,h\na.png,1,2,three,4\n", "expected numbers"),
        ("uri,x,y,w,h\n", "the table is empty"),
        ("", "can't be read"),
    ],
)
def test_wrong_tables_are_refused_before_the_work_starts(tmp_path, text, message):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(InputError, match=f"boxes .*boxes.csv.*{message}"):
        open_tables([str(tmp_path / "boxes.csv")])


def test_tables_that_are_none(tmp_path):
    (tmp_path / "boxes.txt").write_text("uri\n")
    for name in ("missing.csv", "boxes.txt", "*.parquet"):
        with pytest.raises(InputError, match="no such table; expected .parquet or .csv"):
            open_tables([str(tmp_path / name)])


def test_units_dont_mix(tmp_path):
    (tmp_path / "a.csv").write_text("uri,x,y,w,h\na.png,1,2,3,4\n")
    (tmp_path / "b.csv").write_text("uri,ymin,xmin,ymax,xmax\na.png,0,0,1,1\n")
    parts = [part for name in "ab" for _, part in read_boxes(str(tmp_path / f"{name}.csv"))]
    with pytest.raises(InputError, match="give an image's boxes in one way"):
        joined(parts)
