"""The command line, `labelbeam COMMAND`: parses, runs the command's module, makes exit codes of errors.

0  done      1  the job failed or is incomplete      2  the command can't be used as it is      130  Ctrl-C
"""

import argparse
import atexit
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

from ..storage.errors import StorageError, UsageError
from ..storage.redaction import RedactingFormatter, redact
from ..storage.stores.options import configure
from .arguments.common import Parser
from .arguments.job_file import save_job, with_job_file
from .commands import (
    compare,
    completion,
    demo,
    detectors,
    estimate,
    evaluate,
    export,
    label,
    register,
    repair,
    report,
    show,
    stage,
    status,
    weights,
)
from .running.exit_codes import ExitCode
from .streams import discard, end_at_once, flush_results, open_missing_streams

COMMANDS = (
    label,
    estimate,
    demo,
    status,
    show,
    report,
    evaluate,
    compare,
    export,
    register,
    repair,
    detectors,
    weights,
    stage,
    completion,
)
_NO_OPTIONS = {"command", "run", "takes_inputs", "beam_options", "input_of_job", "beam_of_job"}


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command, with the help that teaches."""
    parser = Parser(
        prog="labelbeam",
        description="Labels images at scale, offline: image URIs in, Parquet tables of detections and masks out.",
        epilog="`labelbeam help COMMAND` explains a command. Start with `labelbeam demo`.",
    )
    parser.add_argument("--version", action="version", version=f"labelbeam {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _version() -> str:
    return importlib.import_module(str(__package__).partition(".")[0]).__version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which is very talkative
    open_missing_streams()
    verbose = False
    try:
        args = parse(sys.argv[1:] if arguments is None else arguments)
        verbose = getattr(args, "verbose", False)
        _set_up_logging(verbose)
        code = args.run(args)
        flush_results()
        return code
    except UsageError as error:
        print(f"labelbeam: {redact(str(error))}", file=sys.stderr)
        return ExitCode.USAGE
    except KeyboardInterrupt:
        print(
            "labelbeam: interrupted. What finished parts hold is kept; the same command goes on from there.",
            file=sys.stderr,
        )
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # as of `labelbeam status OUT | head`
        discard(sys.stdout)
        return ExitCode.DONE
    except Exception as error:
        discard(sys.stdout)
        if not _is_of_the_surroundings(error):
            raise
        logging.getLogger(__name__).info("The command failed.", exc_info=True)
        print(f"labelbeam: {_sentence(error)}", file=sys.stderr)
        return ExitCode.FAILED


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses a command line.

    Inputs of `label` and `estimate` come first; what follows an option that labelbeam doesn't know is Beam's.

    Raises:
      UsageError: if a job file can't be used.
      SystemExit: 2 if the command line isn't understood, 0 after help.
    """
    arguments = list(arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    parser = build_parser()
    defaults = {}
    if arguments[:1] == ["label"]:
        defaults = vars(parser.parse_args(["label", "--output=", "--detector="]))
        arguments = ["label", *with_job_file(arguments[1:], defaults)]
    args, rest = parser.parse_known_args(arguments)
    if getattr(args, "takes_inputs", False):
        first = next(
            (place for place, argument in enumerate(rest) if argument.startswith("-") and argument != "-"), len(rest)
        )
        args.input, rest = [*args.input, *rest[:first]] or getattr(args, "input_of_job", []), rest[first:]
        if not args.input and not args.inventory:
            raise UsageError(f"{args.command}: no INPUT: name images, folders, lists or containers")
    args.own_options = [f"--{name.replace('_', '-')}" for name in vars(args) if name not in _NO_OPTIONS]
    args.beam_arguments = rest
    if rest and not hasattr(args, "beam_options"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if getattr(args, "beam_options", None) == "stores":
        _set_up_stores(args)
    if getattr(args, "save_job", None) is not None:
        save_job(args.save_job, args, defaults)
    return args


def _set_up_stores(args: argparse.Namespace) -> None:
    """Takes the options of stores that a command without a pipeline was given."""
    beam = {}
    if args.beam_arguments:
        from apache_beam.io.filesystems import FileSystems

        from .running.beam_options import parse_store_options

        options = parse_store_options(args.beam_arguments, args.own_options)
        FileSystems.set_options(options)
        beam = options.get_all_options()
    configure(args.storage_option, **beam)


def _set_up_logging(verbose: bool) -> None:
    """labelbeam's own warnings are for everybody; what others log is for --verbose."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, handlers=[handler])
    sys.excepthook = _print_redacted
    logging.getLogger("labelbeam").setLevel(logging.INFO if verbose else logging.WARNING)
    # Beam logs the traceback of what then ends the job, whose cause is told in a sentence (`exit_codes.py`).
    logging.getLogger("apache_beam").setLevel(logging.INFO if verbose else logging.CRITICAL)


def _print_redacted(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Prints the traceback of a fault of labelbeam's own, in place of Python."""
    print(redact("".join(traceback.format_exception(kind, error, where))), file=sys.stderr, end="")


def _is_of_the_surroundings(error: Exception) -> bool:
    """Whether a disk, a network or a store is what failed, and not labelbeam."""
    return isinstance(error, (OSError, StorageError))


def _sentence(error: Exception) -> str:
    text = " ".join(redact(str(error)).split()) or type(error).__name__
    return text if len(text) <= 500 else f"{text[:499]}…"


def run_command() -> int:
    """`main` as a process of its own.

    What was registered to be done at its end is done. Then it ends at once: C++ libraries whose threads are still
    starting when their memory is taken down would end it with SIGABRT, whatever the command's exit code is.
    """
    codes: list[int] = []
    atexit.register(lambda: end_at_once(codes[0]) if codes else None)  # before all others, so it runs last
    codes.append(main())
    return codes[0]


if __name__ == "__main__":
    sys.exit(run_command())
