"""`labelbeam register`, read back by pyiceberg, deltalake and DuckDB: what they see is the snapshot, once each."""

import shutil
from pathlib import Path

import pyarrow.fs
import pytest
from labelbeam.labelset.begin import begin_job
from labelbeam.labelset.close import close_job, gather, replaced
from labelbeam.labelset.compact import compact_parts
from labelbeam.labelset.label_set_file import LabelSet, read_label_set_file
from labelbeam.pipeline.cli import main
from labelbeam.results.reader import open_label_set

from tests.fakes.folders_of_parts import put_part
from tests.fakes.store_servers import new_bucket, s3_filesystem

DATA = Path(__file__).parents[1] / "data" / "label_set_v1"
TABLES = ("images", "detections")


class Iceberg:
    format = "iceberg"

    def __init__(self, out):
        self._out = out

    def tables(self):
        catalog = pytest.importorskip("pyiceberg.catalog").load_catalog(
            "labelbeam", type="sql", uri=f"sqlite:///{self._out}/_iceberg/catalog.db"
        )
        return {table: catalog.load_table(f"labels.{table}") for table in TABLES}

    def read(self):
        return {name: table.scan().to_arrow() for name, table in self.tables().items()}

    def versions(self):
        return [len(table.history()) for table in self.tables().values()]


class Delta:
    format = "delta"

    def __init__(self, out):
        self._out = out

    def tables(self):
        deltalake = pytest.importorskip("deltalake")
        return {table: deltalake.DeltaTable(f"{self._out}/{table}") for table in TABLES}

    def read(self):
        return {name: table.to_pyarrow_table() for name, table in self.tables().items()}

    def versions(self):
        return [table.version() + 1 for table in self.tables().values()]


@pytest.fixture
def out(tmp_path):
    """A label set of five images, in a folder whose name has wildcards and blanks."""
    return str(shutil.copytree(DATA, tmp_path / "labels [1] é"))


@pytest.fixture(params=[Iceberg, Delta], ids=["iceberg", "delta"])
def lake(request, out):
    return request.param(out)


def register(out, lake, *more):
    return main(["register", out, "--to", lake.format, *more])


def add_job(out, images, number, compacts=False):
    """A further job with some images; `compacts`: makes one part of all."""
    held = read_label_set_file(out)
    job = begin_job(out, f"20300101T00000{number}-cccccc", LabelSet(held["settings"]))
    job.bind()
    put_part(out, images, job=job.job_id, minute=60 * 24 + number)
    parts = gather(job, (), agree=False).parts
    if compacts:
        made = compact_parts(out, job.job_id, list(parts.values()))
        parts = replaced(parts, [(list(parts), made)])
    close_job(job, "complete", parts)


def assert_like_the_reader(out, lake):
    seen, label_set = lake.read(), open_label_set(out)
    for table, rows in seen.items():
        key = "image_id" if table == "images" else "detection_id"
        columns = [key, "uri"]
        assert rows.select(columns).sort_by(key).to_pylist() == label_set.arrow(table, columns).sort_by(key).to_pylist()
        assert set(label_set.arrow(table).column_names) <= set(rows.column_names)


def test_what_is_registered_is_what_the_reader_sees(out, lake, capsys):
    assert register(out, lake) == 0
    assert "5 rows in " in capsys.readouterr().out
    assert_like_the_reader(out, lake)


def test_done_again_it_changes_nothing(out, lake, capsys):
    register(out, lake)
    versions = lake.versions()
    assert register(out, lake) == 0
    assert capsys.readouterr().out.count("(as it was)") == len(lake.tables())
    assert lake.versions() == versions


def test_files_are_neither_copied_nor_changed(out, lake):
    def parquet_files():
        return {path: path.read_bytes() for path in Path(out).glob("*/part-*.parquet")}

    before = parquet_files()
    register(out, lake)
    assert parquet_files() == before and before


def test_a_second_job_and_one_that_compacts_are_one_commit_each(out, lake):
    register(out, lake)
    [before] = set(lake.versions())
    add_job(out, "fg", 1)
    register(out, lake)
    assert_like_the_reader(out, lake)
    add_job(out, "h", 2, compacts=True)
    register(out, lake)
    assert_like_the_reader(out, lake)
    assert lake.read()["images"].num_rows == 8
    assert set(lake.versions()) == {before + 2}


