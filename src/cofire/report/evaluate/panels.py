"""Pictures and explanations as a page holds them, one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cofire.explain import Explanation
from cofire.explain.drawing import draw
from cofire.explain.drawing.captions import NO_EVIDENCE, heat_told
from cofire.report.explain.addresses import heat_address
from cofire.report.explain.explained import box_of


def panel(explanation: Explanation) -> dict[str, Any]:
    """What a page draws of the explanation of one image: heat map, box, and the numbers at the colour bar's ends."""
    share, largest = draw.heat_share(explanation.heatmap()[0])
    box = box_of(explanation)
    return {
        "heat": heat_address(share) if largest > 0 else None,
        "ends": heat_told(explanation, largest) if largest > 0 else None,
        "frame": None if box is None else framed(box, explanation.size),
        "nothing": NO_EVIDENCE if largest <= 0 else None,
    }


def framed(corners: Sequence[float], size: tuple[int, int]) -> list[str]:
    """Left, top, width and height of a box, in units in which a picture of a height and width is drawn."""
    width, height = draw.drawn_size(size)
    across, down = width / size[1], height / size[0]
    left, top, right, bottom = corners
    return [
        f"{place:.6g}"
        for place in (left * across, top * down, (right - left) * across, (bottom - top) * down)
    ]
