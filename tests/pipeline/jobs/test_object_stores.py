"""Whole jobs whose images and tables are in object stores, against real servers that the tests start."""

import io
import json
import threading
from collections import Counter

import numpy as np
import pyarrow.dataset as ds
import pyarrow.fs
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from labelbeam.pipeline.cli import main
from labelbeam.pipeline.commands.label import run_and_report
from labelbeam.pipeline.job import Job
from labelbeam.pipeline.label_config import prepare_label_config
from labelbeam.pipeline.settings import JobSpec, LabelConfig
from labelbeam.storage.retry import RetryPolicy
from labelbeam.storage.stores import calls, clients
from labelbeam.transforms.execution_options import ExecutionOptions
from PIL import Image

from tests.fakes.store_servers import (
    AZURITE_ACCOUNT,
    AZURITE_KEY,
    NO_AZURITE,
    azurite,
    azurite_binary,
    free_port,
    make_azurite_container,
    new_bucket,
    s3_filesystem,
    s3_options,
    tcp_proxy,
)

FILES_OF_A_PART = 3  # images, detections, masks


def jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


class Store:
    """A bucket as others see it: through Arrow's own filesystem, which knows nothing of ours.

    Attributes:
      scheme: of URIs.
      bucket: its name.
      arguments: Beam's options with which `labelbeam` finds the store.
    """

    def __init__(self, scheme: str, bucket: str, arguments: list[str], filesystem: pyarrow.fs.FileSystem):
        self.scheme, self.bucket, self.arguments, self.filesystem = scheme, bucket, arguments, filesystem

    def uri(self, key: str) -> str:
        return f"{self.scheme}://{self.bucket}/{key}"

    def put(self, key: str, data: bytes) -> None:
        with self.filesystem.open_output_stream(f"{self.bucket}/{key}") as stream:
            stream.write(data)

    def rows(self, table: str) -> list[dict]:
        folder = f"{self.bucket}/out/{table}"
        return ds.dataset(folder, filesystem=self.filesystem, format="parquet").to_table().to_pylist()

    def label(self, detector: str) -> int:
        return main(
            [
                "label",
                "--input",
                self.uri("photos/"),
                "--output",
                self.uri("out"),
                "--detector",
                detector,
                *self.arguments,
            ]
        )


def s3_store(port: int, through: int | None = None) -> Store:
    """A new bucket of the server at `port`; `labelbeam` is sent to the port `through`, if that is another one."""
    bucket = new_bucket()
    return Store("s3", bucket, s3_options(through or port), s3_filesystem(port, bucket))


def check_three_runs(store: Store, detector: str, capsys) -> None:
    """A job, the same once more, and one with new images."""
    for i in range(4):
        store.put(f"photos/{i}.jpg", jpeg(i))
    store.put("photos/broken.jpg", b"\xff\xd8\xff\xe0 not an image")
    assert store.label(detector) == 0, capsys.readouterr()
    images = store.rows("images")
    assert {row["uri"]: row["status"] for row in images} == {
        store.uri("photos/broken.jpg"): "failed",
        **{store.uri(f"photos/{i}.jpg"): "ok" for i in range(4)},
    }
    refs = [row["mask_ref"] for row in store.rows("detections")]
    assert len(refs) == 4 * 4 and sorted(refs) == sorted(row["mask_ref"] for row in store.rows("masks"))

    capsys.readouterr()
    assert store.label(detector) == 0
    assert "Nothing to do: of 5 images, 4 labelled already and 1 failed earlier" in capsys.readouterr().out
    assert store.rows("images") == images

    for i in range(4, 6):
        store.put(f"photos/{i}.jpg", jpeg(i))
    assert store.label(detector) == 0
    assert sorted(row["uri"] for row in store.rows("images")) == sorted(
        [store.uri("photos/broken.jpg"), *(store.uri(f"photos/{i}.jpg") for i in range(6))]
    )
    files = store.filesystem.get_file_info(pyarrow.fs.FileSelector(f"{store.bucket}/out/_jobs"))
    records = [json.loads(store.filesystem.open_input_stream(file.path).read()) for file in files]
    assert sorted((r["status"], r["listed"], r["skipped"], r["written"]) for r in records) == [
        ("complete", 5, 0, 5),
        ("complete", 5, 5, 0),
        ("complete", 7, 5, 2),
    ]


@pytest.mark.heavy
def test_s3_from_images_to_tables(s3_port, fake_detector, capsys):
    check_three_runs(s3_store(s3_port), fake_detector, capsys)


