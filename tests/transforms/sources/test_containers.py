import io
import os
import random
import re
import struct
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from labelbeam.transforms.elements import ImageError, MemberLocation
from labelbeam.transforms.sources import containers
from labelbeam.transforms.sources.containers import close_containers, index_members, members, parquet, read_member
from labelbeam.transforms.sources.containers.tfrecord import masked_crc32c
from labelbeam.transforms.sources.inputs import InputError, ListOptions

from tests.fakes.filesystems import ObjectStore, rooted

NAMES = [
    "a.jpg",
    "sub/b.PNG",
    "naïve café/图.webp",
    "with space#1%20.jpg",
    "long/" + "x" * 150 + "/" + "ü" * 60 + ".jpg",
]


@pytest.fixture(autouse=True)
def closed_containers():
    yield
    close_containers()


def image_bytes(i, size=None):
    return random.Random(i).randbytes(size or 100 + 613 * i % 4000)


def index(path, **options):
    return list(index_members(str(path), ListOptions(**options)))


def listed(path, **options):
    """What comes behind the `#` of each member's URI, and the member's bytes."""
    references = index(path, **options)
    assert all(reference.uri.startswith(f"{path}#") for reference in references)
    return [(reference.uri.removeprefix(f"{path}#"), read_member(reference.location)) for reference in references]


