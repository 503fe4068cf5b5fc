"""The ten questions of docs/tables.md: both ways of asking have one answer, the right one."""

import hashlib
import re
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.results.reader import open_label_set
from labelbeam.results.stored_labels import iter_labels

from tests.fakes.output_folders import detections, labelled, write_part
from tests.results.export.outputs import make_output

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tables.md"
QUESTIONS = re.findall(
    r"^### (\d+)\. .*?\n```python\n(.*?)```\n```python\n(.*?)```\n",
    DOCUMENT.read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    output = make_output(folder).rename(folder / "OUT")
    twice = detections([0.8, 0.75], [1, 1], [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.51, 0.5]])
    write_part(output, [labelled(folder / "images" / "d.png", (40, 40), twice)], stem="part-c")
    for part, day in (("a", 1), ("b", 1), ("c", 2)):
        path = output / "images" / f"part-{part}.parquet"
        table = pq.read_table(path)
        column, field = table.column_names.index("labelled_at"), table.schema.field("labelled_at")
        days = pa.array([datetime(2026, 1, day, 23, 30, tzinfo=timezone.utc)] * table.num_rows, field.type)
        pq.write_table(table.set_column(column, field, days), path)
    names = ["a/1.png", "a/1.jpg", "b/1.png", "b/2.png", "c.png", "d.png"]
    uris = [f"{folder}/images/{name}" for name in names]
    sites = ["left", "right", "left", "left", "left", "right"]
    pandas.DataFrame({"uri": uris, "site": sites}).to_csv(folder / "photos.csv", index=False)
    return folder


def ask(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {"duckdb": duckdb, "hashlib": hashlib, "pandas": pandas}
    exec(code, names)
    return names["answer"]


def both_answers(number, folder, monkeypatch):
    """As lists of rows, in order; floats rounded."""
    ((_, *codes),) = (question for question in QUESTIONS if question[0] == str(number))
    rows = [ask(code, folder, monkeypatch).to_dict("records") for code in codes]
    first, second = [
        [tuple(round(value, 5) if isinstance(value, float) else value for value in row.values()) for row in answer]
        for answer in rows
    ]
    assert first == second and [*rows[0][0]] == [*rows[1][0]]
    below = f"{folder}/images/"
    return [tuple(value.removeprefix(below) if isinstance(value, str) else value for value in row) for row in first]


def test_there_are_ten():
    assert [int(number) for number, *_ in QUESTIONS] == list(range(1, 11))


@pytest.mark.parametrize(
    "number, wanted",
    [
        (1, [("ball", 4), ("box", 2), ("class_7", 1)]),
        (2, [("b/2.png",)]),
        (3, [("d.png", "ball", 2)]),
        (6, [("left", 3, round(4 / 3, 5)), ("right", 2, 1.5)]),
        (8, [("c.png", "truncated", "cut short")]),
        (
            9,
            [
                ("2026-01-01", "ball", 0.5, 0.65),
                ("2026-01-01", "box", 0.5, round((0.9 + 0.31234567) / 2, 5)),
                ("2026-01-01", "class_7", 0.25, 0.5),
                ("2026-01-02", "ball", 2.0, 0.775),
            ],
        ),
    ],
)
def test_answers_are_what_was_labelled(number, wanted, folder, monkeypatch):
    assert both_answers(number, folder, monkeypatch) == wanted


def test_4_finds_the_object_that_was_found_twice(folder, monkeypatch):
    (pair,) = both_answers(4, folder, monkeypatch)
    (image_id,) = (
        labels.image_id for labels in iter_labels(open_label_set(str(folder / "OUT"))) if labels.uri.endswith("d.png")
    )
    assert pair == (f"{image_id}-0", f"{image_id}-1")


def test_5_decodes_every_mask(folder, monkeypatch):
    ((_, *codes),) = (question for question in QUESTIONS if question[0] == "5")
    wanted = {
        ref: labels.mask(rank)
        for labels in iter_labels(open_label_set(str(folder / "OUT")))
        for rank, ref in enumerate(labels.mask_refs)
    }
    for code in codes:
        answer = ask(code, folder, monkeypatch)
        assert answer.keys() == wanted.keys()
        for ref, mask in answer.items():
            np.testing.assert_array_equal(mask, wanted[ref])


def test_7_draws_two_of_each_class(folder, monkeypatch):
    classes = [row[2] for row in both_answers(7, folder, monkeypatch)]
    assert sorted(classes) == ["ball", "ball", "box", "box", "class_7"]


def test_10_gives_shares_of_the_images(folder, monkeypatch):
    shares = {}
    for labels in iter_labels(open_label_set(str(folder / "OUT"))):
        for rank, name in enumerate(labels.class_names):
            shares.setdefault(name, []).append(labels.mask(rank).mean())
    wanted = sorted(
        ((name, round(float(np.mean(of_class)), 5)) for name, of_class in shares.items()), key=lambda row: -row[1]
    )
    assert both_answers(10, folder, monkeypatch) == wanted
