"""What every page is made with: the templates, the colours, the figures as data, and the script that draws them."""

from __future__ import annotations

import json
import re
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from cofire.report import colours
from cofire.report.canvas import FONT
from cofire.report.notation import plural, signed


def render(template: str, drawn: dict[str, go.Figure], **words: Any) -> str:
    """A page that needs nothing else.

    Args:
        template: Name of the page's template.
        drawn: Its figures by name.
        **words: What else the template lays out.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cofire.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        figures={name: _inert(figure.to_json()) for name, figure in drawn.items()},
        heights={name: int(figure.layout.height) for name, figure in drawn.items()},
        light=colours.LIGHT,
        dark=colours.DARK,
        shades=colours.correlation_styles,
        scales=dumped(
            {
                name: _theme(theme)
                for name, theme in (("light", colours.LIGHT), ("dark", colours.DARK))
            }
        ),
        font=Markup(FONT),
        plotly=Markup(get_plotlyjs()),
        source=lambda name: Markup(environment.loader.get_source(environment, name)[0]),  # type: ignore[union-attr]
        plural=plural,
        breakable=_breakable,
        signed=signed,
        **words,
    )


def dumped(value: object) -> Markup:
    """A value as JSON that may stand in a page."""
    return _inert(json.dumps(value))


def _breakable(name: str) -> Markup:
    """A name that may wrap after its dots, dashes, slashes and underscores, as layers' names have them."""
    return Markup(re.sub(r"([._/-])(?=\w)", r"\1<wbr>", str(escape(name))))


def _theme(theme: colours.Theme) -> dict[str, Any]:
    return {
        "ink": theme.ink,
        "muted": theme.muted,
        "grid": theme.grid,
        "surface": theme.surface,
        "series": theme.series,
        "diverging": theme.scale("diverging"),
        "sequential": theme.scale("sequential"),
    }


def _inert(text: str) -> Markup:
    """JSON that cannot end the script element it stands in, whatever the names in it are."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
