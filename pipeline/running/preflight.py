"""Whether the workers of a runner will find what the job needs: known before it is submitted, not from a log an hour
later.

Workers on other machines, or in containers, see no local path of this one. Not for whether inputs, weights and output
are right
in themselves: `check_inputs`, `prepare_label_config` and `check_label_set` look at that.
"""

import importlib
import importlib.util
import os
import shutil
import socket
import sys
import tarfile
import zipfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.runner import create_runner

from ...storage.errors import UsageError
from ...storage.installation import install_hint
from ...storage.uris import absolute, is_local

_IN_PROCESS = {"fnapi", "direct", "bundlebaseddirect", "switchingdirect", "testdirect", "interactive"}
_PORTABLE = {"prism", "flink", "spark", "portable"}
_THIS_MACHINE = {"localhost", "127.0.0.1", "::1", "[local]", "[auto]", "local", "embed"}


def check_runner(options: PipelineOptions) -> None:
    """Makes sure that the runner itself can be had with these options, and finds Prism where `make prism` puts it.

    Raises:
      UsageError: names what is missing.
    """
    named, runner = options.view_as(StandardOptions).runner, _runner(options)
    if runner == "dataflow":
        _check_dataflow(options)  # Beam's own validation asks its servers, and tries to make a bucket
        return
    try:
        errors = PipelineOptionsValidator(options, create_runner(named)).validate()
    except (ValueError, ImportError) as error:
        raise UsageError(f"--runner {named}: {' '.join(str(error).split())}") from error
    if errors:
        raise UsageError(f"--runner {named}: {' '.join(' '.join(errors).split())} See docs/runners.md")
    if runner == "prism":
        _check_pool_of_prism(options.view_as(PortableOptions))
        _find_prism(options.view_as(PrismRunnerOptions))
    needs_java, instead = {
        "flink": (
            not options.view_as(FlinkRunnerOptions).flink_submit_uber_jar,
            "--flink_submit_uber_jar with a --flink_master",
        ),
        "spark": (
            not options.view_as(SparkRunnerOptions).spark_submit_uber_jar,
            "--spark_submit_uber_jar with a --spark_rest_url",
        ),
    }.get(runner, (False, ""))
    if needs_java and shutil.which("java") is None:
        raise UsageError(
            f"--runner {named}: Beam's job server needs Java 11 or newer, and there's no `java` in PATH. Install "
            f"one, or give {instead}, see docs/runners.md"
        )


def check_visible(
    options: PipelineOptions,
    shared_folders: Sequence[str],
    *,
    inputs: Iterable[str],
    listed_schemes: Collection[str],
    output: str,
    weights: str | None,
    boxes: Iterable[str],
) -> None:
    """Makes sure that remote workers can see what the job reads and writes.

    Args:
      options: of the runner.
      shared_folders: local folders that all workers see at the same path.
      inputs, output, weights, boxes: paths and URIs of the job; None if the detector has no weights.
      listed_schemes: of the images that the inputs name, `file` for local ones.

    Raises:
      UsageError: names the first local path that workers of this runner can't see, and says what to do.
    """
    why = why_remote(options)
    if why is None:
        return
    shared = [os.path.join(absolute(folder), "") for folder in shared_folders]
    named = [*(("--input", uri) for uri in inputs), ("--output", output), *(("--boxes", uri) for uri in boxes)]
    for option, uri in named:
        if _is_unseen(uri, shared):
            raise UsageError(
                f"{option} {uri}: a path of this machine, and {why}, which can't see it. Put it where they can "
                "(gs://, s3://, hdfs://, for what is read also https://), or name the folder with --shared-folders "
                "if it is a network disk or a volume that they have at the same path"
            )
    if weights is not None and _is_unseen(weights, shared):
        raise UsageError(
            f"--detector: its weights are in {weights}, a path of this machine, and {why}, which can't see it. "
            "`labelbeam stage --detector … --to gs://…` (or s3://, or a network disk) puts them where workers can "
            "read them, and prints the command that uses them"
        )
    if "file" in listed_schemes and not shared_folders:
        raise UsageError(
            f"--input: lists local paths, and {why}, which can't see them. Copy the images to a store (gs://, "
            "s3://, hdfs://) and list those, or name their folder with --shared-folders if workers have it at the same "
            "path"
        )


def check_importable(options: PipelineOptions, class_name: str) -> None:
    """Makes sure that workers which aren't processes of this command get the module of a Python detector.

    Beam installs what --setup_file and --extra_package name; a container may have anything.

    Args:
      class_name: `module:Class`, which this process can import.

    Raises:
      UsageError: if nothing brings the module to them.
    """
    runner, setup = _runner(options), options.view_as(SetupOptions)
    if runner in _IN_PROCESS or (runner in _PORTABLE and _environment(runner, options) == "LOOPBACK"):
        return
    module = class_name.partition(":")[0]
    top = module.partition(".")[0]
    spec = importlib.util.find_spec(module)
    file = Path((spec and spec.origin) or "unknown").resolve()
    if (
        options.view_as(WorkerOptions).sdk_container_image
        or setup.requirements_file
        or (setup.setup_file and Path(setup.setup_file).resolve().parent in file.parents)
        or any(_holds_module(package, top) for package in setup.extra_packages or ())
    ):
        return
    raise UsageError(
        f"--detector {class_name}: workers of --runner {options.view_as(StandardOptions).runner} are processes of "
        f"their own, and nothing brings them the module {module}. Give its file or folder with --detector-package, its "
        "package with --setup_file or --extra_package, or an image that has it with --sdk_container_image"
    )


