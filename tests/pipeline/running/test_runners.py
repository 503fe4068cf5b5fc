"""Presets of runners, and jobs that are refused because their workers would not find what they need."""

import re
import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    PrismRunnerOptions,
    StandardOptions,
    WorkerOptions,
)
from labelbeam.detectors.shipped_configs import shipped_names
from labelbeam.pipeline.cli import build_parser
from labelbeam.pipeline.running import preflight
from labelbeam.pipeline.running.beam_options import parse_beam_options
from labelbeam.pipeline.running.preflight import check_runner, check_visible, why_remote
from labelbeam.pipeline.running.runner_config import load_runner_config
from labelbeam.storage.errors import UsageError

PRESETS = ["dataflow_gpu", "flink", "in_process", "multi_process", "prism", "spark"]
FOLDER = Path(__file__).parents[3] / "configs" / "runners"


def test_these_presets_are_shipped():
    assert shipped_names("runners") == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_options_are_those_of_beams_own_classes(name):
    options = parse_beam_options([], runner_config=name)
    said = options.get_all_options(drop_default=True)
    attributes = {"resource_hint": "resource_hints"}
    for option in load_runner_config(name).options:
        flag, _, value = option.removeprefix("--").partition("=")
        found = said[attributes.get(flag, flag)]
        assert value in found if isinstance(found, list) else str(found) == value


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_header_says_what_it_needs_and_its_command_parses(name):
    header = (FOLDER / f"{name}.yaml").read_text().partition("description:")[0]
    assert re.search(r"# Must be (running|there): ", header) and "# Costs: " in header
    command = re.sub(r"\\\n#", "", header).splitlines()[0].removeprefix("# labelbeam ")
    args, rest = build_parser().parse_known_args(command.split())
    assert args.runner_config == name
    parse_beam_options(rest, [], args.runner_config)


def test_the_default_is_beams_in_process_runner_by_name():
    for options in (parse_beam_options([]), parse_beam_options([], runner_config="in_process")):
        assert options.view_as(StandardOptions).runner == "FnApiRunner"


def test_the_command_line_wins():
    options = parse_beam_options(["--direct_num_workers", "5"], runner_config="multi_process")
    assert options.view_as(DirectOptions).direct_num_workers == 5
    assert options.view_as(DirectOptions).direct_running_mode == "multi_processing"
    arguments = [
        "--worker_machine_type=n1-standard-4",
        "--resource_hints",
        "accelerator=type:nvidia-tesla-t4;count:2",
        "--experiment=upload_graph,no_use_multiple_sdk_containers",
    ]
    options = parse_beam_options(arguments, runner_config="dataflow_gpu")
    assert options.view_as(WorkerOptions).machine_type == "n1-standard-4"
    assert sorted(options.view_as(StandardOptions).resource_hints) == [
        "accelerator=type:nvidia-tesla-t4;count:2",
        "min_ram=24GB",
    ]
    assert sorted(options.view_as(DebugOptions).experiments) == ["no_use_multiple_sdk_containers", "upload_graph"]


def test_another_runner_on_the_command_line_takes_the_presets_place():
    options = parse_beam_options(["--runner=FlinkRunner"])
    assert options.view_as(StandardOptions).runner == "FlinkRunner"


@pytest.mark.parametrize(
    "content, named",
    [
        ("description: x\noptions: [--runner=FnApiRunner, --paralelism=3]", "--paralelism, did you mean --parallelism"),
        ("description: x\noptions: [--runner=FnApiRunner, --direct_num_workers=many]", "invalid int value: 'many'"),
        (
            "description: x\noptions: [--runner=FnApiRunner, --resource_hint=min_ram=lots]",
            "min_ram has invalid value lots",
        ),
        ("description: x\noptions: [--runner=FnApiRunner, --resource_hint=gpu=1]", "Unknown resource hint: gpu"),
        ("description: x\noptions: [--parallelism=3]", "--runner=NAME is missing"),
        ("description: x\noptions: [runner=FnApiRunner]", "expected --name=value or --name, got 'runner=FnApiRunner'"),
        ("description: x\noption: []", "unknown key 'option', did you mean 'options'"),
        ("description: x", "missing key 'options'"),
    ],
)
def test_a_preset_that_is_wrong_is_an_error_that_names_the_option(tmp_path, label, image_folder, content, named):
    preset = tmp_path / "mine.yaml"
    preset.write_text(content)
    code, printed, labels = label(image_folder, options=["--runner-config", str(preset)])
    assert code == 2 and named in printed
    assert not labels.folder.exists()


def test_a_preset_that_is_not_there(label, image_folder):
    code, printed, _ = label(image_folder, options=["--runner-config", "multi_proces"])
    assert code == 2 and "--runner-config multi_proces: not known; did you mean multi_process?" in printed
    code, printed, _ = label(image_folder, options=["--runner-config", "no/such.yaml"])
    assert code == 2 and "--runner-config no/such.yaml: no such file" in printed


def remote(*arguments, preset=None):
    return why_remote(parse_beam_options(list(arguments), runner_config=preset))


@pytest.mark.parametrize(
    "preset, arguments",
    [
        (None, []),
        (None, ["--runner=DirectRunner"]),
        (None, ["--runner=direct"]),
        ("multi_process", []),
        ("prism", []),
        ("prism", ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]),
        ("prism", ["--environment_type=EXTERNAL", "--environment_options=external_service_address=127.0.0.1:50000"]),
        ("prism", ["--environment_type=PROCESS"]),
        ("flink", []),  # as shipped, the cluster is on this machine
        (None, ["--runner=FlinkRunner"]),
        ("flink", ["--flink_master=jobmanager:8081", "--environment_type=LOOPBACK"]),
        ("spark", []),  # as shipped, Spark is inside the job server
        (None, ["--runner=SparkRunner"]),
    ],
)
def test_runners_whose_workers_see_this_machines_files(preset, arguments):
    assert remote(*arguments, preset=preset) is None


