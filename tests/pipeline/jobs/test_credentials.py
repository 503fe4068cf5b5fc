"""No credential is left behind: jobs and all that is done with them, with URIs full of passwords and signatures, and
then a search for these in everything that was printed or written.
"""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import tests
from tests.fakes.http_server import MisbehavingServer

MARK = "s3cret"  # is in each of them
FORMATS = "coco coco-results yolo voc label-studio cvat geojson megadetector"  # that take images of servers
ROOT = Path(tests.__file__).parents[1]

# Runs command lines one after the other in one process, as a shell would: their tracebacks are printed, too.
RUN_ALL = """
import json, sys, threading
from labelbeam.pipeline.cli import main

for arguments in json.load(open("commands.json")):
    print("$", arguments[0], flush=True)
    try:
        print("code", main(arguments), flush=True)
    except SystemExit as end:
        print("code", end.code, flush=True)
    except BaseException:
        sys.excepthook(*sys.exc_info())
"""
DETECTORS = """
import glob, os, time
import numpy as np
from labelbeam.detectors.protocol import Detections

class Good:
    batches = True
    def detect(self, images):
        box = Detections(np.array([[.1, .1, .6, .6]], np.float32), np.array([1], np.int32), np.array([.9], np.float32))
        return [box for _ in images]

class Another(Good):
    def detect(self, images):
        box = Detections(np.array([[.5, .5, .9, .9]], np.float32), np.array([1], np.int32), np.array([.8], np.float32))
        return [box for _ in images]

class Thief(Good):
    calls = 0
    def detect(self, images):
        Thief.calls += 1
        give_up = time.monotonic() + 10
        while Thief.calls >= 4 and not glob.glob("incomplete/images/part-*") and time.monotonic() < give_up:
            time.sleep(0.05)
        for path in glob.glob("incomplete/images/part-*"):
            os.remove(path)
        return super().detect(images)

class Broken(Good):
    def __init__(self):
        raise RuntimeError("no model at https://me:s3cret-broken@host/model?token=s3cret-broken-token")
"""


@pytest.fixture
def server():
    file = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(file, "JPEG")
    with MisbehavingServer({"a.jpg": file.getvalue(), "page.jpg": b"password: s3cret-in-a-page"}) as server:
        yield server


