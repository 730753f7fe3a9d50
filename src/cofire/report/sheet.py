"""What every page is made with: one environment of templates, the colours, the figures as data, and their script."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from cofire.explain import title_of
from cofire.report import colours, notation
from cofire.report.plots import FONT, canvas


@cache
def environment() -> jinja2.Environment:
    """Where all templates are found, by their names in `report/templates` and `explain/templates` or by their paths."""
    loaders = [
        jinja2.PackageLoader(f"cofire.{part}", "templates")
        for part in ("report", "explain.drawing")
    ]
    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader([*loaders, jinja2.FunctionLoader(_own)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(name: str) -> Markup:
        assert found.loader is not None
        return Markup(found.loader.get_source(found, name)[0])

    scales = {
        name: {
            **{
                part: getattr(theme, part) for part in ("ink", "muted", "grid", "surface", "series")
            },
            **{scale: theme.scale(scale) for scale in ("diverging", "sequential")},
        }
        for name, theme in (("light", colours.LIGHT), ("dark", colours.DARK))
    }
    words = ("number", "signed", "percent", "count", "plural", "joined", "interval", "short")
    functions = {name: getattr(notation, name) for name in words} | {"title_of": title_of}
    found.filters.update(functions)
    found.filters["zip"] = zip
    found.globals.update(
        functions,
        light=colours.LIGHT,
        dark=colours.DARK,
        shades=colours.correlation_styles,
        scales=dumped(scales),
        font=Markup(FONT),
        plotly=lambda: Markup(get_plotlyjs()),
        source=source,
        breakable=_breakable,
        captions={},
    )
    return found


def render(template: str, figures: Mapping[str, go.Figure] | None = None, **words: Any) -> str:
    """A page that needs nothing else.

    Args:
        template: Name of the page's template, or the path of one of your own.
        figures: Its figures by name.
        **words: What else the template lays out.
    """
    drawn = {name: on_sheet(figure) for name, figure in (figures or {}).items()}
    return (
        environment()
        .get_template(template)
        .render(
            figures={name: _inert(figure.to_json()) for name, figure in drawn.items()},
            heights={name: int(figure.layout.height) for name, figure in drawn.items()},
            **words,
        )
    )


def on_sheet(figure: go.Figure) -> go.Figure:
    """A figure that was drawn without `canvas`, on the same sheet as the others: a theme can recolour it."""
    if figure.layout.uirevision == "kept":
        return figure
    given = figure.layout.to_plotly_json()
    given.pop("template", None)
    sheet = canvas(int(figure.layout.height or 400), "", "")
    return go.Figure(figure.data, sheet.layout).update_layout(given)


def dumped(value: object) -> Markup:
    """A value as JSON that may stand in a page."""
    return _inert(json.dumps(value))


def _own(path: str) -> str | None:
    """The text of a template that a section of one's own names by its path."""
    return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None


def _breakable(name: str) -> Markup:
    """A name that may wrap after its dots, dashes, slashes and underscores, as layers' names have them."""
    return Markup(re.sub(r"([._/-])(?=\w)", r"\1<wbr>", str(escape(name))))


def _inert(text: str) -> Markup:
    """JSON that cannot end the script element it stands in, whatever the names in it are."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
