"""Compiling a hot loop once, for this process and the next ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from types import CodeType
from typing import Any

import numba
import numpy as np
import torch
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from torch import Tensor

__all__ = ["FAR", "compiler", "memory_of", "over", "plain"]

Kernel = Callable[..., Any]


def compiler(**options: Any) -> Callable[[Kernel], Kernel]:
    """A decorator that compiles, and keeps what it compiled for the next process where it may write."""

    def compiled(function: Kernel) -> Kernel:
        kernel: Any = numba.njit(nogil=True, **options)(function)
        # Without a folder to keep it in, as in a container that cannot be written to, it is compiled anew.
        with suppress(RuntimeError):
            kernel._cache = _Kept(function)  # type: ignore[no-untyped-call]
        made: Kernel = kernel
        return made

    return compiled


class _Kept(FunctionCache):
    """What was compiled, as long as nothing has changed that it was compiled from.

    Numba by itself looks at the file of a function alone, not at what the function calls.
    """

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        whole = repr(_meaning(self._py_func, set()))
        digest = hashlib.sha256(whole.encode()).hexdigest()
        return (*super()._index_key(sig, codegen), digest)  # type: ignore[no-untyped-call]


def _meaning(function: Any, seen: set[Any]) -> list[Any]:
    """Code and numbers of a function, and of all compiled ones that it calls."""
    if function in seen:
        return []
    seen.add(function)
    found: list[Any] = []
    codes = [function.__code__]
    for code in codes:
        # Code within code has an address that is another one in each process.
        codes += [value for value in code.co_consts if isinstance(value, CodeType)]
        plain = [value for value in code.co_consts if not isinstance(value, CodeType)]
        found += [code.co_code, plain, code.co_names]
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, Dispatcher):
                found.append(_meaning(value.py_func, seen))
            elif isinstance(value, int | float | str | tuple | np.generic):
                found.append(value)
    return found


_SMALL = 1 << 18
"""Products below which handing work to threads costs more than it saves."""

FAR = 16
"""So many products could be summed while one value is fetched that is far from the last in memory."""


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    # Keyed by process: threads do not survive a fork.
    return ThreadPoolExecutor(
        max_workers=os.cpu_count() or 1, thread_name_prefix=f"cofire-{process}"
    )


def over(kernel: Callable[..., Any], neurons: int, products: int, *arguments: Any) -> None:
    """Run a kernel over all neurons, in as many threads as PyTorch has.

    Args:
        kernel: Takes the first and the one-past-last neuron, then the arguments.
        neurons: How many there are.
        products: How many products it computes, to decide whether threads pay.
        *arguments: What the kernel takes besides.
    """
    threads = 1 if products < _SMALL else min(torch.get_num_threads(), neurons)
    if threads <= 1:
        kernel(0, neurons, *arguments)
        return
    bounds = [neurons * part // threads for part in range(threads + 1)]
    *others, own = pairwise(bounds)
    jobs = [_pool(os.getpid()).submit(kernel, *part, *arguments) for part in others]
    kernel(*own, *arguments)
    for job in jobs:
        job.result()


def plain(tensor: Tensor) -> Tensor:
    """In a type that compiled code knows."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def memory_of(tensor: Tensor) -> Any:
    """The memory behind a tensor as one line: with strides beside it one compiled form serves every layout."""
    length = 1 + sum(
        (size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True)
    )
    return tensor.as_strided((length,), (1,)).numpy()
