"""What counts as a tensor of numbers: dense, with its values here, in a type that every operation takes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cofire.errors import CofireError, DataError, NonFiniteError
from cofire.marks import Mark, Refused, Sizes

_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
"""Types that few operations of torch take, and those that hold the same numbers."""
_LARGEST = 1 << 36
"""Bytes above which a sparse tensor is not spread out: 64 GiB, more than an activation matrix on one machine."""


def dense(values: Any, what: str) -> Tensor:
    """The values as a dense tensor without gradient that shares memory where it can.

    Args:
        values: A tensor, an array (of any strides and byte order), a number, or nested lists of
            numbers.
        what: Their name, for the message.

    Raises:
        DataError: They are no numbers, or are not here: a tensor on the meta device, a masked
            array.

    Example:
        >>> dense(np.arange(4)[::-1], "labels")
        tensor([3, 2, 1, 0])
        >>> dense([[1, 2], [3, 4]], "an adjacency").shape
        torch.Size([2, 2])
        >>> dense(0.1, "a reward").dtype
        torch.float64
    """
    if isinstance(values, np.ndarray | np.generic):
        values = _plain(values, what)
    elif isinstance(values, list | tuple):
        _check_listed(values, what)
        try:
            # NumPy keeps numbers of Python in double precision, and refuses ragged lists.
            values = _plain(np.asarray(values), what)
        except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
            raise _no_numbers(values, what, error) from error
    if not isinstance(values, Tensor):
        try:
            # As NumPy does, and not in torch's default type.
            values = torch.as_tensor(values, dtype=torch.double if type(values) is float else None)
        except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
            raise _no_numbers(values, what, error) from error
    return _ordinary(values, what)


def _no_numbers(values: Any, what: str, error: Exception) -> DataError:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(
        f"{what} of type {type(values).__name__}: {said}",
        "a tensor or array of numbers",
        "convert it: torch.as_tensor(numpy.asarray(values, dtype=float))",
    )


class Values(Mark):
    """A tensor or array of real numbers, dense and here (see `cofire.tensors.dense`).

    Args:
        axes: Their names, such as "images height width": an axis with a name has one size
            throughout a call. A number is that size, "*" any, "..." any number of axes. Empty for
            any shape.
        kind: "real", "floating", "whole", or "flags" for bool.
        finite: Whether NaN and infinite numbers are refused.
        least: The smallest that a value may be.
        most: The largest.
        error: What kind of error a tensor of the wrong shape or type is.
        array: Whether the function gets a NumPy array.
        lists: Whether nested lists of numbers are taken.
        remedy: What to do about another shape, kind or range, where that is known.
    """

    def __init__(
        self,
        axes: str = "",
        kind: Literal["real", "floating", "whole", "flags"] = "real",
        *,
        finite: bool = True,
        least: float | None = None,
        most: float | None = None,
        error: type[CofireError] = DataError,
        array: bool = False,
        lists: bool = True,
        remedy: str = "",
    ) -> None:
        words = {"floating": "floating-point numbers", "flags": "True and False"}
        expected = f"a tensor or array of {words.get(kind, f'{kind} numbers')}"
        self._shape = axes.replace(" ", ", ")
        super().__init__(expected + (f", ({self._shape})" if axes else ""), lambda value: value)
        self._axes, self._kind, self._finite = axes.split(), kind, finite
        self._error, self._array, self._lists = error, array, lists
        self._least, self._most, self._remedy = least, most, remedy

    def _take(self, value: Any, sizes: Sizes) -> Any:
        if isinstance(value, str | bytes | dict | set | frozenset) or value is None:
            raise Refused(self.expected, error=self._error)
        if isinstance(value, list | tuple) and not self._lists:
            raise self._refused("that is a list", "pass torch.as_tensor(values)")
        try:
            tensor = dense(value, "{name}")
        except DataError as error:
            raise Refused(error.expected, error.remedy, error.given, self._error) from error
        self._check_kind(tensor)
        if self._axes:
            self._check_shape(tensor, sizes)
        if self._finite and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            at = tuple((~tensor.isfinite()).nonzero()[0].tolist())
            raise Refused(
                "finite numbers",
                "find where it comes from, or leave it out",
                f"NaN or infinite {{name}}: {float(tensor[at])} at {at}",
                NonFiniteError,
            )
        if tensor.numel() and (self._least is not None or self._most is not None):
            self._check_range(tensor)
        if self._array and tensor.dtype == torch.bfloat16:  # which NumPy does not have
            tensor = tensor.float()
        return tensor.cpu().numpy() if self._array else tensor

    def _refused(self, what: str, remedy: str, expected: str = "") -> Refused:
        return Refused(expected or self.expected, remedy, f"{{name}} {what}", self._error)

    def _check_kind(self, tensor: Tensor) -> None:
        floating, flags = tensor.is_floating_point(), tensor.dtype == torch.bool
        fits, made = {
            "real": (True, ".real"),
            "floating": (floating, ".float()"),
            "whole": (not floating and not flags, ".long()"),
            "flags": (flags, ".bool()"),
        }[self._kind]
        if tensor.is_complex() or (not fits and tensor.numel()):
            known = "" if tensor.is_complex() else self._remedy
            raise self._refused(f"of type {tensor.dtype}", known or f"pass {{name}}{made}")

    def _check_range(self, tensor: Tensor) -> None:
        low, high = (float(end) for end in (tensor.min(), tensor.max()))
        least, most = self._least, self._most
        if (least is not None and low < least) or (most is not None and high > most):
            bounds = [f"from {least:g}"] if least is not None else []
            bounds += [f"to {most:g}"] if most is not None else ["up"]
            told = f"with values from {low:g} to {high:g}"
            ends = [f"min={least:g}"] if least is not None else []
            ends += [f"max={most:g}"] if most is not None else []
            remedy = f"clip them: {{name}}.clamp({', '.join(ends)})"
            raise self._refused(told, self._remedy or remedy, f"values {' '.join(bounds)}")

    def _check_shape(self, tensor: Tensor, sizes: Sizes) -> None:
        names, told = list(self._axes), f"of shape {tuple(tensor.shape)}"
        if "..." in names:
            at = names.index("...")
            names[at : at + 1] = ["*"] * (tensor.ndim - len(names) + 1)
        if tensor.ndim != len(names):
            raise self._refused(told, self._remedy or "see the shapes in the documentation")
        for name, size in zip(names, tensor.shape, strict=True):
            if name == "*":
                continue
            wanted = int(name) if name.isdigit() else sizes.setdefault(name, size)
            if wanted != size:
                expected = f"({self._shape}) with {wanted} {'' if name.isdigit() else name}"
                raise self._refused(told, "pass arguments that belong together", expected.rstrip())


def _ordinary(values: Tensor, what: str) -> Tensor:
    values = values.detach() if values.requires_grad else values
    if type(values) is torch.nn.Parameter or type(values).__module__.startswith("torchvision"):
        values = values.as_subclass(Tensor)
    sparse = not values.is_nested and values.layout != torch.strided
    refusals = [
        (
            values.is_nested,
            "as a nested tensor",
            "one dense tensor",
            "pad it: torch.nested.to_padded_tensor",
        ),
        (
            values.is_quantized,
            f"of type {values.dtype}",
            "real numbers",
            "pass the tensor's .dequantize()",
        ),
        (
            values.device.type == "meta",
            "on the device meta",
            "a tensor that has values",
            "compute it on a real device, such as 'cpu'",
        ),
        (
            sparse and values.numel() * max(values.element_size(), 4) > _LARGEST,
            "that is sparse and large",
            f"one that takes at most {_LARGEST >> 30} GiB when it is spread out",
            "pass the rows and columns that are in use",
        ),
    ]
    for refused, given, expected, remedy in refusals:
        if refused:
            raise DataError(f"{what} {given}", expected, remedy)
    if sparse:
        try:
            values = values.to_dense()
        except (RuntimeError, NotImplementedError) as error:
            raise DataError(
                f"{what} of layout {values.layout}, {values.dtype}",
                "a dense tensor",
                "make it of float32 values, or dense from the start",
            ) from error
    if values.dtype in _WIDER:
        wider = values.to(_WIDER[values.dtype])
        if values.dtype == torch.uint64 and bool((wider < 0).any()):
            raise DataError(
                f"{what} of type uint64 from 2**63 up", "numbers below 2**63", "scale them down"
            )
        return wider
    if values.is_floating_point() and values.element_size() == 1:
        return values.float()  # eight bits: torch converts them, and computes nothing with them
    return values.resolve_conj().resolve_neg()


def _plain(values: np.ndarray[Any, Any] | np.generic, what: str) -> Tensor:
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            raise DataError(
                f"{what} with masked entries",
                "an array without gaps",
                "pass the array's .filled(0)",
            )
        values = values.data
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise DataError(
            f"{what}, an array of type {array.dtype}",
            "an array of numbers",
            "convert it, such as with .astype(float)",
        )
    if array.dtype.itemsize > 8 and array.dtype.kind == "f":
        array = array.astype(np.float64)
    elif array.dtype.itemsize > 16:
        array = array.astype(np.complex128)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if (
        any(stride < 0 or stride % array.itemsize for stride in array.strides)
        or not array.flags.writeable
    ):
        array = array.copy()
    return (
        torch.from_numpy(array)
        if array.ndim
        else torch.tensor(array.item(), dtype=torch.from_numpy(array[None]).dtype)
    )


def _check_listed(values: Any, what: str) -> None:
    """Lists that hold tensors are no lists of numbers: torch would take those of one element for numbers."""
    first = values
    for _ in range(64):
        if not isinstance(first, list | tuple) or not first:
            break
        first = first[0]
    else:
        raise DataError(
            f"{what}, lists nested more than 64 deep",
            "a tensor or array of numbers",
            "pass an array",
        )
    if isinstance(first, Tensor | np.ndarray) and first.ndim:
        raise DataError(
            f"{what}, a {type(values).__name__} of {type(first).__name__}s",
            "one tensor or array",
            "join them: torch.stack(values)",
        )
