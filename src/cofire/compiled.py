"""Compiling a hot loop once, for this process and the next ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiler"]

Kernel = Callable[..., Any]


def compiler(**options: Any) -> Callable[[Kernel], Kernel]:
    """A decorator that compiles, and keeps what it compiled for the next process where it may write."""

    def compiled(function: Kernel) -> Kernel:
        try:
            kept: Kernel = numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder to keep it in, as in a container that cannot be written to
            kept = numba.njit(nogil=True, **options)(function)
        return kept

    return compiled
