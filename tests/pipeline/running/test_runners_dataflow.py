"""The job as Dataflow would get it, built offline. Of `apache-beam[gcp]` it needs what the extra `test` has."""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from labelbeam.labelset.begin import OpenJob
from labelbeam.pipeline.job import Job, build_graph
from labelbeam.pipeline.label_config import prepare_label_config
from labelbeam.pipeline.running.beam_options import parse_beam_options
from labelbeam.pipeline.settings import JobSpec, LabelConfig

apiclient = pytest.importorskip(
    "apache_beam.runners.dataflow.internal.apiclient", reason="Dataflow's client isn't installed", exc_type=ImportError
)
pytest.importorskip("google.cloud.dataflow", reason="Dataflow's client isn't installed", exc_type=ImportError)

IMAGE = "europe-west4-docker.pkg.dev/labels-1/labelbeam/worker:cuda"


@pytest.fixture(scope="module")
def built(fake_detector):
    """The pipeline's proto and the worker pool of a dry run."""
    arguments = [
        "--project=labels-1",
        "--region=europe-west4",
        "--temp_location=gs://bucket/tmp",
        "--no_auth",
        f"--sdk_container_image={IMAGE}",
        "--dry_run=True",
        "--job_name=labels",
    ]
    options = parse_beam_options(arguments, runner_config="dataflow_gpu")
    pipeline = beam.Pipeline(options=options)
    spec = JobSpec(["gs://bucket/photos"], "gs://bucket/out", LabelConfig(fake_detector))
    begun = OpenJob(spec.output, "j", 0)
    build_graph(pipeline, Job(spec, prepare_label_config(spec.labels)), begun, {"job_id": "j"})
    result = pipeline.run()
    environment = apiclient.Environment(
        proto_pipeline_staged_url="gs://bucket/tmp/pipeline.pb",
        packages=[],
        options=options,
        environment_version="1",
        proto_pipeline=result.job.proto_pipeline,
    )
    assert options.view_as(GoogleCloudOptions).dataflow_endpoint
    return result.job.proto_pipeline, environment.proto


def test_every_worker_has_the_image_and_the_accelerator(built):
    proto, _ = built
    used = {t.environment_id for t in proto.components.transforms.values()} - {""}
    for environment_id in used:
        environment = proto.components.environments[environment_id]
        assert IMAGE.encode() in environment.payload
        hints = environment.resource_hints
        assert hints["beam:resources:accelerator:v1"] == b"type:nvidia-l4;count:1;install-nvidia-driver:5xx"
        assert hints["beam:resources:min_ram_bytes:v1"] == b"24000000000"
    assert used


def test_the_worker_pool_is_the_presets(built):
    _, environment = built
    [pool] = environment.worker_pools
    assert pool.machine_type == "g2-standard-8"
    assert pool.disk_size_gb == 100 and pool.disk_type.endswith("pd-ssd")
    assert pool.autoscaling_settings.max_num_workers == 4
    assert [image.container_image for image in pool.sdk_harness_container_images] == [IMAGE]


def test_one_process_a_worker(built):
    """Else Dataflow starts one a core, each with a detector of its own on the GPU."""
    _, environment = built
    [image] = environment.worker_pools[0].sdk_harness_container_images
    # It means bundles on several cores within one process, which Python's doesn't offer, not several processes.
    assert image.use_single_core_per_container
    assert "use_multiple_sdk_containers" not in list(environment.experiments)
    assert "no_use_multiple_sdk_containers" in list(environment.experiments)


def test_every_step_is_pickled(built):
    from apache_beam.internal import pickler
    from apache_beam.portability import common_urns, python_urns
    from apache_beam.portability.api import beam_runner_api_pb2

    proto, _ = built
    pickled = 0
    steps = [t for t in proto.components.transforms.values() if t.spec.urn == common_urns.primitives.PAR_DO.urn]
    for step in steps:
        do_fn = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload).do_fn
        if do_fn.urn == python_urns.KEY_WITH_NONE_DOFN:  # of Beam's global combining; it has nothing to pickle
            continue
        assert do_fn.urn == python_urns.PICKLED_DOFN_INFO, step.unique_name
        assert pickler.loads(do_fn.payload), step.unique_name
        pickled += 1
    assert pickled > 10
