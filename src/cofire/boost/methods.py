"""The methods and the controls: what evidence each sees, which head it has, and on what data the head is fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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
from cofire.patterns import linear_discriminant, log_odds_of_patterns

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
    assert found.moments is not None
    weights, bias = linear_discriminant(found.samples, found.sums, found.moments)
    return [Evidence(weights - weights.mean(dim=0), None, bias - bias.mean(), gathered.sizes)]


def _readouts(*, values: bool, patterns: bool) -> Callable[[Gathered], list[Evidence]]:
    def fit(gathered: Gathered) -> list[Evidence]:
        threshold = gathered.statistics.threshold
        parts = gathered.sample.of_layers()
        return fit_readouts(
            parts, gathered.sizes, values=values, patterns=patterns, threshold=threshold
        )

    return fit


def _last_layers(gathered: Gathered) -> list[Evidence]:
    parts = gathered.sample.of_head(gathered.sizes[-1])
    return fit_readouts(parts, [parts[0][0].shape[1]], patterns=False, of_head=True)


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
        about: In a sentence.
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
    about: str
    kind: Kind
    evidence: str
    fit_on: FitOn
    fit: Callable[[Tensor, Sequence[Tensor], Tensor, int], tuple[int, nn.Module]]


def _plain(
    logits: Tensor, evidence: Sequence[Tensor], labels: Tensor, seed: int
) -> tuple[int, nn.Module]:
    return 0, Tempered()


def _tempered(
    logits: Tensor, evidence: Sequence[Tensor], labels: Tensor, seed: int
) -> tuple[int, nn.Module]:
    return 0, Tempered(fit_temperature(logits, labels))


def _readout(
    logits: Tensor, evidence: Sequence[Tensor], labels: Tensor, seed: int
) -> tuple[int, nn.Module]:
    return choose_readout(logits, evidence, labels)


def _affine(
    logits: Tensor, evidence: Sequence[Tensor], labels: Tensor, seed: int
) -> tuple[int, nn.Module]:
    return 0, fit_affine(logits, evidence[0] if evidence else None, labels)


def _scaled(
    *, per_class: bool
) -> Callable[[Tensor, Sequence[Tensor], Tensor, int], tuple[int, nn.Module]]:
    def fit(
        logits: Tensor, evidence: Sequence[Tensor], labels: Tensor, seed: int
    ) -> tuple[int, nn.Module]:
        return 0, fit_scaling(
            logits, evidence[0] if evidence else None, labels, per_class=per_class
        )

    return fit


def _auxiliary(
    *, probabilities: bool = True, standardise: bool = True
) -> Callable[[Tensor, Sequence[Tensor], Tensor, int], tuple[int, nn.Module]]:
    def fit(
        logits: Tensor, evidence: Sequence[Tensor], labels: Tensor, seed: int
    ) -> tuple[int, nn.Module]:
        given = evidence[0] if evidence else None
        head = fit_auxiliary(
            logits, given, labels, probabilities=probabilities, standardise=standardise, seed=seed
        )
        return 0, head

    return fit


_ALL = (
    Method("base", "the model as it is", "No change.", "base", "", "nothing", _plain),
    Method(
        "temperature",
        "temperature scaling",
        "Logits divided by one number.",
        "control",
        "",
        "held-out",
        _tempered,
    ),
    Method(
        "vector-scaling",
        "vector scaling",
        "A factor and a bias for each class's logit.",
        "control",
        "",
        "held-out",
        _scaled(per_class=True),
    ),
    Method(
        "matrix-scaling",
        "matrix scaling",
        "An affine map of the logits.",
        "control",
        "",
        "held-out",
        _affine,
    ),
    Method(
        "predictions-only",
        "auxiliary network, predictions only",
        "The paper's network without its activation patterns, fitted on the training data.",
        "control",
        "",
        "training",
        _auxiliary(standardise=False),
    ),
    Method(
        "predictions-held-out",
        "auxiliary network, predictions only, held out",
        "The same, standardised, fitted on held-out data.",
        "control",
        "",
        "held-out",
        _auxiliary(),
    ),
    Method(
        "last-layer",
        "last layer trained on",
        "The last linear layer trained further, in steps that shrink; the rest frozen.",
        "control",
        "last-layers",
        "held-out",
        _readout,
    ),
    Method(
        VALUES,
        "readout of values alone",
        "The same readout of all layers on how strongly neurons fire, without who fires.",
        "ablation",
        "value-readouts",
        "held-out",
        _readout,
    ),
    Method(
        PATTERNS,
        "readout of patterns alone",
        "The same readout of all layers on who fires, 0 or 1, without how strongly.",
        "ablation",
        "pattern-readouts",
        "held-out",
        _readout,
    ),
    Method(
        "auxiliary",
        "auxiliary network (P1)",
        "The paper's, to the letter: predicted and proposed probabilities, fitted on the training data.",
        "method",
        "proposals",
        "training",
        _auxiliary(standardise=False),
    ),
    Method(
        "auxiliary-standardised",
        "auxiliary network, standardised",
        "The same on standardised inputs.",
        "method",
        "proposals",
        "training",
        _auxiliary(),
    ),
    Method(
        "auxiliary-held-out",
        "auxiliary network, held out",
        "The same, standardised, fitted on held-out data.",
        "method",
        "proposals",
        "held-out",
        _auxiliary(),
    ),
    Method(
        "auxiliary-logits",
        "auxiliary network on logits",
        "Logits and P · U* in place of probabilities, standardised, fitted on held-out data.",
        "method",
        "proposals",
        "held-out",
        _auxiliary(probabilities=False),
    ),
    Method(
        "naive-bayes",
        "naive Bayes on the pattern",
        "The pattern's log-likelihood under each class, weighed against the logits.",
        "method",
        "likelihood",
        "held-out",
        _scaled(per_class=False),
    ),
    Method(
        "discriminant",
        "linear discriminant of activations",
        "Gaussian log-likelihood ratios of the activations, stacked with the logits by logistic regression.",
        "method",
        "discriminant",
        "held-out",
        _affine,
    ),
    Method(
        "readout",
        "readout of all layers",
        "A linear readout of what fires and how strongly in all layers, added to the logits.",
        "method",
        "readouts",
        "held-out",
        _readout,
    ),
)

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
