"""Names that filesystems allow and few expect: such images are labelled once, and found again."""

import io
import json
import os
import tarfile
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelbeam.pipeline.cli import main
from labelbeam.results.export.images import is_local_file
from labelbeam.results.pixels import container_holding

from tests.fakes.images import save_image

DETECTOR = "tests.fakes.classes:Brightest"
NAMES = [
    " a b.jpg",
    "x#y.jpg",
    "q?x=1.jpg",
    "[1]*.jpg",
    "two\nlines.jpg",
    "50%20.jpg",
    "back\\slash.jpg",
    "a.tar#b/c.jpg",
]
NAMES += [unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD")] + ["\udcff\udcfe.jpg", "caf\udce9.jpg"]
MEMBERS = ["1.jpg", "1.jpg", "a#b.jpg", "x.tar#y.jpg", "caf\udce9.jpg", "../up.jpg"]
CONTAINERS = ["a.tar", "odd#1.tar", "y.tar#z/w.tar", "odd\udcff.tar"]


@pytest.fixture
def odd_folder(tmp_path):
    folder = tmp_path / "in"
    for seed, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(folder / "plain.jpg", seed)
        os.replace(folder / "plain.jpg", folder / name)
    for seed, name in enumerate(CONTAINERS, 100):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(folder / name, "w", errors="surrogateescape") as archive:
            for place, member in enumerate(MEMBERS):
                data = save_image(tmp_path / "member.jpg", 10 * seed + place).read_bytes()
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return folder


@pytest.mark.heavy
def test_images_with_odd_names_are_labelled_once_and_found_again(odd_folder, label, tmp_path, capsys):
    number = len(NAMES) + len(CONTAINERS) * len(MEMBERS)
    code, printed, labels = label(odd_folder, detector=DETECTOR)
    assert code == 0 and f"Labelled {number} of {number} images" in printed, printed
    code, printed, labels = label(odd_folder, detector=DETECTOR)
    assert code == 0 and "Nothing to do" in printed
    out = str(labels.folder)
    for uri in [
        *labels.frame("images")["uri"],
        str(odd_folder / "caf\udce9.jpg"),
        str(odd_folder / "odd\udcff.tar#1.jpg"),
    ]:
        assert main(["show", out, uri, "-o", str(tmp_path / "shown.png")]) == 0
    assert main(["report", out, "-o", str(tmp_path / "report.html")]) == 0
    capsys.readouterr()
    for format, folder in (("yolo", "images"), ("coco", "images"), ("voc", "JPEGImages"), ("fiftyone", "data")):
        assert main(["export", out, "--format", format, "--to", str(tmp_path / format), "--copy-images"]) == 0
        images = [path for path in (tmp_path / format / folder).rglob("*") if path.is_file()]
        assert len({unicodedata.normalize("NFC", str(path)).casefold() for path in images}) == number
    assert main(["export", out, "--format", "label-studio", "--to", str(tmp_path / "tasks")]) == 0
    assert "caf%E9.jpg" in (tmp_path / "tasks" / "tasks.json").read_text()


def test_what_is_a_container_and_what_is_called_so(odd_folder):
    assert is_local_file(str(odd_folder / "a.tar#b/c.jpg")) and not is_local_file(str(odd_folder / "a.tar#1.jpg"))
    for name in CONTAINERS:
        escaped = f"{odd_folder}/{name}".encode("utf-8", "backslashreplace").decode()
        assert container_holding(f"{escaped}#x.tar#y.jpg") == f"{odd_folder}/{name}"
    assert container_holding("s3://bucket/a.tar#b.tar#c.jpg") == "s3://bucket/a.tar"


def test_blanks_around_entries_of_lists_are_not_theirs(label, tmp_path):
    save_image(tmp_path / "a b.jpg", 0)
    entries = [f"{blank}a b.jpg{blank}" for blank in [" ", "\t", "\u00a0", "\ufeff", "\u200b", "\u3000"]]
    (tmp_path / "l.txt").write_text("".join(f"{entry}\r\n" for entry in entries), newline="")
    (tmp_path / "l.csv").write_text("uri\r\n" + "".join(f'"{entry}\n"\r\n' for entry in entries), newline="")
    (tmp_path / "l.jsonl").write_text("".join(json.dumps({"uri": entry + "\n"}) + "\r\n" for entry in entries))
    pq.write_table(pa.table({"uri": [entry + "\n" for entry in entries]}), tmp_path / "l.parquet")
    lists = [tmp_path / f"l.{ending}" for ending in ("txt", "csv", "jsonl", "parquet")]
    code, printed, labels = label(*lists, detector=DETECTOR)
    assert code == 0 and "Labelled 1 of 1 image in" in printed
    assert list(labels.frame("images")["uri"]) == [str(tmp_path / "a b.jpg")]
