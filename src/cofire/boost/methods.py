"""The methods and the controls: what evidence each sees, which head it has, and on what data the head is fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from cofire.boost.evidence import ClassStatistics, Evidence, Sample
from cofire.boost.heads import (
    Tempered,
    choose_readout,
    fit_affine,
    fit_auxiliary,
    fit_readouts,
    fit_scaling,
    fit_temperature,
)
from cofire.errors import OptionError, near_matches
from cofire.patterns import discriminant_of_samples, linear_discriminant, log_odds_of_patterns

__all__ = [
    "CONTROLS",
    "DEFAULT_METHOD",
    "EVIDENCE",
    "LEARNT",
    "METHODS",
    "PATTERNS",
    "VALUES",
    "Gathered",
    "Kind",
    "Method",
    "check_booster",
    "method_of",
]

DEFAULT_METHOD = "readout"
"""The method that won on held-out data (see docs/replication.md)."""

VALUES, PATTERNS = "values", "patterns"
"""The readout's two halves: how strongly neurons fire, and which do."""

Kind = Literal["base", "control", "ablation", "method"]
FitOn = Literal["nothing", "training", "held-out"]
Fit = Callable[[Tensor, Sequence[Tensor], Tensor, int], tuple[int, nn.Module]]


@dataclass(frozen=True)
class Gathered:
    """What one pass over the training data left.

    Attributes:
        statistics: Of the samples that evidence is made from.
        sample: Neurons of some of them.
        sizes: Neurons of each layer.
    """

    statistics: ClassStatistics
    sample: Sample
    sizes: Sequence[int]


def _proposals(gathered: Gathered) -> list[Evidence]:
    found = gathered.statistics
    bias = found.active.new_zeros(len(found.samples))
    return [Evidence(None, found.probability(), bias, gathered.sizes, threshold=found.threshold)]


def _likelihood(gathered: Gathered) -> list[Evidence]:
    found = gathered.statistics
    weights, bias = log_odds_of_patterns(found.probability(), found.samples)
    # What all classes share cancels; without it float32 keeps the digits that matter.
    return [
        Evidence(
            None,
            weights - weights.mean(dim=0),
            bias - bias.mean(),
            gathered.sizes,
            threshold=found.threshold,
        )
    ]


def _discriminant(gathered: Gathered) -> list[Evidence]:
    found = gathered.statistics
    if found.moments is None:
        values, _, labels = gathered.sample.of_layers()
        weights, bias = discriminant_of_samples(found.samples, found.sums, values, labels)
    else:
        weights, bias = linear_discriminant(found.samples, found.sums, found.moments)
    return [Evidence(weights - weights.mean(dim=0), None, bias - bias.mean(), gathered.sizes)]


def _readouts(*, values: bool, patterns: bool) -> Callable[[Gathered], list[Evidence]]:
    def fit(gathered: Gathered) -> list[Evidence]:
        threshold = gathered.statistics.threshold
        return fit_readouts(
            *gathered.sample.of_layers(),
            gathered.sizes,
            values=values,
            patterns=patterns,
            threshold=threshold,
        )

    return fit


def _last_layers(gathered: Gathered) -> list[Evidence]:
    head, logits, labels = gathered.sample.of_head()
    return fit_readouts(head, logits, labels, [head.shape[1]], patterns=False, of_head=True)


EVIDENCE: Mapping[str, Callable[[Gathered], list[Evidence]]] = {
    "proposals": _proposals,
    "likelihood": _likelihood,
    "discriminant": _discriminant,
    "readouts": _readouts(values=True, patterns=True),
    "value-readouts": _readouts(values=True, patterns=False),
    "pattern-readouts": _readouts(values=False, patterns=True),
    "last-layers": _last_layers,
}
"""Makes the candidates of each kind of evidence."""

LEARNT = frozenset({"readouts", "value-readouts", "pattern-readouts", "last-layers"})
"""Kinds of evidence that are learnt from a sample of training activations."""


@dataclass(frozen=True)
class Method:
    """A way to better logits.

    Attributes:
        name: Under which it is asked for.
        title: In a few words.
        kind: "base", "control" (sees nothing of hidden layers but what goes into the last),
            "ablation" (the readout of all layers with half of what it reads taken away) or
            "method".
        evidence: A key of `EVIDENCE`, or "" for none.
        fit_on: What the head is fitted on.
        fit: From logits, the evidence's candidates, and labels to the chosen candidate and its
            head.
    """

    name: str
    title: str
    kind: Kind
    evidence: str
    fit_on: FitOn
    fit: Fit


