import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset.schemas import build_table
from labelbeam.transforms.elements import FailedImage, ImageFacts, ImageReference
from labelbeam.transforms.sources.carry import as_type, find_types
from labelbeam.transforms.sources.containers import index_members
from labelbeam.transforms.sources.containers.tf_example import Example
from labelbeam.transforms.sources.inputs import InputError, ListOptions, format_of
from labelbeam.transforms.sources.uri_lists import read_entries
from labelbeam.transforms.to_rows import RowOptions, image_rows

from tests.transforms.sources.container_files import tfrecord, write_tar

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "l.csv").write_text("site,uri,n\nA,a.jpg,1\nB,b.jpg\n")
    (tmp_path / "l.tsv").write_text("uri\tsite\na.jpg\tA, east\n")
    rows = ['"bare.jpg"', '{"uri": "a", "n": 1, "ok": true, "x": 1, "tags": ["t"]}', '{"uri": "b", "n": 2, "x": 0.5}']
    (tmp_path / "l.jsonl").write_text("\n".join(rows))
    table = {"uri": ["a"], "n": pa.array([7], pa.int16()), "site": pa.array(["A"]).dictionary_encode(), "day": [NOON]}
    pq.write_table(pa.table(table), tmp_path / "l.parquet")
    return tmp_path


@pytest.mark.parametrize(
    "name, carry, types, rows",
    [
        ("l.csv", ["n", "site"], ["string", "string"], [("1", "A"), (None, "B")]),
        ("l.tsv", ["site"], ["string"], [("A, east",)]),
        (
            "l.jsonl",
            ["n", "ok", "x", "tags"],
            ["int64", "bool", "double", "string"],
            [(None,) * 4, (1, True, 1.0, '["t"]'), (2, None, 0.5, None)],
        ),
        ("l.parquet", ["site", "n", "day"], ["string", "int64", "string"], [("A", 7, "2026-01-01 12:00:00+00:00")]),
    ],
)
def test_columns_come_along_as_they_are(lists, name, carry, types, rows):
    path, options = str(lists / name), ListOptions(carry=carry)
    found = find_types([path], options)
    assert found == dict(zip(carry, types))
    references = list(read_entries(path, format_of(path), options))
    made = [
        image_rows(FailedImage(reference, ImageFacts(), "not_found", "gone"), RowOptions(carry=found), NOON)
        for reference in references
    ]
    table = build_table("images", made)
    assert [table.schema.field(column).type for column in carry] == [
        {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}[kind] for kind in types
    ]
    order = {reference.image_id: place for place, reference in enumerate(references)}
    columns = sorted(table.to_pylist(), key=lambda row: order[row["image_id"]])
    assert [tuple(row[column] for column in carry) for row in columns] == rows


def write_example_tfrecord(path):
    """Two examples by hand: image/encoded, text, a number, a whole number, and a list of two whole numbers."""
    made = []
    for place in range(2):
        example = Example()
        features = example.features.feature
        features["image/encoded"].bytes_list.value.append(b"image")
        if not place:
            features["site"].bytes_list.value.append("Ä".encode())
            features["depth"].float_list.value.append(0.5)
            features["n"].int64_list.value.append(1 << 40)
            features["box"].int64_list.value.extend([1, 2])
        made.append(tfrecord(example.SerializeToString()))
    path.write_bytes(b"".join(made))


def write_samples(path):
    """A WebDataset: the JSON before, behind or far from its images; one image without, one with a broken one."""
    meta = json.dumps({"site": "Ä", "depth": 0.5, "n": 1 << 40, "box": [1, 2]}).encode()
    files = [("d/a.left.jpg", b"1"), ("d/a.json", meta), ("b.jpg", b"2"), ("c.json", b"[1]"), ("c.jpg", b"3")]
    return write_tar(path, [*files, ("d/a.right.jpg", b"4"), ("d/._a.json", b"\0"), ("d/a.txt", b"text")])


CARRY = ["site", "depth", "n", "box", "gone"]
FULL, NONE = ("Ä", 0.5, 1 << 40, "[1, 2]"), (None,) * 4


@pytest.mark.parametrize(
    "name, rows", [("l.tfrecord", [FULL, NONE]), ("l.tar", [FULL, NONE, NONE, FULL]), ("c.parquet", [FULL, NONE])]
)
def test_what_lies_beside_images_in_containers_comes_along(tmp_path, caplog, name, rows):
    write_example_tfrecord(tmp_path / "l.tfrecord")
    write_samples(tmp_path / "l.tar")
    columns = dict(zip(CARRY, ([value, None] for value in ("Ä", 0.5, 1 << 40, [1, 2]))))
    pq.write_table(pa.table({**columns, "image": [b"1", b"2"]}), tmp_path / "c.parquet")
    carry = CARRY[:-1]
    found = find_types([str(tmp_path / name)], ListOptions(carry=carry))
    assert found == {"site": "string", "depth": "double", "n": "int64", "box": "string"}
    references = list(index_members(str(tmp_path / name), ListOptions(carry=carry)))
    assert [tuple(map(as_type, reference.carried, found.values())) for reference in references] == rows
    assert ("the .json of c.jpg holds no JSON object" in caplog.text) == (name == "l.tar")
    with pytest.raises(InputError, match="--carry gone: no list or container among the inputs"):
        find_types([str(tmp_path / name)], ListOptions(carry=CARRY))


def test_the_first_container_of_a_folder_says_the_types(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"image")
    write_samples(tmp_path / "b.tar")
    assert find_types([str(tmp_path)], ListOptions(carry=["n"])) == {"n": "int64"}


def test_types_that_differ_between_lists_are_text(lists):
    inputs = [str(lists / name) for name in ("l.csv", "l.parquet")]
    assert find_types(inputs, ListOptions(carry=["n", "site"])) == {"n": "string", "site": "string"}


def test_images_that_no_list_names_have_nulls(lists):
    image = FailedImage(ImageReference("/x.jpg"), ImageFacts(), "not_found", "gone")
    [row] = build_table("images", [image_rows(image, RowOptions(carry={"n": "int64"}), NOON)]).to_pylist()
    assert row["n"] is None and row["uri"] == "/x.jpg"


@pytest.mark.parametrize(
    "carry, message",
    [(["gone"], "--carry gone: no list or container among"), (["width"], "--carry width: the table images has")],
)
def test_columns_that_cannot_come_along(lists, carry, message):
    with pytest.raises(InputError, match=message):
        find_types([str(lists / "l.csv"), str(lists)], ListOptions(carry=carry))


@pytest.mark.parametrize(
    "value, kind, expected",
    [
        (True, "int64", None),
        ("1", "int64", None),
        (1.0, "int64", 1),
        (1.5, "int64", None),
        (float("inf"), "int64", None),
        (1 << 64, "int64", None),
        (3, "double", 3.0),
        (1, "bool", None),
        ("caf\udce9", "string", "caf\\udce9"),
        (3, "string", "3"),
        ({"a": [1]}, "string", '{"a": [1]}'),
    ],
)
def test_values_that_dont_fit_are_null(value, kind, expected):
    assert as_type(value, kind) == expected
