"""Everything that can go wrong, as one tree.

```
CofireError
├── ExportError             the model cannot be read as a graph
├── LayerError              no such layer, or a layer that cannot be used this way
├── DataError               the data is not what it should be
│   ├── BatchError          a batch is not (inputs, labels), or its shapes do not fit
│   ├── LabelError          labels out of range, of the wrong length or type; empty classes
│   ├── NonFiniteError      NaN or infinite activations
│   └── ImageError          an image file that cannot be read
├── WeightsError            weights that are missing, damaged, unsafe or do not fit
├── BudgetError             too many neurons: the state would not fit under the cap
├── OptionError             an option with a value it cannot have
├── MergeError              states made under different options
├── RuleError               an operator through which evidence cannot be traced
├── ExplanationError        an explanation cannot give what it was asked for
├── ResultError             a saved result that is missing, damaged or of another kind
└── MissingExtraError       an optional library is needed and absent
```

Every message has three parts: what was given, what was expected, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BatchError",
    "BudgetError",
    "CofireError",
    "DataError",
    "ExplanationError",
    "ExportError",
    "ImageError",
    "LabelError",
    "LayerError",
    "MergeError",
    "MissingExtraError",
    "NonFiniteError",
    "OptionError",
    "ResultError",
    "RuleError",
    "WeightsError",
]


class CofireError(Exception):
    """The root of every error that cofire raises on purpose.

    Args:
        given: What was given.
        expected: What was expected instead.
        remedy: What to do.

    Example:
        >>> print(CofireError("bins=0", "a whole number from 1 up", "pass bins=100"))
        bins=0. Expected: a whole number from 1 up. To fix it: pass bins=100.
    """

    def __init__(self, given: str, expected: str, remedy: str) -> None:
        self.given = given
        self.expected = expected
        self.remedy = remedy
        super().__init__(f"{given}. Expected: {expected}. To fix it: {remedy}.")

    def __reduce__(self) -> tuple[type[CofireError], tuple[str, str, str]]:
        return type(self), (self.given, self.expected, self.remedy)


class ExportError(CofireError):
    """The model cannot be read as a graph of operators."""


class LayerError(CofireError):
    """No such layer, or a layer that cannot be used this way."""


class DataError(CofireError):
    """The data is not what it should be."""


class BatchError(DataError):
    """A batch is not (inputs, labels), or its shapes do not fit the network."""


class LabelError(DataError):
    """Labels out of range, of the wrong length or type, or a class without enough samples."""


class NonFiniteError(DataError):
    """An activation is NaN or infinite."""


class ImageError(DataError):
    """An image file cannot be read."""


class WeightsError(CofireError):
    """Weights are missing, damaged, unsafe to load, or do not fit the network."""


class BudgetError(CofireError):
    """The state would need more memory than the cap allows."""


class OptionError(CofireError):
    """An option has a value it cannot have."""


class MergeError(CofireError):
    """Two states were made under different options and cannot be merged."""


class RuleError(CofireError):
    """An operator through which evidence cannot be traced."""


class ExplanationError(CofireError):
    """An explanation cannot give what it was asked for."""


class ResultError(CofireError):
    """A saved result is missing, damaged, or of another kind."""


class MissingExtraError(CofireError):
    """An optional library is needed and not installed."""


def near_matches(name: str, candidates: Iterable[str], most: int = 5) -> str:
    """The candidates nearest to a name, for the remedy of an error.

    Args:
        name: What was asked for.
        candidates: What there is.
        most: How many to name at the most.

    Returns:
        A readable list, nearest first; the first few candidates if none is near.

    Example:
        >>> near_matches("layer1.relu", ["conv1", "layer1.0.relu", "layer2.0.relu"], most=1)
        "'layer1.0.relu'"
    """
    everything = list(candidates)
    near = difflib.get_close_matches(name, everything, n=most, cutoff=0.5) or everything[:most]
    return ", ".join(repr(c) for c in near) if near else "none at all"
