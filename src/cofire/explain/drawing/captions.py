"""What is written beside a drawn explanation: classes, methods, numbers, and "no evidence" where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cofire.errors import OptionError
from cofire.explain.result.regions import LAYER_SIGMA, SIGMA, Regions

if TYPE_CHECKING:
    from cofire.explain.result.explanation import Explanation

NO_EVIDENCE = "no evidence found"
NO_NET_EVIDENCE = "no evidence in any layer"


def percent(share: float, digits: int = 1) -> str:
    r"""A share as a percentage that never rounds to all or nothing what is neither.

    Example:
        >>> [percent(share) for share in (0.97345, 1.0, 0.99999, 0.0, 0.00001)]
        ['97.3\xa0%', '100\xa0%', '>\xa099.9\xa0%', '0\xa0%', '<\xa00.1\xa0%']
    """
    step = 10.0 ** -(digits + 2)
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", "\u00a0%")
    if share < step / 2 or share > 1 - step / 2:
        near = step if share < 0.5 else 1 - step
        return f"{'<' if share < 0.5 else '>'}\u00a0{100 * near:.{digits}f}\u00a0%"
    return f"{100 * share:.{digits}f}\u00a0%"


def number(value: float) -> str:
    """A number with three digits that count.

    Example:
        >>> number(0.0123456), number(2.0), number(0), number(123456)
        ('0.0123', '2', '0', '123,000')
    """
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def plural(count: int, one: str) -> str:
    """A count and what is counted.

    Example:
        >>> plural(1, "point"), plural(1200, "point")
        ('1 point', '1,200 points')
    """
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def class_told(index: int, names: Sequence[str] | None) -> str:
    """A class by name, or by number where there are no names.

    Raises:
        OptionError: There are fewer names than classes.

    Example:
        >>> class_told(2, ["cat", "dog", "eel"]), class_told(2, None)
        ('eel', 'class 2')
    """
    if names is None:
        return f"class {index}"
    if index >= len(names):
        raise OptionError(
            f"{len(names)} class names",
            f"a name for class {index}",
            "pass the names of all classes, in order",
        )
    return str(names[index])


def explained_told(explanation: Explanation, image: int, names: Sequence[str] | None) -> str:
    """The explained classes of an image with their probabilities: "tench (97.3 %)"."""
    pairs = zip(
        explanation.target[image].tolist(), explanation.probability[image].tolist(), strict=True
    )
    return ", ".join(f"{class_told(index, names)} ({percent(share)})" for index, share in pairs)


def predicted_told(explanation: Explanation, image: int, names: Sequence[str] | None) -> str:
    """What the network predicts for an image, and whether that is what is explained."""
    index = int(explanation.predicted[image])
    if index in explanation.target[image].tolist():
        return (
            "the predicted class"
            if explanation.target.shape[1] == 1
            else f"predicted: {class_told(index, names)}"
        )
    return f"predicted instead: {class_told(index, names)} ({percent(float(explanation.confidence[image]))})"


def evidence_told(share: float) -> str:
    r"""A share of the evidence, which can be small, as a percentage with three digits that count.

    Example:
        >>> evidence_told(0.12592), evidence_told(0.0000129)
        ('12.6\xa0%', '0.00129\xa0%')
    """
    return f"{number(100 * share)}\u00a0%"


def are_layers_told(explanation: Explanation) -> bool:
    """Whether heat maps are of layers: those of `points=False` are brought together already."""
    options = explanation.options
    alone = explanation.maps is not None and options.get("points") is False
    return explanation.kind == "layers" or (alone and "contrast" in options)


def heat_told(explanation: Explanation, largest: float) -> tuple[str, str, str]:
    """What the colour bar measures, and the numbers at its two ends."""
    if "views" in explanation.options:
        return "share of the map per pixel, mean of views", "0", evidence_told(largest)
    if explanation.maps is not None and not are_layers_told(explanation):
        return "value of the map", "0", number(largest)
    place = "feature" if len(explanation.input_shape) == 1 else "pixel"
    if are_layers_told(explanation):
        kinds = {"overlap": "relevance", "guided": "evidence"}
        of = next((kinds[name] for name in kinds if name in explanation.options), "net evidence")
        return f"share of the {of} per {place}", "0", evidence_told(largest)
    if explanation.options.get("carried") is False:
        return f"points per {place}, spread", "0", number(largest)
    return f"share of the evidence per {place}", "0", evidence_told(largest)


def cold_told(alone: Explanation, largest: float) -> str:
    """Why a single image's heat map is empty; "" where it is not, its maximum being above 0."""
    if largest > 0:
        return ""
    return NO_NET_EVIDENCE if bool(alone.has_evidence[0]) else NO_EVIDENCE


def points_told(explanation: Explanation, scores: Sequence[float]) -> str:
    """How many points there are, and how much the strongest holds where points hold shares."""
    if not scores:
        return NO_EVIDENCE
    if explanation.options.get("carried") is False:
        return f"{plural(len(scores), 'point')}; each counts, none has a share"
    return (
        f"{plural(len(scores), 'point')}; strongest: {evidence_told(max(scores))} of the evidence"
    )


def spread_told(regions: Regions) -> str:
    r"""How points become a heat map.

    Example:
        >>> spread_told(Regions())
        'each spread as a Gaussian with a standard deviation of 20/224 of the image’s shorter side'
        >>> spread_told(Regions(sigma=0.05))
        'each spread as a Gaussian with a standard deviation of 5\xa0% of the image’s shorter side'
    """
    if regions.sigma == 0:
        return "each at its own pixel, not spread"
    return f"each spread as a Gaussian with a standard deviation of {_width(regions)} of the image’s shorter side"


