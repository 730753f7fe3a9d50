"""How numbers are written, the same everywhere on the page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cofire.study.options import StudyOptions

MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with a true minus sign and thousands separators, or a dash where there is none.

    Example:
        >>> number(-1234.567, 1), number(None), number(-0.001)
        ('−1,234.6', '–', '0.00')
    """
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float | None, digits: int = 2) -> str:
    """A number that always shows its sign; what rounds to zero has none.

    Example:
        >>> signed(0.5), signed(-0.874), signed(0.001), signed(-0.9996)
        ('+0.50', '−0.87', '0.00', '−1.00')
    """
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.,–") else text


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval in words, with signs.

    Example:
        >>> interval(-0.95, -0.7)
        '−0.95 to −0.70'
    """
    return f"{signed(low, digits)} to {signed(high, digits)}"


def percent(share: float | None, digits: int = 1) -> str:
    r"""A share from 0 to 1 in percent.

    Example:
        >>> percent(0.98765), percent(None)
        ('98.8\xa0%', '–')
    """
    text = number(None if share is None else 100 * share, digits)
    return text if text == "–" else f"{text}\N{NO-BREAK SPACE}%"


def count(value: int) -> str:
    """A whole number with thousands separators.

    Example:
        >>> count(60000)
        '60,000'
    """
    return f"{value:,}"


def plural(value: int, singular: str, several: str | None = None) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "class", "classes"), plural(1200, "neuron")
        ('1 class', '1,200 neurons')
    """
    return f"{count(value)} {singular if value == 1 else several or singular + 's'}"


def joined(parts: Sequence[str]) -> str:
    """A list in words.

    Example:
        >>> joined(["a"]), joined(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def short(text: str, most: int) -> str:
    """A name cut in its middle: layers differ in their ends more often than in their starts.

    Example:
        >>> short("features.denseblock4.relu2", 14)
        'featur…4.relu2'
    """
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


LONG = 90
"""A longer value is folded."""


_LABELS = {
    "samples": "samples analysed",
    "unit": "neuron in a feature map (unit)",
    "threshold": "active above (threshold)",
    "class_numbers": "labels of these classes",
    "classes_of_one_sample": "classes with one sample",
    "outputs": "which output of the network is whose",
    "information_floor": "information that chance alone gives (bits)",
    "by_class": "kept per class",
    "boost_margin": "differences of accuracy that count as none, below",
    "validation_samples": "held-out samples",
    "test_shared": "test samples that are in the training data as well",
    "held_out_shared": "held-out samples that are in the training data as well",
    "prepared": "what was done to the images",
    "parameters_added": "parameters that the booster adds",
    "forward_pass": "time of a boosted forward pass",
}
"""What is found out beside the options of a study, which have titles of their own."""
_VALUES = {
    ("outputs", "name"): "found by the names of the classes",
    ("outputs", "none"): "not known, so that there is no accuracy",
}


_ORDER = ("model", "data", "samples", "test_samples", "classes")
_PANELS = (
    *("Data", "What is done to the images", "Network", "Training"),
    *("", "Activation pattern graph", "Boosting"),
)
"""Parts of a study's help, in the order in which its options are told."""
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
    """All options that are set but the versions: what was looked at, then by the parts of a study's help, then others.

    Example:
        >>> [one.label for one in settings({"my_note": True, "bins": 100, "clip": None, "epochs": 3})]
        ['epochs', 'bins', 'my note']
    """
    keys = sorted((key for key in options if key not in _UNTOLD), key=_place)
    return [_setting(key, options[key]) for key in keys if options[key] is not None]


def _place(key: str) -> tuple[int, int]:
    """Where an option is told."""
    if key in _ORDER:
        return -1, _ORDER.index(key)
    option = StudyOptions.model_fields.get(key)
    if option is None:
        return len(_PANELS), 0
    extra = option.json_schema_extra
    panel = str(extra.get("panel", "")) if isinstance(extra, dict) else ""
    return _PANELS.index(panel), list(StudyOptions.model_fields).index(key)


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
    option = StudyOptions.model_fields.get(key)
    title = option.title if option and option.title else key.replace("_", " ")
    label = _LABELS.get(key, title[0].lower() + title[1:] if option else title)
    if is_fingerprint(value):
        return Setting(f"fingerprint of the {label}", f"{value[:12]}…", value)
    text = _VALUES.get((key, value), "") if isinstance(value, str) else ""
    text = text or _text(value)
    brief, counted = f"{text[:60]}…", isinstance(value, list | tuple | dict)
    if counted:
        brief = plural(
            len(value), *(("class", "classes") if key == "classes" else ("entry", "entries"))
        )
    if len(text) > LONG:
        return Setting(label, brief, text)
    return Setting(label, f"{brief}: {text}" if key == "classes" and counted and value else text)


def _text(value: Any) -> str:
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
