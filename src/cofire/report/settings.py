"""Options of a run as readable lines, known or not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cofire.report.notation import count, plural

LONG = 90
"""A longer value is folded."""

_LABELS = {
    "dataset": "data set",
    "samples": "samples analysed",
    "test_samples": "test samples",
    "hidden": "fully connected hidden layers",
    "bins": "bins (R)",
    "range": "range of the bins",
    "unit": "neuron in a feature map (unit)",
    "threshold": "active above (threshold)",
    "classes": "classes",
    "class_numbers": "labels of these classes",
    "classes_of_one_sample": "classes with one sample",
    "outputs": "which output of the network is whose",
    "learning_rate": "learning rate",
    "information_floor": "information that chance alone gives (bits)",
    "by_class": "kept per class",
    "batch_size": "batch size",
    "top": "representative neurons per class at the most (top)",
    "pairs": "pairs of neurons counted (pairs)",
    "resolution": "resolution of Louvain’s method (γ)",
    "community_runs": "seeds of communities, shuffles of weights",
    "null_graphs": "graphs with random labels",
    "boost": "booster",
    "boost_layers": "layers that the booster reads",
    "boost_unit": "neurons of feature maps that the booster reads",
    "boost_threshold": "threshold of the booster",
    "boost_margin": "differences of accuracy that count as none, below",
    "validation": "share of the training data held out",
    "validation_samples": "held-out samples",
    "explain": "test samples explained, of each kind",
    "prepared": "what was done to the images",
    "parameters_added": "parameters that the booster adds",
    "forward_pass": "time of a boosted forward pass",
}
_VALUES = {
    ("outputs", "name"): "found by the names of the classes",
    ("outputs", "none"): "not known, so that there is no accuracy",
}
_ORDER = (
    "model",
    "dataset",
    "data",
    "random_labels",
    "samples",
    "test_samples",
    "classes",
    "seed",
    "network",
    "hidden",
    "epochs",
    "batch_size",
)
_UNTOLD = ("versions", "command", "preparation")
"""Told elsewhere; of the preparation, `prepared` says in words what the record holds in numbers."""


@dataclass(frozen=True)
class Setting:
    """One option.

    Attributes:
        label: What it is.
        value: What it was set to, short enough for a line.
        full: The whole value where `value` is a summary, else "".
    """

    label: str
    value: str
    full: str = ""


def settings(options: Mapping[str, Any]) -> list[Setting]:
    """All options but the versions: known ones first and in their usual order, then the others.

    Example:
        >>> settings({"my_note": True, "bins": 100})
        [Setting(label='my note', value='yes', full=''), Setting(label='bins (R)', value='100', full='')]
    """
    first = [key for key in _ORDER if key in options]
    keys = [*first, *(key for key in options if key not in _ORDER and key not in _UNTOLD)]
    return [_setting(key, options[key]) for key in keys]


def is_fingerprint(value: object) -> bool:
    """Whether this is the hash of an architecture and not a name.

    Example:
        >>> is_fingerprint("ResNet"), is_fingerprint("0a" * 32)
        (False, True)
    """
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def versions(options: Mapping[str, Any]) -> list[Setting]:
    """Versions of the libraries, if they were kept."""
    kept = options.get("versions")
    if not isinstance(kept, Mapping):
        return [] if kept is None else [_setting("versions", kept)]
    return [_setting(str(key), value) for key, value in kept.items()]


def _setting(key: str, value: Any) -> Setting:
    label = _LABELS.get(key, key.replace("_", " "))
    if is_fingerprint(value):
        return Setting(f"fingerprint of the {label}", f"{value[:12]}…", value)
    text = _VALUES.get((key, value), "") if isinstance(value, str) else ""
    text = text or _text(value)
    if key == "classes" and isinstance(value, list | tuple) and value:
        number = plural(len(value), "class", "classes")
        return (
            Setting(label, f"{number}: {text}")
            if len(text) <= LONG
            else Setting(label, number, text)
        )
    if len(text) <= LONG:
        return Setting(label, text)
    summary = (
        plural(len(value), "entry", "entries")
        if isinstance(value, list | tuple | dict)
        else f"{text[:60]}…"
    )
    return Setting(label, summary, text)


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Only large numbers are quantities; a separator would spoil a seed or a year.
        return count(value) if abs(value) >= 10000 else str(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value or "empty"
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value) or "none"
    return json.dumps(value, ensure_ascii=False, default=str)
