"""Strict reading of YAML files into dataclasses: unknown keys, wrong types and repeated keys are errors that name them.

A file is read as data of its own kind: no tags of Python's, no aliases (which can grow without bound), little nesting.
"""

import difflib
import re
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin

import yaml

from ..storage.errors import ConfigError, shorten

MAX_BYTES = 1 << 20  # people write these files; a larger one is something else
MAX_DEPTH = 20
MAX_EVENTS = 200_000  # about as many as values

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # which escapes in quotes can stand for
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is some twenty times faster


def read_mapping(path) -> dict:
    """Reads the YAML mapping in a file.

    Args:
      path: a `Path`, or a `Traversable` of `importlib.resources`.

    Raises:
      ConfigError: as `parse_mapping`; or if the file can't be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror or error}") from error
    return parse_mapping(content, str(path))


def parse_mapping(content: bytes, where: str) -> dict:
    """The YAML mapping in a file's content.

    Args:
      where: which file it is, for errors.

    Raises:
      ConfigError: if it isn't valid YAML in UTF-8 or no mapping, or has a key twice, an alias, a tag that isn't plain
        YAML's, a zero byte, more than 20 levels, or more than people write.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{where}: larger than a megabyte; expected a configuration that somebody wrote")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}, line {line}: isn't text in UTF-8; save it in that encoding") from error
    try:
        _check_events(text, where)
        values = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError: of a date or number that there isn't
        if isinstance(error, ConfigError):
            raise
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{where}{line}: not valid YAML: {problem}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected a mapping `key: value`, one a line")
    return values


def _check_events(text: str, where: str) -> None:
    """Raises `ConfigError` of what the loader would follow without bound."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_SafeLoader)):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"{where}, line {line}: aliases (*{event.anchor}) aren't taken; write the value itself")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if number > MAX_EVENTS:
            raise ConfigError(f"{where}, line {line}: more than {MAX_EVENTS:,} values; people write fewer")
        if isinstance(event, yaml.ScalarEvent) and _NOT_TEXT.search(event.value):
            raise ConfigError(f"{where}, line {line}: holds a zero byte, or half of a character; leave it out")
        if depth > MAX_DEPTH:
            raise ConfigError(f"{where}, line {line}: nested more than {MAX_DEPTH} levels deep")


class _Loader(_SafeLoader):
    """Refuses a key that stands twice, where YAML's own takes the last one."""

    def construct_mapping(self, node, deep=False):
        keys = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float)):
                raise yaml.constructor.ConstructorError(
                    None, None, "expected a text or a number as key", key_node.start_mark
                )
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            keys[key] = None
        return super().construct_mapping(node, deep=deep)


def build(cls, values: dict, where: str):
    """Makes a dataclass of a mapping: each key must be an attribute, each value of the attribute's annotated type.

    Raises:
      ConfigError: names the key, what was expected and what is allowed; `where` says which file.
    """
    allowed = {f.name: f for f in fields(cls)}
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            raise ConfigError(
                f"{where}: unknown key {shorten(repr(key))}{f', did you mean {near[0]!r}?' if near else ''}; "
                f"allowed: {', '.join(allowed)}"
            )
    missing = [
        name
        for name, f in allowed.items()
        if name not in values and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: missing key {', '.join(map(repr, missing))}")
    return cls(**{key: _convert(value, allowed[key].type, key, where) for key, value in values.items()})


def _convert(value: Any, expected: Any, key: str, where: str) -> Any:
    """`value` as the annotation `expected`: lists become tuples, integers floats, nothing else changes."""
    quotes = "; put it in quotes" if expected is str and not isinstance(value, (list, dict, type(None))) else ""
    wrong = ConfigError(f"{where}: {key}: expected {_name(expected)}, got {shorten(repr(value))}{quotes}")
    if is_dataclass(expected):
        if not isinstance(value, dict):
            raise wrong
        return build(expected, value, f"{where}: {key}")
    if get_origin(expected) is Literal:
        if value not in get_args(expected):
            raise wrong
        return value
    if get_origin(expected) is tuple:
        inner = get_args(expected)
        inner = inner[:1] * len(value) if inner[-1] is Ellipsis and isinstance(value, list) else inner
        if not isinstance(value, list) or len(value) != len(inner):
            raise wrong
        return tuple(_convert(v, t, key, where) for v, t in zip(value, inner, strict=True))
    if get_origin(expected) is dict:
        key_type, value_type = get_args(expected)
        if not isinstance(value, dict):
            raise wrong
        return {
            _convert(k, key_type, key, where): _convert(v, value_type, f"{key}: {shorten(repr(k))}", where)
            for k, v in value.items()
        }
    if type(None) in get_args(expected):
        options = [t for t in get_args(expected) if t is not type(None)]
        return None if value is None else _convert(value, options[0], key, where)
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise wrong
    return value


def _name(expected: Any) -> str:
    if get_origin(expected) is Literal:
        return "one of " + ", ".join(map(str, get_args(expected)))
    if get_origin(expected) is tuple:
        inner = get_args(expected)
        if inner[-1] is Ellipsis:
            return f"a list of {_name(inner[0])}"
        return f"a list of {len(inner)} × {_name(inner[0])}"
    if get_origin(expected) is dict:
        return "a mapping of " + " to ".join(map(_name, get_args(expected)))
    if type(None) in get_args(expected):
        return f"{_name(get_args(expected)[0])} or null"
    if is_dataclass(expected):
        return "a mapping"
    plain = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return plain[expected]
