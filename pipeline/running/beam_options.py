"""Options that labelbeam doesn't know go to Beam, strictly: what Beam, or the chosen runner, has no use for is an
error.

Beam itself only logs a warning for an option it doesn't know, and nothing for one that its runner ignores. Options of
a preset (`runner_config.py`) give way to those of the command line.
"""

import contextlib
import difflib
import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.transforms.resources import resource_hints_from_options

from ...storage.errors import UsageError
from ...storage.stores.options import configure
from .beam_flags import Flag, beam_flags, instead_of, is_of_stores, is_used, runner_name
from .runner_config import DEFAULT, load_runner_config


def parse_beam_options(
    arguments: Sequence[str], own_options: Sequence[str] = (), runner_config: str | None = None
) -> PipelineOptions:
    """Makes Beam's options of the arguments that labelbeam's own parser left over, and of a preset.

    Args:
      arguments: for instance `["--runner=FlinkRunner", "--parallelism", "4"]`.
      own_options: names of labelbeam's options, to suggest for a misspelt one.
      runner_config: name or YAML file of a preset. Without one, the runner is Beam's in-process one unless the
        arguments name another.

    Raises:
      UsageError: names the argument that neither labelbeam nor Beam knows or that the runner ignores, and the nearest
        one that works; or the file and the option of a preset that Beam doesn't know.
    """
    known = beam_flags()
    preset = load_runner_config(runner_config or DEFAULT).options
    for option in preset:
        _check(
            option.partition("=")[0], known, known, f"--runner-config {runner_config}: Beam has no option of this name"
        )
    runner = _runner_of([*preset, *arguments])
    used = [name for name, flag in known.items() if is_used(name, flag, runner)]
    _check_all(arguments, known, [*own_options, *used])
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in known and name not in used:
            raise UsageError(f"{name}: {runner} ignores it. {instead_of(name, runner)}")
    named = {identity for _, identities in _split(arguments, known) for identity in identities}
    kept = [option for [option], identities in _split(preset, known) if not identities & named]
    options = _parse([*kept, *arguments])
    direct = options.view_as(DirectOptions)
    if (
        runner_name(runner) == "in_process"
        and direct.direct_running_mode == "in_memory"
        and direct.direct_num_workers != 1
    ):
        raise UsageError(
            f"--direct_num_workers {direct.direct_num_workers}: one process does everything, and this would be "
            "ignored. Give --runner-config multi_process with it"
        )
    return options


def parse_store_options(arguments: Sequence[str], own_options: Sequence[str] = ()) -> PipelineOptions:
    """Makes Beam's options for stores of the arguments that a command without a runner left over.

    Raises:
      UsageError: names the argument that is no option of stores.
    """
    known = {name: flag for name, flag in beam_flags().items() if is_of_stores(name, flag)}
    _check_all(arguments, known, [*own_options, *known])
    list(_split(arguments, known))
    return _parse(list(arguments))


def use_store_options(options: PipelineOptions) -> None:
    """Makes a pipeline's options of stores those of this process, instead of what an earlier command has set."""
    FileSystems.set_options(options)
    configure(())


def processes_per_machine(options: PipelineOptions) -> int:
    """How many worker processes work side by side on one machine, as far as options of Beam say so."""
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_processing":
        return direct.direct_num_workers or os.cpu_count() or 1  # as Beam does it
    if options.view_as(PortableOptions).environment_type == "LOOPBACK":
        return 1
    return max(1, int(options.view_as(PortableOptions).sdk_worker_parallelism))


def direct_workers(options: PipelineOptions) -> int | None:
    """How many bundles Beam's in-process runner works on at a time, in processes or threads; None for other runners."""
    if options.view_as(StandardOptions).runner.rpartition(".")[2] not in ("FnApiRunner", "DirectRunner"):
        return None
    direct = options.view_as(DirectOptions)
    return 1 if direct.direct_running_mode == "in_memory" else direct.direct_num_workers or os.cpu_count()


def ends_with_driver(options: PipelineOptions) -> bool:
    """Whether a job ends with the process that started it, as a runner in that process has it; clusters go on
    without."""
    runner = options.view_as(StandardOptions).runner.rpartition(".")[2]
    loopback = options.view_as(PortableOptions).environment_type == "LOOPBACK"
    return loopback or runner in ("FnApiRunner", "DirectRunner", "PrismRunner", "SwitchingDirectRunner")


def is_template(options: PipelineOptions) -> bool:
    """Whether the graph only becomes a template of Dataflow, as the launcher of a Flex template has it: the job is
    started after this process has ended."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def _runner_of(options: Sequence[str]) -> str:
    """The runner that these options name last."""
    runner = ""
    for place, option in enumerate(options):
        if option.startswith("--runner="):
            runner = option.partition("=")[2]
        elif option == "--runner" and place + 1 < len(options):
            runner = options[place + 1]
    return runner


def _check_all(arguments: Sequence[str], known: Mapping[str, Flag], suggestions: Collection[str]) -> None:
    if arguments and not arguments[0].startswith("-"):
        raise UsageError(f"unexpected argument {arguments[0]!r}; options start with --")
    for argument in arguments:
        if argument.startswith("-"):
            _check(
                argument.partition("=")[0],
                known,
                suggestions,
                "Neither labelbeam nor Beam knows it for this command; see its --help",
            )


def _check(flag: str, known: Mapping[str, Flag], suggestions: Collection[str], message: str) -> None:
    if flag not in known:
        near = difflib.get_close_matches(flag, suggestions, n=1, cutoff=0.75)
        raise UsageError(f"unknown option {flag}{f', did you mean {near[0]}?' if near else '.'} {message}")


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


def _split(arguments: Sequence[str], known: Mapping[str, Flag]) -> Iterator[tuple[list[str], set[tuple[str, str]]]]:
    """Arguments option by option, each with what it sets: the attribute of Beam's options, and for those that may be
    given several times (`--resource_hint min_ram=…`, `--experiments a=1,b`) the names in front of the values.

    Raises:
      UsageError: if an option is followed by more values than it takes.
    """
    option: list[str] = []
    for argument in [*arguments, None]:
        if argument is None or argument.startswith("-"):
            if option:
                name, _, value = option[0].partition("=")
                flag = known[name]
                if len(option) - 1 > flag.max_values - bool(value):
                    raise UsageError(
                        f"unexpected argument {option[-1]!r} after {name}: inputs come first, Beam's options last"
                    )
                values = ",".join([value, *option[1:]]).split(",") if flag.repeatable else [""]
                yield (
                    option,
                    {(flag.attribute, value.partition("=")[0]) for value in values if value or not flag.repeatable},
                )
            option = []
        if argument is not None:
            option.append(argument)
