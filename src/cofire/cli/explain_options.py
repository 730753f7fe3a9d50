"""Which methods `cofire explain` is asked for, and which options each of them gets."""

from __future__ import annotations

from typing import Any

from cofire.cli.numbers import numbers
from cofire.errors import OptionError, near_matches
from cofire.evaluate.tuned import Tuned
from cofire.explain import METHODS
from cofire.explain.methods.registry import kind_of

OURS = "discernible"
MAPS = ("gradcam", "gradcam++")


def asked_methods(text: str) -> list[str]:
    """The methods of a list such as "discernible,gradcam++", each once; "all" for all.

    Raises:
        OptionError: No such method, or none.

    Example:
        >>> asked_methods("gradcam++, discernible"), len(asked_methods("all"))
        (['gradcam++', 'discernible'], 7)
    """
    if text.strip() == "all":
        return list(METHODS)
    found = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in found:
        if name not in METHODS:
            raise OptionError(
                f"--method '{name}'",
                f"some of {', '.join(METHODS)}, with commas between them, or all",
                f"try {near_matches(name, METHODS, most=1)}",
            )
    if not found:
        raise OptionError(
            f"--method '{text}'", f"some of {', '.join(METHODS)}", f"pass --method {OURS}"
        )
    return found


def options_of(
    methods: list[str],
    *,
    k: str | None = None,
    k_linear: str | None = None,
    alpha: str | None = None,
    most: str | None = None,
    counted: bool | None = None,
    carried: bool | None = None,
    contrast: str | None = None,
    layer: str | None = None,
    tuned: Tuned | None = None,
) -> dict[str, dict[str, Any]]:
    """What each method is called with.

    Options of tracing go to "discernible" alone: its form in the paper and CNN-Fixations are there
    to be compared with, as they were published. What was learnt goes to the method that it was
    learnt for; what is given by itself comes before it.

    Raises:
        OptionError: An option has no method that takes it, or a value that it cannot have.

    Example:
        >>> options_of(["discernible", "gradcam"], k="3", most="all", layer="features")
        {'discernible': {'k': 3, 'most': None}, 'gradcam': {'layer': 'features'}}
    """
    given: dict[str, Any] = {
        "k": None if k is None else _count("--k", k),
        "k_linear": None if k_linear is None else _count("--k-linear", k_linear),
        "alpha": numbers(alpha),
        "most": None if most is None else _count("--most", most),
        "counted": counted,
        "carried": carried,
        "contrast": None if contrast is None else contrast_of(contrast),
    }
    texts = {
        "k": k,
        "k_linear": k_linear,
        "alpha": alpha,
        "most": most,
        "counted": counted,
        "carried": carried,
        "contrast": contrast,
    }
    own = {name: given[name] for name, text in texts.items() if text is not None}
    found: dict[str, dict[str, Any]] = {method: {} for method in methods}
    if tuned is not None:
        _need([tuned.method], methods, "weights-of-layers")
        found[tuned.method] = tuned.explain_options
    if own:
        _need([OURS], methods, next(iter(own)).replace("_", "-"))
        METHODS[OURS].options(**own)
        found[OURS] |= own
        if tuned is not None and tuned.method == OURS and kind_of(OURS, found[OURS]) != tuned.kind:
            raise OptionError(
                f"--contrast {contrast} with what was learnt for maps of {tuned.kind}",
                "a number from 0 to 1" if tuned.kind == "layers" else "none, as it was learnt",
                "leave --contrast or --weights-of-layers out",
            )
    if layer is not None:
        _need([name for name in MAPS if name in methods] or [MAPS[0]], methods, "layer")
        found |= {method: {**found[method], "layer": layer} for method in methods if method in MAPS}
    return found


def contrast_of(text: str) -> float | None:
    """What `--contrast` says: a number, or None for "none".

    Raises:
        OptionError: It is no number.

    Example:
        >>> contrast_of("0.5"), contrast_of("none")
        (0.5, None)
    """
    if text.strip().lower() == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise OptionError(
            f"--contrast {text}",
            "a number from 0 to 1, or none",
            "pass --contrast 0.7, or leave it out",
        ) from error


def _need(takers: list[str], methods: list[str], option: str) -> None:
    if not set(takers) & set(methods):
        raise OptionError(
            f"--{option} with --method {','.join(methods)}",
            f"a method that takes it: {takers[0]}",
            f"add {takers[0]} to --method, or leave --{option} out",
        )


def _count(name: str, text: str) -> int | None:
    """A whole number from 1 up, or None for "all"."""
    if text.strip().lower() == "all":
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise OptionError(
            f"{name} {text}", "a whole number from 1 up, or all", f"pass {name} 5, or leave it out"
        )
    return int(text)
