"""From a `JobSpec` to a `Job`: everything that can be known before the work starts is checked here, without doing any
of it."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from apache_beam.io.filesystem import FileSystem
from apache_beam.options.pipeline_options import PipelineOptions

from ..detectors.device_share import processors
from ..labelset.label_set_file import check_label_set
from ..labelset.log import read_log
from ..labelset.part_files import read_schema
from ..labelset.parts import part_path
from ..storage.errors import UsageError
from ..storage.redaction import redact
from ..storage.uris import STORE_SCHEMES
from ..transforms.execution_options import ExecutionOptions
from ..transforms.sources.carry import CARRIED_TYPES, CarriedType, find_types
from ..transforms.sources.check_inputs import NamedSchemes, check_inputs
from .job import Job
from .label_config import prepare_label_config
from .running.beam_options import direct_workers, processes_per_machine, use_store_options
from .running.output_place import check_output_place
from .running.preflight import check_importable, check_runner, check_visible
from .settings import JobSpec


def prepare_job(spec: JobSpec, options: PipelineOptions) -> Job:
    """Checks inputs, output, detector and runner, and finds the detector's weights.

    Args:
      spec: what is to be done.
      options: of Beam, from `parse_beam_options`.

    Raises:
      UsageError: names what can't be used, what was expected and what to do.
    """
    use_store_options(options)  # object stores: inputs are looked at before there's a pipeline
    check_output_place(spec.output)
    check_runner(options)
    _check_copies(spec.execution, options)
    processes = processes_per_machine(options)
    named = check_inputs(spec.inputs, spec.listing)
    execution = replace(spec.execution, allow_schemes=_allowed_schemes(spec.execution.allow_schemes, named))
    if processes > 1 and execution.decode_threads is None:
        execution = replace(execution, decode_threads=max(1, processors() // processes))
    label_config = prepare_label_config(spec.labels, execution, spec.listing, processes)
    detector = label_config.detector
    check_visible(
        options,
        execution.shared_folders,
        inputs=spec.inputs,
        listed_schemes=named.schemes,
        output=spec.output,
        weights=None if detector.engine == "python" else detector.weights,
        boxes=spec.labels.boxes,
    )
    if detector.engine == "python" and detector.package is None:
        check_importable(options, detector.weights)
    check_label_set(spec.output, label_config.label_set)
    carry = find_types(spec.inputs, spec.listing)
    _check_carried(spec.output, carry)
    return Job(replace(spec, execution=execution), label_config, carry)


def _check_carried(output: str, carry: Mapping[str, CarriedType]) -> None:
    """Raises `UsageError` if the label set has a column of this name, but of another type."""
    parts = read_log(output).parts if carry else {}
    if not parts:
        return
    held = read_schema(part_path(output, "images", max(parts)))
    for name, kind in carry.items():
        if name in held.names and held.field(name).type != CARRIED_TYPES[kind]:
            raise UsageError(
                f"--carry {name}: is {kind} in the lists, and {held.field(name).type} in the label set in {output}; "
                "rename the column, or give a new folder"
            )


def _check_copies(execution: ExecutionOptions, options: PipelineOptions) -> None:
    """Raises `UsageError` if the copies of a shared detector make no sense with this runner."""
    copies, workers = execution.model_copies, direct_workers(options)
    if copies == 1:
        return
    if not execution.share_model:
        raise UsageError(
            f"--model-copies {copies}: says how many detectors the processes of a machine share; give --share-model "
            "with it. Without, each process has one of its own"
        )
    if workers is not None and copies > workers:
        raise UsageError(
            f"--model-copies {copies}: {copies - workers} of them would never be called: the runner works on "
            f"{workers} bundle{'s' if workers > 1 else ''} at a time. Give at most {workers}, or more workers, as in "
            f"--runner-config multi_process --direct_num_workers {copies}"
        )


def _allowed_schemes(given: Collection[str] | None, named: NamedSchemes) -> frozenset[str]:
    """The schemes that the user allows, else those that the inputs name."""
    if given is None:
        if named.remote_list is not None and "file" in named.schemes:
            raise UsageError(
                f"--input {redact(named.remote_list)}: a list that lies elsewhere, together with local files: its "
                "entries could name any file of the workers. Label them one after the other, or say "
                f"--allow-schemes {' '.join(sorted(named.schemes))} if you trust the list"
            )
        return named.schemes
    allowed = frozenset(given)
    of_beam = {system.scheme() for system in FileSystem.get_all_subclasses()} - {None}
    known = {"file", "http", "https"} | STORE_SCHEMES | of_beam
    if unknown := sorted(allowed - known):
        raise UsageError(f"--allow-schemes {unknown[0]}: no such scheme; expected some of {', '.join(sorted(known))}")
    if allowed.isdisjoint(named.schemes):
        raise UsageError(
            f"--allow-schemes {' '.join(sorted(given))}: leaves nothing to read; the inputs name images by "
            f"{', '.join(sorted(named.schemes))}"
        )
    return allowed