def test_a_job_that_is_at_work_is_not_seen(out, lake):
    job = begin_job(out, "20300101T000009-cccccc", LabelSet(read_label_set_file(out)["settings"]))
    job.bind()
    put_part(out, "xyz", job=job.job_id, minute=1)
    assert register(out, lake) == 0
    assert lake.read()["images"].num_rows == 5


def test_a_table_of_another_label_set_is_left_alone(out, tmp_path, capsys):
    pytest.importorskip("pyiceberg")
    other = str(shutil.copytree(DATA, tmp_path / "other"))
    catalog = ["--catalog-property", f"uri=sqlite:///{tmp_path}/catalog.db"]
    catalog += ["--catalog-property", f"warehouse=file://{tmp_path}/warehouse"]
    assert main(["register", out, "--to", "iceberg", *catalog]) == 0
    assert main(["register", other, "--to", "iceberg", *catalog]) == 2
    assert "choose another --namespace" in capsys.readouterr().err
    assert main(["register", other, "--to", "iceberg", *catalog, "--namespace", "others"]) == 0


def test_a_delta_table_with_files_of_others_is_left_alone(tmp_path, capsys):
    deltalake = pytest.importorskip("deltalake")
    out = str(shutil.copytree(DATA, tmp_path / "labels"))
    deltalake.write_deltalake(f"{out}/images", open_label_set(out).arrow("images"))
    assert main(["register", out, "--to", "delta"]) == 2
    assert "files that labelbeam didn't write" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--to", "delta", "--catalog", "prod"], "--catalog: Delta has none"),
        (["--to", "iceberg", "--catalog-property", "uri"], "expected KEY=VALUE"),
        (["--to", "iceberg", "--catalog-property", "uri=nothing://x"], "pyiceberg can't use it"),
    ],
)
def test_what_cannot_be_used(out, capsys, arguments, said):
    pytest.importorskip("pyiceberg")
    assert main(["register", out, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_path_that_icebergs_readers_would_take_for_a_uri(tmp_path, capsys):
    pytest.importorskip("pyiceberg")
    out = str(shutil.copytree(DATA, tmp_path / "labels#1"))
    assert main(["register", out, "--to", "iceberg"]) == 2
    assert "rename the folder" in capsys.readouterr().err
    assert main(["register", out, "--to", "delta"]) == 0


def test_nothing_to_register(tmp_path, capsys):
    assert main(["register", str(tmp_path), "--to", "delta"]) == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.heavy
def test_a_label_set_in_a_store(s3_port, tmp_path, capsys):
    for module in ("pyiceberg", "deltalake"):
        pytest.importorskip(module)
    bucket = new_bucket()
    pyarrow.fs.copy_files(str(DATA), f"{bucket}/out", destination_filesystem=s3_filesystem(s3_port, bucket))
    endpoint = f"http://127.0.0.1:{s3_port}"
    ours = {"endpoint": endpoint, "access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}
    command = ["register", f"s3://{bucket}/out", *(f"--storage-option=aws_{key}={ours[key]}" for key in ours)]
    assert main([*command, "--to", "iceberg"]) == 2
    assert "name a catalog" in capsys.readouterr().err
    theirs = {
        "uri": f"sqlite:///{tmp_path}/catalog.db",
        "warehouse": f"s3://{bucket}/warehouse",
        "s3.endpoint": endpoint,
        "s3.access-key-id": "a",
        "s3.secret-access-key": "b",
        "s3.region": "us-east-1",
    }
    catalog = [f"--catalog-property={key}={theirs[key]}" for key in theirs]
    for to in (["delta"], ["iceberg", *catalog]):
        assert main([*command, "--to", *to]) == 0
        assert "5 rows in 2 files (2 files added" in capsys.readouterr().out
        assert main([*command, "--to", *to]) == 0
        assert "5 rows in 2 files (as it was)" in capsys.readouterr().out
