"""Beam's own YAML runner, in-process, with labelbeam's provider listing."""

import json
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml
from apache_beam.yaml.main import run as run_yaml
from labelbeam.pipeline.beam_yaml import LabelRows
from labelbeam.storage.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
IMAGES = sorted((ROOT / "pipeline" / "demo_images").glob("*.jpg"))[:3]


@pytest.mark.heavy
def test_the_example_labels_a_list(tmp_path, monkeypatch):
    (tmp_path / "uris.csv").write_text("uri\n" + "".join(f"{path}\n" for path in [*IMAGES, tmp_path / "absent.jpg"]))
    monkeypatch.chdir(ROOT)
    variables = json.dumps({"list": f"{tmp_path}/uris.csv", "output": f"{tmp_path}/found"})
    run_yaml(["--yaml_pipeline_file=examples/label_images.yaml", f"--jinja_variables={variables}"])
    found = {name: [str(path) for path in (tmp_path / "found").glob(f"{name}*")] for name in ("images", "balls")}
    images = ds.dataset(found["images"]).to_table().to_pylist()
    assert sorted(row["status"] for row in images) == ["failed", "ok", "ok", "ok"]
    assert next(row["error_kind"] for row in images if row["status"] == "failed") == "not_found"
    balls = ds.dataset(found["balls"]).to_table().to_pylist()
    assert {row["class_name"] for row in balls} == {"ball"} and all(row["score"] >= 0.5 for row in balls)


def test_the_listing_names_what_there_is():
    [listing] = yaml.safe_load((ROOT / "configs" / "beam_yaml.yaml").read_text())
    assert listing["transforms"] == {"LabelImages": f"{LabelRows.__module__}.{LabelRows.__name__}"}


def test_an_unknown_setting_is_named():
    with pytest.raises(UsageError, match="minimum.*min_score"):
        LabelRows("demo", minimum=0.5)
