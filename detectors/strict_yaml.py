"""Strict reading of YAML files into dataclasses: unknown keys, wrong types and repeated keys are errors that name them.

Only for small configuration files written by people; lists of images have their own readers.
"""

import difflib
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin

import yaml

from ..storage.errors import ConfigError


def read_mapping(path) -> dict:
    """Reads the YAML mapping in a file; a key that stands twice is an error, not a silent loss.

    Args:
      path: a `Path`, or a `Traversable` of `importlib.resources`.

    Raises:
      ConfigError: if the file isn't valid YAML or no mapping.
    """
    return parse_mapping(path.read_text(encoding="utf-8"), str(path))


def parse_mapping(text: str, where: str) -> dict:
    """`read_mapping` of a file's text; `where` says which file it is."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from error
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{where}: expected a mapping `key: value`, one a line")
    seen = set()
    for key_node, _ in node.value:
        if key_node.value in seen:
            raise ConfigError(f"{where}, line {key_node.start_mark.line + 1}: key {key_node.value!r} stands twice")
        seen.add(key_node.value)
    return yaml.SafeLoader("").construct_document(node)


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
                f"{where}: unknown key {key!r}{f', did you mean {near[0]!r}?' if near else ''}; "
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
    wrong = ConfigError(f"{where}: {key}: expected {_name(expected)}, got {value!r}")
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
        return {_convert(k, key_type, key, where): _convert(v, value_type, key, where) for k, v in value.items()}
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
