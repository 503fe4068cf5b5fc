"""Options that labelbeam doesn't know go to Beam, strictly: what Beam doesn't know either is an error, not a silent pass.

Beam itself only logs a warning for an option it doesn't know, and the job then runs without it.
"""
import contextlib
import difflib
import io
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from ..detectors.errors import UsageError

DEFAULT_RUNNER = "FnApiRunner"  # in-process; "DirectRunner" would first try to download another runner


def parse_beam_options(arguments: Sequence[str], own_options: Sequence[str]) -> PipelineOptions:
    """Makes Beam's options of the arguments that labelbeam's own parser left over.

    Args:
      arguments: for instance `["--runner=FlinkRunner", "--parallelism", "4"]`.
      own_options: names of labelbeam's options, to suggest for a misspelt one.

    Raises:
      UsageError: names the argument that neither labelbeam nor Beam knows, and the nearest one that exists.
    """
    known = _beam_flags()
    for argument in arguments:
        flag = argument.split("=", 1)[0]
        if flag.startswith("--") and flag not in known:
            near = difflib.get_close_matches(flag, [*own_options, *known], n=1)
            raise UsageError(f"unknown option {flag}{f', did you mean {near[0]}?' if near else ''} Neither labelbeam nor Beam "
                             "knows it; see labelbeam label --help")
    if arguments and not arguments[0].startswith("-"):
        raise UsageError(f"unexpected argument {arguments[0]!r}; options start with --")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options = PipelineOptions(list(arguments))
            options.get_all_options()
    except SystemExit as error:  # Beam's argparse prints 200 lines of usage; its last line says what is wrong
        raise UsageError(f"Beam's options: {complaint.getvalue().strip().splitlines()[-1]}") from error
    standard = options.view_as(StandardOptions)
    if not standard.runner:
        standard.runner = DEFAULT_RUNNER
    return options


def _beam_flags() -> set[str]:
    """Every option string that Beam's option classes define, those of its extras that are installed included."""
    parser = _Flags()
    for options_class in _subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(options_class):
            options_class._add_argparse_args(parser)
    return parser.flags


def _subclasses(cls: type) -> set[type]:
    return {cls} | {deeper for sub in cls.__subclasses__() for deeper in _subclasses(sub)}


class _Flags:
    """Stands in for an ArgumentParser and only remembers the option strings."""

    def __init__(self):
        self.flags: set[str] = set()

    def add_argument(self, *names, **_):
        self.flags.update(name for name in names if name.startswith("-"))

    add_value_provider_argument = add_argument

    def add_mutually_exclusive_group(self, **_):
        return self

    def add_argument_group(self, *_, **__):
        return self
