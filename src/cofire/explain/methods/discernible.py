"""What each method takes, and what it takes when nothing is said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from cofire.errors import OptionError, near_matches
from cofire.explain.result.regions import Kind, check_share
from cofire.explain.tracing.scoring import Scoring
from cofire.marks import check_whole

PAPER = "discernible-p3"
"""Eqs. 1 to 5 and Algorithm 1 of the paper, and nothing besides."""
METHODS = (
    "discernible",
    PAPER,
    "discernible-points",
    "cnn-fixations",
    "gradcam",
    "gradcam++",
    "lrp",
)
"""Ours, the paper's own form of it, that form with three repairs, its forerunner, two class activation maps, and
layer-wise relevance propagation.
"""


@dataclass(frozen=True)
class Tracing:
    """Options of a method that traces evidence back through the network.

    Attributes:
        alpha: Weights of current, preceding and succeeding support (P3 Eq. 1). The last multiplies
            every score of a neuron's inputs alike and so changes nothing; it is there for the
            equation's sake.
        k: Inputs chosen for each neuron of a convolution, None for all.
        k_linear: Inputs chosen for each neuron of a linear layer, None for all.
        n: Classes to start from, those that the network finds most probable.
        most: Neurons of an image that go on from one place of the network: those that carry most,
            which take over what the others carried; None for all.
        counted: Whether an input counts more that has the highest support for several neurons.
        carried: Whether neurons hand on their score; else each chosen neuron counts 1, the set form
            of the paper, which is all that "discernible-p3" has.
        contrast: How much of the net evidence for the strongest rival is taken from that of the
            class, from 0 to 1, before heat maps and boxes are made of it (see
            `cofire.explain.result.layer_maps`); None makes them of the traced points alone, as the paper
            does.
    """

    alpha: tuple[float, float, float] = (1.0, 0.0, 1.0)
    k: int | None = 10
    k_linear: int | None = 2
    n: int = 1
    most: int | None = 200
    counted: bool = True
    carried: bool = True
    contrast: float | None = 0.7

    def described(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


_POINTS = Tracing(alpha=(1.0, 1.0, 1.0), k=1, k_linear=1, most=None, carried=False, contrast=None)
DEFAULTS = {
    "discernible": Tracing(),
    PAPER: _POINTS,
    "discernible-points": _POINTS,
    "cnn-fixations": Tracing(
        alpha=(1.0, 0.0, 1.0),
        k=1,
        k_linear=None,
        most=None,
        counted=False,
        carried=False,
        contrast=None,
    ),
}
"""Options of the methods that trace."""


def scoring_of(method: str, tracing: Tracing) -> Scoring:
    """How a method scores the inputs of neurons.

    Args:
        method: That traces.
        tracing: Its options.
    """
    current, preceding, _ = tracing.alpha
    # Ratios decide, and α_suc changes none; kept near 1, the largest numbers there are do not
    # overflow.
    largest = max(current, preceding)
    return Scoring(
        current=current / largest,
        preceding=preceding / largest,
        k=tracing.k,
        k_linear=tracing.k_linear,
        counted=tracing.counted,
        carried=tracing.carried,
        most=tracing.most,
        literal=method == PAPER,
    )


def tracing_of(method: str, given: dict[str, Any]) -> Tracing:
    """A method's options.

    Args:
        method: That traces.
        given: Options other than the defaults.

    Raises:
        OptionError: An option is unknown or has a value it cannot have.

    Example:
        >>> tracing_of("discernible", {"k": 3}).k
        3
    """
    names = [field.name for field in fields(Tracing)]
    for name in given:
        if name not in names:
            raise OptionError(
                f"{name}= for method {method!r}",
                f"one of its options: {', '.join(names)}",
                f"pass {near_matches(name, names, most=1)}, or leave it out",
            )
    checked = dict(given)
    for name in ("k", "k_linear", "most"):
        if checked.get(name) is not None:
            checked[name] = check_whole(name, checked[name])
    if "n" in checked:
        checked["n"] = check_whole("n", checked["n"])
    for name in ("counted", "carried"):
        if name in checked and not isinstance(checked[name], bool):
            raise OptionError(f"{name}={checked[name]!r}", "True or False", f"pass {name}=True")
    if method == PAPER and checked.get("carried"):
        raise OptionError(
            f"carried=True for method {PAPER!r}",
            "False: neurons of the paper's form are chosen or not, without scores",
            "leave it out, or pass method='discernible-points' or 'discernible'",
        )
    if checked.get("contrast") is not None:
        check_share("contrast", checked["contrast"], least=0.0, most=1.0)
    if "alpha" in checked:
        checked["alpha"] = _alpha(checked["alpha"])
    return replace(DEFAULTS[method], **checked)


def kind_of(method: str, options: Mapping[str, Any]) -> Kind:
    """What a method makes heat maps and boxes of, where a network has what it needs.

    Args:
        method: Its name.
        options: Those that are not as usual.

    Example:
        >>> kind_of("discernible", {}), kind_of("discernible", {"contrast": None}), kind_of("gradcam", {})
        ('layers', 'points', 'maps')
    """
    if method not in DEFAULTS:
        return "maps"
    return "points" if options.get("contrast", DEFAULTS[method].contrast) is None else "layers"


def _alpha(given: Any) -> tuple[float, float, float]:
    whole = isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 3
    if (
        not whole
        or not all(
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and 0 <= value < math.inf
            for value in given
        )
        or given[2] == 0
        or given[0] + given[1] == 0
    ):
        raise OptionError(
            f"alpha={given!r}",
            "three numbers from 0 up, for current, preceding and succeeding support; the last, and one of the first "
            "two, above 0",
            "pass alpha=(1.0, 1.0, 1.0)",
        )
    current, preceding, succeeding = given
    return (float(current), float(preceding), float(succeeding))
