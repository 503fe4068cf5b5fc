"""Lists of unknown origin through the command line: what may be read, what is refused, what is written of it."""

import io

import numpy as np
import pytest
from labelbeam.labelset.rows import image_id
from PIL import Image

from tests.fakes.http_server import MisbehavingServer
from tests.fakes.images import save_image


@pytest.fixture
def server():
    file = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(file, "JPEG")
    with MisbehavingServer({"a.jpg": file.getvalue()}) as server:
        yield server


def rows(labels):
    return {row["uri"]: row for row in labels.table("images").to_pylist()}


@pytest.mark.heavy
def test_entries_of_a_list_have_the_scheme_of_its_first_unless_others_are_allowed(label, server, tmp_path):
    image = str(save_image(tmp_path / "secret.jpg", 0))
    (tmp_path / "list.txt").write_text(f"{server.url('/files/a.jpg')}\n{image}\nfile://{image}?\n")
    code, printed, labels = label(tmp_path / "list.txt")
    assert code == 0 and "2 forbidden" in printed
    assert (
        rows(labels)[image]["error_kind"] == "forbidden" and "--allow-schemes" in rows(labels)[image]["error_message"]
    )
    assert rows(labels)[server.url("/files/a.jpg")]["status"] == "ok"
    _, _, labels = label(tmp_path / "list.txt", options=["--allow-schemes", "file", "http"], output="all")
    assert rows(labels)[image]["status"] == "ok"


def test_a_list_on_a_server_never_names_local_files(label, server, tmp_path):
    image = save_image(tmp_path / "photos" / "secret.jpg", 0)
    server.files["list.txt"] = f"file://{image}\na.jpg\n".encode()
    url = server.url("/files/list.txt?sig=s3cret")
    _, printed, labels = label(url)
    assert rows(labels)[str(image)]["error_kind"] == "forbidden"
    assert rows(labels)[server.url("/files/a.jpg")]["status"] == "ok"
    assert labels.records()[0]["inputs"] == [server.url("/files/list.txt?…")]
    code, printed, labels = label(url, tmp_path / "photos", output="both")
    assert code == 2 and "--allow-schemes file http https" in printed and "s3cret" not in printed
    assert not labels.folder.exists()


@pytest.mark.heavy
def test_credentials_are_used_and_not_written(label, server, tmp_path):
    good = server.url("/private/a.jpg").replace("://", "://user:pa%20ss@")
    bad = server.url("/status/404?token=s3cret").replace("://", "://user:pa%20ss@")
    (tmp_path / "list.txt").write_text(f"{good}\n{bad}\n")
    _, printed, labels = label(tmp_path / "list.txt", options=["--public-hosts-only"], output="public")
    assert {row["error_kind"] for row in rows(labels).values()} == {"forbidden"}
    _, printed, labels = label(tmp_path / "list.txt")
    row = rows(labels)[server.url("/private/a.jpg")]
    assert row["status"] == "ok" and row["image_id"] == image_id(good)
    assert set(labels.frame("detections")["uri"]) == {row["uri"]}
    row = rows(labels)[server.url("/status/404?token=REDACTED")]
    assert row["error_message"] == "HTTP status 404 Not Found"
    assert "pa%20ss" not in printed and "s3cret" not in printed
    _, printed, _ = label(tmp_path / "list.txt")
    assert "Nothing to do" in printed


@pytest.mark.parametrize(
    "options, named",
    [
        (["--allow-schemes", "htttp"], "--allow-schemes htttp: no such scheme"),
        (["--allow-schemes", "s3"], "leaves nothing to read; the inputs name images by file"),
        (["--allow-schemes", "http://"], "expected the name of a scheme"),
        (["--max-per-host", "0"], "--max-per-host"),
    ],
)
def test_options_that_cannot_be_meant(label, image_folder, options, named, capsys):
    try:
        code, printed, _ = label(image_folder, options=options)
    except SystemExit as error:  # argparse
        code, printed = error.code, capsys.readouterr().err
    assert code == 2 and named in printed
