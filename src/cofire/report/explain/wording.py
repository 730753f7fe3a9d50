"""The sentences of the page: what it shows, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cofire.explain import Explanation, title_of
from cofire.explain.drawing.captions import (
    evidence_told,
    layers_told,
    map_box_rule,
    plural,
    point_box_rule,
    spread_told,
)
from cofire.explain.result.regions import Regions
from cofire.report.explain.explained import alike
from cofire.report.notation import joined

_MEANING = {
    "alpha": "weights of current, preceding and succeeding support",
    "k": "inputs chosen per neuron of a convolution",
    "k_linear": "inputs chosen per neuron of a linear layer",
    "n": "classes to start from",
    "most": "neurons of an image that go on from one place",
    "counted": "inputs that serve several neurons count more",
    "carried": "neurons hand on their evidence",
    "contrast": "share of the strongest rival’s net evidence that is taken away",
    "target_layer": "layer",
    "composite": "rules by which relevance is shared out",
    "sigma": "width of the blur, of the image’s shorter side",
    "seed": "of random pixels",
}


def lead(photos: int, shown: int, rows: Sequence[Explanation], asked: str, without: int) -> str:
    """What the page shows, in two sentences or three.

    Args:
        photos: How many were explained.
        shown: How many of them the page has.
        rows: One explanation by each method.
        asked: Which classes were explained, such as "the predicted class".
        without: Explanations without evidence.
    """
    methods = joined([title_of(explanation.method) for explanation in rows])
    words = f"{plural(photos, 'photo')}: what in {'it' if photos == 1 else 'them'} spoke for {asked}, by {methods}."
    if without:
        words += f" In {plural(without, 'case')} there was no evidence."
    if shown < photos:
        words += (
            f" This page has the first {shown} of the {photos:,} photos; all are in explanations.json and in the "
            "folder pictures."
        )
    return words


def options_told(options: Mapping[str, Any]) -> str:
    """Options of a method as a line with their meaning.

    Example:
        >>> options_told({"k": None, "carried": True})
        'k = all (inputs chosen per neuron of a convolution), carried = yes (neurons hand on their evidence)'
        >>> options_told({"target_layer": "features.12"})
        'layer features.12'
    """
    if set(options) == {"target_layer"}:
        return f"layer {options['target_layer']}"
    return ", ".join(
        f"{name} = {_value(value)}" + (f" ({_MEANING[name]})" if name in _MEANING else "")
        for name, value in options.items()
        if (name, value) not in (("n", 1), ("contrast", None))
    )


def reading(
    rows: Sequence[Explanation], shown: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """How to read the page: what is explained, and how.

    Args:
        rows: One explanation by each method.
        shown: What the page has of each photo, for an example of how much reached the pixels.
    """
    traced = [explanation for explanation in rows if explanation.neurons is not None]
    pointed = [explanation for explanation in traced if explanation.kind == "points"]
    layered = [explanation for explanation in traced if explanation.kind == "layers"]
    carried = [explanation for explanation in traced if not alike(explanation)]
    maps = [explanation for explanation in rows if explanation.maps is not None]
    found = [
        (
            "Heat map",
            "Where evidence for the class lies. Colours reach from 0, where the picture shows, to the largest value of "
            "that panel: compare panels by the numbers at their colour bars."
            + "".join(
                f" Of {_named([one])}: {layers_told(one.options, one.regions)}." for one in layered
            )
            + (
                f" Of {_named(pointed)} it is the points, {_each(pointed, spread_told)}."
                if pointed
                else ""
            )
            + (
                f" {_named(maps)} give{_s(maps)} a map as it is, neither normalised nor cut off."
                if maps
                else ""
            ),
        )
    ]
    if traced:
        also = f" {_named(maps)} {'has' if len(maps) == 1 else 'have'} none." if maps else ""
        found.append(
            (
                "Points",
                f"Pixels at which traced evidence ended; the area of a dot grows with the evidence.{also}",
            )
        )
    box = []
    around_points = [explanation for explanation in rows if explanation.boxed == "points"]
    around_heat = [explanation for explanation in rows if explanation.boxed == "heat"]
    if around_points:
        whose = f" of {_named(around_points)}" if around_heat else ""
        box.append(
            f"Of the points{whose}: around those that are no outliers. {_each(around_points, point_box_rule)}"
        )
    if around_heat:
        whose = f" of {_named(around_heat)}" if around_points else ""
        box.append(f"Of the heat map{whose}: around {_each(around_heat, map_box_rule)}")
    found.append(("Box", f"It is tight. {'. '.join(box)}."))
    if carried:
        partly = [
            panel["reached"]
            for panel in shown
            if panel["reached"] not in (None, evidence_told(1.0))
        ]
        most = carried[0].options.get("most")
        kept = (
            f" At the most {most} neurons of an image go on from one place, those that carry most."
            if most
            else ""
        )
        example = (
            f": “{partly[0]}” above means that this part was followed to the end" if partly else ""
        )
        found.append(
            (
                "Evidence that reached the pixels",
                "The class starts with all of the evidence, 100 %; every layer hands it on to the neurons that spoke "
                f"for it.{kept} What is missing at the pixels ended on the way, at values that nothing in the picture "
                f"speaks for{example}. It says nothing about how sure the network is: that is the probability beside "
                "the class.",
            )
        )
    counted = [explanation for explanation in traced if alike(explanation)]
    if counted:
        found.append(
            (
                "Points that count the same",
                f"{_named(counted)} choose{_s(counted)} neurons and give{_s(counted)} them no shares"
                + (
                    ": a heat map then counts points."
                    if any(one.kind == "points" for one in counted)
                    else "."
                ),
            )
        )
    if traced:
        found.append(
            (
                "Through the layers",
                "Each dot is a position of a layer’s feature map, scaled to the picture. A neuron also sees the "
                "surroundings of its position, the wider the deeper its layer is. Choose a channel to see it alone.",
            )
        )
    found.append(
        (
            "No evidence",
            "Nothing spoke for the class: the network’s output for it came about in spite of what it saw, or from "
            "constants. There is then no box, and no colours.",
        )
    )
    found.append(
        (
            "What none of this says",
            "Whether the network was right: an explanation shows what it used, not what is so.",
        )
    )
    return found


def _named(explanations: Sequence[Explanation]) -> str:
    return joined([title_of(explanation.method) for explanation in explanations])


def _each(explanations: Sequence[Explanation], told: Callable[[Regions], str]) -> str:
    """What is so for all, once; else what is so for whom."""
    words: dict[str, list[Explanation]] = {}
    for explanation in explanations:
        words.setdefault(told(explanation.regions), []).append(explanation)
    if len(words) == 1:
        return next(iter(words))
    between = ". " if next(iter(words))[0].isupper() else "; "
    return between.join(f"{one} ({_named(those)})" for one, those in words.items())


def _s(explanations: Sequence[Explanation]) -> str:
    return "s" if len(explanations) == 1 else ""


def _value(value: Any) -> str:
    if value is None:
        return "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_value(one) for one in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
