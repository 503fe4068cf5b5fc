"""Weights as people have them: each form gives the same SavedModel; what isn't one says what it is and what to do."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest
from labelbeam.detectors.config import load_config
from labelbeam.detectors.load import prepare
from labelbeam.detectors.weights import hub, kaggle
from labelbeam.detectors.weights.find import find, first_found
from labelbeam.detectors.weights.source import WeightsSource
from labelbeam.storage import object_stores
from labelbeam.storage.errors import WeightsError
from labelbeam.storage.stores import options as store_options

from tests.detectors.test_config import GOOD
from tests.fakes.file_server import Answer, file_server
from tests.fakes.saved_models import save_detector
from tests.fakes.store_servers import new_bucket, s3_filesystem


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Path(save_detector(tmp_path_factory.mktemp("models") / "m"))


@pytest.fixture(scope="module")
def zoo(model, tmp_path_factory):
    """A folder as the model zoo's archives unpack to."""
    folder = tmp_path_factory.mktemp("zoo") / "centernet_coco17_tpu-8"
    shutil.copytree(model, folder / "saved_model")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "ckpt-0.index").write_bytes(b"index")
    (folder / "pipeline.config").write_text("model {}")
    return folder


@pytest.fixture(scope="module")
def archives(zoo, tmp_path_factory):
    """The zoo's folder as .tar.gz and as .zip."""
    folder = tmp_path_factory.mktemp("archives")
    with tarfile.open(folder / "zoo.tar.gz", "w:gz") as tar:
        tar.add(zoo, zoo.name)
    shutil.make_archive(str(folder / "zoo"), "zip", zoo.parent, zoo.name)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "tfhub"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nothing leaves the machine
    return tmp_path / "cache"


@pytest.fixture
def server(archives):
    with file_server() as files:
        files.answers["/tf2/zoo.tar.gz"] = Answer((archives / "zoo.tar.gz").read_bytes())
        yield files


def same(path: str, model: Path) -> bool:
    return hub.fingerprint(path) == hub.fingerprint(str(model))


def found(uri) -> str:
    return find(WeightsSource(str(uri)))


def test_folders_and_files(model, zoo, archives, tmp_path):
    for path in (model, model / "saved_model.pb", zoo, archives / "zoo.tar.gz", archives / "zoo.zip"):
        assert same(found(path), model), path
    shutil.copytree(model, tmp_path / "variation" / "3")
    assert found(tmp_path / "variation") == str(tmp_path / "variation" / "3")


def test_a_checkpoint_alone(zoo, tmp_path):
    shutil.copytree(zoo / "checkpoint", tmp_path / "zoo" / "checkpoint")
    for path in ("zoo", "zoo/checkpoint", "zoo/checkpoint/ckpt-0", "zoo/checkpoint/ckpt-0.index"):
        assert found(tmp_path / path) == str(tmp_path / "zoo" / "checkpoint" / "ckpt-0")


def test_an_archive_is_unpacked_once_and_anew_when_it_changes(archives, model, tmp_path):
    archive = Path(shutil.copy(archives / "zoo.tar.gz", tmp_path / "m.tgz"))
    first = found(archive)
    assert found(archive) == first
    shutil.copy(archives / "zoo.zip", tmp_path / "m.tgz")  # whatever it is called
    second = found(archive)
    assert second != first and same(second, model)


def test_an_archive_by_url_is_downloaded_once(server, model):
    url = f"{server.url}/tf2/zoo.tar.gz"
    spec = prepare(load_config("mask_rcnn_inception_resnet_v2_1024x1024"), weights=url)
    assert spec.weights == url and spec.load().detect([]) == []
    assert len(server.requests) == 1


def test_several_sources_in_turn(server, model, tmp_path):
    server.answers["/gone.zip"] = Answer(b"<html>Forbidden</html>", 403, {"Content-Type": "text/html"})
    config = tmp_path / "mine.yaml"
    config.write_text(
        GOOD + f"mirrors:\n- uri: {server.url}/gone.zip\n- uri: {server.url}/tf2/zoo.tar.gz\n  sha256: '{'0' * 64}'\n"
    )
    with pytest.raises(WeightsError) as caught:
        prepare(load_config(str(config)))
    message = str(caught.value)
    assert "none of the 3 sources has them: (1)" in message and "\n" not in message
    assert "no such folder" in message and "HTTP status 403" in message and "its SHA-256 is" in message
    config.write_text(GOOD + f"mirrors:\n- uri: {server.url}/gone.zip\n- uri: {server.url}/tf2/zoo.tar.gz\n")
    spec = prepare(load_config(str(config)))
    assert spec.load().detect([]) == []


@pytest.mark.heavy
def test_archives_in_a_store(archives, model, s3_port):
    models = new_bucket()
    s3_filesystem(s3_port, models)
    store_options.configure(
        (f"aws_endpoint=http://127.0.0.1:{s3_port}", "aws_access_key_id=a", "aws_secret_access_key=b")
    )
    try:
        for name in ("zoo.tar.gz", "zoo.zip"):
            object_stores.write(f"s3://{models}/tf2/{name}", (archives / name).read_bytes())
            assert same(found(f"s3://{models}/tf2/{name}"), model)
    finally:
        store_options.configure(())


