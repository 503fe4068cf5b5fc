"""Dataflow's Flex template, built offline as its launcher would build it."""

import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import pytest
from labelbeam.labelset.log import read_log
from labelbeam.pipeline.cli import build_parser
from labelbeam.pipeline.running.beam_options import parse_beam_options

from tests.fakes.images import save_image

DOCKER = Path(__file__).parents[3] / "docker"
TEMPLATE = json.loads((DOCKER / "flex_template.json").read_text())
# https://cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates#metadata-parameters
SCHEMA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "parameters": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "label", "helpText"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z][a-z_]*$"},
                    "label": {"type": "string"},
                    "helpText": {"type": "string"},
                    "isOptional": {"type": "boolean"},
                    "regexes": {"type": "array", "items": {"type": "string", "format": "regex"}},
                    "paramType": {"enum": ["TEXT", "GCS_READ_FILE", "GCS_READ_FOLDER", "GCS_WRITE_FOLDER"]},
                },
            },
        },
    },
}
GIVEN = {
    "input": "gs://bucket/photos/",
    "output": "gs://bucket/out",
    "detector": "demo",
    "sdk_container_image": "europe-west4-docker.pkg.dev/labels-1/labelbeam/template:1",
    "weights": "gs://bucket/weights",
    "engine": "saved_model",
    "min_score": "0.25",
    "mask_format": "none",
    "limit": "100",
    "batch_size": "8",
    "resource_hint": "accelerator=type:nvidia-tesla-t4;count:1;install-nvidia-driver:5xx",
}


@pytest.fixture(scope="module")
def entry():
    spec = importlib.util.spec_from_file_location("flex_template", DOCKER / "flex_template.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options_of(given):
    return [f"--{name}={value}" for name, value in given.items()]


def test_the_metadata_are_what_dataflow_takes():
    jsonschema.validate(TEMPLATE, SCHEMA, format_checker=jsonschema.FormatChecker())
    names = [parameter["name"] for parameter in TEMPLATE["parameters"]]
    assert sorted(names) == sorted(GIVEN)
    for parameter in TEMPLATE["parameters"]:
        for regex in parameter.get("regexes", []):
            assert re.fullmatch(regex, GIVEN[parameter["name"]]), parameter["name"]
            assert bool(re.fullmatch(regex, "")) == parameter.get("isOptional", False), parameter["name"]


def test_every_parameter_is_an_option(entry):
    args, rest = build_parser().parse_known_args(entry.command(options_of(GIVEN)))
    for name in GIVEN.keys() - {"input", "sdk_container_image", "resource_hint"}:
        assert str(getattr(args, name)) == GIVEN[name]
    assert args.input == [GIVEN["input"]] and args.runner_config == "dataflow_gpu"
    options = parse_beam_options(rest, (), args.runner_config).get_all_options()
    assert options["sdk_container_image"] == GIVEN["sdk_container_image"]
    assert GIVEN["resource_hint"] in options["resource_hints"]


def test_parameters_that_were_left_empty_are_not_given(entry):
    assert entry.command(["--input=gs://b/photos/", "--limit=", "--min_score=0.1"])[3:] == [
        "--input=gs://b/photos/",
        "--min-score=0.1",
    ]


def test_labels_of_a_dataflow_job_are_no_label_map(entry):
    """`gcloud dataflow flex-template run --additional-user-labels`, which the launcher hands on."""
    args, rest = build_parser().parse_known_args(entry.command([*options_of(GIVEN), "--labels=team=vision"]))
    assert args.labels is None
    assert parse_beam_options(rest, (), args.runner_config).get_all_options()["labels"] == ["team=vision"]


@pytest.mark.heavy
def test_the_launcher_gets_a_job_and_leaves_it_to_dataflow(entry, tmp_path, fake_detector, capsys, monkeypatch):
    pytest.importorskip("google.cloud.dataflow", reason="Dataflow's client isn't installed", exc_type=ImportError)
    from apache_beam.io.gcp.gcsio import GcsIO
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient

    staged = {}
    monkeypatch.setattr(GcsIO, "is_soft_delete_enabled", lambda self, path: False)
    monkeypatch.setattr(
        DataflowApplicationClient,
        "stage_file",
        lambda self, where, name, stream, *_, **__: staged.update({name: stream.read()}),
    )
    save_image(tmp_path / "images" / "0.jpg", 0, (24, 20))
    output = tmp_path / "out"
    (tmp_path / "sdk").touch()
    given = {
        "input": tmp_path / "images",
        "output": output,
        "detector": fake_detector,
        "sdk_container_image": GIVEN["sdk_container_image"],
        # What the launcher adds, and what stands in for the bucket here.
        "project": "labels-1",
        "region": "europe-west4",
        "job_name": "labels",
        "temp_location": "gs://bucket/tmp",
        "staging_location": "gs://bucket/staging",
        "template_location": "gs://bucket/staging/template_launches/1/job_object",
        "sdk_location": tmp_path / "sdk",
        "shared_folders": tmp_path.parents[2],
    }
    assert entry.main([*entry.command(options_of(given)), "--no_auth"]) == 0
    assert "is handed over" in capsys.readouterr().out
    assert "pipeline.pb" in staged
    job = json.loads(staged["job_object"])
    [pool] = job["environment"]["workerPools"]
    assert pool["machineType"] == "g2-standard-8" and pool["autoscalingSettings"]["maxNumWorkers"] == 4
    images = [image["containerImage"] for image in pool["sdkHarnessContainerImages"]]
    assert images == [GIVEN["sdk_container_image"]]
    assert read_log(str(output)).open_job is not None  # what runs on Dataflow closes it