def maps_told(explanation: Explanation) -> str:
    """What the heat map of an explanation by maps is, as sentences without the last full stop."""
    if views := explanation.options.get("views"):
        return f"It is the mean over views of the image (views={views}), each a share of 1 and turned back onto it"
    if are_layers_told(explanation):
        return layers_told(explanation.options, explanation.regions)
    return "The method’s map as it is, neither normalised nor cut off"


def layers_told(options: Mapping[str, Any], regions: Regions) -> str:
    r"""What the heat map of layers is, as sentences without the last full stop.

    Example:
        >>> layers_told({"contrast": 0.7}, Regions(sigma=0))[-84:]
        'less 70\xa0% of the same for the strongest rival class. Hot is where these layers agree'
        >>> layers_told({"contrast": 0.6, "guided": False}, Regions(sigma=0))[-68:]
        'followed down by gradients. Hot is where the layers on its way agree'
        >>> layers_told({"contrast": 1.0, "overlap": 0.7}, Regions(sigma=0))[-55:]
        'until the maps of both have no more than 70\xa0% in common'
    """
    contrast = options.get("contrast")
    made = "made of" if options.get("points") is False else "not made of the points but of"
    rival = ""
    if contrast:
        part = "" if contrast == 1 else f"{_share(contrast)} of "
        rival = f", less {part}{'that of' if 'guided' in options else 'the same for'} the strongest rival class"
    blurred = (
        ""
        if regions.sigma == 0
        else (
            "; each is blurred by a Gaussian with a standard deviation of "
            f"{_width(regions)} of the image’s shorter side"
        )
    )
    if "guided" in options:
        only = (
            ", of activation layers only where it speaks for the class" if options["guided"] else ""
        )
        return (
            f"It is {made} evidence for the class: at the last places that the network has, activation × gradient of "
            f"the class’s output{rival}, where that is above 0, followed down by gradients{only}. Hot is where the "
            f"layers on its way agree{blurred}"
        )
    if "overlap" in options:
        taken = (
            "; as much of that of the strongest rival class is taken away as it takes until the maps of both have no "
            f"more than {_share(options['overlap'])} in common"
        )
        return (
            f"It is {made} relevance: what speaks for the class at the last places that the "
            f"network has (activation × gradient of its output, where it is above 0), shared out among the inputs of "
            f"each neuron by the z⁺ rule, down to a finer layer{blurred}{taken if contrast else ''}"
        )
    return (
        f"It is {made} net evidence, at the last activation layer of each resolution: activation "
        f"× gradient of the class’s output, where it is above 0{rival}. Hot is where these layers agree{blurred}"
    )


def _width(regions: Regions) -> str:
    known = {SIGMA: "20/224", 12 / 224: "12/224", LAYER_SIGMA: "6/224"}
    return known.get(regions.sigma, _share(regions.sigma))


def point_box_rule(regions: Regions) -> str:
    """Which points their box is around, as a sentence without its full stop."""
    of = "of the score of all points" if regions.weighted else "of all points"
    return (
        f"A point is none if more than {_share(regions.min_share)} {of}, itself included, lie nearer to it than "
        f"{_share(regions.radius)} of the image’s diagonal"
    )


def map_box_rule(regions: Regions) -> str:
    r"""Which pixels of a map its box is around.

    Example:
        >>> map_box_rule(Regions()), map_box_rule(Regions(threshold=0.3))
        ('the pixels that reach half of its maximum', 'the pixels that reach 30\xa0% of its maximum')
        >>> map_box_rule(Regions(connected=True))
        'the pixels that reach half of its maximum and hang together with it'
    """
    least = "half" if regions.threshold == 0.5 else _share(regions.threshold)
    return f"the pixels that reach {least} of its maximum{' and hang together with it' if regions.connected else ''}"


def _share(share: float) -> str:
    return f"{100 * share:.3g}\u00a0%"


def size_told(shape: tuple[int, ...]) -> str:
    """How large an input is.

    Example:
        >>> size_told((3, 200, 300)), size_told((64,))
        ('300 × 200 pixels', '64 features')
    """
    return f"{shape[2]:,} × {shape[1]:,} pixels" if len(shape) == 3 else plural(shape[0], "feature")


def box_told(
    corners: Sequence[float],
    evidence: bool,
    shape: tuple[int, ...],
    around: Literal["points", "heat"] = "points",
) -> str:
    r"""The size of a box on an input of a shape, or why there is none.

    Args:
        corners: Left, top, right, bottom.
        evidence: Whether there was any.
        shape: Of the input.
        around: What the box was to be around.

    Example:
        >>> box_told([2, 0, 6, 5], True, (1, 10, 10)), box_told([2, 0, 6, 1], True, (8,))
        ('4 × 5 pixels, 20.0\xa0% of the image', 'features 2 to 5, 50.0\xa0% of all')
        >>> box_told([0, 0, 0, 0], False, (8,))
        'no evidence found'
    """
    left, top, right, bottom = corners
    if right <= left:
        why = "every point is an outlier" if around == "points" else NO_NET_EVIDENCE
        return f"no box: {why}" if evidence else NO_EVIDENCE
    if len(shape) == 1:
        return (
            f"features {left:.0f} to {right - 1:.0f}, {percent((right - left) / shape[0])} of all"
        )
    share = (right - left) * (bottom - top) / (shape[1] * shape[2])
    return f"{right - left:.0f} × {bottom - top:.0f} pixels, {percent(share)} of the image"
