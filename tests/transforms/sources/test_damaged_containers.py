import re
import struct
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.transforms.elements import ImageError
from labelbeam.transforms.sources.containers import close_containers, index_members, read_member
from labelbeam.transforms.sources.containers.tfrecord import masked_crc32c
from labelbeam.transforms.sources.inputs import InputError

from tests.transforms.sources.container_files import image_bytes, index, write_tar, write_tfrecord


@pytest.fixture(autouse=True)
def closed_containers():
    yield
    close_containers()


def tar_header(kind, size):
    info = tarfile.TarInfo("long")
    info.type, info.size = kind.encode(), size
    return info.tobuf(tarfile.GNU_FORMAT)


def damaged_tar(tmp_path, damage):
    whole = write_tar(tmp_path / "whole.tar", [(f"{i}.jpg", bytes([i + 1]) * 700) for i in range(5)]).read_bytes()
    header = 2 * (512 + 1024)  # of the third member
    end = 5 * (512 + 1024)
    return {
        "header": whole[:header] + b"\xff" * 512 + whole[header + 512 :],
        "cut in header": whole[: header + 100],
        "cut in bytes": whole[: header + 600],
        "cut between members": whole[:header],
        "cut at end marker": whole[:end],
        "concatenated": whole + whole,
        "name of a gigabyte": whole[:header] + tar_header("L", 1 << 30) + bytes(1024),
        "a thousand headers of headers": whole[:header] + tar_header("x", 0) * 3000 + bytes(1024),
        "gzip": b"\x1f\x8b" + whole,
        "zstd": b"\x28\xb5\x2f\xfd" + whole,
        "no tar": b"hello" * 1000,
        "empty": b"",
    }[damage]


@pytest.mark.parametrize(
    "damage, num_sound, message",
    [
        ("header", 2, "byte 3072: damaged header"),
        ("cut in header", 2, "byte 3072: cut off"),
        ("cut in bytes", 3, "byte 4608: damaged or cut off"),
        ("cut between members", 2, "byte 3072: cut off: the archive's end marker is missing"),
        ("cut at end marker", 5, "byte 7680: cut off: the archive's end marker is missing"),
        ("concatenated", 5, "byte 7680: more data behind the archive's end marker"),
        ("name of a gigabyte", 2, "byte 3072: damaged or cut off .*header of 1073741824 bytes"),
        ("a thousand headers of headers", 2, "byte 3072: damaged or cut off"),
        ("gzip", 0, r"compressed \(gzip\).*Decompress"),
        ("zstd", 0, r"compressed \(zstd\)"),
        ("no tar", 0, "not a tar archive"),
        ("empty", 0, "not a tar archive, or damaged at its start"),
    ],
)
def test_a_damaged_tar_fails_with_its_name_and_the_byte(tmp_path, damage, num_sound, message):
    path = tmp_path / "x.tar"
    path.write_bytes(damaged_tar(tmp_path, damage))
    if not num_sound:
        with pytest.raises(InputError, match=rf"x\.tar: .*{message}"):
            index(path)
    else:
        *sound, last = index(path)
        assert len(sound) == num_sound and not any(reference.problem for reference in sound)
        assert re.search(rf"x\.tar, {message}", last.problem) and last.uri.startswith(f"{path}#byte ")


def test_a_tar_with_a_link_to_nothing_is_an_error(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.linkname = tarfile.LNKTYPE, "elsewhere.jpg"
        archive.addfile(info)
    [reference] = index(tmp_path / "x.tar")
    assert "a.jpg: a link to elsewhere.jpg" in reference.problem


def test_damaged_tfrecords_fail_with_their_name_and_the_byte(tmp_path):
    path = write_tfrecord(tmp_path / "x.tfrecord", [{"image/encoded": bytes(50)}] * 3)
    whole = path.read_bytes()
    record = len(whole) // 3

    def error_of(data, num_sound):
        path.write_bytes(data)
        found = index_members(str(path))
        for _ in range(num_sound):
            assert not next(found).problem
        if num_sound:
            [reference] = found
            return reference.problem
        with pytest.raises(InputError, match=r"x\.tfrecord: ") as error:
            next(found)
        return str(error.value)

    assert f"byte {record + 5}: cut off within a record's header" in error_of(whole[: record + 5], 1)
    assert f"byte {record + 12}: cut off within a record of {record - 16} b" in error_of(whole[: 2 * record - 1], 1)
    assert f"byte {record}: expected a TFRecord's header" in error_of(whole[:record] + b"\1" + whole[record + 1 :], 1)
    length = struct.pack("<Q", 1 << 60)
    endless = length + struct.pack("<I", masked_crc32c(length))
    assert f"cut off within a record of {1 << 60} bytes" in error_of(whole[:record] + endless + whole[record:], 1)
    assert "is not a tf.Example" in error_of(whole[:12] + b"\xff" * (record - 16) + whole[record - 4 :], 0)
    write_tfrecord(path, [{"image/encoded": bytes(50)}] * 3, "GZIP")
    assert "compressed (gzip)" in error_of(path.read_bytes(), 0)
    write_tfrecord(path, [{"image/encoded": bytes(50)}] * 3, "ZLIB")
    assert "damaged, compressed, or no TFRecord file" in error_of(path.read_bytes(), 0)
    write_tfrecord(path, [{"jpg": b"x", "id": 1}])
    assert "with the feature 'image/encoded' or 'image'; features found: id, jpg" in error_of(path.read_bytes(), 0)


def test_a_tfrecord_without_records_holds_nothing(tmp_path):
    (tmp_path / "x.tfrecord").write_bytes(b"")
    assert index(tmp_path / "x.tfrecord") == []


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"jpg": [image_bytes(i, 5000) for i in range(9)]}), path, use_dictionary=False)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match=r"x\.parquet: not a Parquet file, or cut off"):
        index(path)
    path.write_bytes(whole[:4] + b"\xff" * 64 + whole[68:])  # the footer is sound, the first page's header isn't
    with pytest.raises(ImageError, match="row 0, column 'jpg': can't be read") as error:
        read_member(index(path)[0].location)
    assert error.value.kind == "truncated"
