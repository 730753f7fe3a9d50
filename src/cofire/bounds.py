"""Numbers that an option can be."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

from cofire.errors import OptionError

__all__ = ["check_above_zero", "check_from_zero", "check_threshold", "check_whole"]


def check_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number within bounds.

    Raises:
        OptionError: It is none, or out of bounds.

    Example:
        >>> check_whole("bins", 100)
        100
    """
    bounds = f"a whole number from {least} up" if most is None else f"a whole number from {least} to {most}"
    try:
        # NumPy's whole numbers count as well; True, which Python takes for 1, does not.
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least or (most is not None and number > most):
        raise OptionError(f"{name}={value!r}", bounds, f"pass one, such as {name}={max(least, 100)}")
    return number


def check_threshold(value: Any) -> float:
    """A threshold above which a neuron is active.

    Raises:
        OptionError: It is no finite number.

    Example:
        >>> check_threshold(0)
        0.0
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise OptionError(f"threshold={value!r}", "a finite number", "pass threshold=0.0")
    return float(value)


def check_above_zero(name: str, value: Any) -> float:
    """A finite number above zero.

    Raises:
        OptionError: It is none.

    Example:
        >>> check_above_zero("resolution", 2)
        2.0
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise OptionError(f"{name}={value!r}", "a finite number above 0", f"pass {name}=1.0")
    return float(value)


def check_from_zero(name: str, value: Any) -> float:
    """A finite number from zero up.

    Raises:
        OptionError: It is none.

    Example:
        >>> check_from_zero("margin", 0)
        0.0
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise OptionError(f"{name}={value!r}", "a finite number from 0 up", f"pass {name}=0.0")
    return float(value)
