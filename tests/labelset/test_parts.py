"""Parts: their names, how they are read, deduplicated and compacted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from labelbeam.labelset.compact import compact_parts, plan_compaction
from labelbeam.labelset.part_files import DamagedPartError
from labelbeam.labelset.parts import (
    Part,
    ids_sum,
    is_replacing,
    iter_part,
    job_of,
    list_parts,
    new_stem,
    part_path,
    read_part,
    replacing_stem,
    verify_part,
    written_parts,
)
from labelbeam.storage.errors import ResourcesError

from tests.fakes.folders_of_parts import part_tables, parts_of, put_part, reference, rows_of


@pytest.fixture
def out(tmp_path):
    return str(tmp_path)


def test_names_tell_the_job_and_whether_a_part_is_made_of_others():
    stem = new_stem("20260101T000000-abcdef")
    assert job_of(stem) == "20260101T000000-abcdef" and not is_replacing(stem)
    made = replacing_stem("j-1", [stem, "other"])
    assert made == replacing_stem("j-1", ["other", stem]) and job_of(made) == "j-1" and is_replacing(made)
    assert job_of("part-00000-of-00010") == "" and not is_replacing("anything")


def test_a_jobs_parts_are_those_it_wrote_while_it_labelled(out):
    stem = put_part(out, "a", job="j")
    put_part(out, "b", job="j-1")
    compact_parts(out, "j", list(parts_of(out).values()))
    assert list(written_parts(out, "j")) == [stem] and len(list_parts(out)) == 3


def test_the_sum_of_ids_tells_sets_apart():
    ids = [reference(name).image_id for name in "abc"]
    assert ids_sum(ids) == ids_sum(reversed(ids)) == (ids_sum(ids[:1]) + ids_sum(ids[1:])) % 2**128
    assert ids_sum(ids) != ids_sum([*ids[:2], ids[1]])


def test_small_parts_are_compacted_and_sorted(out):
    stems = [put_part(out, name) for name in "dacb"]
    before = sorted(map(str, rows_of(out, "detections", stems)))
    made = compact_parts(out, "j", list(parts_of(out).values()))
    assert made.rows == {"images": 4, "detections": 8} and job_of(made.stem) == "j"
    assert [row["image_id"] for row in rows_of(out, "images", [made.stem])] == sorted(
        reference(n).image_id for n in "abcd"
    )
    assert sorted(map(str, rows_of(out, "detections", [made.stem]))) == before
    assert [row["rank"] for row in rows_of(out, "detections", [made.stem])] == [0, 1] * 4
    assert pq.read_schema(part_path(out, "images", made.stem)).metadata[b"labelbeam.label_set"] == b"{}"
    again = compact_parts(out, "j", [part for part in parts_of(out).values() if part.stem in stems])
    assert again == made and set(stems) < set(list_parts(out))  # deleted only after the job has closed


def test_what_is_compacted_is_decided_by_size():
    parts = {f"part-{i:02d}": Part(f"part-{i:02d}", {}, {"images": 10, "detections": 20}) for i in range(10)}

    def plan(*limits):
        return [[part.stem for part in group] for group in plan_compaction(parts, *limits)]

    assert plan(60, 8) == [[f"part-{i:02d}" for i in three] for three in ((0, 1, 2), (3, 4, 5), (6, 7, 8))]
    assert plan(1000, 8) == [sorted(parts)]
    assert plan(1000, 11) == []
    assert plan(40, 1) == []  # none is small


def test_parts_of_an_older_labelbeam_get_todays_columns(out):
    """Such as lack a column that can be null, and have a narrower type."""
    older, newer = put_part(out, "a"), put_part(out, "b")
    path = part_path(out, "images", older)
    table = pq.read_table(path).drop_columns(["decode_ms"])
    table = table.set_column(
        table.column_names.index("num_detections"), "num_detections", table["num_detections"].cast("int8")
    )
    pq.write_table(table, path)
    assert read_part(out, older, "images", ["decode_ms", "uri"]).column_names == ["decode_ms", "uri"]
    assert [batch.num_rows for batch in iter_part(out, older, "images", ["decode_ms"])] == [1]
    made = compact_parts(out, "j", list(parts_of(out).values()))
    found = read_part(out, made.stem, "images")
    assert found.schema.equals(read_part(out, newer, "images").schema) and found.num_rows == 2
    assert found.schema.field("num_detections").type == pa.int32()


@pytest.mark.parametrize("how", ["gone", "cut", "foreign", "a bit"])
def test_a_damaged_file_is_named(out, how):
    stem = put_part(out, "abc")
    part, path = parts_of(out)[stem], part_path(out, "detections", stem)
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if how == "foreign":
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        data[40] ^= 1
        with open(path, "wb") as file:
            file.write(data if how == "a bit" else data[:100] if how == "cut" else b"")
    [said] = verify_part(out, part)
    assert said.startswith(path)
    if how in ("gone", "cut"):
        with pytest.raises(DamagedPartError, match=f"{stem}.parquet: damaged .*labelbeam repair {out}"):
            read_part(out, stem, "detections")


def test_a_part_is_whole(out):
    stem = put_part(out, "ab")
    part = parts_of(out)[stem]
    assert verify_part(out, part) == []
    assert list_parts(out)[stem].keys() == {"images", "detections"} == part_tables("a").keys()
    assert part.rows == {"images": 2, "detections": 4} and part.num_bytes == list_parts(out)[stem]


@pytest.mark.parametrize("how", ["read", "with filters", "in portions"])
def test_a_flipped_bit_is_damage_and_no_other_label(out, how):
    stem = put_part(out, "abcdefgh")
    path = Path(part_path(out, "detections", stem))
    content, names = bytearray(path.read_bytes()), pq.read_schema(path).names
    column = pq.read_metadata(path).row_group(0).column(names.index("score"))
    # The file keeps its size: nothing but the checksum of a page tells.
    content[column.dictionary_page_offset + column.total_compressed_size - 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedPartError, match=f"{stem}.parquet: damaged .*labelbeam repair"):
        if how == "in portions":
            list(iter_part(out, stem, "detections", ["score", "class_id", "rank", "detection_id"]))
        else:
            read_part(out, stem, "detections", filters=pc.field("rank") >= 0 if how == "with filters" else None)


def test_a_process_without_memory_calls_no_file_damaged(out, monkeypatch):
    stem = put_part(out, "a")

    def full(*args, **kwargs):
        raise pa.lib.ArrowMemoryError("malloc of size 1073741824 failed")

    monkeypatch.setattr(pq, "ParquetFile", full)
    with pytest.raises(ResourcesError, match=f"{stem}.parquet.*memory"):
        read_part(out, stem, "images")


def test_an_error_of_the_disk_names_the_file_and_calls_it_not_damaged(out, monkeypatch):
    stem = put_part(out, "a")

    def broken(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pq, "ParquetFile", broken)
    with pytest.raises(OSError, match=f"Input/output error.*{stem}.parquet"):
        read_part(out, stem, "images")
