"""Figures and durations in words for a person: one way for every command."""

from collections.abc import Iterable


def duration(seconds: float) -> str:
    """`12 s`, `5 min 12 s`, `3 h 4 min`, `2 days 5 h`."""
    units = (("day", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left, words = round(seconds), []
    for name, size in units:
        number, left = divmod(left, size)
        if number:
            words.append(f"{number} {name}{'s' if name == 'day' and number > 1 else ''}")
    return " ".join(words[:2]) or "0 s"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `2 images`, `1,000 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def few(items: Iterable, total: int | None = None, most: int = 3) -> str:
    """The first of them, and how many there are: `total`, if these aren't all."""
    items = list(items)
    total = len(items) if total is None else total
    shown = ", ".join(map(str, items[:most]))
    return f"{shown}, … ({total:,})" if total > most else shown


def percent(share: float | None) -> str:
    """To a tenth; what isn't quite all, or nothing, doesn't look so."""
    if share is None:
        return "–"
    rounded = f"{100 * share:.1f} %"
    if share < 1 and rounded == "100.0 %":
        return "over 99.9 %"
    return "below 0.1 %" if share > 0 and rounded == "0.0 %" else rounded
