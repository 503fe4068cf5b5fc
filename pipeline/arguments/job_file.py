"""Job files: the options of `labelbeam label` as YAML, with their names as keys.

input: [photos/, uris.csv]
output: gs://bucket/labels
detector: demo
min-score: 0.5
beam: [--project=mine, --region=europe-west4]
"""

import argparse
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...detectors.strict_yaml import read_mapping
from ...storage.errors import ConfigError, UsageError
from ...storage.redaction import holds_credentials

_NOT_SAVED = {"command", "job", "save_job", "dry_run", "verbose", "run", "takes_inputs", "beam_options"}


def with_job_file(arguments: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """A command line with the options of its job file in front of its own, which win.

    Args:
      arguments: of `labelbeam`, with `--job FILE` or `--job=FILE` among them.
      options: the command's options by name, as argparse has them, with their defaults.

    Raises:
      UsageError: if the file can't be read, has a key that is no option, or a value of no use.
    """
    path = _job_file(arguments)
    if path is None:
        return list(arguments)
    try:
        values = read_mapping(Path(path))
    except OSError as error:
        raise ConfigError(f"--job {path}: can't be read: {error.strerror}") from error
    saved: list[str] = []
    allowed = sorted({*options, "beam"} - _NOT_SAVED)
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            raise ConfigError(
                f"--job {path}: unknown key {key!r}{f', did you mean {near[0]!r}?' if near else ''} Expected names of "
                "options without their dashes in front, and `beam` for a list of Beam's"
            )
        saved += _tokens(path, name, value)
    # In front of the first option: what follows an option that takes several values would be one of them.
    place = next((place for place, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    return [*arguments[:place], *saved, *arguments[place:]]


def _job_file(arguments: Sequence[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument.startswith("--job="):
            return argument.partition("=")[2]
        if argument == "--job" and place + 1 < len(arguments):
            return arguments[place + 1]
    return None


def _tokens(path: str, name: str, value: Any) -> list[str]:
    """An option and its values as they would stand on a command line."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) or item is None for item in values):
        raise ConfigError(f"--job {path}: {name}: expected a value, or a list of values")
    if name == "beam":
        return [f"--beam-of-job={option}" for option in values]
    flag = "--input-of-job" if name == "input" else f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, *map(str, values)]


def save_job(path: str, args: argparse.Namespace, defaults: Mapping[str, Any]) -> None:
    """Writes the options of a command line that aren't the defaults.

    Raises:
      UsageError: if the file can't be written, or a value holds credentials, which no file of ours does.
    """
    content = {}
    for name, value in vars(args).items():
        if name in defaults and name not in _NOT_SAVED and not name.endswith("_of_job") and value != defaults[name]:
            plain = ",".join(map(str, value)) if isinstance(value, tuple) else value
            content[name.replace("_", "-")] = plain
    if args.beam_arguments:
        content["beam"] = _joined(args.beam_arguments)
    for name, value in content.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and holds_credentials(item):
                raise UsageError(
                    f"--save-job {path}: {name} holds credentials, which aren't written to files; put such URIs in a "
                    "list, and give keys of stores by the environment, or beside --job"
                )
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        Path(path).write_text(f"# labelbeam label --job {path}\n{text}", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--save-job {path}: can't be written: {error.strerror}. Give another path") from error


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--name value` as `--name=value`."""
    options: list[str] = []
    for argument in arguments:
        if argument.startswith("--") or not options:
            options.append(argument)
        else:
            options[-1] += f"={argument}"
    return options
