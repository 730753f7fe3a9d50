"""Which part of the input a position of a layer sees: its receptive field, read from the operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cofire.arguments import validated
from cofire.errors import OptionError
from cofire.network.axes import reordered
from cofire.network.layers import ActivationLayer
from cofire.network.network import Network
from cofire.network.operations import Operation
from cofire.network.operators import OPERATORS

Ends = npt.NDArray[np.int64]
_NOTHING = (1 << 40, -1)
"""First and last pixel of what sees no pixel, such as padding."""
_CONSTANT_NORMS = ("batch_norm",)


@dataclass(frozen=True)
class ReceptiveField:
    """What each position of a layer sees of the input.

    Attributes:
        image: Sizes of the input's axes after the channels, (height, width) of an image.
        low: First pixel that each position sees, (positions, axes), int64; positions row by row.
        high: The one after the last; as low where a position sees nothing but padding.
    """

    image: tuple[int, ...]
    low: Ends
    high: Ends

    @property
    def whole(self) -> bool:
        """Whether every position sees all of the input."""
        return bool((self.low == 0).all() and (self.high == self.image).all())

    @property
    def size(self) -> tuple[int, ...]:
        """Of the largest window, pixels along each axis."""
        return tuple((self.high - self.low).max(axis=0).tolist())

    def window(self, place: int) -> tuple[slice, ...]:
        """The pixels that a position sees, `image[..., *window]`; all for a place below 0.

        Args:
            place: Number of the position, row by row, as in `NeuronSamples.places`.

        Raises:
            OptionError: The layer has not so many positions.
        """
        if place >= len(self.low):
            raise OptionError(
                f"place {place} of {len(self.low)} positions",
                "a position of the layer",
                f"pass a number below {len(self.low)}",
            )
        if place < 0:
            return tuple(slice(0, size) for size in self.image)
        ends = zip(self.low[place].tolist(), self.high[place].tolist(), strict=True)
        return tuple(slice(*one) for one in ends)


@dataclass(frozen=True)
class _Span:
    """Along one axis of a tensor: which axis of the input it is, and the first and last pixel that each entry sees."""

    axis: int
    low: Ends
    high: Ends

    def at(self, taps: Ends) -> _Span:
        """What is made of some entries each, (entries, taps); -1 is none."""
        none = taps < 0
        low = np.where(none, _NOTHING[0], self.low[taps]).min(axis=1)
        return _Span(self.axis, low, np.where(none, _NOTHING[1], self.high[taps]).max(axis=1))


Spans = Mapping[int, _Span]
"""By axis of a tensor; of an axis of the input that is not there, all is seen."""


@validated
def receptive_field(network: Network, layer: ActivationLayer | str) -> ReceptiveField:
    """Which pixels each position of a layer sees.

    It is the smallest window with every pixel that has a way to the position through convolutions,
    pools, paddings and whatever works pixel by pixel: exact, also at edges, and through branches.
    Beyond anything that mixes all positions (a mean, a linear layer over them, attention, group
    normalisation, squeeze-and-excitation) it is the whole image. Inputs are (channels, …); of a
    vector, all is seen.

    Args:
        network: The classifier.
        layer: A layer of it.

    Raises:
        LayerError: No such layer.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> convolutions = [nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.ReLU()]
        >>> model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8, 2))
        >>> field = receptive_field(Network(model, torch.zeros(1, 1, 8, 8)), "4")
        >>> field.size, field.window(0), field.window(3)
        ((7, 7), (slice(0, 7, None), slice(0, 7, None)), (slice(1, 8, None), slice(1, 8, None)))
    """
    (found,) = network.select(layer)
    image = network.input_shape[1:] if len(network.input_shape) > 1 else network.input_shape
    spans = _followed(
        network._engine.found.sources[found], image if len(network.input_shape) > 1 else ()
    )
    rest = [axis for axis in range(len(found.shape)) if axis != found.channel_axis]
    sizes = [found.shape[axis] for axis in rest]
    low, high = (np.zeros((*sizes, len(image)), np.int64) for _ in range(2))
    high[:] = image
    for tensor_axis, span in (spans or {}).items():
        # A batch that is not in front mixes axes.
        if tensor_axis - 1 in rest and len(span.low) == found.shape[tensor_axis - 1]:
            shape = [1] * len(sizes)
            shape[rest.index(tensor_axis - 1)] = -1
            seen = span.low <= span.high
            low[..., span.axis] = np.where(seen, span.low, 0).reshape(shape)
            high[..., span.axis] = np.where(seen, span.high + 1, 0).reshape(shape)
    return ReceptiveField(tuple(image), *(ends.reshape(-1, len(image)) for ends in (low, high)))


def _followed(source: Operation, image: Sequence[int]) -> Spans | None:
    """What the result of an operation sees; None where it does not depend on the input."""
    known: dict[Operation, Spans | None] = {}
    pending = [source]
    while pending:
        operation = pending[-1]
        if operation in known:
            pending.pop()
        elif operation.name == "sym_size":  # a number, not what is in the tensor
            known[operation] = None
        elif missing := [one for one in operation.operands() if one not in known]:
            pending += missing
        elif operation.role == "input":
            whole = [np.arange(size) for size in image]
            first = len(operation.sizes or ()) == 2 + len(image)
            known[operation] = (
                {2 + axis: _Span(axis, ends, ends) for axis, ends in enumerate(whole)}
                if first
                else {}
            )
        else:
            given = [one for one in operation.operands() if known[one] is not None]
            known[operation] = (
                _seen(operation, [(one, known[one] or {}) for one in given]) if given else None
            )
    return known[source]


def _seen(operation: Operation, given: Sequence[tuple[Operation, Spans]]) -> Spans:
    known = OPERATORS.get(operation.name)
    first, spans = given[0]
    if known is None:
        return {}
    if first.sizes is None and known.family == "part":
        return spans  # one of the tensors of a split
    if any(one.sizes is None for one, _ in given):
        return {}
    if known.family in _POINTWISE and operation.name != "index":
        return _together(operation, given)
    rule = _RULES.get(known.family)
    if rule is None or (operation.sizes is None and known.family != "split"):
        return {}
    return rule(operation, first, spans) if known.family != "join" else _joined(operation, given)


def _sizes(operation: Operation) -> list[int]:
    return [size.small for size in operation.sizes or ()]


def _together(operation: Operation, given: Sequence[tuple[Operation, Spans]]) -> Spans:
    """Of what works entry by entry, with broadcasting: whatever either sees."""
    found: Spans | None = None
    rank = len(operation.sizes or ())
    for one, spans in given:
        shift = rank - len(one.sizes or ())
        own = {axis + shift: span for axis, span in spans.items()}
        found = own if found is None else _either(found, own)
    sizes = _sizes(operation)
    return {
        axis: _Span(
            span.axis,
            np.broadcast_to(span.low, sizes[axis]),
            np.broadcast_to(span.high, sizes[axis]),
        )
        for axis, span in (found or {}).items()
        if len(span.low) in (1, sizes[axis])
    }


def _either(a: Spans, b: Spans) -> Spans:
    return {
        axis: _Span(span.axis, np.minimum(span.low, o.low), np.maximum(span.high, o.high))
        for axis, span in a.items()
        if (o := b.get(axis)) is not None and o.axis == span.axis
    }


def _per_axis(given: Any, count: int, default: int) -> list[int]:
    if given is None or given == [] or given == ():
        return [default] * count
    values = list(given) if isinstance(given, tuple | list) else [given]
    return [int(value) for value in (values * count if len(values) == 1 else values)]


def _taps(sizes: tuple[int, int], kernel: int, stride: int, padding: int, dilation: int) -> Ends:
    """The entries that each of the results is made of, (results, kernel); -1 beyond the edge."""
    before, after = sizes
    taps = np.arange(after)[:, None] * stride - padding + dilation * np.arange(kernel)
    return np.where((taps < 0) | (taps >= before), -1, taps)


def _convolution(operation: Operation, first: Operation, spans: Spans) -> Spans:
    weight = operation.argument(1, "weight")
    if not isinstance(weight, Operation) or weight.sizes is None:
        return {}
    kernel = _sizes(weight)[2:]
    count, generic = len(kernel), operation.name == "convolution"
    transposed = "transpose" in operation.name or bool(
        generic and operation.argument(6, "transposed")
    )
    stride = _per_axis(operation.argument(3, "stride"), count, 1)
    place = 7 if transposed and not generic else 5
    dilation = _per_axis(operation.argument(place, "dilation"), count, 1)
    padding = operation.argument(4, "padding", 0)
    if padding == "same":
        pads = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    else:
        pads = _per_axis(0 if padding == "valid" else padding, count, 0)
    before, after = _sizes(first)[-count:], _sizes(operation)[-count:]
    found = {}
    for axis, span in _last(first, spans, count):
        size, own = (
            (before[axis], after[axis]),
            (kernel[axis], stride[axis], pads[axis], dilation[axis]),
        )
        taps = _transposed(size, *own) if transposed else _taps(size, *own)
        found[len(_sizes(operation)) - count + axis] = span.at(taps)
    return found


def _transposed(
    sizes: tuple[int, int], kernel: int, stride: int, padding: int, dilation: int
) -> Ends:
    """The same of a transposed convolution, where entry j goes to j × stride − padding + dilation × t."""
    places = np.arange(sizes[1])[:, None] + padding - dilation * np.arange(kernel)
    taps = places // stride
    return np.where((places % stride != 0) | (taps < 0) | (taps >= sizes[0]), -1, taps)


def _last(first: Operation, spans: Spans, count: int) -> Iterator[tuple[int, _Span]]:
    """The spans of the last axes, numbered among these."""
    start = len(_sizes(first)) - count
    return ((axis - start, span) for axis, span in spans.items() if axis >= start)


def _pool(operation: Operation, first: Operation, spans: Spans) -> Spans:
    before, after = _sizes(first), _sizes(operation)
    count = int(operation.name.partition("pool")[2][0])
    found = {}
    for axis, span in _last(first, spans, count):
        place = len(before) - count + axis
        size = before[place], after[place]
        if operation.name.startswith("adaptive"):
            starts = np.arange(size[1]) * size[0] // size[1]
            ends = -(-np.arange(1, size[1] + 1) * size[0] // size[1])
            taps = starts[:, None] + np.arange(int((ends - starts).max()))
            taps = np.where(taps < ends[:, None], taps, -1)
        else:
            kernel = _per_axis(operation.argument(1, "kernel_size"), count, 1)
            stride = _per_axis(operation.argument(2, "stride"), count, 0)
            padding = _per_axis(operation.argument(3, "padding"), count, 0)
            dilates = operation.name.startswith("max")
            dilation = _per_axis(operation.argument(4, "dilation") if dilates else 1, count, 1)
            taps = _taps(
                size, kernel[axis], stride[axis] or kernel[axis], padding[axis], dilation[axis]
            )
        found[place] = span.at(taps)
    return found


def _reduced(operation: Operation, first: Operation, spans: Spans) -> Spans:
    rank = len(_sizes(first))
    given = operation.argument(1, "dim")
    given = operation.kwargs.get("axis") if given is None else given
    if given is None or isinstance(given, float):
        return {}
    gone = {int(axis) % rank for axis in (given if isinstance(given, tuple | list) else (given,))}
    kept = len(_sizes(operation)) == rank
    return {
        axis - (0 if kept else sum(g < axis for g in gone)): span
        for axis, span in spans.items()
        if axis not in gone
    }


def _by_axis(operation: Operation, first: Operation, spans: Spans) -> Spans:
    """Of what mixes the entries along one axis: all is seen along it."""
    axis = operation.argument(1, "dim")
    if not isinstance(axis, int):
        return {}
    return {a: span for a, span in spans.items() if a != axis % len(_sizes(first))}


def _layer_norm(operation: Operation, first: Operation, spans: Spans) -> Spans:
    shape = operation.argument(1, "normalized_shape") or ()
    return {a: span for a, span in spans.items() if a < len(_sizes(first)) - len(shape)}


def _linear(operation: Operation, first: Operation, spans: Spans) -> Spans:
    return {axis: span for axis, span in spans.items() if axis < len(_sizes(first)) - 1}


def _reshaped(operation: Operation, first: Operation, spans: Spans) -> Spans:
    """An axis stays what it is where as much lies before it, and it is as long."""
    before, after, found = _sizes(first), _sizes(operation), {}
    for axis, span in spans.items():
        ahead = math.prod(before[:axis])
        places = [
            p for p, n in enumerate(after) if n == before[axis] and math.prod(after[:p]) == ahead
        ]
        if places and before[axis] > 1:
            found[places[0]] = span
    return found


def _reordered(operation: Operation, first: Operation, spans: Spans) -> Spans:
    rank = len(_sizes(first))
    return {reordered(operation, rank, axis): span for axis, span in spans.items()}


def _part(operation: Operation, first: Operation, spans: Spans) -> Spans:
    axis = operation.argument(1, "dim", 0)
    if operation.name not in ("slice", "select", "narrow") or not isinstance(axis, int):
        return {}
    axis %= len(_sizes(first))
    if operation.name == "select":
        return {a - (a > axis): span for a, span in spans.items() if a != axis}
    found = dict(spans)
    if axis in found:
        start, end = operation.argument(2, "start", 0) or 0, operation.argument(3, "end")
        step = operation.argument(4, "step", 1)
        if operation.name == "narrow":
            end = start + operation.argument(3, "length")
        span = found[axis]
        found[axis] = _Span(span.axis, span.low[start:end:step], span.high[start:end:step])
    return found


def _split(operation: Operation, first: Operation, spans: Spans) -> Spans:
    axis = operation.argument(2, "dim", 0)
    if operation.name == "unbind" or not isinstance(axis, int):
        return {}
    return {a: span for a, span in spans.items() if a != axis % len(_sizes(first))}


def _joined(operation: Operation, given: Sequence[tuple[Operation, Spans]]) -> Spans:
    axis = operation.argument(1, "dim", 0)
    if operation.name != "cat" or not isinstance(axis, int):
        return {}
    found = given[0][1]
    for _, spans in given[1:]:
        found = _either(found, spans)
    return {a: span for a, span in found.items() if a != axis % len(_sizes(operation))}


def _padded(operation: Operation, first: Operation, spans: Spans) -> Spans:
    pads = operation.argument(1, "pad")
    pads = operation.argument(1, "padding") if pads is None else pads
    rank, found = len(_sizes(first)), dict(spans)
    mode = next((m for m in ("reflect", "replicat", "circular") if m in operation.name), None)
    mode = mode or str(operation.argument(2, "mode", "constant"))
    how = {"reflect": "reflect", "circular": "wrap"}.get(mode, "edge" if "replicat" in mode else "")
    for number, pair in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        if (span := found.get(rank - 1 - number)) is None:
            continue
        if min(pair) < 0:
            return {}
        entries = np.arange(len(span.low))
        more: dict[str, Any] = {"mode": how} if how else {"constant_values": -1}
        found[rank - 1 - number] = span.at(np.pad(entries, pair, **more)[:, None])
    return found


def _resized(operation: Operation, first: Operation, spans: Spans) -> Spans:
    before, after = _sizes(first), _sizes(operation)
    return {
        axis: span.at((np.arange(after[axis]) * before[axis] // after[axis])[:, None])
        for axis, span in spans.items()
    }


_POINTWISE = {
    "activation", "bound", "function", "power", "negative", "identity", "cast", "dropout", "scale",
    "sum", "extreme", "blend", "choice", *_CONSTANT_NORMS,
}  # fmt: skip
_RULES: dict[str, Callable[[Operation, Operation, Spans], Spans]] = {
    "convolution": _convolution,
    "average_pool": _pool,
    "max_pool": _pool,
    **dict.fromkeys(("mean", "total", "largest", "reduction"), _reduced),
    **dict.fromkeys(("softmax", "scan"), _by_axis),
    "layer_norm": _layer_norm,
    "linear": _linear,
    "product": lambda *_: {},
    **dict.fromkeys(("reshape", "squeeze"), _reshaped),
    "reorder": _reordered,
    "part": _part,
    "split": _split,
    "join": lambda *_: {},
    "pad": _padded,
    "resize": _resized,
}
"""What is seen beyond an operator, by its family; all of the image beyond any other."""
