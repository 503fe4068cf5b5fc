"""Detectors put where workers elsewhere can read them: a network disk, and S3."""

import threading
from pathlib import Path

import pytest
import yaml
from labelbeam.detectors.config import load_config
from labelbeam.detectors.weights.stores import local_copy
from labelbeam.pipeline.cli import main
from labelbeam.pipeline.running.beam_options import parse_beam_options
from labelbeam.pipeline.running.preflight import check_visible
from labelbeam.storage import files as output_files
from labelbeam.storage.errors import UsageError, WeightsError

from tests.fakes.store_servers import new_bucket, s3_filesystem, s3_options
from tests.same_tables import read_tables

FILES = 4  # of the fake SavedModel: saved_model.pb, fingerprint.pb, variables.index, variables.data


@pytest.fixture
def bucket(s3_port, monkeypatch, tmp_path, use_store_options):
    """A new bucket's URI, and the options with which a command finds it. Copies go into a cache of this test."""
    name = new_bucket()
    s3_filesystem(s3_port, name)
    arguments = s3_options(s3_port)
    use_store_options(arguments)
    monkeypatch.setenv("LABELBEAM_CACHE", str(tmp_path / "cache"))
    return f"s3://{name}", arguments


@pytest.fixture
def stage(capsys):
    """Runs `labelbeam stage`; returns (exit code, what it printed, the configuration's path or URI)."""

    def run(to, detector, *options):
        code = main(["stage", "--detector", detector, "--to", str(to), *options])
        printed = "".join(capsys.readouterr())
        words = printed.split()
        return code, printed, words[words.index("--detector") + 1] if "label with it" in printed else None

    return run


def assert_labels_alike(label, image_folder, detector, staged, options):
    for output, chosen, more in (("local", detector, ()), ("staged", staged, options)):
        code, printed, labels = label(image_folder, output=output, detector=chosen, options=more)
        assert code == 0, printed
    tables = [read_tables(labels.folder.parent / output) for output in ("local", "staged")]
    assert tables[0] == tables[1] and tables[0]["detections"]


@pytest.mark.heavy  # three whole jobs
def test_staged_in_s3_it_labels_alike_and_is_fetched_once(bucket, stage, label, image_folder, fake_detector, tmp_path):
    uri, arguments = bucket
    code, printed, staged = stage(f"{uri}/weights", fake_detector, *arguments)
    assert code == 0 and f"{FILES} files" in printed and f"{FILES} sent" in printed
    assert staged.startswith(f"{uri}/weights/fake-") and "secret" not in printed
    assert_labels_alike(label, image_folder, fake_detector, staged, arguments)
    [copy] = (tmp_path / "cache" / "weights").glob("*/model")
    written = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert label(image_folder, output="again", detector=staged, options=arguments)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == written


@pytest.mark.heavy
def test_staged_on_a_network_disk_it_labels_alike(stage, label, image_folder, fake_detector, tmp_path):
    code, printed, staged = stage(tmp_path / "disk", fake_detector)
    assert code == 0 and f"--shared-folders {tmp_path}/disk" in printed
    assert_labels_alike(label, image_folder, fake_detector, staged, ())


def test_what_is_there_is_not_sent_again(bucket, stage, fake_detector):
    uri, arguments = bucket
    assert f"{FILES} sent" in stage(uri, fake_detector, *arguments)[1]
    _, printed, staged = stage(uri, fake_detector, *arguments)
    assert f"{FILES} files" in printed and " 0 sent" in printed
    model = f"{staged.rpartition('/')[0]}/model"
    output_files.delete([f"{model}/saved_model.pb"])  # as if it had been interrupted
    output_files.write_atomically(f"{model}/variables/variables.index", b"cut short")
    assert " 2 sent" in stage(uri, fake_detector, *arguments)[1]


def test_the_demo_detector_gets_a_path_for_remote_workers(stage, tmp_path):
    options = parse_beam_options(["--flink_master=jobmanager:8081"], runner_config="flink")
    job = {"inputs": ["gs://b/photos"], "listed_schemes": {"gs"}, "output": "gs://b/out", "boxes": ()}
    with pytest.raises(UsageError, match="--detector: its weights are in .*can't see it. `labelbeam stage"):
        check_visible(options, [], weights=load_config("demo").weights, **job)
    _, _, staged = stage(tmp_path / "disk", "demo")
    check_visible(options, [str(tmp_path / "disk")], weights=load_config(staged).weights, **job)
    shipped, configured = load_config("demo"), yaml.safe_load(Path(staged).read_text())
    assert (
        configured["labels"] == shipped.labels
        and configured["name"] == "demo"
        and configured["engines"] == ["saved_model"]
    )


