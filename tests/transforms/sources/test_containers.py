import io
import os
import random
import subprocess
import sys
import tarfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from labelbeam.transforms.elements import ImageError, MemberLocation
from labelbeam.transforms.sources import containers
from labelbeam.transforms.sources.containers import close_containers, members, parquet, read_member
from labelbeam.transforms.sources.containers.tfrecord import masked_crc32c
from labelbeam.transforms.sources.inputs import InputError, ListOptions

from tests.fakes.filesystems import ObjectStore, rooted
from tests.transforms.sources.container_files import image_bytes, index, listed, write_tar, write_tfrecord

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


@pytest.mark.heavy
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
    assert chunks == sorted(chunks) and max(map(chunks.count, chunks)) == 10_000 // len(images[0])


@pytest.mark.parametrize("name", ["x.tar", "x.tfrecord"])
def test_a_chunk_is_never_larger_than_it_may_be_but_for_one_large_image(tmp_path, monkeypatch, name):
    monkeypatch.setattr("labelbeam.transforms.sources.containers.members.CHUNK_BYTES", 10_000)
    path, sizes = tmp_path / name, [4000, 4000, 4000, 25_000, 1, 9000, 2000, *[100] * 300]
    if name == "x.tar":
        write_tar(path, [(f"{i}.jpg", bytes(size)) for i, size in enumerate(sizes)])
    else:
        write_tfrecord(path, [{"image/encoded": bytes(size)} for size in sizes])
    chunks = defaultdict(list)
    for reference in index(path):
        chunks[reference.location.chunk].append(reference.location.length)
    assert list(map(len, chunks.values()))[:4] == [2, 1, 1, 2]
    assert all(len(lengths) == 1 or (sum(lengths) <= 10_000 and len(lengths) <= 128) for lengths in chunks.values())


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
    monkeypatch.setattr(parquet, "BATCH_BYTES", 8_000)
    images = [image_bytes(i, 1000) for i in range(100)]
    pq.write_table(pa.table({"jpg": images}), tmp_path / "x.parquet", row_group_size=50, use_dictionary=False)
    decoded, iter_batches = [], pq.ParquetFile.iter_batches

    def counted(*args, **kwargs):
        for batch in iter_batches(*args, **kwargs):
            decoded.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
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
    monkeypatch.setattr(parquet, "BATCH_BYTES", 20_000)
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
    assert 0 < sum(name.startswith(str(tmp_path)) for name in open_files) <= containers.MAX_IDLE


def test_the_feature_of_tensorflow_datasets_and_one_that_is_named(tmp_path):
    path = write_tfrecord(tmp_path / "x.tfrecord", [{"image": b"jpg", "image/filename": b"a.jpg", "other": b"png"}])
    assert listed(path) == [("a.jpg", b"jpg")]
    assert listed(path, image_column="other") == [("a.jpg", b"png")]
    with pytest.raises(InputError, match=r"no feature 'gone' of bytes \(--image-column\); features found: image, "):
        index(path, image_column="gone")


def test_parquet_bytes_that_are_dictionary_encoded(tmp_path):
    pq.write_table(pa.table({"image": pa.array([b"a", b"b", b"a"]).dictionary_encode()}), tmp_path / "x.parquet")
    assert listed(tmp_path / "x.parquet") == [("0", b"a"), ("1", b"b"), ("2", b"a")]
