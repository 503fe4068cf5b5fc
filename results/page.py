"""HTML pages that hold all they show: `templates/`, filled in. They load nothing and name no credentials."""

import base64
import io
from typing import Any

import jinja2

from ..storage.errors import shorten
from ..storage.redaction import redact
from .drawing import charts
from .drawing.colours import PALETTE, Rgb, text_colour_on
from .text import percent


def render(template: str, **content: Any) -> bytes:
    """A page in UTF-8. Every text is escaped; user names, passwords and queries of URLs are left out."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: redact(value) if type(value) is str else value,
    )
    environment.filters.update(
        css_colour=css_colour, text_colour_on=text_colour_on, shorten=shorten, percent=percent, shift=_shift
    )
    environment.globals.update(palette=PALETTE, plot=charts)
    return environment.get_template(template).render(**content).encode("utf-8", "replace")


def css_colour(rgb: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def data_uri(media_type: str, file: io.BytesIO) -> str:
    """A file's content as a URI that a page can hold."""
    return f"data:{media_type};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _shift(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}" if value else "0"