@pytest.mark.parametrize(
    "preset, arguments, why",
    [
        ("flink", ["--flink_master=jobmanager:8081"], "jobmanager:8081"),
        ("flink", ["--flink_master=http://jobmanager:8081"], "jobmanager:8081"),
        ("spark", ["--spark_master_url=spark://master:7077"], "master:7077"),
        ("flink", ["--environment_type=DOCKER", "--environment_config=image"], "containers"),
        ("prism", ["--environment_type=DOCKER"], "containers"),
        ("prism", ["--environment_type=EXTERNAL", "--environment_config=worker-7:50000"], "worker-7:50000"),
        (None, ["--runner=PortableRunner", "--job_endpoint=localhost:8099"], "containers"),
        (
            None,
            ["--runner=SparkRunner", "--spark_master_url=spark://m:7077", "--environment_type=PROCESS"],
            "spark://m:7077",
        ),
        (None, ["--runner=some.module.OwnRunner"], "nothing is known"),
        ("dataflow_gpu", [], "Dataflow"),
    ],
)
def test_runners_whose_workers_do_not(preset, arguments, why):
    assert why in remote(*arguments, preset=preset)


GOOD = {
    "inputs": ["gs://b/photos"],
    "listed_schemes": {"gs"},
    "output": "gs://b/out",
    "weights": "https://tfhub.dev/x",
    "boxes": (),
}


@pytest.mark.parametrize(
    "job, named",
    [
        ({"inputs": ["gs://b/photos", "photos/"]}, "--input photos/"),
        ({"output": "out"}, "--output out"),
        ({"weights": "/models/mine"}, "--detector: its weights are in /models/mine.*`labelbeam stage"),
        ({"boxes": ["boxes.csv"]}, "--boxes boxes.csv"),
        ({"listed_schemes": {"gs", "file"}}, "lists local paths"),
    ],
)
def test_what_remote_workers_cannot_see_is_refused(job, named, tmp_path, monkeypatch):
    options = parse_beam_options(["--flink_master=jobmanager:8081"], runner_config="flink")
    check_visible(options, [], **GOOD)
    with pytest.raises(UsageError, match=named):
        check_visible(options, [], **{**GOOD, **job})
    monkeypatch.chdir(tmp_path)
    check_visible(options, [str(tmp_path), "/models"], **{**GOOD, **job})  # a disk that workers have, too
    with pytest.raises(UsageError, match="can't see"):
        check_visible(options, [f"{tmp_path}/o"], **{**GOOD, "output": f"{tmp_path}/out"})
    check_visible(parse_beam_options([]), [], **{**GOOD, **job})


def test_a_job_that_cannot_be_seen_ends_before_anything_is_written(label, image_folder):
    code, printed, labels = label(image_folder, options=["--runner=PortableRunner", "--job_endpoint=localhost:1"])
    assert code == 2 and f"--input {image_folder}" in printed and "--shared-folders" in printed
    assert not labels.folder.exists()


def test_prism_is_found_where_make_puts_it_and_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UsageError, match="`make prism` builds it"):
        check_runner(parse_beam_options([], runner_config="prism"))
    with pytest.raises(UsageError, match="--prism_location /no/prism: no such file"):
        check_runner(parse_beam_options(["--prism_location=/no/prism"], runner_config="prism"))
    (tmp_path / "prism").touch()
    options = parse_beam_options([], runner_config="prism")
    check_runner(options)
    assert options.view_as(PrismRunnerOptions).prism_location == str(tmp_path / "prism")


def test_prism_and_a_worker_pool_elsewhere():
    arguments = ["--environment_type=EXTERNAL", "--environment_config=worker-7:50000"]
    with pytest.raises(UsageError, match="Prism tells workers to find it on localhost"):
        check_runner(parse_beam_options(arguments, runner_config="prism"))


def test_flink_without_java(monkeypatch):
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="no `java` in PATH"):
        check_runner(parse_beam_options([], runner_config="flink"))


def test_a_runner_that_beam_does_not_have():
    with pytest.raises(UsageError, match="--runner FlonkRunner: .*FlinkRunner"):
        check_runner(parse_beam_options(["--runner=FlonkRunner"]))


CLOUD = ["--project=labels-1", "--region=europe-west4", "--temp_location=gs://bucket/tmp"]


@pytest.mark.parametrize(
    "arguments, named",
    [
        (CLOUD[2:], "--project, --region missing"),
        ([*CLOUD[:2], "--temp_location=/tmp"], "--temp_location /tmp: expected gs://BUCKET/FOLDER"),
        (CLOUD, "workers need labelbeam, from --sdk_container_image"),
    ],
)
def test_dataflow_says_at_once_what_it_lacks(arguments, named):
    with pytest.raises(UsageError, match=named):
        check_runner(parse_beam_options(arguments, runner_config="dataflow_gpu"))


@pytest.mark.parametrize(
    "options, named",
    [
        (["--model-copies", "2"], "give --share-model with it"),
        (
            ["--model-copies", "2", "--share-model"],
            "1 of them would never be called: the runner works on 1 bundle at a time",
        ),
        (
            ["--model-copies", "3", "--share-model", "--runner-config", "multi_process"],
            "works on 2 bundles at a time. Give at most 2",
        ),
    ],
)
def test_copies_of_a_detector_that_nothing_would_call(label, image_folder, options, named):
    code, printed, labels = label(image_folder, options=options)
    assert code == 2 and named in printed and not labels.folder.exists()