def test_archives_that_are_none_or_cut_short(server, archives, cache):
    whole = (archives / "zoo.tar.gz").read_bytes()
    for i, (body, named) in enumerate(
        [(b"not an archive" * 100, "can't be unpacked"), (whole[:-500], "can't be unpacked")]
    ):
        server.answers[f"/{i}.tar.gz"] = Answer(body)
        with pytest.raises(WeightsError, match=named) as caught:
            found(f"{server.url}/{i}.tar.gz")
        assert "\n" not in str(caught.value)
        assert not list(cache.glob("downloads/*/*.tar.gz"))  # so that the next try fetches it again
    escaping = io.BytesIO()
    with tarfile.open(fileobj=escaping, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    server.answers["/escape.tar.gz"] = Answer(escaping.getvalue())
    with pytest.raises(WeightsError, match="can't be unpacked .OutsideDestinationError"):
        found(f"{server.url}/escape.tar.gz")


@pytest.mark.parametrize(
    "name, named",
    [
        ("m.keras", r"m\.keras is a model of Keras; .* model\.export\(FOLDER\)"),
        ("m.h5", "older format; load them in Keras"),
        ("frozen_inference_graph.pb", "a frozen graph of TensorFlow 1"),
        ("m.tflite", "a TensorFlow Lite model"),
        ("m.pt", r"weights of PyTorch; export the model with torch\.onnx\.export"),
        ("m.safetensors", "weights without a graph"),
        ("m.xyz", r"m\.xyz is no model that labelbeam knows"),
    ],
)
def test_what_is_no_saved_model_says_what_it_is(tmp_path, name, named):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(WeightsError, match=named):
        found(tmp_path / name)
    with pytest.raises(WeightsError, match=f"found .*{name}"):
        found(tmp_path)


def test_folders_without_or_with_several_models(model, tmp_path):
    with pytest.raises(WeightsError, match="found no such folder"):
        found(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="found nothing"):
        found(tmp_path / "empty")
    for version in "12":
        shutil.copytree(model, tmp_path / "both" / version)
    with pytest.raises(WeightsError, match="there are several models in it, 1, 2; give the folder of one of them"):
        found(tmp_path / "both")


@pytest.mark.parametrize(
    "text, handle",
    [
        ("kaggle://tensorflow/centernet-resnet/tensorFlow2/50v2-512x512/1", "50v2-512x512/1"),
        ("tensorflow/centernet-resnet/tensorFlow2/50v2-512x512/1", "50v2-512x512/1"),
        ("tensorflow/centernet-resnet/TensorFlow2/50v2-512x512", "50v2-512x512"),
        ("https://www.kaggle.com/models/tensorflow/centernet-resnet/tensorFlow2/50v2-512x512/1", "50v2-512x512/1"),
        ("https://kaggle.com/models/tensorflow/centernet-resnet/TensorFlow2/50v2-512x512?from=x", "50v2-512x512"),
        (
            "https://www.kaggle.com/models/tensorflow/centernet-resnet/frameworks/tensorFlow2/variations/50v2-512x512/versions/"
            "1",
            "50v2-512x512/1",
        ),
    ],
)  # fmt: skip
def test_handles_of_kaggle(text, handle):
    assert kaggle.canonical(text) == f"kaggle://tensorflow/centernet-resnet/tensorFlow2/{handle}"


def test_what_is_no_handle(tmp_path, monkeypatch):
    for text in (
        "models/mine",
        "https://tfhub.dev/tensorflow/centernet/resnet50v2_512x512/1",
        "a/b/c/d",
        "s3://a/b/keras/d",
    ):
        assert kaggle.canonical(text) == text
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b" / "keras" / "d").mkdir(parents=True)
    assert kaggle.canonical("a/b/keras/d") == "a/b/keras/d"


@pytest.mark.heavy
def test_kagglehubs_cache_is_honoured(model, tmp_path):
    pytest.importorskip("kagglehub")
    variation = tmp_path / "kaggle" / "models" / "tensorflow" / "centernet-resnet" / "tensorFlow2" / "50v2-512x512"
    shutil.copytree(model, variation / "1")
    (variation / "1.complete").touch()
    handle = "tensorflow/centernet-resnet/tensorFlow2/50v2-512x512/1"
    for form in (handle, f"kaggle://{handle}", f"https://www.kaggle.com/models/{handle}", variation, variation / "1"):
        assert same(found(form), model), form


def test_kaggle_that_cant_be_reached_says_what_to_do():
    pytest.importorskip("kagglehub")
    with pytest.raises(
        WeightsError, match="kagglehub can't fetch it .*download it from https://www.kaggle.com/models/a/b"
    ):
        first_found([WeightsSource("kaggle://a/b/tensorFlow2/c/1")])
