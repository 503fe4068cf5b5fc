"""What the commands' options have in common: a parser that answers mistakes in three lines, values that are checked as
they are read, options whose default is that of a settings class, and the options that several commands share."""

import argparse
import difflib
import math
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, NoReturn, TypeVar, get_args

from ...storage.redaction import redact
from ..running.output_place import why_no_place

T = TypeVar("T")


_INVALID_CHOICE = re.compile(r"invalid choice: '([^']*)' \((?:choose from )?(.*)\)")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations, whose help keeps line breaks, and whose errors are three lines."""

    def __init__(self, **settings):
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        if found := _INVALID_CHOICE.search(message):
            near = difflib.get_close_matches(found[1], re.findall(r"[\w-]+", found[2]), n=1)
            message += f"; did you mean {near[0]}?" if near else ""
        command = self.prog.partition(" ")[2]
        print(f"{self.prog}: {redact(message)}", file=sys.stderr)
        print(" ".join((self.usage or self.format_usage().partition(": ")[2]).split()), file=sys.stderr)
        print(f"`labelbeam help{command and ' ' + command}` explains every option.", file=sys.stderr)
        sys.exit(2)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text}")
    return number


def positive_or_zero(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text}")
    return number


def seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text}")
    return seconds


def price(text: str) -> float:
    price = float(text)
    if not (price >= 0 and math.isfinite(price)):
        raise argparse.ArgumentTypeError(f"expected a price, 0 or more, got {text}")
    return price


def scheme(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", text):
        raise argparse.ArgumentTypeError(f"expected the name of a scheme, such as https; got {text!r}")
    return text.lower()


def place(text: str) -> str:
    if problem := why_no_place(text):
        raise argparse.ArgumentTypeError(f"{text or repr('')}: {problem}")
    return text


def storage_option(text: str) -> str:
    if not text.partition("=")[0].strip() or "=" not in text:  # not shown: it may be a key that lacks its name
        raise argparse.ArgumentTypeError("expected KEY=VALUE, as in region=eu-west-1")
    return text


def auto_or_positive(text: str) -> int | str:
    return text if text == "auto" else positive(text)


def share_or_number(text: str) -> float | int:
    """`0.01` and `1%` are a share, `10` is a number."""
    if text.endswith("%"):
        share = float(text[:-1]) / 100
    elif re.fullmatch(r"\d+", text):
        return int(text)
    else:
        share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share such as 1% or 0.01, or a whole number, got {text}")
    return share


def rgb(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 3 or not all(0 <= n <= 255 for n in numbers):
        raise argparse.ArgumentTypeError(f"expected three numbers from 0 to 255, such as 255,255,255; got {text!r}")
    return numbers


def add_field(group, settings: type, name: str, help: str, **options: Any) -> None:
    """An option of the same name for a field of a settings class, whose default it has, and tells.

    Args:
      group: a parser, or a group of its arguments.
      settings: the dataclass.
      name: of the field.
      help: without the default.
      options: further ones of `add_argument`.
    """
    [field] = [field for field in fields(settings) if field.name == name]
    default = field.default if field.default is not MISSING else None
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    if not (shown is None or shown == "" or isinstance(default, bool)):
        number = f"{shown:,}" if isinstance(shown, int) else f"{shown:g}" if isinstance(shown, float) else shown
        help = f"{help} (default: {number})"
    if isinstance(default, bool):
        options["action"] = "store_true"
    group.add_argument(f"--{name.replace('_', '-')}", default=default, help=help, **options)


def settings_of(make: Callable[..., T], args: argparse.Namespace) -> T:
    """A settings object made of the options that were added for its fields; other fields keep their defaults."""
    return make(
        **{
            field.name: tuple(value) if isinstance(value := getattr(args, field.name), list) else value
            for field in fields(make)  # pyright: ignore[reportArgumentType]  # a dataclass
            if hasattr(args, field.name)
        }
    )


def add_storage_option(parser) -> None:
    parser.add_argument(
        "--storage-option",
        action="append",
        default=[],
        type=storage_option,
        metavar="KEY=VALUE",
        help="how a store is reached (endpoint=…, region=…, skip_signature=true), see docs/stores.md; may be repeated",
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="log what Beam and TensorFlow say, and tracebacks")


def add_label_set(parser: argparse.ArgumentParser) -> None:
    """The folder that a command reads, and how stores are reached."""
    parser.add_argument(
        "output", metavar="OUT", type=place, help="output folder of `labelbeam label`, on a disk or in a store"
    )
    add_stores(parser)


def add_stores(parser: argparse.ArgumentParser) -> None:
    """Lets Beam's options for stores follow a command's own."""
    add_storage_option(parser)
    parser.set_defaults(beam_options="stores")
    parser.epilog = "\n".join(
        filter(None, [parser.epilog, "Beam's options for stores (--s3_endpoint_url, --gcs_…, --azure_…) may follow."])
    )
    add_verbose(parser)


def add_detector(parser) -> None:
    parser.add_argument(
        "--detector",
        required=True,
        metavar="DETECTOR",
        help="a name that `labelbeam detectors` lists, or a YAML file of the same form; a model itself (a SavedModel's "
        "folder, an archive, a handle); or module:Class. Also in a store",
    )


def add_weights_options(parser) -> None:
    from ...detectors.config import Engine
    from ..settings import LabelConfig

    add_field(
        parser,
        LabelConfig,
        "weights",
        "folder, archive, URL or handle (TF Hub, Kaggle) of a SavedModel, instead of the configuration's; for the "
        "Keras engine also a checkpoint (FOLDER/ckpt-0) or a file of `labelbeam weights import`",
        metavar="WEIGHTS",
    )
    add_field(
        parser,
        LabelConfig,
        "labels",
        "label map, instead of the configuration's: .pbtxt of the TF Object Detection API, .txt, .json, .yaml",
        metavar="FILE",
    )
    add_field(
        parser,
        LabelConfig,
        "engine",
        "saved_model: the published graph as it is; keras: labelbeam's own network; python: a class; if absent, the "
        "first that the detector names",
        choices=get_args(Engine),
    )
    add_field(parser, LabelConfig, "precision", "of the Keras engine's convolutions", choices=["float32", "bfloat16"])
