"""Options that labelbeam doesn't know go to Beam, strictly: what Beam doesn't know either is an error, not a silent pass.

Beam itself only logs a warning for an option it doesn't know, and the job then runs without it. Options of a preset
(`runner_config.py`) are held to the same, and give way to those of the command line.
"""

import contextlib
import difflib
import io
import os
from collections.abc import Iterator, Sequence

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.transforms.resources import resource_hints_from_options

from ...storage.errors import UsageError
from .runner_config import DEFAULT, load_runner_config


def parse_beam_options(
    arguments: Sequence[str], own_options: Sequence[str] = (), runner_config: str | None = None
) -> PipelineOptions:
    """Makes Beam's options of the arguments that labelbeam's own parser left over, and of a preset.

    Args:
      arguments: for instance `["--runner=FlinkRunner", "--parallelism", "4"]`.
      own_options: names of labelbeam's options, to suggest for a misspelt one.
      runner_config: name or YAML file of a preset. Without one, the runner is Beam's in-process one unless the arguments
        name another.

    Raises:
      UsageError: names the argument that neither labelbeam nor Beam knows, and the nearest one that exists; or the file and
        the option of a preset that Beam doesn't know.
    """
    known = _beam_flags()
    preset = load_runner_config(runner_config or DEFAULT).options
    for option in preset:
        _check(
            option.partition("=")[0], known, known, f"--runner-config {runner_config}: Beam has no option of this name"
        )
    for argument in arguments:
        if argument.startswith("--"):
            _check(
                argument.partition("=")[0],
                known,
                [*own_options, *known],
                "Neither labelbeam nor Beam knows it; see labelbeam label --help",
            )
    if arguments and not arguments[0].startswith("--"):
        raise UsageError(f"unexpected argument {arguments[0]!r}; options start with --")
    named = {identity for _, identities in _split(arguments, known) for identity in identities}
    kept = [option for [option], identities in _split(preset, known) if not identities & named]
    return _parse([*kept, *arguments])


def processes_per_machine(options: PipelineOptions) -> int:
    """How many worker processes work side by side on one machine, as far as options of Beam say so."""
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_processing":
        return direct.direct_num_workers or os.cpu_count()  # as Beam does it
    if options.view_as(PortableOptions).environment_type == "LOOPBACK":
        return 1
    return max(1, int(options.view_as(PortableOptions).sdk_worker_parallelism))


def direct_workers(options: PipelineOptions) -> int | None:
    """How many bundles Beam's in-process runner works on at a time, in processes or threads; None for other runners."""
    if options.view_as(StandardOptions).runner.rpartition(".")[2] not in ("FnApiRunner", "DirectRunner"):
        return None
    direct = options.view_as(DirectOptions)
    return 1 if direct.direct_running_mode == "in_memory" else direct.direct_num_workers or os.cpu_count()


def _check(flag: str, known: dict[str, tuple[str, bool]], suggestions: Sequence[str], message: str) -> None:
    if flag not in known:
        near = difflib.get_close_matches(flag, suggestions, n=1)
        raise UsageError(f"unknown option {flag}{f', did you mean {near[0]}?' if near else ''} {message}")


def _parse(arguments: list[str]) -> PipelineOptions:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options = PipelineOptions(arguments)
            options.get_all_options()
    except SystemExit as error:  # Beam's argparse prints 200 lines of usage; its last line says what is wrong
        raise UsageError(f"Beam's options: {complaint.getvalue().strip().splitlines()[-1]}") from error
    try:
        resource_hints_from_options(options)
    except (ValueError, TypeError) as error:
        hints = options.view_as(StandardOptions).resource_hints
        raise UsageError(f"--resource_hint {' '.join(hints)}: {error} Expected for instance min_ram=16GB") from error
    return options


def _split(
    arguments: Sequence[str], known: dict[str, tuple[str, bool]]
) -> Iterator[tuple[list[str], set[tuple[str, str]]]]:
    """Arguments option by option, each with what it sets: the attribute of Beam's options, and for those that may be given
    several times (`--resource_hint min_ram=…`, `--experiments a=1,b`) the names in front of the values."""
    option: list[str] = []
    for argument in [*arguments, None]:
        if argument is None or argument.startswith("--"):
            if option:
                flag, _, value = option[0].partition("=")
                attribute, repeatable = known[flag]
                values = ",".join([value, *option[1:]]).split(",") if repeatable else [""]
                yield option, {(attribute, value.partition("=")[0]) for value in values if value or not repeatable}
            option = []
        option.append(argument)


def _beam_flags() -> dict[str, tuple[str, bool]]:
    """Every option string that Beam's option classes define, those of its extras that are installed included: the attribute
    that it sets, and whether it may be given several times."""
    parser = _Flags()
    for options_class in _subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(options_class):
            options_class._add_argparse_args(parser)
    return parser.flags


def _subclasses(cls: type) -> set[type]:
    return {cls} | {deeper for sub in cls.__subclasses__() for deeper in _subclasses(sub)}


class _Flags:
    """Stands in for an ArgumentParser and only remembers the options."""

    def __init__(self):
        self.flags: dict[str, tuple[str, bool]] = {}

    def add_argument(self, *names, action=None, dest=None, **_):
        flags = [name for name in names if name.startswith("-")]
        attribute = dest or names[0].lstrip("-").replace("-", "_")
        repeatable = action not in (None, "store", "store_true", "store_false", "store_const")
        self.flags.update(dict.fromkeys(flags, (attribute, repeatable)))

    add_value_provider_argument = add_argument

    def add_mutually_exclusive_group(self, **_):
        return self

    def add_argument_group(self, *_, **__):
        return self
