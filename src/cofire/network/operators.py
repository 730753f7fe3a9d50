"""The operators that cofire knows, in one table; activation functions also where a model spells one out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cofire.network.operations import Operation


@dataclass(frozen=True)
class Operator:
    """One operator, by its bare name.

    Attributes:
        name: The same for all its forms ("relu" of `relu_`, `aten.relu.default` and `F.relu`).
        family: What it does.
        traits: What else is said of it: "signed", an activation function with values below zero;
            "gate", one that also serves to scale something else; "bounded", one with the right
            bounds only; "spelled", one that models write out by hand alone; "elementwise", each
            value of the result is made of the one in its place, and grows with it by and large;
            "head", one that can be a classifier's last layer.
        weights: Of an operator with weights, the names of the arguments with what goes in, the
            weights and the bias ("" for none).
    """

    name: str
    family: str
    traits: frozenset[str] = frozenset()
    weights: tuple[str, str, str] | None = None


# Operators of one row are alike in everything: family and traits, then names.
_TABLE = """
activation elementwise: relu relu6 softplus
activation elementwise gate: sigmoid hardsigmoid
activation elementwise gate signed: tanh
activation elementwise signed: gelu silu hardswish elu selu celu leaky_relu prelu rrelu mish softsign log_sigmoid
activation elementwise signed: hardshrink softshrink tanhshrink
activation elementwise bounded: clamp clamp_min hardtanh threshold
activation signed: glu
activation signed spelled: quick_gelu
bound elementwise: clamp_max
rounding elementwise: fake_quantize_per_tensor_affine fake_quantize_per_channel_affine
softmax: softmax log_softmax softmin
convolution: conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d
linear head: linear addmm
product head: mm
product: matmul bmm rmatmul
contraction: einsum baddbmm
attention: scaled_dot_product_attention
embedding: embedding
recurrent: lstm gru
batch_norm: batch_norm native_batch_norm native_batch_norm_legit native_batch_norm_legit_functional
batch_norm: native_batch_norm_legit_no_training cudnn_batch_norm miopen_batch_norm
group_norm: group_norm instance_norm native_group_norm
layer_norm: layer_norm native_layer_norm rms_norm
vector_norm: norm linalg_norm linalg_vector_norm vector_norm
average_pool: avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
max_pool: max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices
max_pool: adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
mean: mean
total: sum
largest: amax max
reduction: amin prod var std var_mean std_mean logsumexp nanmean nansum median min argmax argmin all any
scan: cumsum cumprod logcumsumexp
sum: add sub rsub
scale: mul div
negative: neg
function: abs exp log sqrt rsqrt erf sin cos reciprocal
power: pow square
extreme: maximum minimum
blend: lerp addcmul addcdiv copy fill
choice: where masked_fill index
join: cat stack
reshape: view reshape flatten unflatten view_as reshape_as
squeeze: squeeze unsqueeze
reorder: permute transpose movedim t T mT
part: slice select narrow getitem
split: chunk split split_with_sizes unbind tensor_split unsafe_chunk unsafe_split
pad: constant_pad_nd pad zero_pad2d reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
expand: expand expand_as repeat
place: flip roll unfold im2col pixel_shuffle pixel_unshuffle channel_shuffle repeat_interleave
fold: col2im
resize: upsample_nearest1d upsample_nearest2d upsample_nearest3d
interpolation: interpolate upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d
identity: alias clone contiguous detach identity lift_fresh_copy
cast: to to_copy type type_as float double half bfloat16
dropout: dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout
filled: zeros_like ones_like empty_like full_like new_zeros new_ones new_full new_empty
"""
_WEIGHTS = {
    "linear": ("input", "weight", "bias"),
    "addmm": ("mat1", "mat2", "self"),
    "matmul": ("self", "other", ""),
    "mm": ("self", "mat2", ""),
}


def _rows() -> dict[str, Operator]:
    found = {}
    for row in _TABLE.strip().splitlines():
        kind, names = row.split(": ")
        family, *traits = kind.split()
        for name in names.split():
            own = _WEIGHTS["linear"] if family == "convolution" else _WEIGHTS.get(name)
            found[name] = Operator(name, family, frozenset(traits), own)
    return found


OPERATORS = _rows()
"""The operators by name. One that is not among them has no rule, and is no activation function."""


def named(*families: str, without: str | None = None) -> frozenset[str]:
    """Names of the operators of some families, or with some traits.

    Args:
        families: Families and traits.
        without: A trait that they have not.

    Example:
        >>> sorted(named("sum", "negative", "gate"))
        ['add', 'hardsigmoid', 'neg', 'rsub', 'sigmoid', 'sub', 'tanh']
    """
    wanted = set(families)
    return frozenset(
        row.name
        for row in OPERATORS.values()
        if wanted & {row.family, *row.traits} and without not in row.traits
    )


ACTIVATION_NAMES = named("activation", without="spelled")
"""Names of functions that are, or with the right arguments can be, activation functions."""

GATE_KINDS = named("gate")
"""Kinds that also serve to scale something else, as in squeeze-and-excitation."""

_SCALING = named("scale")
_AFFINE = _SCALING | named("sum")
_POLYNOMIAL = _AFFINE | named("power")


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
    return kind in named("signed")


def activations_in(
    operations: Sequence[Operation], users: Mapping[Operation, Sequence[Operation]]
) -> dict[Operation, str]:
    """Every activation function among the operations, with its kind, in order of execution.

    A function written out by hand, such as `x * sigmoid(x)`, counts once, where its value is
    complete.
    """
    spelled = spelled_out(operations, users)
    inside = {part: one.whole for one in spelled.values() for part in one.parts}
    result: dict[Operation, str] = {}
    for operation in operations:
        kind = spelled[operation].kind if operation in spelled else kind_of(operation)
        if kind is not None and not _only_part(operation, inside, users):
            result[operation] = kind
    return result


@dataclass(frozen=True)
class Spelled:
    """An activation function that a model writes out by hand.

    Attributes:
        kind: Of which one.
        source: What it is a function of.
        whole: The operation that combines its parts.
        parts: Activation functions that it is made of.
    """

    kind: str
    source: Operation
    whole: Operation
    parts: tuple[Operation, ...] = ()


def spelled_out(
    operations: Sequence[Operation], users: Mapping[Operation, Sequence[Operation]]
) -> dict[Operation, Spelled]:
    """Activation functions written out by hand, such as `x * sigmoid(x)`, by the operation that ends them."""
    found = {}
    for operation in operations:
        one = _spelled_out(operation)
        if one is not None:
            value = _with_trailing_half(operation, users) if one.kind == "gelu" else operation
            found[value] = one
    return found


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


def _spelled_out(operation: Operation) -> Spelled | None:
    """The hand-written activation function that ends here."""
    pair = [value for value in operation.args[:2] if isinstance(value, Operation)]
    if operation.role != "operation" or len(pair) != 2:
        return None
    left, right = pair
    if operation.name == "mul":
        for value, gate in ((left, right), (right, left)):
            found = _self_gated(value, gate)
            if found is not None:
                return Spelled(found[0], found[1], operation, found[2])
    if operation.name == "sub" and right.name == "tanh" and right.first is left:
        return Spelled("tanhshrink", left, operation, (right,))
    if operation.name == "div" and right.name == "add" and 1 in right.args:
        inner = _only_operand(right)
        if inner is not None and inner.name == "abs" and inner.first is left:
            return Spelled("softsign", left, operation)
    return None


def _self_gated(
    value: Operation, gate: Operation
) -> tuple[str, Operation, tuple[Operation, ...]] | None:
    source, core = _through(value, _SCALING), _through(gate, _AFFINE)
    inner = core.first
    if inner is None:
        return None
    if core.name in ("sigmoid", "hardsigmoid") and core is gate and source is value:
        if inner is value:
            return ("silu" if core.name == "sigmoid" else "hardswish"), value, (core,)
        if core.name == "sigmoid" and inner.name == "mul" and _only_operand(inner) is value:
            return "quick_gelu", value, (core,)
    elif core.name == "erf" and core is not gate and _through(inner, _SCALING) is source:
        return "gelu", source, (core,)
    elif core.name == "tanh" and core is gate:
        if inner.name == "softplus" and inner.first is value:
            return "mish", value, (core, inner)
    elif core.name == "tanh" and _is_polynomial(inner, source):
        return "gelu", source, (core,)
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
