"""`labelbeam repair OUT`: cleans up, deduplicates and compacts what dead jobs left in an output folder."""

import argparse

from ..arguments.common import add_label_set
from ..streams import say


def add_parser(commands) -> None:
    repair = commands.add_parser(
        "repair",
        help="clean up what dead jobs left in an output folder",
        description="Removes unfinished parts, deduplicates, compacts small parts. `labelbeam label` does so by\n"
        "itself; this is for folders that nothing is to be added to.",
        epilog="example:\n  labelbeam repair out",
    )
    add_label_set(repair)
    repair.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..running.repair import repair

    say(repair(args.output))
    return 0
