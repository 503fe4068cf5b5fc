"""`labelbeam detectors`: the configurations as a table for people."""

import argparse

from ..arguments.common import add_verbose


def add_parser(commands) -> None:
    detectors = commands.add_parser(
        "detectors",
        help="list the detectors that labelbeam has configurations for",
        description="Lists the configurations: input size, classes, engines, published accuracy.",
        epilog="example:\n  labelbeam detectors",
    )
    add_verbose(detectors)
    detectors.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    print(list_detectors())
    return 0


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
