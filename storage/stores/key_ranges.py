"""Ranges of a store's keys, each of many objects: what several workers can list side by side."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_FIRST, _LAST = 0x20, 0x7F  # characters that are tried; keys of others are found, though not separated by these
_MAX_MISSES = 64  # in a row, of one range


@dataclass(frozen=True)
class KeyRange:
    """Keys in the order of their characters.

    Attributes:
      after: of an object that was there, and belongs to the range before; those that follow it belong to this one.
      until: the last that may; None for all that follow.
    """

    after: str
    until: str | None


def split_keys(
    page_after: Callable[[str], Sequence[str]], page_size: int, after: str, max_ranges: int, max_pages: int
) -> list[KeyRange]:
    """Splits the keys that follow one into ranges of a page or more each, in their order; together they are all.

    A store tells neither how many keys it has nor which one is in the middle. So the space of names is halved, each
    time that both halves turn out to have a page of keys.

    Args:
      page_after: asks for the keys that follow any text, `page_size` of them, fewer at the end.
      page_size: keys of a page.
      after: where to begin.
      max_ranges: that are wanted.
      max_pages: that may be asked for.
    """
    pages = 0

    def full_page(after: str, below: str | None) -> Sequence[str]:
        """A page of keys between two; empty if there are fewer."""
        nonlocal pages
        pages += 1
        found = page_after(after)
        return found if len(found) == page_size and (below is None or found[-1] < below) else ()

    begins = [after]
    first = full_page(after, None)
    halves: deque[tuple[str, str | None, int]] = deque()  # (a key behind a page of its range, below what, misses)
    if first:
        halves.append((first[-1], None, 0))
    while halves and len(begins) < max_ranges and pages < max_pages:
        low, high, misses = halves.popleft()
        # Past a character that all have in common, the next one is the quickest way.
        middle = between(low, high, nearest=misses % 2 == 1)
        if middle is None:
            continue
        if upper := full_page(middle, high):
            begins.append(upper[0])
            halves.append((upper[-1], high, 0))
            if lower := full_page(low, middle):
                halves.append((lower[-1], middle, 0))
        elif misses < _MAX_MISSES:
            halves.appendleft((low, middle, misses + 1))
    begins.sort()
    return [KeyRange(*ends) for ends in zip(begins, [*begins[1:], None])]


def between(low: str, high: str | None, nearest: bool = False) -> str | None:
    """A text about half-way between two in the order of keys; None if none of plain characters is.

    Args:
      low, high: `low` comes first; None for the end of all.
      nearest: not half-way, but with the next character at the first place that leaves a choice.
    """
    place = 0
    while high is not None and place < len(low) and low[place : place + 1] == high[place : place + 1]:
        place += 1
    while place <= len(low):
        begin = max(_FIRST - 1, ord(low[place])) if place < len(low) else _FIRST - 1
        end = min(_LAST, ord(high[place])) if high is not None and place < len(high) else _LAST
        if end - begin > 1:
            return low[:place] + chr(begin + 1 if nearest else (begin + end) // 2)
        place, high = place + 1, None  # what follows in `low` is free: the character before decides
    return None
