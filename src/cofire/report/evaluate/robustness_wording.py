"""The sentences of the page on attacked photos."""

from __future__ import annotations

import statistics

from cofire.evaluate.measures import MARGIN
from cofire.evaluate.results import Robustness
from cofire.explain import title_of
from cofire.explain.drawing.captions import number, percent, plural
from cofire.statistics import Interval, Outcome

_STILL = 0.0005
"""Share of the diagonal that is told as nothing."""
_WITHIN = f"within ±{100 * MARGIN:g} %"

LABELS = {
    "noise": "noise, same class",
    "attack": "attack, same class",
    "decision": "attack, new class",
    "classes": "no attack, new class",
}
"""What is compared with the explanation of the photo as it was."""


def length_told(levels: float | None, norm: float) -> str:
    r"""How large a change is, in grey levels where they are known.

    Example:
        >>> length_told(0.0123, 0.5), length_told(None, 0.5)
        ('0.0123 grey levels', 'length 0.5')
    """
    return f"length {number(norm)}" if levels is None else f"{number(levels)} grey levels"


def lead(found: Robustness) -> str:
    """What was done, and how little it took."""
    photos = [photo for photo in found.photos if photo.fooled]
    words = f"{plural(len(found.photos), 'photo')}, changed by DeepFool until the network decides otherwise"
    words += (
        f": {'it' if len(found.photos) == 1 else 'all'} did."
        if len(photos) == len(found.photos)
        else (f". {plural(len(photos), 'photo')} did; the others are left out.")
    )
    if not photos:
        return f"{plural(len(found.photos), 'photo')}, none of which DeepFool could change so that the network errs."
    if all(photo.levels is not None for photo in photos):
        middle = statistics.median(photo.levels for photo in photos if photo.levels is not None)
        words += f" Half of them needed a change of {number(middle)} grey levels of 255 or less"
    else:
        words += f" Half of them needed a change of length {number(statistics.median(p.norm for p in photos))} or less"
    words += " (root mean square)." if photos[0].levels is not None else "."
    noised = [photo for photo in photos if photo.noisy is not None]
    if len(noised) < len(photos):
        words += (
            f" On {plural(len(photos) - len(noised), 'photo')} of them random noise of the same length does not fit "
            "within what a photo can hold: not explained, and left out of the means."
        )
    if not noised:
        return words
    turned = sum(photo.noisy != photo.before for photo in noised)
    of = "them" if len(noised) == len(photos) else f"the other {len(noised)}"
    words += f" Random noise of the same length changed the decision in {turned or 'none'} of {of}."
    return words


def rounded_told(found: Robustness) -> str | None:
    """What is left of the attacks once photos are rounded as files are; None where that is not known."""
    photos = [photo for photo in found.photos if photo.fooled and photo.rounded is not None]
    if not photos:
        return None
    left = sum(bool(photo.rounded) for photo in photos)
    return (
        f"Rounded to whole grey levels, as files hold photos, {left or 'none'} of {plural(len(photos), 'attack')} "
        f"still work{'s' if left == 1 else ''}: photos are explained unrounded."
    )


def verdict(found: Robustness, method: str) -> str:
    """What the numbers say about a method, in two sentences; nothing that the intervals leave open is claimed."""
    name = title_of(method)
    attack, noise = (found.mean(method, which, "centroid") for which in ("attack", "noise"))
    decision, classes = (found.mean(method, which, "centroid") for which in ("decision", "classes"))
    if attack is None or noise is None:
        return f"{name}: no photo has evidence to compare."
    under = f"under noise of the same length ({percent(noise.value)})"
    more = {
        "better": f"further than {under}",
        "worse": f"less than {under}",
        "equal": f"as far as {under}, {_WITHIN}",
        "undecided": f"and {percent(noise.value)} under noise of the same length: which is more is undecided",
    }[_outcome(found.difference(method, "centroid"))]
    words = (
        f"{name}: for the same class the evidence moved by {percent(attack.value)} of the diagonal under the attack, "
        f"{more}."
    )
    if decision is None or classes is None:
        return words
    if max(decision.value, classes.value) < _STILL:
        return f"{words} It does not move with the decision either."
    beyond = _outcome(found.difference(method, "centroid", "decision", "classes"))
    away = f"the new class’s evidence lies away on the untouched photo ({percent(classes.value)})"
    rest = {
        "better": f"further than {away}",
        "worse": f"less far than {away}",
        "equal": f"as far as {away}, {_WITHIN}",
        "undecided": f"and {away}: which is more is undecided",
    }[beyond]
    if (
        beyond == "equal"
        and _outcome(found.difference(method, "centroid", "classes", "attack")) == "better"
    ):
        rest += ": the other question moves it, hardly the attack"
    return f"{words} With the decision it moved by {percent(decision.value)}, {rest}."


def _outcome(difference: Interval | None) -> Outcome:
    """Whether something moved further ("better" says further here), by verdict."""
    return "undecided" if difference is None else difference.says(MARGIN)


def attack_told(found: Robustness) -> str:
    """The attack with its options."""
    options = found.options
    bounds = ", within what a photo can hold" if options["bounded"] else ""
    return (
        f"DeepFool, {options['classes']} classes, overshoot {number(options['overshoot'])}, at most "
        f"{plural(options['steps'], 'step')}{bounds}; noise: seed {options['seed']}"
    )


def reading(found: Robustness, *, boxes: bool) -> list[tuple[str, str]]:
    """How to read the page."""
    told = [
        (
            "The attack",
            "DeepFool takes the network for linear, goes the shortest way to the nearest other class, and repeats this "
            "until that class is predicted. The change is about the least that fools the network. Its picture is "
            "drawn many times as strong around middle grey.",
        ),
        (
            "Noise of the same length",
            "Gaussian noise as long as the attack, in no particular direction. An explanation that moves as little "
            "under the attack as under noise is stable; that it moves more under the attack can mean that the attack "
            "aims at what the explanation rests on.",
        ),
        (
            "Same class, new class",
            "Every explanation is compared with that of the first class on the photo as it was. “Same class” keeps the "
            "question and changes the photo. “Attack, new class” follows the decision. “No attack, new class” changes "
            "the question alone: what the attack itself adds is the difference between the last two.",
        ),
        (
            "Shift, box, rank correlation",
            "How far the centroid of the evidence moved, as a share of the diagonal; intersection over union of the "
            "two boxes; Spearman’s correlation of the two heat maps. A method that hardly depends on the class, or on "
            "the photo, is stable whatever happens: stability alone is no merit.",
        ),
        (
            "Intervals",
            "95 %, by drawing photos anew. They cover photos like these, and this network alone. As far as means "
            f"equal {_WITHIN} of the diagonal, held to that by two one-sided tests at 5 %; undecided is what is "
            "neither shown to differ nor held to that.",
        ),
    ]
    if boxes:
        told.append(
            (
                "Evidence in the boxes",
                "Which share of the heat map lies in the boxes of the true class: whether evidence still lies on the "
                "object once the network takes it for something else.",
            )
        )
    if found.cases:
        shown = len(found.cases)
        told.append(
            (
                "The photos below",
                f"{'All' if shown == found.fooled else f'The {shown}'} that were fooled"
                f"{'' if shown == found.fooled else ' whose evidence moved most'}, those first in which "
                f"{title_of(found.methods[0])} moved most under the attack.",
            )
        )
    return told
