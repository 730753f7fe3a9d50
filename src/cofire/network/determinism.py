"""What a network computes for a sample depends on that sample alone: neither on chance nor on its batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from cofire.errors import ExportError
from cofire.network.operations import Extent, Operation, users_of
from cofire.network.sources import where
from cofire.network.vocabulary import ACTIVATION_NAMES

_NORMS = frozenset(
    [
        "batch_norm",
        "native_batch_norm",
        "native_batch_norm_legit",
        "native_batch_norm_legit_functional",
    ]
)
_BY_AXIS = frozenset(["softmax", "log_softmax", "softmin", "cumsum", "cumprod", "logcumsumexp"])
_REDUCING_NAMES = """
mean sum amax amin prod var std var_mean std_mean logsumexp nanmean nansum median max min argmax argmin all any
"""
_REDUCING = frozenset(_REDUCING_NAMES.split())
_VECTOR_NORMS = frozenset(["norm", "linalg_norm", "linalg_vector_norm", "vector_norm"])
_PRODUCTS = frozenset(["matmul", "mm", "bmm", "rmatmul"])
_SWITCHES = ("train", "training")


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
    if operation.name in _NORMS:
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
    if name in _NORMS:
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
    elif name in _PRODUCTS:
        axes = [-1]
    elif name == "scaled_dot_product_attention":
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
