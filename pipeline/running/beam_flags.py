"""Beam's options as they stand on a command line: which there are, and which a runner has a use for."""

from typing import NamedTuple

from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions

from ...transforms.pipeline_options import StorageOptions  # noqa: F401  one of those that are found below

_IN_PROCESS = {"fnapi", "direct", "bundlebaseddirect", "switchingdirect", "testdirect", "interactive"}

# Option classes of Beam's own by what uses them. Dataflow, and runners that aren't named here, may use all.
_ALWAYS = {"StandardOptions", "TypeOptions", "DebugOptions", "ProfilingOptions", "StreamingOptions"}
_STORES = {"S3Options", "AzureOptions", "HadoopFileSystemOptions"}
_PORTABLE = {"PortableOptions", "JobServerOptions", "SetupOptions", "CrossLanguageOptions"}
_USED_BY = {
    "in_process": {"DirectOptions"},
    "prism": {*_PORTABLE, "PrismRunnerOptions"},
    "flink": {*_PORTABLE, "FlinkRunnerOptions"},
    "spark": {*_PORTABLE, "SparkRunnerOptions"},
    "portable": _PORTABLE,
}
# Of classes that are for Dataflow otherwise.
_STORE_FLAGS = {
    "--project",
    "--no_auth",
    "--service_account_email",
    "--impersonate_service_account",
    "--gcp_oauth_scope",
    "--gcp_oauth_scopes",
    "--gcs_custom_audit_entry",
    "--gcs_custom_audit_entries",
    "--enable_bucket_read_metric_counter",
    "--enable_bucket_write_metric_counter",
    "--no_gcsio_throttling_counter",
    "--enable_gcsio_blob_generation",
}
_ALWAYS_FLAGS = {
    "--temp_location",
    "--default_sdk_harness_log_level",
    "--sdk_harness_log_level_overrides",
    "--max_cache_memory_usage_mb",
    "--element_processing_timeout_minutes",
}
_PORTABLE_FLAGS = {"--job_name", "--sdk_container_image", "--worker_harness_container_image"}
_WORKERS = {"--num_workers", "--max_num_workers", "--direct_num_workers", "--parallelism", "--sdk_worker_parallelism"}
_WORKERS_OF = {
    "in_process": "For several processes on this machine: --runner-config multi_process --direct_num_workers N",
    "prism": "Prism has one worker process",
    "flink": "Flink's is --parallelism N",
    "spark": "Spark's executors are set where Spark is started",
    "portable": "The job server's own settings say how many workers there are",
}


class Flag(NamedTuple):
    """An option string of Beam's.

    Attributes:
      attribute: what it sets.
      repeatable: whether it may be given several times.
      max_values: how many values may follow it.
      owner: name of the class that defines it; empty for one that isn't Beam's own.
    """

    attribute: str
    repeatable: bool
    max_values: float
    owner: str


def beam_flags() -> dict[str, Flag]:
    """Every option string that Beam's option classes define, those of its extras that are installed included."""
    parser = _Flags()
    for options_class in _subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(options_class):
            is_beams = options_class.__module__ == pipeline_options.__name__
            parser.owner = options_class.__name__ if is_beams else ""
            options_class._add_argparse_args(parser)  # pyright: ignore[reportArgumentType]  # stands in for a parser
    return parser.flags


def runner_name(runner: str) -> str:
    """`in_process`, `prism`, `flink`, `dataflow`, … of the name that `--runner` was given."""
    name = runner.rpartition(".")[2].lower().removesuffix("runner")
    return "in_process" if name in _IN_PROCESS else name


def is_used(name: str, flag: Flag, runner: str) -> bool:
    """Whether a runner has a use for an option, as far as is known."""
    used = _USED_BY.get(runner_name(runner))
    if used is None or not flag.owner or flag.owner in used | _ALWAYS | _STORES or name in _STORE_FLAGS | _ALWAYS_FLAGS:
        return True
    return runner_name(runner) != "in_process" and name in _PORTABLE_FLAGS


def is_of_stores(name: str, flag: Flag) -> bool:
    """Whether an option says how a store is reached."""
    return flag.owner in _STORES or name in _STORE_FLAGS


def instead_of(name: str, runner: str) -> str:
    """A sentence on what to do instead of giving an option that this runner ignores."""
    if name in _WORKERS:
        return _WORKERS_OF[runner_name(runner)]
    if name == "--dry_run":
        return "labelbeam's own is --dry-run"
    return "Leave it out, or name the runner that it is for"


def _subclasses(cls: type) -> set[type]:
    return {cls} | {deeper for sub in cls.__subclasses__() for deeper in _subclasses(sub)}


class _Flags:
    """Stands in for an ArgumentParser and only remembers the options."""

    def __init__(self):
        self.flags: dict[str, Flag] = {}
        self.owner = ""

    def add_argument(self, *names, action=None, dest=None, nargs=None, **_):
        flags = [name for name in names if name.startswith("-")]
        attribute = dest or names[0].lstrip("-").replace("-", "_")
        takes_none = (isinstance(action, str) and action.startswith("store_")) or nargs == 0
        repeatable = not takes_none and action not in (None, "store")
        max_values = (
            0 if takes_none else float("inf") if nargs in ("*", "+") else nargs if isinstance(nargs, int) else 1
        )
        self.flags.update(dict.fromkeys(flags, Flag(attribute, repeatable, max_values, self.owner)))

    add_value_provider_argument = add_argument

    def add_mutually_exclusive_group(self, **_):
        return self

    def add_argument_group(self, *_, **__):
        return self
