"""Label maps: class id -> class name, from the files that people have them in.

.pbtxt        the TF Object Detection API's: item { id: 1 name: "cat" display_name: "cat" }
.txt          a name a line; blank lines count, lines `???` and `background` have no name
.json         {"1": "cat"}, ["cat", "dog"], COCO's {"categories": [{"id", "name"}]}, {"id2label": {"0": "cat"}}
.yaml, .yml   1: cat, one a line; or {names: ["cat", "dog"]}
"""

import functools
import json
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from ..storage.errors import ConfigError
from .strict_yaml import parse_mapping

ENDINGS = (".pbtxt", ".txt", ".json", ".yaml", ".yml")
_NAMELESS = ("???", "background", "__background__")

_log = logging.getLogger(__name__)


def parse_labels(content: bytes, where: str, first_id: int = 1) -> dict[int, str]:
    """A label map from a file's content.

    Args:
      where: path or URI of the file; its ending says what it is.
      first_id: id of the first name of a list: 1 in models of the TF Object Detection API, 0 in most others.

    Raises:
      ConfigError: if the file isn't what its ending says, has no names, or gives one id two names.
    """
    ending = PurePosixPath(where).suffix.lower()
    if ending in (".yaml", ".yml"):
        pairs = _of_values(parse_mapping(content, where), where, first_id)
    elif ending in (".pbtxt", ".txt", ".json"):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(f"labels {where}: isn't text in UTF-8 ({error.reason} at byte {error.start})") from error
        parse = {".pbtxt": _of_pbtxt, ".txt": _of_lines, ".json": _of_json}[ending]
        pairs = parse(text, where, first_id)
    else:
        raise ConfigError(f"labels {where}: expected a file that ends in {', '.join(ENDINGS)}")
    return _checked(pairs, where)


def _checked(pairs: Iterable[tuple[Any, Any]], where: str) -> dict[int, str]:
    labels: dict[int, str] = {}
    for key, name in pairs:
        try:
            class_id = int(key) if isinstance(key, (int, str)) and not isinstance(key, bool) else None
        except ValueError:
            class_id = None
        if class_id is None or class_id < 0:
            raise ConfigError(f"labels {where}: expected a whole number from 0 on as id, got {str(key)[:60]!r}")
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"labels {where}: id {class_id}: expected a name (in quotes), got {str(name)[:60]!r}")
        if any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in name):
            raise ConfigError(f"labels {where}: id {class_id}: its name holds a zero byte, or half of a character")
        if labels.setdefault(class_id, name.strip()) != name.strip():
            raise ConfigError(f"labels {where}: id {class_id} has two names, {labels[class_id]!r} and {name.strip()!r}")
    if not labels:
        raise ConfigError(f"labels {where}: there are no names in it")
    if double := [name for name, count in Counter(labels.values()).items() if count > 1]:
        _log.warning("Labels %s: %r is the name of several ids; tables tell them apart by id alone.", where, double[0])
    return labels


def _of_lines(text: str, where: str, first_id: int) -> list[tuple[int, str]]:
    lines = [line.strip() for line in text.splitlines()]
    if lines and lines[0].lower() in _NAMELESS:  # the background has id 0
        first_id = 0
    return [(i, line) for i, line in enumerate(lines, first_id) if line and line.lower() not in _NAMELESS]


def _of_json(text: str, where: str, first_id: int) -> Iterable[tuple[Any, Any]]:
    try:
        values = json.loads(text, object_pairs_hook=functools.partial(_object, where))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"labels {where}: not valid JSON: {' '.join(str(error).split())}") from error
    return _of_values(values, where, first_id)


def _object(where: str, pairs: list[tuple[str, Any]]) -> dict:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ConfigError(f"labels {where}: key {key[:60]!r} stands twice")
    return dict(pairs)


def _of_values(values: Any, where: str, first_id: int) -> Iterable[tuple[Any, Any]]:
    if isinstance(values, dict):
        if isinstance(categories := values.get("categories"), list):
            return [(category.get("id"), category.get("name")) for category in categories if isinstance(category, dict)]
        for key in ("id2label", "names"):
            if key in values:
                return _of_values(values[key], where, first_id=0)
        return values.items()
    if isinstance(values, list):
        return enumerate(values, first_id)
    raise ConfigError(f"labels {where}: expected a mapping of ids to names, or a list of names")


def _of_pbtxt(text: str, where: str, first_id: int) -> list[tuple[int, str]]:
    from google.protobuf import text_format

    try:
        label_map = text_format.Parse(text, _label_map_message()(), allow_unknown_field=True)
    except (text_format.ParseError, RecursionError) as error:
        raise ConfigError(f"labels {where}: not a label map: {' '.join(str(error).split())}") from error
    return [(item.id, item.display_name or item.name) for item in label_map.item]


@functools.cache
def _label_map_message() -> Any:
    """The message of the Object Detection API's label maps, as far as it is needed: the field numbers don't matter."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="labelbeam/label_map.proto", package="labelbeam")
    item = file.message_type.add(name="Item")
    for number, (name, kind) in enumerate(
        [("name", field.TYPE_STRING), ("id", field.TYPE_INT32), ("display_name", field.TYPE_STRING)], 1
    ):
        item.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    file.message_type.add(name="LabelMap").field.add(
        name="item", number=1, type=field.TYPE_MESSAGE, type_name=".labelbeam.Item", label=field.LABEL_REPEATED
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("labelbeam.LabelMap"))
