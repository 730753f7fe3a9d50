"""What a model computes, as a list of operations: the form that both ways of reading a model share.

`torch.export` gives a graph of PyTorch's own operators, intercepted calls give a list of function
calls. Both become operations with the same names, so that what counts as an activation layer is
decided in one place.
"""

from __future__ import annotations

import keyword
import math
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.fx as fx

Role = Literal["operation", "parameter", "buffer", "constant", "input"]

batches_probed = (2, 3)
"""The two batch sizes at which sizes are known. 1 is left out: PyTorch treats it as a constant."""


_SAME_FUNCTION_NAMES = """
mul: rmul imul multiply
add: radd iadd
sub: isub subtract
div: truediv itruediv true_divide divide
clamp: clip
sigmoid: special_expit expit
erf: special_erf
abs: absolute
pow: ipow
transpose: swapaxes swapdims
movedim: moveaxis
cat: concat concatenate
view: unsafe_view
atan: arctan
"""
_SAME_FUNCTION = {
    other: name
    for name, _, others in (row.partition(":") for row in _SAME_FUNCTION_NAMES.split("\n"))
    for other in others.split()
}
_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_STDLIB = sysconfig.get_path("stdlib")


class Extent(NamedTuple):
    """The size of one axis at the two probed batch sizes.

    Example:
        >>> Extent(8, 12).per_sample(Extent(2, 3))
        4
    """

    small: int
    large: int

    @property
    def constant(self) -> bool:
        """Whether the size is known and does not depend on the batch."""
        return self.small == self.large

    def per_sample(self, batch: Extent) -> int | None:
        """How many times the batch size this axis is long, or None if it is no multiple of it."""
        times, rest = divmod(self.small, batch.small)
        return times if rest == 0 and times > 0 and times * batch.large == self.large else None


UNKNOWN = Extent(-1, -2)


"""A size that depends on the data, so that no batch size settles it."""


@dataclass(eq=False, slots=True)
class Operation:
    """One operator call, or one tensor that goes in: a parameter, a buffer, a constant, an input.

    Attributes:
        name: The function's bare name, the same for every way to call it ("relu", "mul", "conv2d").
        args: Its positional arguments, with operations in the place of tensors.
        kwargs: Its keyword arguments, likewise.
        path: The module path in which the call happened.
        module: The class of that module, with its Python module in front.
        sizes: The extents of the result's axes; None where the result is not one tensor.
        values: How many numbers the largest tensor of the result has, where it is several.
        waits: Operations that changed this one's operands in place, through another view of them.
        role: What it is.
        node: Where it came from an exported graph, the node.
        key: Where it came from an intercepted call, the path, the name and which such call it was.
        floating: Whether the result holds floating-point numbers.
        draws: Whether it draws random numbers.
        place: Where it came from an intercepted call, the file and the line of the user's code, if
            any.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    module: str = ""
    sizes: tuple[Extent, ...] | None = None
    values: Extent | None = None
    waits: tuple[Operation, ...] = ()
    role: Role = "operation"
    node: fx.Node | None = None
    key: tuple[str, str, int] | None = None
    floating: bool = True
    draws: bool = False
    place: tuple[str, int] | None = None

    def operands(self) -> Iterator[Operation]:
        """The operations whose results this one takes, in the order of the arguments."""
        yield from _operations_in(self.args)
        yield from _operations_in(tuple(self.kwargs.values()))

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, whether it was given by position or by name."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    @property
    def first(self) -> Operation | None:
        """The first operand, if there is one."""
        return next(self.operands(), None)


def _operations_in(values: Sequence[Any]) -> Iterator[Operation]:
    for value in values:
        if isinstance(value, Operation):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _operations_in(value)


def most_values(operations: Sequence[Operation]) -> int:
    """How many numbers the largest result has for each sample; what has one size for all batches does not count.

    Example:
        >>> weight = Operation("t", sizes=(Extent(99, 99),))
        >>> most_values([weight, Operation("linear", (weight,), sizes=(Extent(2, 3), Extent(5, 5)))])
        5
    """
    small, large = batches_probed
    counts = [one.values for one in operations if one.values]
    counts += [
        Extent(math.prod(s.small for s in one.sizes), math.prod(s.large for s in one.sizes))
        for one in operations
        if one.sizes and UNKNOWN not in one.sizes
    ]
    return max(((count.large - count.small) // (large - small) for count in counts), default=0)


def users_of(operations: Sequence[Operation]) -> dict[Operation, list[Operation]]:
    """For each operation those that depend on it, be it only because it changed their operand in place."""
    users: dict[Operation, list[Operation]] = {operation: [] for operation in operations}
    for operation in operations:
        for operand in {*operation.operands(), *operation.waits}:
            users[operand].append(operation)
    return users


def bare_name(name: str) -> str:
    """One name for the in-place, reflected and private spellings of the same function.

    Example:
        >>> bare_name("relu_"), bare_name("__rmul__"), bare_name("_threshold")
        ('relu', 'mul', 'threshold')
    """
    bare = name.strip("_")
    bare = _SAME_FUNCTION.get(bare, bare)
    return f"{bare}_" if keyword.iskeyword(bare) else bare


def is_users(filename: str) -> bool:
    """Whether a file holds code of the user, not of PyTorch, of Python or of this package."""
    if filename.startswith((_TORCH, _HERE, "<")) or not Path(filename).exists():
        return False
    return not filename.startswith(_STDLIB) or "site-packages" in filename


def is_symbolic(size: Any) -> bool:
    """Whether a size depends on the batch."""
    return isinstance(size, torch.SymInt) and not size.node.expr.is_Integer
