"""Which functions are activation functions, also where a model spells one out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cofire.network.operations import Operation

_SIGNED_NAMES = """
gelu silu hardswish elu selu celu leaky_relu prelu rrelu mish softsign tanh log_sigmoid hardshrink softshrink
tanhshrink glu quick_gelu
"""
_SIGNED_PLAIN = frozenset(_SIGNED_NAMES.split())
_PLAIN = (_SIGNED_PLAIN - {"quick_gelu"}) | {"relu", "relu6", "softplus", "sigmoid", "hardsigmoid"}
_BOUNDED = frozenset(("clamp", "clamp_min", "hardtanh", "threshold"))

ACTIVATION_NAMES = _PLAIN | _BOUNDED
"""Names of functions that are, or with the right arguments can be, activation functions."""

GATE_KINDS = frozenset(("sigmoid", "hardsigmoid", "tanh"))
"""Kinds that also serve to scale something else, as in squeeze-and-excitation."""

_SCALING = frozenset(("mul", "div"))
_AFFINE = frozenset(("add", "sub", "mul", "div", "rsub"))
_POLYNOMIAL = _AFFINE | {"pow"}


def kind_of(operation: Operation) -> str | None:
    """The kind of activation function that a single call is, or None.

    A clamp from 0 up is a ReLU, and one to [0, 6] a ReLU6; other clamps only keep numbers in range.

    Example:
        >>> kind_of(Operation("clamp", (Operation("x"), 0, 6))), kind_of(Operation("softmax"))
        ('relu6', None)
    """
    name = operation.name
    if operation.role != "operation" or name not in ACTIVATION_NAMES:
        return None
    if name in ("clamp", "clamp_min"):
        low = operation.argument(1, "min")
        high = operation.argument(2, "max") if name == "clamp" else None
        if isinstance(low, Operation) or low != 0:
            return None
        if high is None:
            return "relu" if operation.floating else None
        return "relu6" if not isinstance(high, Operation) and high == 6 else None
    if name == "hardtanh":
        low, high = operation.argument(1, "min_val", -1.0), operation.argument(2, "max_val", 1.0)
        return "relu6" if (low, high) == (0, 6) else "hardtanh"
    if name == "threshold":
        bound, value = operation.argument(1, "threshold"), operation.argument(2, "value")
        return "relu" if (bound, value) == (0, 0) else "threshold"
    return name


def is_signed(operation: Operation, kind: str) -> bool:
    """Whether an activation function can give values below zero."""
    if kind == "hardtanh":
        return bool(operation.argument(1, "min_val", -1.0) < 0)
    if kind == "threshold":
        return bool(operation.argument(1, "threshold") < 0 or operation.argument(2, "value") < 0)
    return kind in _SIGNED_PLAIN


def activations_in(
    operations: Sequence[Operation], users: Mapping[Operation, Sequence[Operation]]
) -> dict[Operation, str]:
    """Every activation function among the operations, with its kind, in order of execution.

    A function written out by hand, such as `x * sigmoid(x)`, counts once, where its value is
    complete.
    """
    spelled: dict[Operation, str] = {}
    inside: dict[Operation, Operation] = {}
    for operation in operations:
        found = _spelled_out(operation)
        if found is None:
            continue
        kind, parts = found
        value = _with_trailing_half(operation, users) if kind == "gelu" else operation
        spelled[value] = kind
        inside.update(dict.fromkeys(parts, operation))
    result: dict[Operation, str] = {}
    for operation in operations:
        named = spelled.get(operation) or kind_of(operation)
        if named is not None and not _only_part(operation, inside, users):
            result[operation] = named
    return result


def _only_part(
    operation: Operation,
    inside: Mapping[Operation, Operation],
    users: Mapping[Operation, Sequence[Operation]],
) -> bool:
    """Whether a call serves nothing but the activation function spelled out around it."""
    whole = inside.get(operation)
    if whole is None:
        return False
    pending = [operation]
    while pending:
        for user in users[pending.pop()]:
            if user is whole:
                continue
            if user.name not in _AFFINE and user not in inside:
                return False
            pending.append(user)
    return True


def _spelled_out(operation: Operation) -> tuple[str, list[Operation]] | None:
    """The kind of a hand-written activation function that ends here, and the calls it is made of."""
    if operation.role != "operation":
        return None
    pair = [value for value in operation.args[:2] if isinstance(value, Operation)]
    if len(pair) != 2:
        return None
    left, right = pair
    if operation.name == "mul":
        return _self_gated(left, right) or _self_gated(right, left)
    if operation.name == "sub" and right.name == "tanh" and right.first is left:
        return "tanhshrink", [right]
    if operation.name == "div" and right.name == "add" and _only_operand(right) is not None:
        inner = _only_operand(right)
        if inner is not None and inner.name == "abs" and inner.first is left and 1 in right.args:
            return "softsign", []
    return None


def _self_gated(value: Operation, gate: Operation) -> tuple[str, list[Operation]] | None:
    source = _through(value, _SCALING)
    core = _through(gate, _AFFINE)
    inner = core.first
    if inner is None:
        return None
    if core.name in ("sigmoid", "hardsigmoid") and core is gate and source is value:
        if inner is value:
            return ("silu" if core.name == "sigmoid" else "hardswish"), [core]
        if core.name == "sigmoid" and inner.name == "mul" and _only_operand(inner) is value:
            return "quick_gelu", [core]
        return None
    if core.name == "erf" and core is not gate and _through(inner, _SCALING) is source:
        return "gelu", [core]
    if core.name == "tanh":
        if core is gate and inner.name == "softplus" and inner.first is value:
            return "mish", [core, inner]
        if core is not gate and _is_polynomial(inner, source):
            return "gelu", [core]
    return None


def _only_operand(operation: Operation) -> Operation | None:
    operands = list(operation.operands())
    return operands[0] if len(operands) == 1 and operation.role == "operation" else None


def _through(operation: Operation, names: frozenset[str]) -> Operation:
    """Back through steps that combine one tensor with plain numbers."""
    while operation.name in names and (operand := _only_operand(operation)) is not None:
        operation = operand
    return operation


def _is_polynomial(operation: Operation, source: Operation, most: int = 12) -> bool:
    """Whether a value is made from one tensor and numbers alone, by sums, products and powers."""
    pending = [operation]
    for _ in range(most):
        if not pending:
            return True
        step = pending.pop()
        if step is source:
            continue
        if step.role != "operation" or step.name not in _POLYNOMIAL:
            return False
        pending.extend(step.operands())
    return not pending


def _with_trailing_half(
    operation: Operation, users: Mapping[Operation, Sequence[Operation]]
) -> Operation:
    """The product that completes a GELU whose factor of 0.5 comes last."""
    after = users[operation]
    if len(after) == 1 and after[0].name == "mul" and 0.5 in after[0].args:
        return after[0]
    return operation