def test_a_bucket_that_is_not_there_is_said_before_the_work_starts(s3_port, fake_detector, capsys):
    store = s3_store(s3_port)
    store.put("photos/1.jpg", jpeg(1))
    for names in (["s3://no-such-bucket/photos/", store.uri("out")], [store.uri("photos/"), "s3://no-such-bucket/out"]):
        assert (
            main(["label", "--input", names[0], "--output", names[1], "--detector", fake_detector, *store.arguments])
            == 2
        )
        assert "s3://no-such-bucket/" in (printed := capsys.readouterr().err) and "bucket does not exist" in printed


@pytest.mark.heavy
class TestServerKilled:
    """In mid job: on the arrival of the first file of the third part."""

    IMAGES = 30
    DIES_AT_PUT = f"--dies-at-put={2 * FILES_OF_A_PART + 1}"  # two parts, and the next file

    @pytest.fixture
    def front(self):
        return free_port()

    @pytest.fixture
    def store(self, s3_port, front):
        store = s3_store(s3_port, through=front)
        for i in range(self.IMAGES):
            store.put(f"photos/{i}.jpg", jpeg(i))
        return store

    def run(self, store, detector):
        """The exit code of a job that writes a part every five images."""
        options = PipelineOptions([*store.arguments, "--runner=FnApiRunner"])
        execution = ExecutionOptions(batch_size=2, part_images=5, retries=100, backoff_s=0.2)
        spec = JobSpec([store.uri("photos/")], store.uri("out"), LabelConfig(detector), execution)
        return run_and_report(Job(spec, prepare_label_config(spec.labels)), options)

    def assert_complete(self, store):
        images = store.rows("images")
        assert Counter(row["uri"] for row in images) == {store.uri(f"photos/{i}.jpg"): 1 for i in range(self.IMAGES)}
        assert {row["status"] for row in images} == {"ok"}
        ids = Counter(row["image_id"] for row in store.rows("detections"))
        assert ids == {row["image_id"]: 4 for row in images}

    def test_and_started_again_the_job_survives(self, store, s3_port, front, fake_detector, capsys):
        started_again = threading.Event()
        ended = threading.Event()
        with tcp_proxy(front, s3_port, self.DIES_AT_PUT) as first:

            def start_again():
                first.wait()
                with tcp_proxy(front, s3_port):
                    started_again.set()
                    ended.wait()

            thread = threading.Thread(target=start_again)
            thread.start()
            try:
                assert self.run(store, fake_detector) == 0, capsys.readouterr()
            finally:
                first.kill()
                ended.set()
                thread.join()
        assert started_again.is_set()
        self.assert_complete(store)

    def test_and_not_started_again_the_job_says_so_and_the_next_one_goes_on(
        self, store, s3_port, front, fake_detector, capsys, monkeypatch
    ):
        with tcp_proxy(front, s3_port, self.DIES_AT_PUT), monkeypatch.context() as patch:
            patch.setattr(calls, "STORE_POLICY", RetryPolicy(retries=100, backoff_s=0.05, deadline_s=1))
            assert self.run(store, fake_detector) == 1
        printed = capsys.readouterr().err
        assert f"the job failed: {store.uri('out/')}" in printed and "can't be written: " in printed
        before = store.rows("images")
        assert len(before) == 10 and {row["status"] for row in before} == {"ok"}
        with tcp_proxy(front, s3_port):
            assert self.run(store, fake_detector) == 0, capsys.readouterr()
        self.assert_complete(store)
        assert all(row in store.rows("images") for row in before)


@pytest.mark.heavy
def test_gcs_from_images_to_tables(moto, fake_detector, capsys, monkeypatch):
    """moto behind a proxy stands in: gs:// is read and written through an XML API like that of S3."""
    port = free_port()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{port}")
    clients.close()
    with tcp_proxy(port, moto):
        store = s3_store(moto)
        check_three_runs(Store("gs", store.bucket, [], store.filesystem), fake_detector, capsys)
    clients.close()


@pytest.mark.skipif(azurite_binary() is None, reason=NO_AZURITE)
@pytest.mark.heavy
def test_azure_from_images_to_tables(tmp_path, fake_detector, capsys):
    with azurite(tmp_path) as url:
        bucket = new_bucket()
        make_azurite_container(url, bucket)
        authority = url.removeprefix("http://").partition("/")[0]
        filesystem = pyarrow.fs.AzureFileSystem(
            AZURITE_ACCOUNT,
            account_key=AZURITE_KEY,
            blob_storage_authority=authority,
            blob_storage_scheme="http",
            dfs_storage_authority=authority,
            dfs_storage_scheme="http",
        )
        settings = (f"azure_endpoint={url}", f"account_name={AZURITE_ACCOUNT}", f"account_key={AZURITE_KEY}")
        arguments = [word for setting in settings for word in ("--storage-option", setting)]
        check_three_runs(Store("az", bucket, arguments, filesystem), fake_detector, capsys)
