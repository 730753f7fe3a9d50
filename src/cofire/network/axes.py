"""Where in a tensor the batch and the channels lie, and that no sample depends on others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from cofire.errors import ExportError
from cofire.network.operations import Extent, Operation, users_of
from cofire.network.operators import ACTIVATION_NAMES, named
from cofire.network.reading import where

_LAST = named(
    "linear", "layer_norm", "embedding", "recurrent", "product", "contraction", "attention"
)
_SECOND = named("convolution", "batch_norm", "group_norm")
_RESHAPING = named("reshape")
_REORDERING = named("reorder")
_REDUCING = named("mean", "total", "largest", "reduction")
_BY_AXIS = named("softmax", "scan")
_VECTOR_NORMS = named("vector_norm")
_BATCH_NORMS = named("batch_norm")
_SWITCHES = ("train", "training")


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

    def batch_inside(self, tensor: Tensor) -> Tensor:
        """The way back: a tensor (batch, *shape) as the model has it.

        Example:
            >>> layout = Layout((3, 4, 16), 2, Fold(1, after=4))
            >>> layout.batch_inside(torch.zeros(2, 3, 4, 16)).shape
            torch.Size([3, 8, 16])
        """
        fold, batch = self.fold, tensor.shape[0]
        if fold.plain:
            return tensor
        front, parts = self.shape[: fold.axis], _parts(fold)
        rest = self.shape[fold.axis + len(parts) :]
        split = tensor.reshape(batch, *front, fold.before, fold.after, *rest)
        size = fold.before * batch * fold.after
        return split.movedim(0, len(front) + 1).reshape(*front, size, *rest)


def folds_of(operations: Sequence[Operation], batch: Extent) -> dict[str, Fold]:
    """How the batch lies in the result of each node of a graph, by name, where that can be told."""
    known: dict[Operation, Fold | str] = {}
    found = {one.node.name: _fold_of(one, batch, known) for one in operations if one.node}
    return {name: fold for name, fold in found.items() if isinstance(fold, Fold)}


def sample_shape(sizes: Sequence[int], fold: Fold) -> tuple[int, ...]:
    """The shape of one sample of a tensor, of which the size of the axis with the batch does not matter.

    Example:
        >>> sample_shape((3, 8, 16), Fold(1, after=4)), sample_shape((3, 2, 16), Fold(1))
        ((3, 4, 16), (3, 16))
    """
    return (*sizes[: fold.axis], *_parts(fold), *sizes[fold.axis + 1 :])


def _parts(fold: Fold) -> list[int]:
    """The axes that take the place of the one with the batch."""
    return [part for part in (fold.before, fold.after) if part > 1]


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
    parts = _parts(fold)
    shape = sample_shape([size.small for size in sizes], fold)
    if channels == fold.axis:
        if not parts:
            return "its batch axis is also the axis of its features"
        position = fold.axis + len(parts) - 1
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
    for operand in _whole_operands(operation):
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


def _whole_operands(operation: Operation) -> Iterator[Operation]:
    """The operands; of a part of a split, of which there are several, what was split."""
    for operand in operation.operands():
        yield from operand.operands() if operand.sizes is None else (operand,)


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
    if name in _SECOND:
        return 1
    if name in _LAST:
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
        return reordered(operation, rank, axis)
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


def reordered(operation: Operation, rank: int, axis: int) -> int:
    """Where an axis is after an operator that changes their order."""
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


def draws_numbers(node: fx.Node) -> bool:
    """Whether a node of a graph draws random numbers, dropout that is switched off aside."""
    target = node.target
    if (
        not isinstance(target, torch._ops.OpOverload)
        or torch.Tag.nondeterministic_seeded not in target.tags
    ):
        return False
    given = _arguments(node)
    if any(given.get(name) is False for name in _SWITCHES):
        return False
    # Attention and dropout with a share of nothing are what they are without it.
    return not any(name in given and given[name] == 0.0 for name in ("dropout_p", "p"))


def refuse_chance_and_batch(
    operations: Sequence[Operation], result: Operation, batch: Extent, *, saved: bool = False
) -> None:
    """Refuse a model whose result or activations depend on chance, or on the other samples of the batch.

    Dropout that is always on and batch norm without running statistics are the usual causes.
    Statistics of what does not grow with the batch, such as of a convolution's own weights, are no
    matter.

    Args:
        operations: Everything the model computes, in order of execution.
        result: The one that gives the logits.
        batch: The batch size at the two probed sizes.
        saved: Whether the model was read from a program that somebody exported, perhaps in training
            mode.

    Raises:
        ExportError: It does; the message names the line of the model's code.
    """
    users = users_of(operations)
    leading: set[Operation] = set()
    for operation in reversed(operations):
        seen = operation is result or operation.name in ACTIVATION_NAMES
        if seen or any(user in leading for user in users[operation]):
            leading.add(operation)
    exported = "call model.eval() before torch.export.export, and " if saved else ""
    for operation in operations:
        if operation not in leading or operation.role != "operation":
            continue
        if operation.draws or (operation.node is not None and draws_numbers(operation.node)):
            raise ExportError(
                f"{operation.name} at {where(operation)}, which draws random numbers in evaluation mode too",
                "a model that gives the same for the same sample",
                exported + _without_chance(operation),
            )
        if _mixes_samples(operation, batch):
            raise ExportError(
                f"{operation.name} at {where(operation)}, which mixes the samples of a batch in evaluation mode too",
                "a model whose result for one sample does not depend on the others in its batch",
                exported + _without_batch(operation),
            )


def _without_chance(operation: Operation) -> str:
    if "dropout" in operation.name:
        return (
            "pass training=self.training where the model drops, F.dropout(x, p, training=self.training) say, or call "
            "a torch.nn.Dropout there"
        )
    if "attention" in operation.name:
        return "pass dropout_p=self.p if self.training else 0.0"
    return "draw there only if self.training is true"


def _without_batch(operation: Operation) -> str:
    if operation.name in _BATCH_NORMS:
        return (
            "build a batch norm with track_running_stats=True and let it see training data in training mode, and pass "
            "training=self.training where the model calls F.batch_norm"
        )
    return "keep the batch's axis, the first of the input, out of the axes that are summed up there"


def _mixes_samples(operation: Operation, batch: Extent) -> bool:
    """Whether one number of the result is made from several samples."""
    name, given = operation.name, _given(operation)
    value = given(("input", "self", "query"), 0)
    if not isinstance(value, Operation) or value.sizes is None:
        return False
    axes: Sequence[int]
    rank = len(value.sizes)
    if name in _BATCH_NORMS:
        if given(("training",), _training_at(operation)) is not True:
            return False
        axes = [axis for axis in range(rank) if axis != 1]
    elif name in _BY_AXIS:
        dim = given(("dim",), 1)
        # What torch.nn.functional.softmax takes where no axis is given.
        axes = [dim if isinstance(dim, int) else 0 if rank in (0, 1, 3) else 1]
    elif name in _REDUCING or name in _VECTOR_NORMS:
        dim = given(("dim", "axis"), 2 if name in _VECTOR_NORMS else 1)
        axes = (
            [dim]
            if isinstance(dim, int)
            else list(dim)
            if isinstance(dim, (tuple, list)) and dim
            else range(rank)
        )
        if isinstance(dim, Operation):  # The larger of two tensors, place by place.
            return False
    elif name in named("product"):
        axes = [-1]
    elif name in named("attention"):
        value = given(("key",), 1)
        axes = [-2]
    else:
        return False
    return isinstance(value, Operation) and any(_grows(value, axis, batch) for axis in axes)


def _training_at(operation: Operation) -> int:
    # Where no statistics are kept the operator takes none.
    target = operation.node.target if operation.node is not None else None
    return 3 if str(getattr(target, "_overloadname", "")) == "no_stats" else 5


def _grows(value: Operation, axis: int, batch: Extent) -> bool:
    sizes = value.sizes or ()
    if not isinstance(axis, int) or not -len(sizes) <= axis < len(sizes):
        return False
    return not sizes[axis].constant and sizes[axis].per_sample(batch) is not None


def _given(operation: Operation) -> Any:
    """A look-up of arguments: by the operator's own names where it has a schema, else by place."""
    target = operation.node.target if operation.node is not None else None
    places: Mapping[str, int] = {}
    defaults: Mapping[str, Any] = {}
    if isinstance(target, torch._ops.OpOverload):
        places = {argument.name: place for place, argument in enumerate(target._schema.arguments)}
        defaults = {argument.name: argument.default_value for argument in target._schema.arguments}

    def look_up(names: Sequence[str], place: int) -> Any:
        for name in names:
            if name in operation.kwargs:
                return operation.kwargs[name]
        at = next((places[name] for name in names if name in places), None if places else place)
        if at is not None and at < len(operation.args):
            return operation.args[at]
        return next((defaults[name] for name in names if name in defaults), None)

    return look_up


def _arguments(node: fx.Node) -> dict[str, Any]:
    assert isinstance(node.target, torch._ops.OpOverload)
    arguments = node.target._schema.arguments
    given = dict(zip((argument.name for argument in arguments), node.args, strict=False))
    return {
        **{argument.name: argument.default_value for argument in arguments},
        **given,
        **node.kwargs,
    }
