"""The pipeline as runners get it, its proto: nothing in it that batch runners other than Python's own can't run, or
run badly.
"""

import ast
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.transforms.environments import DockerEnvironment
from labelbeam.labelset.begin import OpenJob
from labelbeam.pipeline.job import Job, build_graph
from labelbeam.pipeline.label_config import prepare_label_config
from labelbeam.pipeline.running.beam_options import parse_beam_options
from labelbeam.pipeline.settings import JobSpec, LabelConfig
from labelbeam.transforms.coders import PixelsCoder
from labelbeam.transforms.sources.box_prompts import open_tables

ROOT = Path(__file__).parents[3]
PRIMITIVES, CODERS = common_urns.primitives, common_urns.coders
SPLITTABLE = common_urns.sdf_components
VOID_KEYS = {"CombinePerKey", "Top(3)"}  # of Beam's own global combining: one key, None, in Python's coder


class Graph:
    """A job's pipeline proto, and the ways through it."""

    def __init__(self, job, *arguments, preset=None):
        pipeline = beam.Pipeline(options=parse_beam_options(arguments, runner_config=preset))
        build_graph(pipeline, job, OpenJob(job.spec.output, "job", 0), {"job_id": "job"})
        self.proto = pipeline.to_runner_api(default_environment=DockerEnvironment.from_container_image("worker:1"))
        self.components = self.proto.components
        self.context = PipelineContext(self.components)
        self.producers = {out: t for t in self.leaves() for out in t.outputs.values()}

    def leaves(self):
        """Transforms that do something; composites that only pass their input on have no parts either."""
        return [
            t
            for t in self.components.transforms.values()
            if not t.subtransforms and not set(t.outputs.values()) <= set(t.inputs.values())
        ]

    def of_urn(self, urns):
        return [t for t in self.leaves() if t.spec.urn in urns]

    def below(self, name):
        """Leaves of the composite of this name."""
        return [t for t in self.leaves() if t.unique_name.startswith(f"{name}/")]

    def par_dos(self):
        for transform in self.of_urn({PRIMITIVES.PAR_DO.urn}):
            yield transform, beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)

    def holds_pixels(self, pcollection_id):
        coder = self.context.coders.get_by_id(self.components.pcollections[pcollection_id].coder_id)
        return PixelsCoder.__name__ in repr(coder)  # which names the coders inside

    def stage_before(self, last):
        """What runners fuse with a transform: all in front of it up to shuffles; and whether shuffles are in
        front of all.
        """
        stage, is_behind_shuffles, todo = [], True, [last]
        while todo:
            transform = todo.pop()
            stage.append(transform)
            for producer in {
                self.producers[i].unique_name: self.producers[i] for i in transform.inputs.values()
            }.values():
                is_behind_shuffles &= producer.spec.urn != PRIMITIVES.IMPULSE.urn
                if producer.spec.urn not in (PRIMITIVES.GROUP_BY_KEY.urn, PRIMITIVES.IMPULSE.urn):
                    todo.append(producer)
        return stage, is_behind_shuffles


@pytest.fixture(scope="module", params=["folder", "containers", "limit", "boxes"])
def graph(request, tmp_path_factory, fake_detector):
    folder = tmp_path_factory.mktemp("graph")
    labels, limit, inputs = LabelConfig(fake_detector), None, [str(folder / "list.txt")]
    label_config = prepare_label_config(labels)
    if request.param == "containers":
        inputs = [str(folder)]
    if request.param == "limit":
        limit = 3
    if request.param == "boxes":
        (folder / "boxes.csv").write_text("uri,ymin,xmin,ymax,xmax\na.jpg,0,0,1,1\n")
        label_config = replace(label_config, boxes=open_tables([str(folder / "boxes.csv")], "uri"))
    return Graph(Job(JobSpec(inputs, "out", labels, limit=limit), label_config))


