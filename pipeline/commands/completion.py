"""`labelbeam completion SHELL`: a script that completes commands and options."""

import argparse

from ...storage.errors import UsageError
from ...storage.installation import install_hint
from ..streams import print_result


def add_parser(commands) -> None:
    completion = commands.add_parser(
        "completion",
        help="a script that completes commands and options in a shell",
        description="Prints a completion script, made by shtab (extra `completion`).",
        epilog="examples:\n"
        "  labelbeam completion bash > ~/.local/share/bash-completion/completions/labelbeam\n"
        "  labelbeam completion zsh > ~/.zfunc/_labelbeam\n"
        "  labelbeam completion fish > ~/.config/fish/completions/labelbeam.fish",
    )
    completion.add_argument("shell", choices=["bash", "zsh", "fish"], help="of the script")
    completion.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as error:
        raise UsageError(f"completion needs shtab: {install_hint('completion')}") from error
    print_result(shtab.complete(_parser_to_complete(shtab.FILE), args.shell))
    return 0


def _parser_to_complete(files) -> argparse.ArgumentParser:
    """The parser of every command, with what argparse doesn't know: `help COMMAND`, INPUTs that come first, and that
    what isn't one of some words or a number may be a file."""
    from ..cli import build_parser

    parser = build_parser()
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for command in commands.choices.values():
        if command.get_default("takes_inputs"):
            command.add_argument("inputs", nargs="*", metavar="INPUT")
        _complete_files(command, files)
    explain = commands.add_parser("help", help="explains a command")
    explain.add_argument("topic", metavar="COMMAND", choices=sorted(commands.choices))
    return parser


def _complete_files(parser: argparse.ArgumentParser, files) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, files)
        elif action.nargs != 0 and action.choices is None and (action.type is None or not action.option_strings):
            setattr(action, "complete", files)  # noqa: B010  which shtab reads
