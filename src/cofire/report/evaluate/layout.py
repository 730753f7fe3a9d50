"""Pages with photos and what explains them: the templates and what all of them need."""

from __future__ import annotations

from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from cofire.explain.drawing import draw, paper
from cofire.report import colours
from cofire.report.sheet import dumped

_SERIES = {"photo": 7, "noise": 6, "attack": 0, "decision": 1, "classes": 3, "both": 2}
"""Which of the palette's colours what is compared has."""


def laid_out(template: str, size: tuple[int, int], **words: Any) -> str:
    """A page that needs nothing else.

    Args:
        template: Name of the page's template.
        size: Height and width of the photos in pixels.
        **words: What else the template lays out.
    """
    width, height = draw.drawn_size(size)
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PrefixLoader(
                    {
                        "evaluate": jinja2.PackageLoader("cofire.report", "templates/evaluate"),
                        "photos": jinja2.PackageLoader("cofire.report", "templates/explain"),
                    }
                ),
                jinja2.PackageLoader("cofire.explain.drawing", "templates"),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(name: str) -> Markup:
        assert environment.loader is not None
        return Markup(environment.loader.get_source(environment, name)[0])

    return environment.get_template(f"evaluate/{template}").render(
        source=source,
        width=width,
        height=height,
        pixelated=Markup("" if draw.is_smooth(size) else 'style="image-rendering:pixelated"'),
        stops=[Markup(f"rgb({r},{g},{b})") for r, g, b in np.asarray(draw.bar())[0, ::15].tolist()],
        frame=paper.FRAME,
        frame_edge=paper.FRAME_EDGE,
        series={
            theme: {kind: Markup(of.series[at]) for kind, at in _SERIES.items()}
            for theme, of in (("light", colours.LIGHT), ("dark", colours.DARK))
        },
        data=dumped({"images": []}),
        **words,
    )
