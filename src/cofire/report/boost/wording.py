"""Sentences about boosting that follow from the gains and their intervals, and never say more than they do."""

from __future__ import annotations

from dataclasses import dataclass

from cofire.boost.reading import told_of_always_active
from cofire.report.boost.facts import BoostFacts
from cofire.report.notation import count, plural, signed
from cofire.report.wording import Remark
from cofire.statistics import Interval, Outcome, samples_to_decide
from cofire.study.boosts import Boost, decimals

PAPER = (
    "The paper from which this comes reports gains over the model of 0.4 to 5.4 points on test data (its Tables 2 "
    "and 3, means over checkpoints). It holds its auxiliary network against the model alone, so that it leaves open "
    "whether a network that sees only the predictions, or more training of the last layer, would gain as much."
)


SPLIT = (
    "The lead over the best control has two parts: what reading all layers instead of the last gains, and what "
    "patterns, who fires, gain on top of values, how strongly. The same readout is therefore also fitted to the values "
    "alone and to the patterns alone. Only what is better than the values alone is due to activation patterns."
)


@dataclass(frozen=True)
class Told:
    """What boosting did.

    Attributes:
        first: How the booster stands to the model.
        more: How it stands to the best control, and what is behind that.
        conclusion: The last and shortest one.
    """

    first: str
    more: str
    conclusion: str

    @property
    def lead(self) -> str:
        """In two sentences, for the top of a page."""
        return f"{self.first} {self.conclusion}"

    @property
    def text(self) -> str:
        """All sentences but the conclusion."""
        return f"{self.first} {self.more}"

    def __str__(self) -> str:
        return f"{self.text} {self.conclusion}"


def points(share: float, digits: int = 1) -> str:
    """The size of a difference of accuracies in percentage points, without its sign.

    Example:
        >>> points(0.0063), points(-0.01)
        ('0.6 points', '1.0 points')
    """
    return f"{abs(100 * share):.{digits}f} points"


def span(gain: Interval, digits: int = 1) -> str:
    """The interval of a gain in points, or "" where there is none.

    Example:
        >>> span(Interval(0.006, -0.001, 0.008))
        '[−0.1, +0.8]'
    """
    if not gain.known:
        return ""
    return f"[{signed(100 * gain.low, digits)}, {signed(100 * gain.high, digits)}]"


def gain_text(gain: Interval, digits: int = 1, unit: str = " points") -> str:
    """A gain with its sign and interval.

    Example:
        >>> gain_text(Interval(0.006, 0.004, 0.008)), gain_text(Interval(-0.006))
        ('+0.6 points [+0.4, +0.8]', '−0.6 points')
    """
    return f"{signed(100 * gain.value, digits)}{unit} {span(gain, digits)}".rstrip()


def within(margin: float) -> str:
    """The margin in which differences count as none.

    Example:
        >>> within(0.005)
        'within ±0.5 points'
    """
    return f"within ±{100 * margin:g} points"


def undecided(gain: Interval, margin: float) -> str:
    """About how many test samples would decide a gain, in words that go on after a semicolon; "" where none is known.

    Example:
        >>> undecided(Interval(0.021, 0.0, 0.046, 280), 0.005)
        '; about 690 test samples would decide'
    """
    needed = samples_to_decide(gain, margin)
    return f"; about {count(needed)} test samples would decide" if needed else ""


def verdict_told(facts: BoostFacts) -> Told:
    """Whether the booster improves the model at the last checkpoint, and whether activation patterns are why."""
    boost = facts.last
    digits = decimals(boost.over_base, boost.over_control)
    when = "The" if facts.single else "At the last checkpoint the"
    base = boost.over_base.says(boost.margin)
    first = f"{when} booster ({boost.booster['title']}) {_of_base(boost, base, digits)}."
    parts = [_of_control(boost, base, digits), split_told(boost, digits), active_told(boost)]
    return Told(first, " ".join(part for part in parts if part), _conclusion(boost, base))


def _conclusion(boost: Boost, base: Outcome) -> str:
    told: dict[Outcome, str] = {
        "better": f"It helps{_why(boost)}.",
        "equal": f"It makes no difference that matters ({within(boost.margin)} counts as none).",
        "undecided": "Whether it helps is undecided.",
        "worse": "It hurts." if base == "worse" else "It does not help: the control does better.",
    }
    return told[boost.verdict]


def _why(boost: Boost) -> str:
    """Whether patterns are part of why the booster helps; "" where that was not measured."""
    if boost.of_patterns is None:
        return ""
    told: dict[Outcome, str] = {
        "better": ", and activation patterns are part of why",
        "equal": "; activation patterns add nothing that matters to the values of all layers",
        "undecided": "; whether activation patterns add to the values of all layers is undecided",
        "worse": "; without activation patterns, on values alone, it would help more",
    }
    return told[boost.of_patterns.says(boost.margin)]


def split_told(boost: Boost, digits: int) -> str:
    """What all layers gain instead of the last, and what patterns gain on top of values; "" where not measured."""
    if boost.of_layers is None or boost.of_patterns is None:
        return ""
    more: dict[Outcome, str] = {"equal": f" {within(boost.margin)}"}
    told = []
    for gain in (boost.of_layers, boost.of_patterns):
        says = gain.says(boost.margin)
        rest = undecided(gain, boost.margin) if says == "undecided" else more.get(says, "")
        told.append(f"{gain_text(gain, digits)} ({says}{rest})")
    return (
        f"The difference from that control has two parts: values of all layers instead of the last, {told[0]}, and "
        f"patterns on top of values, {told[1]}."
    )


