"""Reads the items of the lists in a large JSON object one by one: memory holds one item and a few megabytes of text."""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, TextIO

_CHUNK = 1 << 22  # characters
_AFTER_VALUES = tuple(",:]} \t\n\r")
_SPACE = re.compile(r"[ \t\n\r]*")


def iter_items(stream: TextIO, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The items of those top-level values that are lists, each with its key, in the file's order.

    A list comes as `(key, None)` first, so that an empty one can be told from none.

    Raises:
      ValueError: if the text isn't a JSON object, or a wanted value no list.
    """
    scanner = _Scanner(stream)
    scanner.take("{")
    if scanner.peek() == "}":
        return
    while True:
        key = scanner.value()
        scanner.take(":")
        if key not in keys:
            scanner.value()
        elif scanner.peek() != "[":
            raise ValueError(f"{key!r} is no list")
        else:
            yield key, None
            for item in scanner.items():
                yield key, item
        if scanner.take(",}") == "}":
            return


class _Scanner:
    """Takes values from the front of a text that is read as needed."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._text = ""
        self._place = 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that isn't blank; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._place)
            self._place = match.end() if match else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read_on():
                return ""

    def take(self, expected: str) -> str:
        """The next character, one of some.

        Raises:
          ValueError: if it's another.
        """
        found = self.peek()
        if not found or found not in expected:
            raise ValueError(f"expected {' or '.join(expected)}, got {found or 'the end of the file'}")
        self._place += 1
        return found

    def value(self) -> Any:
        """The next value, whole. Raises `ValueError` if there is none."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError:
                if not self._read_on():
                    raise
                continue
            if self._text[end : end + 1] not in _AFTER_VALUES and self._read_on():  # a number may go on
                continue
            self._place = end
            return value

    def items(self) -> Iterator[Any]:
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def _read_on(self) -> bool:
        left = self._text[self._place :]
        more = self._stream.read(max(_CHUNK, len(left)))
        self._text, self._place = left + more, 0
        return bool(more)
