"""`labelbeam detectors`: the configurations as a table for people."""

import argparse

from ..arguments.common import add_verbose


def add_parser(commands) -> None:
    detectors = commands.add_parser(
        "detectors",
        help="list the detectors that labelbeam has configurations for",
        description="Lists the configurations: input size, classes, engines, published accuracy.",
        epilog="examples:\n  labelbeam detectors\n  labelbeam detectors --check mine:Detector",
    )
    detectors.add_argument(
        "--check",
        metavar="DETECTOR",
        help="instead: load this one and try whether it keeps to the protocol (docs/own-detector.md)",
    )
    add_verbose(detectors)
    detectors.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.check is None:
        print(list_detectors())
        return 0
    return check_detector(args.check)


def check_detector(name: str) -> int:
    """Tries whether a detector keeps to the protocol; prints what came of it and returns the exit code.

    Raises:
      UsageError: if it can't be found or made.
    """
    from ...detectors.conformance import check
    from ..find_detector import find_detector

    failed = 0
    for what, error in check(find_detector(name).load()):
        failed += error is not None
        print(f"{'ok   ' if error is None else 'FAILS'} {what}" + ("" if error is None else f": {_one_line(error)}"))
    print(f"{name}: {'keeps to the protocol' if not failed else f'{failed} of these fail'}")
    return 1 if failed else 0


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if type(error).__module__.startswith("labelbeam") else f"{type(error).__name__}: {text}"


def list_detectors() -> str:
    """A table of every configuration, one line a detector, and how to use one."""
    from ...detectors.config import load_config
    from ...detectors.shipped_configs import shipped_names

    header = ("NAME", "INPUT", "CLASSES", "MASKS", "ENGINES", "AP (box/mask)")
    rows: list[tuple[str, ...]] = [header]
    for name in shipped_names("detectors"):
        config = load_config(name)
        input_size = "–" if config.input_size_hw is None else "{}×{}".format(*config.input_size_hw)
        reference = "–"
        if config.reference:
            mask_ap = "" if config.reference.mask_ap is None else f"/{config.reference.mask_ap:.1f}"
            reference = f"{config.reference.box_ap:.1f}{mask_ap} on {config.reference.dataset}"
        rows.append(
            (
                name,
                input_size,
                str(len(config.labels)),
                "yes" if config.masks else "no",
                ", ".join(config.engines),
                reference,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", "labelbeam label photos/ -o out --detector NAME"])