def everything_in(folder: Path):
    """(name, content) of each file; of Parquet also what its metadata and strings are once they are unpacked."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)), str(path)
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            texts = [str(table.schema.metadata), *(str(table[name].to_pylist()) for name in table.column_names)]
            yield from ((f"{path.name} unpacked", text) for text in texts)


def with_secrets(server):
    """Every form of a URI with a secret, of images that can be read and of others."""
    host = f"127.0.0.1:{server.port}"
    good = [
        f"http://user:s3cret-1@{host}/files/a.jpg?id=1",
        f"http://{host}/files/a.jpg?w=640&X-Amz-Credential=s3cret-2&X-Amz-Signature=s3cret-3&n=1",
        f"http://{host}/files/a.jpg?sv=2024-01-01&sr=b&sig=s3cret%2B4",
        f"http://user:s3cret-5@with@at@{host}/files/a.jpg?access_token=s3cret-6#part",
        f"http://{host}/files/a.jpg?of=http%3A%2F%2Fhost%2Fx%3Fid%3D2%26token%3Ds3cret-7%26n%3D3",
        f"http://{host}/files/a.jpg?of=http://user:s3cret-8@host/x",
    ]
    bad = [
        f"http://user:s3cret-10@{host}/status/404?Signature=s3cret-11&Key-Pair-Id=K",
        f"http://user:s3cret-12@{host}/private/a.jpg?id=2",
        f"http://user:s3cret-13@{host}/files/page.jpg?apikey=s3cret-14",
        f"http://user:s3cret/15#x?y@{host}/files/a.jpg",
        f"http://{host}/redirect?to=http://me:s3cret-16@127.0.0.1:1/x.jpg%3Fsig=s3cret-17",
        f"http://{host}/redirect?to=ftp://me:s3cret-18@127.0.0.1:1/x.jpg",
        "http://user:s3cret-19@127.0.0.1:1/a.jpg?token=s3cret-20",
        "http://user:s3cret-21@[::1/a.jpg",
        "ftp://user:s3cret-22@host/a.jpg",
        "s3://AKIA:s3cret-23@bucket/a.jpg?X-Amz-Security-Token=s3cret-24",
        "az://container/a.jpg?sig=s3cret-25",
        "gs://bucket/a.jpg?token=s3cret-26",
        "unheard://user:s3cret-27@host/a.jpg?password=s3cret-28",
        "s3a://user:s3cret-29@bucket/a.jpg",
    ]
    return good, bad


def commands(server, good, bad):
    common = ["--verbose", "--retries", "0", "--deadline-s", "5"]
    options = ["aws_secret_access_key=s3cret-40", "aws_access_key_id=s3cret-41", "azure_account_key=s3cret-42"]
    options += [f"endpoint={server.url('/status/403')}", "region=eu-west-1", "azure_account_name=me"]
    stores = [word for option in options for word in ("--storage-option", option)]
    stores += ["--allow-schemes", "http", "https", "s3", "gs", "az"]
    listed = server.url("/files/list.txt?token=s3cret-50").replace("://", "://user:s3cret-51@")

    def label(output, *arguments, detector="Good"):
        return ["label", *arguments, "--output", output, "--detector", f"detectors:{detector}", *common]

    lists = ["given/list.csv", "given/list.jsonl", "given/list.parquet"]
    yield label("out", *lists, "--carry", "origin", *stores)
    yield label("other", *lists, "--carry", "origin", *stores, detector="Another")
    yield label("direct", *good, listed)
    yield label("incomplete", "given/list.csv", "--part-images", "2", "--batch-size", "1", *stores, detector="Thief")
    yield label("failed", "given/list.csv", *stores, detector="Broken")
    yield label("strict", "given/list.csv", "--strict-inputs", *stores)
    yield label("nowhere", server.url("/status/403.txt?sig=s3cret-60").replace("://", "://u:s3cret-61@"))
    yield label("nothing", "s3://me:s3cret-62@bucket/folder/?token=s3cret-63", *stores)
    yield label("s3://me:s3cret-64@bucket/out?token=s3cret-65", "given/list.csv", *stores)
    yield label("weights", "given/list.csv", "--weights", "http://me:s3cret-66@127.0.0.1:1/m.tgz?sig=s3cret-67")
    yield [*label("options", "given/list.csv"), "--storage-option", "s3cret-68"]
    yield [*label("dry", *lists, *stores), "--dry-run"]
    yield ["repair", "out", "--verbose"]
    for output in ("out", "incomplete"):
        yield ["status", output, "--verbose"]
        yield ["status", output, "--json"]
    yield ["report", "out", "-o", "report.html", "--verbose"]
    yield ["compare", "out", "other", "--html", "compare.html", "--json", "compare.json", "--verbose"]
    for image in [*good[:3], bad[0], bad[3], "a.jpg", "http://u:s3cret-70@elsewhere/b.jpg?sig=s3cret-71"]:
        yield ["show", "out", image, "-o", "shown.png", "--verbose"]
    yield ["evaluate", "out", "--annotations", "given/annotations.json", "--json", "evaluated.json", "--verbose"]
    for name in FORMATS.split():
        yield ["export", "out", "--format", name, "--to", f"exported-{name}", "--copy-images", "--verbose"]
    yield ["export", "out", "--format", "label-studio", "--to", "exported-uris", "--verbose"]


@pytest.mark.heavy
def test_no_credential_is_left_behind(tmp_path, server):
    good, bad = with_secrets(server)
    given = tmp_path / "given"
    given.mkdir()
    (given / "list.csv").write_text("uri,origin\n" + "".join(f"{uri},{uri}\n" for uri in good + bad))
    rows = [{"uri": uri + "&n=2", "origin": {"seen": uri}} for uri in good + bad]
    (given / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"uri": ["s3cret-80"]}\n')
    pq.write_table(pa.table({"uri": [uri + "&n=3" for uri in good + bad]}), given / "list.parquet")
    server.files["list.txt"] = "".join(f"{uri}&n=4\n" for uri in good + bad).encode()
    annotations = {"images": [{"id": 1, "file_name": "x.jpg", "width": 9, "height": 9}], "annotations": []}
    annotations["categories"] = [{"id": 1, "name": "thing"}]
    (given / "annotations.json").write_text(json.dumps(annotations))
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "detectors.py").write_text(DETECTORS)
    os.symlink(given, work / "given")
    (tmp_path / "commands.json").write_text(json.dumps(list(commands(server, good, bad))))
    os.symlink(tmp_path / "commands.json", work / "commands.json")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "http_proxy": "", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], cwd=work, env=environment, capture_output=True, text=True, timeout=300
    )
    os.remove(work / "given")
    os.remove(work / "commands.json")
    found = [
        f"{name}: {text[max(0, at.start() - 150) : at.end() + 5]!r}"
        for name, text in [*everything_in(work), ("stdout", done.stdout), ("stderr", done.stderr)]
        for at in re.finditer(MARK, text)
    ]
    assert not found, "\n".join(found)
    check_that_all_was_tried(work, done.stdout)


def check_that_all_was_tried(work: Path, printed: str):
    """Makes sure that the jobs ended as they should, and the commands did their work."""
    codes = [int(line.removeprefix("code ")) for line in printed.splitlines() if line.startswith("code ")]
    assert codes[:7] == [0, 0, 0, 1, 1, 1, 2] and set(codes) == {0, 1, 2}, codes
    records = {path.parts[-3]: json.loads(path.read_text()) for path in sorted(work.glob("*/_jobs/*.json"))}
    assert len(records["incomplete"]["missing"]) >= 2
    assert "no model at https://host/model?…" in records["failed"]["error"]
    assert records["strict"]["status"] == "failed" and records["out"]["failures"]["bad_input"] == 4
    assert {"report.html", "compare.html", "compare.json", "shown.png"} <= {path.name for path in work.iterdir()}
    for name in FORMATS.split():
        assert len(list((work / f"exported-{name}").rglob("*.jpg"))) == 18
