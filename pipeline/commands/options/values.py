"""Values of options, checked as argparse reads them: what was expected, and what was given instead."""

import argparse
import math
import re


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text}")
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


def auto_or_positive(text: str) -> int | str:
    return text if text == "auto" else positive(text)


def rgb(text: str) -> tuple[int, int, int]:
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 3 or not all(0 <= n <= 255 for n in numbers):
        raise argparse.ArgumentTypeError(f"expected three numbers from 0 to 255, such as 255,255,255; got {text!r}")
    return numbers
