"""Parts that are made of others: in whatever portions, all rows in the order of ids, and row groups that end alike."""

import pyarrow.parquet as pq
import pytest
from labelbeam.labelset import compact
from labelbeam.labelset.compact import rewrite_parts
from labelbeam.labelset.part_files import ids_of_groups, is_sorted
from labelbeam.labelset.parts import count_part, list_parts, part_path, read_part
from labelbeam.labelset.rows import image_id
from labelbeam.results.reader import LabelSet
from labelbeam.results.stored_labels import iter_labels

from tests.fakes.folders_of_parts import put_part

NAMES = [f"{number:03d}" for number in range(60)]
TABLES = ("images", "detections")


@pytest.fixture
def out(tmp_path):
    return str(tmp_path)


@pytest.fixture(params=["at once", "in several runs", "in streams"])
def parts(request, out, monkeypatch):
    """Twelve parts; how they are merged depends on what is large."""
    for number in range(0, len(NAMES), 5):
        put_part(out, NAMES[number : number + 5], failed=NAMES[number : number + 1], num_detections=3)
    found = [count_part(out, stem, sizes) for stem, sizes in list_parts(out).items()]
    size = max(found[0].num_bytes.values())
    monkeypatch.setattr(compact, "GROUP_BYTES", 31 * sum(found[0].num_bytes.values()) // 10)  # 15 images
    limit = {"at once": 1 << 30, "in several runs": int(2.5 * size), "in streams": 1}[request.param]
    monkeypatch.setattr(compact, "RUN_BYTES", limit)
    return found


def rows(out, table, stems):
    found = [row for stem in stems for row in read_part(out, stem, table).to_pylist()]
    return sorted(found, key=lambda row: (row["image_id"], row.get("rank", 0)))


def test_all_rows_come_in_the_order_of_ids(out, parts):
    before = {table: rows(out, table, [part.stem for part in parts]) for table in TABLES}
    made = rewrite_parts(out, "part-j-c0123456789ab", parts, {})
    assert made is not None and made.rows == {"images": 60, "detections": 144} and made.failures == {"timeout": 12}
    assert made.num_bytes == list_parts(out)[made.stem]
    for table in TABLES:
        assert read_part(out, made.stem, table).to_pylist() == before[table]
    assert rewrite_parts(out, made.stem, parts, {}) == made


def test_row_groups_of_all_tables_end_at_the_same_images(out, parts):
    made = rewrite_parts(out, "part-j-c0123456789ab", parts, {})
    assert made is not None
    ends = {}
    for table in TABLES:
        path = part_path(out, table, made.stem)
        ends[table] = [ids[1] for ids in ids_of_groups(path) if ids]
        assert is_sorted(path)
        column = pq.read_metadata(path).row_group(0).column(0)
        assert column.has_column_index and column.has_offset_index
    assert len(ends["images"]) == 4
    ids = {row["image_id"] for row in rows(out, "detections", [made.stem])}  # failed images have none
    for end, of_images in zip(ends["detections"], ends["images"], strict=True):
        assert end == max(id_ for id_ in ids if id_ <= of_images)


def test_images_are_left_out_of_all_tables(out, parts):
    gone = {}
    for part in parts[:-1]:
        gone[part.stem] = read_part(out, part.stem, "images", ["image_id"]).column(0).combine_chunks()
    made = rewrite_parts(out, "part-j-c0123456789ab", parts, gone)
    assert made is not None and made.rows == {"images": 5, "detections": 12}
    for table in TABLES:
        assert rows(out, table, [made.stem]) == rows(out, table, [parts[-1].stem])
    gone[parts[-1].stem] = read_part(out, parts[-1].stem, "images", ["image_id"]).column(0).combine_chunks()
    assert rewrite_parts(out, "part-j-caaaaaaaaaaaa", parts, gone) is None
    assert "part-j-caaaaaaaaaaaa" not in list_parts(out)


def test_a_reader_takes_a_large_part_in_portions(out, parts):
    made = rewrite_parts(out, "part-j-c0123456789ab", parts, {})
    assert made is not None
    label_set = LabelSet(out, {}, {made.stem: made.num_bytes})
    assert len(label_set.portions(made.stem)) == 4
    found = list(iter_labels(label_set))
    assert [labels.image_id for labels in found] == sorted(image_id(f"/images/{name}.jpg") for name in NAMES)
    assert sum(len(labels.scores) for labels in found) == 144