def write_tar(path, files, tar_format=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=tar_format) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_tfrecord(path, examples, compression=""):
    """Through TensorFlow's own writer and messages; values are bytes, or whole numbers."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for example in examples:
            features = {}
            for name, value in example.items():
                kind = (
                    {"bytes_list": tf.train.BytesList(value=[value])}
                    if isinstance(value, bytes)
                    else {"int64_list": tf.train.Int64List(value=[value])}
                    if isinstance(value, int)
                    else {"float_list": tf.train.FloatList(value=value)}
                )
                features[name] = tf.train.Feature(**kind)
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_tar_members_are_listed_by_extension_and_read_back(tmp_path, tar_format):
    files = [(name, image_bytes(i)) for i, name in enumerate(NAMES)]
    others = [("a.json", b"{}"), ("a.txt", b"caption"), ("._a.jpg", b"AppleDouble"), ("noextension", b"x")]
    assert listed(write_tar(tmp_path / "s.tar", files[:3] + others + files[3:], tar_format)) == files


def test_tar_folders_links_and_repeats(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:

        def add(name, kind=tarfile.REGTYPE, data=b"", target=""):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data), target
            archive.addfile(info, io.BytesIO(data))

        add("folder.jpg", tarfile.DIRTYPE)
        add("a.jpg", data=b"first")
        add("blob", data=b"shared")
        add("hard.jpg", tarfile.LNKTYPE, target="blob")
        add("soft.jpg", tarfile.SYMTYPE, target="a.jpg")
        add("a.jpg", data=b"second")
        add("a.jpg", data=b"third")
        add("empty.jpg")
    assert listed(path) == [
        ("a.jpg", b"first"),
        ("hard.jpg", b"shared"),
        ("a.jpg@2", b"second"),
        ("a.jpg@3", b"third"),
        ("empty.jpg", b""),
    ]


def test_unique_names_differ_even_where_a_made_name_is_taken():
    unique = members.UniqueNames()
    assert [unique(name) for name in ["x", "x@2", "x", "x", "x@2"]] == ["x", "x@2", "x@3", "x@4", "x@2@2"]


def test_tfrecord_of_tensorflows_own_writer(tmp_path):
    examples = [
        {"image/encoded": image_bytes(0), "image/source_id": b"id#0", "image/filename": b"a.jpg", "score": [0.5]},
        {"image/encoded": image_bytes(1), "image/source_id": "图 1".encode(), "image/object/class/label": 3},
        {"image/encoded": image_bytes(2), "image/source_id": b"", "image/filename": b"folder/c d.jpg"},
        {"image/encoded": image_bytes(3)},
        {"image/encoded": image_bytes(4), "image/source_id": 139},
        {"image/encoded": image_bytes(5), "image/source_id": b"id#0"},
        {"image/encoded": image_bytes(6), "image/source_id": b"caf\xe9"},
    ]
    path = write_tfrecord(tmp_path / "x.tfrecord-00000-of-00001", examples)
    names = ["id#0", "图 1", "folder/c d.jpg", "3", "139", "id#0@2", "caf\udce9"]
    assert listed(path) == [(name, image_bytes(i)) for i, name in enumerate(names)]


def test_masked_crc32c():
    # 32 zero bytes: RFC 3720, B.4, gives the CRC-32C 0x8a9136aa.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_a_record_without_an_image_is_listed_and_fails_alone(tmp_path):
    path = write_tfrecord(tmp_path / "x.record", [{"image/encoded": b"jpeg"}, {"image/filename": b"gone.jpg"}])
    good, bad = index(path)
    assert read_member(good.location) == b"jpeg"
    with pytest.raises(ImageError, match="holds no image") as error:
        read_member(bad.location)
    assert error.value.kind == "not_found"


def test_listing_tfrecords_does_not_import_tensorflow(tmp_path):
    path = write_tfrecord(tmp_path / "x.tfrecord", [{"image/encoded": b"jpeg", "image/source_id": b"7"}])
    script = (
        "import sys; from labelbeam.transforms.sources.containers import *\n"
        "r = next(index_members(sys.argv[1])); assert read_member(r.location) == b'jpeg'\n"
        "print(r.uri, any(name.startswith('tensorflow') for name in sys.modules))"
    )
    command = [sys.executable, "-c", script, str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{path}#7 False\n"


@pytest.mark.parametrize("column_type", [pa.binary(), pa.large_binary()])
def test_parquet_column_of_bytes(tmp_path, column_type):
    images = [image_bytes(i) for i in range(10)]
    table = pa.table({"n": range(10), "jpg": pa.array(images, column_type)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=4)
    assert listed(tmp_path / "x.parquet") == [(str(i), image) for i, image in enumerate(images)]


def huggingface_table(images):
    """As `datasets` writes an image column: structs of bytes and path."""
    structs = pa.array(
        [image and {"bytes": image, "path": f"{i}.jpg"} for i, image in enumerate(images)],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    return pa.table({"image": structs, "label": range(len(images))})


def test_parquet_column_of_huggingface_structs(tmp_path):
    images = [image_bytes(i) for i in range(7)]
    pq.write_table(huggingface_table(images), tmp_path / "x.parquet", row_group_size=3)
    assert listed(tmp_path / "x.parquet") == [(str(i), image) for i, image in enumerate(images)]


def test_parquet_rows_without_bytes_are_listed_and_fail_alone(tmp_path):
    pq.write_table(huggingface_table([b"a", None, b"c"]), tmp_path / "x.parquet")
    references = index(tmp_path / "x.parquet")
    assert [reference.uri.rpartition("#")[2] for reference in references] == ["0", "1", "2"]
    assert [read_member(references[i].location) for i in (0, 2)] == [b"a", b"c"]
    with pytest.raises(ImageError, match="row 1 holds no image") as error:
        read_member(references[1].location)
    assert error.value.kind == "not_found"


def test_which_column_of_a_parquet_file_has_the_images(tmp_path):
    path = str(tmp_path / "x.parquet")
    pq.write_table(pa.table({"uri": ["u"], "jpg": [b"j"], "mask": [b"m"], "n": [1]}), path)
    assert parquet.find_image_column(path, ListOptions()) is None
    assert parquet.find_image_column(path, ListOptions(image_column="mask")) == "mask"
    assert listed(path, image_column="jpg") == [("0", b"j")]
    with pytest.raises(InputError, match=r"x\.parquet: no column 'n' of bytes.*found uri \(string\), .*--image-column"):
        parquet.find_image_column(path, ListOptions(image_column="n"))
    with pytest.raises(InputError, match=r"x\.parquet: expected a column 'url' with URIs, or one .*mask \(binary\)"):
        parquet.find_image_column(path, ListOptions(uri_column="url"))
    pq.write_table(pa.table({"n": [1]}), path)
    with pytest.raises(InputError, match=r"x\.parquet: expected a column 'uri' .*found n \(int64\)"):
        parquet.find_image_column(path, ListOptions())


def test_chunks_follow_row_groups_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "CHUNK_BYTES", 10_000)
    images = [image_bytes(i, 1000) for i in range(40)]
    table = pa.table({"n": range(40), "jpg": images})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=25, use_dictionary=False)
    chunks = [reference.location.chunk for reference in index(tmp_path / "x.parquet")]
    assert chunks == sorted(chunks) and chunks[24] != chunks[25]
    assert all(8 <= chunks.count(chunk) <= 10 for chunk in set(chunks) - {chunks[24], chunks[-1]})
    monkeypatch.setattr("labelbeam.transforms.sources.containers.members.CHUNK_BYTES", 10_000)
    references = index(write_tar(tmp_path / "x.tar", [(f"{i}.jpg", image) for i, image in enumerate(images)]))
    chunks = [reference.location.chunk for reference in references]
    assert chunks == sorted(chunks) and max(map(chunks.count, chunks)) == 7  # of 1,536 bytes each


@pytest.mark.parametrize("name", ["x.tar", "x.tfrecord", "x.parquet"])
def test_a_chunk_holds_few_images_however_small(tmp_path, name):
    path, images = tmp_path / name, [bytes([i % 256]) for i in range(300)]
    if name == "x.tar":
        write_tar(path, [(f"{i}.jpg", image) for i, image in enumerate(images)])
    elif name == "x.tfrecord":
        write_tfrecord(path, [{"image/encoded": image} for image in images])
    else:
        pq.write_table(pa.table({"jpg": images}), path)
    chunks = [reference.location.chunk for reference in index(path)]
    assert len(chunks) == 300 and max(map(chunks.count, chunks)) == 128


def test_rows_read_in_order_decode_each_batch_once(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 8_000)
    images = [image_bytes(i, 1000) for i in range(100)]
    pq.write_table(pa.table({"jpg": images}), tmp_path / "x.parquet", row_group_size=50, use_dictionary=False)
    decoded = []
    monkeypatch.setattr(parquet, "_bytes_of", lambda values: decoded.append(len(values)) or values)
    references = index(tmp_path / "x.parquet")
    order = [i ^ 3 for i in range(100)]  # as threads ask: nearly in order
    assert [read_member(references[i].location) for i in order] == [images[i] for i in order]
    assert sum(decoded) == 100
    assert [read_member(references[i].location) for i in (99, 0, 60)] == [images[i] for i in (99, 0, 60)]


@pytest.fixture
def container(request, tmp_path):
    """A container of 200 images, of the format asked for."""
    images = [image_bytes(i) for i in range(200)]
    path = tmp_path / f"x.{request.param}"
    if request.param == "tar":
        write_tar(path, [(f"{i}.jpg", image) for i, image in enumerate(images)])
    elif request.param == "tfrecord":
        write_tfrecord(path, [{"image/encoded": image} for image in images])
    else:
        pq.write_table(pa.table({"jpg": images}), path, row_group_size=70)
    return path, images


every_format = pytest.mark.parametrize("container", ["tar", "tfrecord", "parquet"], indirect=True)


@every_format
def test_many_threads_read_at_once(container, monkeypatch):
    path, images = container
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 20_000)
    references = index(path)
    order = random.Random(0).sample(range(200), 200)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda i: read_member(references[i].location), order)) == [images[i] for i in order]


@every_format
def test_containers_of_an_object_store(container):
    path, images = container
    with rooted(ObjectStore, path.parent) as root:
        assert [data for _, data in listed(f"{root}/{path.name}")] == images
        close_containers()


@every_format
def test_a_container_that_vanishes_or_shrinks_fails_its_images(container, tmp_path):
    path, images = container
    last = index(path)[-1].location
    whole = path.read_bytes()
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"jpg": images[:3]}), path)
    else:
        path.write_bytes(whole[: last.offset + 2])
    with pytest.raises(ImageError) as error:
        read_member(last)
    assert error.value.kind == "truncated"
    path.write_bytes(whole)  # a reader that has failed isn't used again
    assert read_member(last) == images[-1]
    close_containers()
    path.unlink()
    with pytest.raises(ImageError) as error:
        read_member(last)
    assert error.value.kind == "not_found"


class ClientError(Exception):
    code = 403


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClientError("no"), "forbidden"),
        (PermissionError(13, "no"), "forbidden"),
        (ConnectionResetError("gone"), "unreachable"),
    ],
)
def test_storage_that_fails_says_how(error, kind, monkeypatch):
    def fail_to_open(*args, **kwargs):
        raise error

    monkeypatch.setattr(FileSystems, "open", fail_to_open)
    with pytest.raises(ImageError, match="no|gone") as raised:
        read_member(MemberLocation("objects://bucket/x.tar", "tar", 0, 1))
    assert raised.value.kind == kind


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them")
def test_few_containers_stay_open(tmp_path):
    locations = [index(write_tar(tmp_path / f"{i}.tar", [("a.jpg", b"x")]))[0].location for i in range(30)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read_member, locations)) == [b"x"] * 30
    open_files = {os.path.realpath(fd.path) for fd in os.scandir("/proc/self/fd")}
    assert 0 < sum(name.startswith(str(tmp_path)) for name in open_files) <= containers._MAX_IDLE


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