def test_the_keras_engines_file(stage, centernet_file, tmp_path):
    arguments = ("centernet_resnet50v2_512x512", "--engine", "keras", "--weights", centernet_file)
    code, printed, staged = stage(tmp_path / "disk", *arguments)
    assert code == 0 and "1 files" in printed and "--precision float32" in printed
    config = load_config(staged)
    assert config.engines == ("keras",) and Path(config.weights).read_bytes() == Path(centernet_file).read_bytes()
    assert config.reference.box_ap == 29.5


def test_other_weights_in_the_place_of_the_staged_ones_are_refused(bucket, stage, label, image_folder, fake_detector):
    uri, arguments = bucket
    _, _, staged = stage(uri, fake_detector, *arguments)
    data = f"{staged.rpartition('/')[0]}/model/variables/variables.data-00000-of-00001"
    changed = bytearray(output_files.read(data))
    changed[0] ^= 1
    output_files.write_atomically(data, bytes(changed))
    code, printed, labels = label(image_folder, detector=staged, options=arguments)
    assert code == 2 and "copy or fetch it again" in printed and not labels.folder.exists()


@pytest.mark.heavy
def test_a_damaged_copy_is_fetched_again(bucket, stage, label, image_folder, fake_detector, tmp_path):
    uri, arguments = bucket
    _, _, staged = stage(uri, fake_detector, *arguments)
    config_weights = f"{staged.rpartition('/')[0]}/model"
    variables = Path(local_copy(config_weights), "variables", "variables.data-00000-of-00001")
    whole = variables.read_bytes()
    variables.write_bytes(bytes(len(whole)))
    code, printed, _ = label(image_folder, detector=staged, options=arguments)
    assert code == 2 and "copy or fetch it again" in printed
    assert label(image_folder, detector=staged, options=arguments)[0] == 0
    assert variables.read_bytes() == whole


def test_several_processes_fetch_one_copy_and_an_interrupted_one_goes_on(bucket, monkeypatch, tmp_path):
    uri, _ = bucket
    names = ("m/saved_model.pb", "m/variables/variables.index", "m/assets/deep/er.txt", "m.backup/saved_model.pb")
    for name in names:
        output_files.write_atomically(f"{uri}/{name}", name.encode())
    read, asked, fails = output_files.read, [], [f"{uri}/m/variables/variables.index"]

    def counting(path):
        asked.append(path)
        if path in fails:
            fails.remove(path)
            raise OSError("the connection is gone")
        return read(path)

    monkeypatch.setattr(output_files, "read", counting)
    with pytest.raises(OSError, match="gone"):
        local_copy(f"{uri}/m")
    threads = [threading.Thread(target=local_copy, args=(f"{uri}/m/",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == sorted(f"{uri}/{name}" for name in (*names[:3], names[1]))
    copy = Path(local_copy(f"{uri}/m"))
    assert {str(p.relative_to(copy)) for p in copy.rglob("*") if p.is_file()} == {name[2:] for name in names[:3]}
    output_files.write_atomically(f"{uri}/m/saved_model.pb", b"of another size")
    assert Path(local_copy(f"{uri}/m"), "saved_model.pb").read_bytes() == b"of another size"


def test_a_checkpoint_is_its_files(bucket):
    uri, _ = bucket
    for name in ("ckpt-0.index", "ckpt-0.data-00000-of-00001", "ckpt-01.index"):
        output_files.write_atomically(f"{uri}/zoo/{name}", name.encode())
    copy = Path(local_copy(f"{uri}/zoo/ckpt-0"))
    assert copy.name == "ckpt-0" and sorted(p.name for p in copy.parent.iterdir()) == [
        "ckpt-0.data-00000-of-00001",
        "ckpt-0.index",
    ]


def test_what_is_not_there_or_cannot_be_written(bucket, stage, label, image_folder, fake_detector, tmp_path):
    uri, arguments = bucket
    with pytest.raises(WeightsError, match=f"weights {uri}/none: there's nothing of this name"):
        local_copy(f"{uri}/none")
    code, printed, _ = label(image_folder, detector=f"{uri}/none/detector.yaml", options=arguments)
    assert code == 2 and f"detector configuration {uri}/none/detector.yaml: no such file" in printed
    code, printed, _ = stage("https://example.org/weights", fake_detector)
    assert code == 2 and "expected gs://, s3://, hdfs://, or a folder" in printed
    (tmp_path / "file").touch()
    code, printed, _ = stage(tmp_path / "file" / "below", fake_detector)
    assert code == 2 and "can't be written" in printed
    code, printed, _ = stage(tmp_path, fake_detector, "--s3_endpoint_uri=x")
    assert code == 2 and "did you mean --s3_endpoint_url" in printed