def active_told(boost: Boost) -> str:
    """In how many layers who fires tells nothing; "" for none, or where that was not measured."""
    layers, full = boost.booster["layers_read"], boost.booster["layers_always_active"]
    return "" if layers is None or full is None else told_of_always_active(layers, full)


def _own(boost: Boost, digits: int) -> str:
    """What the best control does by itself: "gains 0.2", "loses 0.1" or "changes nothing"."""
    value = signed(100 * boost.of_control.value, digits)
    if value[0] not in "+−":
        return "changes nothing"
    return f"{'gains' if value[0] == '+' else 'loses'} {value[1:]}"


def _of_base(boost: Boost, base: Outcome, digits: int) -> str:
    """How the booster stands to the model."""
    gain = boost.over_base
    if base in ("better", "worse"):
        return f"classifies {points(gain.value, digits)} {base} than the model {span(gain, digits)}".rstrip()
    if base == "equal":
        return (
            f"classifies as well as the model, {within(boost.margin)} ({gain_text(gain, digits)})"
        )
    return (
        f"cannot be told from the model ({gain_text(gain, digits)}{undecided(gain, boost.margin)}): that is no "
        "evidence that the two do as well"
    )


def _of_control(boost: Boost, base: Outcome, digits: int) -> str:
    """How the booster stands to the best control, and what follows for the layers below the last."""
    gain, own = boost.over_control, _own(boost, digits)
    control = f"the best control of the last layer ({boost.control['title']})"
    size, ends = points(gain.value, digits), span(gain, digits)
    verdict = gain.says(boost.margin)
    if verdict == "worse":
        behind = f"{'But ' if base == 'better' else ''}{control} {own}: the booster lies {size} behind it {ends}."
        return behind[0].upper() + behind[1:]
    if verdict == "better":
        told = {
            "better": f"Of that, {size} {ends} are not reached by {control}, which {own}.",
            "equal": f"It lies {size} {ends} above {control}, but that one {own}: what is not better than the model "
            "itself is no improvement.",
            "undecided": f"It lies {size} {ends} above {control}, but that one {own}: what is not shown to be better "
            "than the model itself is no improvement.",
            "worse": f"It lies {size} {ends} above {control}, but that one {own}: that is no merit.",
        }
        return told[base]
    difference = f"difference {gain_text(gain, digits)}"
    if verdict == "equal":
        also = f"{control} {own} and does as well, {within(boost.margin)} ({difference})."
        if base == "better":
            return f"But the gain needs no layer but the last: {also}"
        return also[0].upper() + also[1:]
    rest = f"{control} {own} ({difference}{undecided(gain, boost.margin)})."
    if base == "better":
        return f"Whether that takes more layers than the last cannot be told: {rest}"
    return (
        f"It cannot be told from the best control either: {rest}"
        if base == "undecided"
        else (f"Whether it differs from the best control cannot be told: {rest}")
    )


def course_told(facts: BoostFacts) -> str:
    """In how many checkpoints the booster is better than the best control; "" for a single one."""
    if facts.single:
        return ""
    gains = [boost.over_control for boost in facts.boosts]
    total = len(gains)
    digits = max(decimals(*gains) - 1, 1) if total > 3 else decimals(*gains)
    words: dict[Outcome, str] = {
        "worse": "worse",
        "equal": f"equal {within(facts.margin)}",
        "undecided": "undecided",
    }
    others = [
        f"{told} in {count(n)}"
        for outcome, told in words.items()
        if (n := facts.verdicts.count(outcome))
    ]
    alone = sum(gain.low > 0 for gain in gains)
    above = facts.verdicts.count("better")
    single = ""
    if alone > above:
        single = (
            f" By itself the interval of {count(alone)} lies above zero; of that many checkpoints about one in forty "
            "does by chance alone."
        )
    means = [
        sum(values) / total
        for values in ([g.value for g in gains], [b.over_base.value for b in facts.boosts])
    ]
    over_control, over_base = (
        signed(100 * mean, max(digits, 2 if abs(mean) < 0.001 else 1)) for mean in means
    )
    return (
        f"The booster is better than the best control in {count(above)} of {count(total)} checkpoints"
        f"{''.join(f', {told}' for told in others)}, all held to 5\N{NO-BREAK SPACE}% together (Holm).{single} The "
        f"mean gain over checkpoints is {over_control} points over the best control and {over_base} over the model."
    )


def flips_told(facts: BoostFacts) -> str:
    """How many predictions the booster repairs and breaks at the last checkpoint."""
    row = facts.last.booster
    repaired, broken = row["repaired"], row["broken"]
    if repaired is None or broken is None:
        return "How many predictions change was not counted."
    net = repaired - broken
    rest = (
        "as many as it breaks"
        if net == 0
        else f"{count(abs(net))} {'more' if net > 0 else 'fewer'} than it breaks"
    )
    return (
        f"On test data the booster puts {plural(repaired, 'wrong prediction')} of the model right and "
        f"{plural(broken, 'right one')} wrong: it repairs {rest}."
    )


def remarks(facts: BoostFacts) -> tuple[list[Remark], list[Remark]]:
    """What may be concluded from boosting, and what may not."""
    shown = Remark("Boosting", str(verdict_told(facts)))
    other = Remark(
        "The gain of one fit",
        "The intervals say how far the gain may vary with other test samples. They do not say what another seed, "
        "another split of the data or another network gives"
        + ("." if facts.single else ", and the checkpoints of one run are no independent repeats."),
    )
    return [shown], [other]
