"""Whatever stands in a list or container: references, problems that name the place, or one `InputError`; and soon."""

import bz2
import gzip
import io
import json
import lzma
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelbeam.labelset.rows import image_id
from labelbeam.transforms.coders import ImageReferenceCoder
from labelbeam.transforms.sources.containers import index_members
from labelbeam.transforms.sources.inputs import InputError, ListOptions
from labelbeam.transforms.sources.uri_lists import parse_entries

from tests.transforms.sources.container_files import tfrecord

EXAMPLES = settings(max_examples=150, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = st.sampled_from(
    [b"uri", b"a.jpg", b'"', b'""', b",", b"\t", b"\n", b"\r", b"\0", b"#", b"[", b"{", b'{"uri": "a.jpg"}', b"\\ud83d"]
    + [
        b"\xff\xfe",
        b"file:/\x80",
        b"\xed\xa0\xbd",
        b"9" * 5000,
        b"s3a://b/c",
        b"://",
        b"file://x",
        b"  ",
        b"[" * 3000,
        "ü".encode(),
    ]
)
TEXT = st.lists(PIECES | st.binary(max_size=8), max_size=60).map(b"".join)


def checked(references):
    """Makes sure that a reference can go through a pipeline and become a row."""
    found = []
    for reference in references:
        found.append(reference)
        if reference is not None:
            assert ImageReferenceCoder().decode(ImageReferenceCoder().encode(reference)) == reference
            assert len(image_id(reference.uri)) == 32
            assert not reference.problem or "/l" in reference.problem
    return found


def entries(data, file_format):
    try:
        return checked(parse_entries(io.BytesIO(data), f"/l.{file_format}", file_format, ListOptions()))
    except InputError as error:
        assert f"/l.{file_format}" in str(error)


@EXAMPLES
@given(TEXT, st.sampled_from(["txt", "csv", "tsv", "jsonl", "parquet"]))
def test_lists_of_any_bytes(data, file_format):
    entries(data, file_format)
    entries({"csv": b"uri,x\n", "tsv": b"x\turi\n", "jsonl": b'"a.jpg"\n'}.get(file_format, b"") + data, file_format)


@EXAMPLES
@given(
    TEXT,
    st.sampled_from([gzip.compress, bz2.compress, lzma.compress, lambda data: pa.compress(data, "zstd", True)]),
    st.integers(0, 200),
    st.integers(0, 255),
)
def test_damaged_compressed_lists(data, compress, place, byte):
    packed = bytearray(compress(b"uri\na.jpg\n" + data))
    packed[place % len(packed)] = byte
    entries(bytes(packed), "csv")
    entries(bytes(packed[:place]), "txt")


@EXAMPLES
@given(st.lists(st.binary(max_size=20) | st.none(), max_size=20))
def test_parquet_text_that_is_none(rows):
    strings = pa.array(rows, pa.binary()).view(pa.string())
    file = io.BytesIO()
    pq.write_table(pa.table({"uri": strings}), file)
    assert len(entries(file.getvalue(), "parquet")) == len(rows)


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("a.jpg", "b" * 150 + ".png", "c.json"):
            info = tarfile.TarInfo(name)
            info.size = 10
            archive.addfile(info, io.BytesIO(b"0123456789"))
    return file.getvalue()


TAR = tar()
FEATURE = b"\x0a\x17\x0a\x15\x0a\x0dimage/encoded\x12\x04\x0a\x02\x0a\x00"


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, len(TAR) - 1), st.integers(0, 255)), max_size=8), st.integers(0, len(TAR)))
def test_damaged_tars(tmp_path, changes, end):
    data = bytearray(TAR)
    for place, byte in changes:
        data[place] = byte
    (tmp_path / "l.tar").write_bytes(data[:end])
    try:
        checked(index_members(str(tmp_path / "l.tar")))
    except InputError as error:
        assert "l.tar" in str(error)


@EXAMPLES
@given(st.lists(st.binary(max_size=30), max_size=4), st.integers(0, 1 << 64 - 1), st.integers(0, 60))
def test_damaged_tfrecords(tmp_path, records, length, cut):
    data = tfrecord(FEATURE) + b"".join(map(tfrecord, records)) + tfrecord(b"", length)
    kept = data[: len(data) - cut]
    (tmp_path / "l.tfrecord").write_bytes(kept)
    try:
        found = checked(index_members(str(tmp_path / "l.tfrecord")))
        assert found or not kept  # an empty file is one without records
    except InputError as error:
        assert "l.tfrecord" in str(error)


@pytest.mark.parametrize(
    "line",
    [
        '{"uri": "/tmp/\\ud83d.jpg"}',
        "[" * 100_000,
        '{"uri": 1, "n": ' + "9" * 5000 + "}",
        "{" * 9,
        '"' + "x" * (1 << 24),
    ],
)
def test_one_odd_line_is_one_problem_between_good_ones(line):
    good = json.dumps({"uri": "a.jpg"})
    first, odd, last = entries(f"{good}\n{line}\n{good}\n".encode(), "jsonl")
    assert not first.problem and not last.problem
    assert odd.problem.startswith("list /l.jsonl, ") and ("line 2" in odd.problem or "ud83d" in odd.problem)


def test_a_long_cell_that_nobody_asked_for():
    found = entries(b"uri,caption\na.jpg,x\nb.jpg," + b"y" * 3_000_000 + b"\nc.jpg,z\n", "csv")
    assert [reference.listed_as for reference in found] == ["a.jpg", "b.jpg", "c.jpg"]