def _holds_module(package: str, top: str) -> bool:
    """Whether a wheel or source archive, as --extra_package takes it, has a file of this top-level module."""
    try:
        if zipfile.is_zipfile(package):
            with zipfile.ZipFile(package) as archive:
                names = archive.namelist()
        else:
            with tarfile.open(package) as archive:
                names = archive.getnames()
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"--extra_package {package}: can't be read: {error}") from error
    return any(f"{top}.py" in name.split("/") or f"/{top}/" in f"/{name}" for name in names)


def why_remote(options: PipelineOptions) -> str | None:
    """Where the workers are, as a clause, if they can't see this machine's files; None if they can."""
    runner = _runner(options)
    if runner in _IN_PROCESS:
        return None
    if runner == "dataflow":
        return "Dataflow's workers are machines of their own"
    if runner not in _PORTABLE:
        return f"nothing is known of where the workers of --runner {options.view_as(StandardOptions).runner} run"
    portable = options.view_as(PortableOptions)
    master = _master(runner, options)
    environment = _environment(runner, options)
    if environment == "LOOPBACK":
        return None
    if environment == "DOCKER":
        return "the workers run in containers (--environment_type DOCKER)"
    if master is not None and not _is_this_machine(master):
        return f"the workers run beside those of {master}"
    if environment == "EXTERNAL":
        pool = _pool(portable)
        return None if _is_this_machine(pool) else f"the worker pool is at {pool}"
    return None if environment == "PROCESS" else f"the workers' --environment_type is {environment}"


def _environment(runner: str, options: PipelineOptions) -> str:
    """`--environment_type`, or what Beam takes where it isn't given."""
    default = (
        "LOOPBACK" if runner == "prism" or _master(runner, options) in ("[local]", "[auto]", "local") else "DOCKER"
    )
    return (options.view_as(PortableOptions).environment_type or default).upper()


def _runner(options: PipelineOptions) -> str:
    """The runner's name, lower case and without `Runner`, as Beam takes both forms."""
    return options.view_as(StandardOptions).runner.rpartition(".")[2].lower().removesuffix("runner")


def _master(runner: str, options: PipelineOptions) -> str | None:
    """The address of the cluster whose machines start the workers; None where the runner itself is on this machine."""
    if runner == "flink":
        return options.view_as(FlinkRunnerOptions).flink_master
    if endpoint := options.view_as(PortableOptions).job_endpoint:
        return endpoint
    return options.view_as(SparkRunnerOptions).spark_master_url.partition("[")[0] if runner == "spark" else None


def _pool(options: PortableOptions) -> str:
    """The address of the worker pool of --environment_type EXTERNAL."""
    return options.environment_config or str(options.lookup_environment_option("external_service_address") or "")


def _check_pool_of_prism(options: PortableOptions) -> None:
    if (options.environment_type or "").upper() == "EXTERNAL" and not _is_this_machine(_pool(options)):
        raise UsageError(
            f"--environment_config {_pool(options)}: Prism tells workers to find it on localhost, so a worker pool "
            "on another machine can't. Use --runner PortableRunner --job_endpoint embed, or a Flink cluster"
        )


def _is_this_machine(address: str) -> bool:
    """Of `host:port`, or a URL."""
    if address in _THIS_MACHINE:
        return True
    return urlsplit(address if "://" in address else f"//{address}").hostname in {
        *_THIS_MACHINE,
        socket.gethostname().lower(),
    }


def _is_unseen(uri: str, shared: Sequence[str]) -> bool:
    return (
        is_local(uri) and not absolute(uri).startswith(tuple(shared)) and os.path.join(absolute(uri), "") not in shared
    )


def _find_prism(options: PrismRunnerOptions) -> None:
    if options.prism_location:
        if is_local(options.prism_location) and not os.path.isfile(options.prism_location):
            raise UsageError(
                f"--prism_location {options.prism_location}: no such file; `make prism` builds one, with Go 1.26 "
                "or newer"
            )
        return
    beside_python = os.path.join(os.path.dirname(sys.executable), "prism")
    if not os.path.isfile(beside_python):
        raise UsageError(
            f"--runner PrismRunner: there's no {beside_python}. `make prism` builds it, with Go 1.26 or newer; or "
            "give --prism_location. (Beam alone would download it from GitHub)"
        )
    options.prism_location = beside_python


def _check_dataflow(options: PipelineOptions) -> None:
    cloud = options.view_as(GoogleCloudOptions)
    if missing := [f"--{name}" for name in ("project", "region", "temp_location") if not getattr(cloud, name)]:
        raise UsageError(f"--runner DataflowRunner: {', '.join(missing)} missing; see docs/runners.md")
    if not cloud.temp_location.startswith("gs://"):
        raise UsageError(
            f"--temp_location {cloud.temp_location}: expected gs://BUCKET/FOLDER, for what Dataflow stages"
        )
    if not options.view_as(WorkerOptions).sdk_container_image and not options.view_as(SetupOptions).setup_file:
        raise UsageError(
            "--runner DataflowRunner: workers need labelbeam, from --sdk_container_image (docker/Dockerfile) or "
            "with --setup_file; see docs/runners.md"
        )
    try:
        importlib.import_module("google.cloud.dataflow")
    except ImportError as error:
        raise UsageError(
            f"--runner DataflowRunner: Beam's client isn't installed ({error}); {install_hint('gcp')}"
        ) from error