def test_no_state_no_timers_no_streaming(graph):
    assert len(list(graph.par_dos())) > 10
    for transform, payload in graph.par_dos():
        assert not payload.state_specs and not payload.timer_family_specs, transform.unique_name
        assert not payload.requires_time_sorted_input and not payload.requires_stable_input, transform.unique_name
    bounded = beam_runner_api_pb2.IsBounded.BOUNDED
    assert {p.is_bounded for p in graph.components.pcollections.values()} == {bounded}
    windows = {strategy.window_fn.urn for strategy in graph.components.windowing_strategies.values()}
    assert windows == {"beam:window_fn:global_windows:v1"}
    assert not graph.of_urn({SPLITTABLE.PAIR_WITH_RESTRICTION.urn})


def test_what_crosses_a_shuffle_is_pairs_with_keys_that_every_sdk_knows(graph):
    shuffles = graph.of_urn({PRIMITIVES.GROUP_BY_KEY.urn})
    assert len(shuffles) >= 5
    for shuffle in shuffles:
        [pcollection_id] = shuffle.inputs.values()
        coder = graph.components.coders[graph.components.pcollections[pcollection_id].coder_id]
        assert coder.spec.urn == CODERS.KV.urn, shuffle.unique_name
        key_id, _ = coder.component_coder_ids
        key = graph.context.coders.get_by_id(key_id)
        assert key.is_deterministic(), shuffle.unique_name
        if shuffle.unique_name.split("/")[-2] not in VOID_KEYS:
            assert graph.components.coders[key_id].spec.urn in (
                CODERS.BYTES.urn,
                CODERS.STRING_UTF8.urn,
                CODERS.VARINT.urn,
            ), shuffle.unique_name


def test_side_inputs_are_read_in_the_ways_that_runners_offer(graph):
    patterns = {s.access_pattern.urn for _, payload in graph.par_dos() for s in payload.side_inputs.values()}
    assert patterns <= {common_urns.side_inputs.ITERABLE.urn, common_urns.side_inputs.MULTIMAP.urn}


def test_from_reading_to_writing_is_one_stage_behind_a_shuffle(graph):
    [write] = graph.below("WriteParts")
    stage, is_behind_shuffles = graph.stage_before(write)
    names = " ".join(transform.unique_name for transform in stage)
    for step in ("FetchImages/", "BeamML_RunInference", "ToRows/"):
        assert step in names, "pixels would cross a shuffle"
    assert is_behind_shuffles, "listing would be fused with labelling, and one worker would do all of it"
    assert "ListImages" not in names
    assert all(transform.spec.urn == PRIMITIVES.PAR_DO.urn for transform in stage), "what else may break it in two"
    holders = {t.unique_name for t in graph.leaves() for i in t.inputs.values() if graph.holds_pixels(i)}
    assert len(holders) == 1 and holders <= {transform.unique_name for transform in stage}


def test_resource_hints_of_a_preset_dont_break_the_stage_in_two(fake_detector):
    labels = LabelConfig(fake_detector)
    # Its options but for the runner: Beam would ask Google for the bucket, for two minutes.
    graph = Graph(
        Job(JobSpec([str(ROOT)], "gs://b/out", labels), prepare_label_config(labels)),
        "--runner=FnApiRunner",
        preset="dataflow_gpu",
    )
    [write] = graph.below("WriteParts")
    [environment_id] = {transform.environment_id for transform in graph.stage_before(write)[0]}
    hints = graph.components.environments[environment_id].resource_hints
    assert hints["beam:resources:accelerator:v1"] == b"type:nvidia-l4;count:1;install-nvidia-driver:5xx"
    assert hints["beam:resources:min_ram_bytes:v1"] == b"24000000000"


@pytest.mark.parametrize("folder", ["transforms", "detectors"])
def test_nothing_is_printed_in_workers(folder):
    """A worker pool never reads what its workers print: they would hang when the pipe is full."""
    modules = [path for path in (ROOT / folder).rglob("*.py") if "demo" not in path.parts]
    assert len(modules) > 10
    for path in modules:
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert "print" not in names and not {"stdout", "__stdout__"} & attributes, path
