"""A part's file that is cut short, of others, or gone: each command names it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset.part_files import DamagedPartError
from labelbeam.pipeline.cli import main
from labelbeam.results.reader import open_label_set

from tests.results.export.outputs import make_output


def cut_short(path):
    path.write_bytes(path.read_bytes()[:100])


def emptied(path):
    path.write_bytes(b"")


def of_others(path):
    pq.write_table(pa.table({"a": [1]}), path)


@pytest.mark.parametrize("table", ["images", "detections"])
@pytest.mark.parametrize("damage", [cut_short, emptied, of_others])
def test_every_command_names_the_file(tmp_path, damage, table, capsys):
    output = make_output(tmp_path)
    path = output / table / "part-a.parquet"
    damage(path)
    (tmp_path / "instances.json").write_text(
        '{"images": [{"id": 1, "file_name": "a/1.png"}], "annotations": [], "categories": [{"id": 1, "name": "ball"}]}'
    )
    for command in (
        ["report", str(output)],
        ["show", str(output), "a/1.png", "--output", str(tmp_path / "a.png")],
        ["compare", str(output), str(output)],
        ["evaluate", str(output), "--annotations", str(tmp_path / "instances.json")],
        ["export", str(output), "--format", "coco", "--to", str(tmp_path / "to")],
    ):
        assert main(command) == 2, command
        said = capsys.readouterr().err
        assert "part-a.parquet" in said and "labelbeam repair" in said, command


def test_a_file_that_is_gone_is_named(tmp_path):
    output = make_output(tmp_path)
    label_set = open_label_set(str(output))
    (output / "detections" / "part-a.parquet").unlink()
    with pytest.raises(DamagedPartError, match="detections/part-a.parquet"):
        label_set.arrow("detections")
