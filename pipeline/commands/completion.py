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
    from ..cli import build_parser

    print_result(shtab.complete(build_parser(), args.shell))
    return 0