def _fits(fit: Callable[..., nn.Module], *, seeded: bool = False, **own: Any) -> Fit:
    """A head fitted to the logits and, where there is any, the evidence."""

    def fitted(
        logits: Tensor, evidence: Sequence[Tensor], labels: Tensor, seed: int
    ) -> tuple[int, nn.Module]:
        given = {**own, "seed": seed} if seeded else own
        return 0, fit(logits, evidence[0] if evidence else None, labels, **given)

    return fitted


def _chosen(
    logits: Tensor, evidence: Sequence[Tensor], labels: Tensor, seed: int
) -> tuple[int, nn.Module]:
    return choose_readout(logits, evidence, labels)


def _tempered(logits: Tensor, evidence: None, labels: Tensor) -> nn.Module:
    return Tempered(fit_temperature(logits, labels))


_auxiliary = _fits(fit_auxiliary, seeded=True)
_as_printed = _fits(fit_auxiliary, seeded=True, standardise=False)
_on_logits = _fits(fit_auxiliary, seeded=True, probabilities=False)
_affine = _fits(fit_affine)
_by_class, _weighed = _fits(fit_scaling, per_class=True), _fits(fit_scaling, per_class=False)
_same = _fits(lambda logits, evidence, labels: Tempered())

_ROWS: Sequence[tuple[str, str, Kind, str, FitOn, Fit]] = (
    ("base", "the model as it is", "base", "", "nothing", _same),
    ("temperature", "temperature scaling", "control", "", "held-out", _fits(_tempered)),
    ("vector-scaling", "vector scaling", "control", "", "held-out", _by_class),
    ("matrix-scaling", "matrix scaling", "control", "", "held-out", _affine),
    # The paper's network without its activation patterns.
    ("predictions-only", "auxiliary network, predictions only", "control", "", "training", _as_printed),
    ("predictions-held-out", "auxiliary network, predictions only, held out", "control", "", "held-out", _auxiliary),
    # The last linear layer trained further, in steps that shrink; the rest frozen.
    ("last-layer", "last layer trained on", "control", "last-layers", "held-out", _chosen),
    # The readout of all layers with half of what it reads taken away.
    (VALUES, "readout of values alone", "ablation", "value-readouts", "held-out", _chosen),
    (PATTERNS, "readout of patterns alone", "ablation", "pattern-readouts", "held-out", _chosen),
    # The paper's, to the letter; then on standardised inputs, on held-out data, on logits and P · U*.
    ("auxiliary", "auxiliary network (P1)", "method", "proposals", "training", _as_printed),
    ("auxiliary-standardised", "auxiliary network, standardised", "method", "proposals", "training", _auxiliary),
    ("auxiliary-held-out", "auxiliary network, held out", "method", "proposals", "held-out", _auxiliary),
    ("auxiliary-logits", "auxiliary network on logits", "method", "proposals", "held-out", _on_logits),
    # The pattern's log-likelihood under each class, weighed against the logits.
    ("naive-bayes", "naive Bayes on the pattern", "method", "likelihood", "held-out", _weighed),
    # Gaussian log-likelihood ratios of the activations, stacked with the logits.
    ("discriminant", "linear discriminant of activations", "method", "discriminant", "held-out", _affine),
    ("readout", "readout of all layers", "method", "readouts", "held-out", _chosen),
)  # fmt: skip
_ALL = tuple(Method(*row) for row in _ROWS)

METHODS: Mapping[str, Method] = {method.name: method for method in _ALL if method.kind == "method"}
"""The methods by name."""

CONTROLS: Mapping[str, Method] = {method.name: method for method in _ALL if method.kind != "method"}
"""The base, the controls and the readout's ablations by name: what every booster is held against."""


def check_booster(option: str, name: str) -> None:
    """Refuse what is no method of a booster, but what boosters are held against.

    Raises:
        OptionError: There is none of that name, or it is the base, a control or an ablation.
    """
    kind = method_of(name).kind
    if kind != "method":
        raise OptionError(
            f"{option}={name!r}, {'an' if kind == 'ablation' else 'a'} {kind}",
            f"one of {', '.join(METHODS)}, or 'auto'",
            "leave it out: controls and ablations are always fitted",
        )


def method_of(name: str) -> Method:
    """The method or control of a name.

    Raises:
        OptionError: There is none.

    Example:
        >>> method_of("auxiliary").evidence
        'proposals'
    """
    known = {**METHODS, **CONTROLS}
    if name not in known:
        raise OptionError(
            f"method {name!r}",
            f"one of {', '.join(METHODS)}; or a control: {', '.join(CONTROLS)}",
            f"did you mean {near_matches(str(name), list(known), 1)}?",
        )
    return known[name]
