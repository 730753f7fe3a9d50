"""Where in a tensor the batch and the channels lie, worked out from the operations that made it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cofire.network.operations import Extent, Operation

_LAST = frozenset(
    ["linear", "layer_norm", "native_layer_norm", "rms_norm", "embedding", "addmm", "lstm", "gru"]
)
_PRODUCT = frozenset(
    ["matmul", "mm", "bmm", "rmatmul", "einsum", "baddbmm", "scaled_dot_product_attention"]
)
_SECOND = frozenset(
    ["batch_norm", "group_norm", "instance_norm", "native_group_norm", "convolution"]
)
_RESHAPING = frozenset(["view", "reshape", "flatten", "unflatten", "view_as", "reshape_as"])
_REORDERING = frozenset(["permute", "transpose", "movedim", "t", "T", "mT"])
_REDUCING = frozenset(["mean", "sum", "amax", "amin", "prod", "var", "std"])


@dataclass(frozen=True)
class Fold:
    """How the batch lies in an axis: `before * batch * after` entries, the batch in the middle.

    Windows of an image lie next to their image, so there `after` is the number of windows.
    """

    axis: int
    before: int = 1
    after: int = 1

    @property
    def plain(self) -> bool:
        """Whether the tensor has its batch in front already."""
        return self == Fold(0)


@dataclass(frozen=True)
class Layout:
    """The shape of one sample, the axis of its channels, and the way to bring the batch to the front."""

    shape: tuple[int, ...]
    channel_axis: int
    fold: Fold

    def batch_first(self, tensor: Tensor, batch: int) -> Tensor:
        """The same tensor as (batch, *shape), as a view where strides allow it.

        Args:
            tensor: An activation as the model computed it.
            batch: The number of samples.
        """
        fold = self.fold
        if fold.plain:
            return tensor
        axis = fold.axis
        sizes = tensor.shape
        split = tensor.reshape(*sizes[:axis], fold.before, batch, fold.after, *sizes[axis + 1 :])
        return split.movedim(axis + 1, 0).reshape(batch, *self.shape)


def layout_of(operation: Operation, batch: Extent) -> Layout | str:
    """The layout of an activation, or the reason why it cannot be told.

    Args:
        operation: The operation whose result is the activation.
        batch: The batch size at the two probed sizes.
    """
    sizes = operation.sizes
    if sizes is None:
        return "its result is not a single tensor"
    fold = _fold_of(operation, batch, {})
    if isinstance(fold, str):
        return fold
    if not all(size.constant for axis, size in enumerate(sizes) if axis != fold.axis):
        return f"its shape {_readable(sizes, batch)} depends on more than the batch size"
    if len(sizes) < 2 and fold.before * fold.after == 1:
        return "it holds one number for each sample and no axis of neurons"
    channels = _channel_axis(operation, 0)
    parts = [fold.before, fold.after] if fold.axis == 0 or fold.before * fold.after > 1 else []
    parts = [part for part in parts if part > 1]
    before = [size.small for size in sizes[: fold.axis]]
    after = [size.small for size in sizes[fold.axis + 1 :]]
    shape = (*before, *parts, *after)
    if channels == fold.axis:
        if not parts:
            return "its batch axis is also the axis of its features"
        position = len(before) + len(parts) - 1
    elif channels < fold.axis:
        position = channels
    else:
        position = channels - 1 + len(parts)
    return Layout(shape, position, fold)


def _readable(sizes: Sequence[Extent], batch: Extent) -> str:
    def word(size: Extent) -> str:
        if size.constant:
            return str(size.small)
        times = size.per_sample(batch)
        return "?" if times is None else "batch" if times == 1 else f"{times}*batch"

    return f"({', '.join(word(size) for size in sizes)})"


def _fold_of(operation: Operation, batch: Extent, known: dict[Operation, Fold | str]) -> Fold | str:
    if operation not in known:
        known[operation] = "its batch axis cannot be told"
        known[operation] = _find_fold(operation, batch, known)
    return known[operation]


def _find_fold(
    operation: Operation, batch: Extent, known: dict[Operation, Fold | str]
) -> Fold | str:
    sizes = operation.sizes or ()
    growing = [axis for axis, size in enumerate(sizes) if not size.constant]
    if len(growing) != 1:
        reason = "no axis of" if not growing else "more than one axis of"
        return f"{reason} its shape {_readable(sizes, batch)} grows with the batch"
    axis = growing[0]
    times = sizes[axis].per_sample(batch)
    if times is None:
        return f"its shape {_readable(sizes, batch)} is no multiple of the batch size"
    if times == 1:
        return Fold(axis)
    # The axis holds the batch and something else: which of the two is the outer one shows where
    # they met.
    for operand in operation.operands():
        if operand.sizes is None or all(size.constant for size in operand.sizes):
            continue
        found = _fold_of(operand, batch, known)
        if isinstance(found, str):
            continue
        if operation.name in _RESHAPING:
            return _fold_after_reshape(operand, found, operation, axis, times)
        if found.before * found.after == times:
            return Fold(axis, found.before, found.after)
    return f"how the batch lies in its shape {_readable(sizes, batch)} cannot be told"


def _fold_after_reshape(
    source: Operation, fold: Fold, target: Operation, axis: int, times: int
) -> Fold | str:
    """Row-major order settles it: the entries in front of the batch stay in front."""
    if source.sizes is None or target.sizes is None:
        return "its shape is not known"
    outer = math.prod(size.small for size in source.sizes[: fold.axis]) * fold.before
    front = math.prod(size.small for size in target.sizes[:axis])
    before, rest = divmod(outer, front)
    if rest or before == 0 or times % before:
        return "a reshape splits its batch axis"
    return Fold(axis, before, times // before)


def _channel_axis(operation: Operation, depth: int) -> int:
    """The axis of the features, walking back to the operation that made them."""
    rank = len(operation.sizes) if operation.sizes is not None else 0
    name = operation.name
    if name in _SECOND or name.startswith(("conv", "native_batch_norm")):
        return 1
    if name in _LAST or name in _PRODUCT:
        return rank - 1
    source = _feature_source(operation)
    if source is None or depth > 200:
        # Images and plain vectors carry their features next to the batch, sequences at the end.
        return 1 if rank in (2, 4, 5) or (rank == 3 and operation.role == "input") else rank - 1
    return _map_axis(operation, source, _channel_axis(source, depth + 1))


def _feature_source(operation: Operation) -> Operation | None:
    if operation.role != "operation":
        return None
    rank = len(operation.sizes) if operation.sizes is not None else None
    operands = [
        operand for operand in operation.operands() if operand.role in ("operation", "input")
    ]
    if operation.name in _RESHAPING | _REORDERING | _REDUCING or rank is None:
        return operands[0] if operands else None
    same = [operand for operand in operands if operand.sizes is None or len(operand.sizes) == rank]
    # A gate of shape (batch, channels, 1, 1) says as much as the map it scales, a scalar says
    # nothing.
    return next(iter(same or operands), None)


def _map_axis(operation: Operation, source: Operation, axis: int) -> int:
    if operation.sizes is None or source.sizes is None:
        return axis
    rank, name = len(source.sizes), operation.name
    if name in _REORDERING:
        return _reordered(operation, rank, axis)
    if name in _RESHAPING:
        return _reshaped(source.sizes, operation.sizes, axis)
    if name == "squeeze" and len(operation.sizes) < rank:
        return _squeezed(operation, source.sizes, axis)
    if name in ("select", "unsqueeze", *_REDUCING):
        places = operation.argument(1, "dim")
        if isinstance(places, Operation) or places is None:
            return min(axis, len(operation.sizes) - 1)
        # Sizes tell whether a reduced axis was kept.
        step = len(operation.sizes) - rank
        length = max(rank, len(operation.sizes))
        for place in sorted(p % length for p in ([places] if isinstance(places, int) else places)):
            if step > 0 and place <= axis:
                axis += 1
            elif step < 0 and place < axis:
                axis -= 1
        return max(0, min(axis, len(operation.sizes) - 1))
    return axis + max(0, len(operation.sizes) - rank)


def _reordered(operation: Operation, rank: int, axis: int) -> int:
    if operation.name in ("t", "T"):
        return rank - 1 - axis
    if operation.name == "mT":
        return {rank - 1: rank - 2, rank - 2: rank - 1}.get(axis, axis)
    if operation.name == "permute":
        given = operation.argument(1, "dims")
        order: list[int] = list(operation.args[1:]) if isinstance(given, int) else list(given)
        return [place % rank for place in order].index(axis)
    if operation.name == "transpose":
        one: int = operation.argument(1, "dim0") % rank
        two: int = operation.argument(2, "dim1") % rank
        return {one: two, two: one}.get(axis, axis)
    source, target = operation.argument(1, "source"), operation.argument(2, "destination")
    sources = [p % rank for p in ([source] if isinstance(source, int) else source)]
    targets = [p % rank for p in ([target] if isinstance(target, int) else target)]
    left = iter(place for place in range(rank) if place not in sources)
    order = [
        sources[targets.index(place)] if place in targets else next(left) for place in range(rank)
    ]
    return order.index(axis)


def _squeezed(operation: Operation, sizes: Sequence[Extent], axis: int) -> int:
    places = operation.argument(1, "dim")
    rank = len(sizes)
    if places is None:
        gone = {place for place, size in enumerate(sizes) if size == (1, 1)}
    else:
        gone = {place % rank for place in ([places] if isinstance(places, int) else places)}
    return axis - sum(place < axis for place in gone)


def _reshaped(before: Sequence[Extent], after: Sequence[Extent], axis: int) -> int:
    """The axis that holds the features after a reshape: the last of the axes they were spread over."""
    inner = math.prod(size.small for size in before[axis + 1 :])
    count = 1
    for place in range(len(after) - 1, -1, -1):
        count *= after[place].small
        if count > inner:
            return place
    return 0
