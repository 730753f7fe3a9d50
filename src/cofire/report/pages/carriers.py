"""Beside an explanation: the neurons that carried most of a decision, and what else they fire for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cofire.activations import ActivationSummary
from cofire.errors import OptionError, ResultError
from cofire.explain import Explanation
from cofire.images.pictures import Picture, neuron_pictures
from cofire.network import Network
from cofire.report.notation import percent
from cofire.report.sections.strips import Strip, Strips, tile

LAYERS, CHANNELS = 2, 2
"""Of the last so many layers, so many channels of each image."""
OPEN = 4
"""So many are seen without unfolding."""


def check_summary(summary: ActivationSummary, network: Network) -> None:
    """Refuse a summary that says nothing of the channels of a network.

    Raises:
        ResultError: It is of another network.
        OptionError: Its neurons are elements, not channels, or it has no top samples.
    """
    if summary.options.fingerprint != network.fingerprint:
        raise ResultError(
            "a summary of another network",
            "one of the network that is explained",
            "pass its own, or leave summary out",
        )
    if summary.options.unit == "element" or not summary.options.top_samples:
        raise OptionError(
            f"a summary with unit='{summary.options.unit}', top_samples={summary.options.top_samples}",
            "one of channels, with the samples that they fire most for",
            "summarize with unit='channel', top_samples=9",
        )


def carriers(
    network: Network,
    summary: ActivationSummary,
    data: Any,
    explained: Sequence[tuple[str, Explanation]],
    *,
    images: bool = True,
) -> Strips:
    """The channels that carried most of the decisions, with the samples that they fire most for.

    Args:
        network: The network.
        summary: Of it, as `check_summary` wants it.
        data: What it is of.
        explained: Name of each image with its explanation by traced evidence.
        images: Whether pictures are shown.

    Raises:
        DataError: The data is other data than the summary's.
    """
    found = [
        (told, *one) for told, explanation in explained for one in _strongest(explanation, summary)
    ]
    strips: list[Strip] = []
    known: dict[tuple[str, int], list[Picture]] = {}
    names = dict(zip(summary.options.classes, summary.options.class_names, strict=True))
    labels = max(network.num_classes, *(number + 1 for number in names))
    for layer in {layer for _, layer, _, _ in found}:
        channels = sorted({channel for _, of, channel, _ in found if of == layer})
        top = summary[layer].top_samples()
        made = neuron_pictures(
            network, data, layer, top, channels, unit=summary.options.unit, num_classes=labels
        )
        known |= {(layer, channel): pictures for channel, pictures in made.items()}
    for told, layer, channel, share in found:
        strips.append(
            Strip(
                f"{f'layer {layer}' if layer[0].isdigit() else layer}, channel {channel}",
                f"carried {percent(share)} of the decision on {told}; it fires most for these",
                [tile(one, names[one.label], images=images) for one in known[layer, channel]],
                share,
            )
        )
    answer = "What the channels that carried most of a decision fire for otherwise"
    if strips:
        first = strips[0]
        answer = f"Of the first decision {percent(first.value)} were carried by {first.name}"
    return Strips(f"{answer}.", strips[:OPEN], strips[OPEN:], "more channels")


def _strongest(
    explanation: Explanation, summary: ActivationSummary
) -> Iterator[tuple[str, int, float]]:
    """Layers, channels and the share of the decision's evidence that passed through them."""
    held = {layer.layer.name for layer in summary}
    sites = [
        site.name for site in explanation.sites if site.kind == "activation" and site.name in held
    ]
    for name in sites[: -LAYERS - 1 : -1]:
        rows = explanation.layer(name)
        shares: dict[int, float] = {}
        for channel, score in zip(rows.channel.tolist(), rows.score.tolist(), strict=True):
            shares[channel] = shares.get(channel, 0.0) + score
        for channel in sorted(shares, key=lambda c: (-shares[c], c))[:CHANNELS]:
            yield name, channel, shares[channel]
