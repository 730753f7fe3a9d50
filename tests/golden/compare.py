"""Differences between what is expected and what was got, each on a line that says where."""

from __future__ import annotations

import difflib
from typing import Any

RELATIVE, ABSOLUTE = 1e-3, 1e-4
OF_SHARES = 0.003
"""Accuracies may differ more: on another processor a sample or two fall on the other side."""


def differences(expected: Any, got: Any, where: str = "") -> list[str]:
    """Places at which two values differ; numbers may by 0.1 % or 0.0001."""
    if _is_table(expected) and _is_table(got):
        return _of_tables(expected, got, where)
    if isinstance(expected, dict) and isinstance(got, dict):
        return _of_names(expected, got, where)
    if isinstance(expected, list) and isinstance(got, list):
        return _of_lists(expected, got, where)
    most = OF_SHARES if "accuracy" in where.rpartition(", column ")[2] else ABSOLUTE
    return [] if _same(expected, got, most) else [f"{where}: expected {expected!r}, got {got!r}"]


def told(found: list[str], most: int = 30) -> str:
    """The first differences, and how many there are."""
    more = [] if len(found) <= most else [f"… and {len(found) - most} more"]
    return "\n".join([f"{len(found)} differences:", *found[:most], *more])


def _same(expected: Any, got: Any, absolute: float) -> bool:
    numbers = (int, float)
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(expected, numbers) and isinstance(got, numbers):
        if isinstance(expected, int) and isinstance(got, int):
            return expected == got
        return abs(expected - got) <= absolute + RELATIVE * abs(expected)
    return type(expected) is type(got) and expected == got


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"rows", "columns"}


def _of_tables(expected: dict[str, Any], got: dict[str, Any], where: str) -> list[str]:
    found = []
    if expected["rows"] != got["rows"]:
        found.append(f"{where}: expected {expected['rows']} rows, got {got['rows']}")
    found += _of_missing(expected["columns"], got["columns"], f"{where}, column")
    for name, (kind, *values) in expected["columns"].items():
        if name not in got["columns"]:
            continue
        kind_got, *values_got = got["columns"][name]
        if kind != kind_got:
            found.append(f"{where}, column {name}: expected type {kind}, got {kind_got}")
        for row, (one, other) in enumerate(zip(values, values_got, strict=False)):
            found += differences(one, other, f"{where}, column {name}, row {row}")
    return found


def _of_names(expected: dict[str, Any], got: dict[str, Any], where: str) -> list[str]:
    inside = f"{where}, " if where else ""
    found = _of_missing(expected, got, where)
    for name in expected:
        if name in got:
            found += differences(expected[name], got[name], f"{inside}{name}")
    return found


def _of_missing(expected: dict[str, Any], got: dict[str, Any], where: str) -> list[str]:
    return [
        *(f"{where} {name}: expected, not there".strip() for name in expected if name not in got),
        *(f"{where} {name}: there, not expected".strip() for name in got if name not in expected),
    ]


def _of_lists(expected: list[Any], got: list[Any], where: str) -> list[str]:
    if any(isinstance(one, str) for one in expected + got):
        lines = difflib.unified_diff(
            [str(one) for one in expected],
            [str(one) for one in got],
            "expected",
            "got",
            lineterm="",
            n=1,
        )
        return [f"{where}: {line}".removeprefix(": ") for line in list(lines)[2:]]
    if len(expected) != len(got):
        return [f"{where}: expected {len(expected)} values, got {len(got)}"]
    return [
        line
        for at, (one, other) in enumerate(zip(expected, got, strict=True))
        for line in differences(one, other, f"{where}[{at}]")
    ]
