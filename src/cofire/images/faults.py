"""Many faults of the data told at once: one error after all were found, not one run for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cofire.errors import DataError

SHOWN = 20
"""How many faults are written out; of the others the message gives the number."""


def listed(faults: Iterable[str], most: int = SHOWN) -> str:
    """The first of many faults, and how many more there are.

    Example:
        >>> listed(["a.jpg", "b.jpg", "c.jpg"], most=2)
        'a.jpg; b.jpg; and 1 more'
    """
    everything = list(faults)
    rest = len(everything) - most
    return "; ".join([*everything[:most], *([f"and {rest:,} more"] if rest > 0 else [])])


def refuse_all(
    faults: Sequence[str], what: str, expected: str, remedy: str, error: type[DataError] = DataError
) -> None:
    """Raise one error for all faults; without a fault nothing happens.

    Args:
        faults: Each in words, with the name of its file.
        what: What they have in common, in the plural.
        expected: What there should be instead.
        remedy: What to do.
        error: Its class.

    Raises:
        DataError: There is a fault.

    Example:
        >>> refuse_all(["a.xml: no <name>"], "unusable annotations", "VOC's form", "mend them")
        Traceback (most recent call last):
            ...
        cofire.errors.DataError: unusable annotations (1): a.xml: no <name>. Expected: VOC's form. To fix it: mend them.
    """
    if faults:
        raise error(f"{what} ({len(faults):,}): {listed(faults)}", expected, remedy)
