"""`labelbeam detectors`: the configurations as a table for people."""

import argparse
from typing import TYPE_CHECKING

from ...storage.errors import UsageError
from ..arguments.common import add_verbose
from ..streams import print_result

if TYPE_CHECKING:
    from ...detectors.config import DetectorConfig


def add_parser(commands) -> None:
    detectors = commands.add_parser(
        "detectors",
        help="list the detectors that labelbeam has configurations for",
        description="Lists the configurations: input size, classes, engines, published speed and accuracy.",
        epilog="examples:\n  labelbeam detectors\n  labelbeam detectors --show efficientdet_d0 > mine.yaml\n"
        "  labelbeam detectors --check mine:Detector",
    )
    instead = detectors.add_mutually_exclusive_group()
    instead.add_argument("--show", metavar="NAME", help="instead: print one configuration, to begin your own with")
    instead.add_argument(
        "--check",
        metavar="DETECTOR",
        help="instead: load this one and try whether it keeps to the protocol (docs/own-detector.md)",
    )
    detectors.add_argument(
        "--detector-package", metavar="PATH", help="with --check module:Class: file or folder of that module"
    )
    add_verbose(detectors)
    detectors.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.check is not None:
        return check_detector(args.check, args.detector_package)
    if args.detector_package is not None:
        raise UsageError(f"--detector-package {args.detector_package}: goes with --check module:Class")
    if args.show is not None:
        from ...detectors.config import configuration_text

        print_result(configuration_text(args.show).removesuffix("\n"))
        return 0
    print_result(list_detectors())
    return 0


def check_detector(name: str, package: str | None = None) -> int:
    """Tries whether a detector keeps to the protocol; prints what came of it and returns the exit code.

    Raises:
      UsageError: if it can't be found or made.
    """
    from ...detectors.python.conformance import check
    from ..find_detector import find_detector

    failed = 0
    for what, error in check(find_detector(name, package=package).load()):
        failed += error is not None
        print_result(
            f"{'ok   ' if error is None else 'FAILS'} {what}" + ("" if error is None else f": {_one_line(error)}")
        )
    print_result(f"{name}: {'keeps to the protocol' if not failed else f'{failed} of these fail'}")
    return 1 if failed else 0


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if type(error).__module__.startswith("labelbeam") else f"{type(error).__name__}: {text}"


def list_detectors() -> str:
    """A table of every configuration, one line a detector, the fastest first, and how to use one."""
    from ...detectors.config import detector_names, load_config

    header = ("NAME", "INPUT", "CLASSES", "MASKS", "ENGINES", "MS", "AP (box/mask)")
    configs = [load_config(name) for name in detector_names()]
    rows = [header, *(_row(config) for config in sorted(configs, key=_speed_and_accuracy))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [
            *lines,
            "",
            "MS: milliseconds an image, as the TF2 model zoo has measured them. AP: as the model's source states it.",
            "labelbeam label photos/ -o out --detector NAME",
        ]
    )


def _speed_and_accuracy(config: "DetectorConfig") -> tuple[float, float]:
    reference = config.reference
    return (0, 0) if reference is None else (reference.speed_ms or 0, -reference.box_ap)


def _row(config: "DetectorConfig") -> tuple[str, ...]:
    input_size = "–" if config.input_size_hw is None else "{}×{}".format(*config.input_size_hw)
    speed = accuracy = "–"
    if config.reference:
        mask_ap = "" if config.reference.mask_ap is None else f"/{config.reference.mask_ap:.1f}"
        accuracy = f"{config.reference.box_ap:.1f}{mask_ap} on {config.reference.dataset}"
        speed = "–" if config.reference.speed_ms is None else f"{config.reference.speed_ms:g}"
    masks = "yes" if config.masks else "no"
    return config.name, input_size, str(len(config.labels)), masks, ", ".join(config.engines), speed, accuracy
