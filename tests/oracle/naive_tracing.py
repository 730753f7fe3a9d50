"""The tracing of a decision back to pixels, written as loops over one image: what `cofire.explain` is held to.

A network is a list of steps, each with a kind that names its rule; the same list is run as a
module.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn


@dataclass(eq=False)
class Step:
    kind: str
    run: object
    inputs: list
    params: dict = field(default_factory=dict)
    users: int = 0


class Call(nn.Module):
    """A function with parameters of its own."""

    def __init__(self, function, *parameters):
        super().__init__()
        self.function = function
        self.parameters_ = nn.ParameterList(parameters)

    def forward(self, *inputs):
        return self.function(*inputs, *self.parameters_)


class Steps(nn.Module):
    """The list of steps as a module."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.runs = nn.ModuleList([step.run for step in steps[1:]])

    def forward(self, image):
        values = {self.steps[0]: image}
        for step, run in zip(self.steps[1:], self.runs, strict=True):
            values[step] = run(*(values[operand] for operand in step.inputs))
        return values[self.steps[-1]]


class Builder:
    """Steps with random weights, either real numbers or small whole ones but 0 (then values tie)."""

    def __init__(self, shape, seed=0, whole=False):
        self.rng, self.whole = np.random.default_rng(seed), whole
        self.image = Step("image", None, [])
        self.steps = [self.image]
        self.example = {self.image: torch.from_numpy(self.numbers((1, *shape)))}

    def numbers(self, shape):
        return (
            self.rng.integers(-2, 3, shape).astype(float)
            if self.whole
            else self.rng.normal(size=shape)
        )

    def fill(self, module):
        """Random weights for a module; those of norms take either sign, whole ones divide by 1 or 2 exactly."""
        module.double().eval()
        with torch.no_grad():
            for name, value in itertools.chain(module.named_parameters(), module.named_buffers()):
                if name.endswith("running_var"):
                    value.copy_(torch.from_numpy(self.rng.choice([1.0, 4.0], value.shape)))
                elif value.is_floating_point():
                    numbers = self.numbers(tuple(value.shape))
                    value.copy_(
                        torch.from_numpy(
                            np.where(numbers == 0, 1.0, numbers) if self.whole else numbers
                        )
                    )
        return module

    def add(self, kind, run, *inputs, **params):
        run = run if isinstance(run, nn.Module) else Call(run)
        step = Step(kind, run.double().eval(), list(inputs), params)
        for operand in inputs:
            operand.users += 1
        self.steps.append(step)
        with torch.no_grad():
            self.example[step] = run(*(self.example[operand].clone() for operand in inputs))
        return step

    def shape(self, step):
        return tuple(self.example[step].shape[1:])

    def linear(self, x, out, module=None):
        module = module or self.fill(nn.Linear(self.shape(x)[-1], out))
        return self.add("linear", module, x, weight=module.weight)

    def conv(
        self, x, out, kernel, stride=1, padding=0, dilation=1, groups=1, module=None, mode="zeros"
    ):
        n = len(self.shape(x)) - 1
        of = {1: nn.Conv1d, 2: nn.Conv2d}[n]
        channels = self.shape(x)[0]
        module = module or self.fill(
            of(channels, out, kernel, stride, padding, dilation, groups, padding_mode=mode)
        )
        if mode != "zeros":
            amounts = module._reversed_padding_repeated_twice
            x = self.move(x, lambda x: nn.functional.pad(x, amounts, mode=mode))
            kept = module.weight, module.bias
            inner = of(channels, out, kernel, stride, 0, dilation, groups).double()
            inner.weight, inner.bias = kept
            module, padding = inner, 0
        size = module.kernel_size
        if padding == "same":
            before = [d * (k - 1) // 2 for d, k in zip(module.dilation, size, strict=True)]
        else:
            before = [padding] * n if isinstance(padding, int) else list(padding)
        params = {"stride": module.stride, "dilation": module.dilation, "groups": groups}
        return self.add("conv", module, x, weight=module.weight, before=before, **params)

    def act(self, x, function=None):
        return self.add("act", function or nn.ReLU(), x)

    def same(self, x, function):
        return self.add("same", function, x)

    def move(self, function, *inputs):
        if not callable(function):
            function, inputs = inputs[0], (function, *inputs[1:])
        return self.add("move", function, *inputs)

    def norm(self, x, kind="batch", **options):
        channels = self.shape(x)[0]
        eps = 0.0 if self.whole and kind == "batch" else 1e-5
        if kind == "batch":
            of = nn.BatchNorm2d if len(self.shape(x)) == 3 else nn.BatchNorm1d
            module = of(channels, eps=eps, **options)
        elif kind == "layer":
            module = nn.LayerNorm(options.pop("over", self.shape(x)[-1:]), **options)
        else:
            module = nn.GroupNorm(options.pop("groups"), channels, **options)
        return self.add("norm", self.fill(module), x, norm=kind)

    def pool(
        self, x, largest, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, **options
    ):
        n = len(self.shape(x)) - 1
        of = {
            (1, True): nn.MaxPool1d,
            (2, True): nn.MaxPool2d,
            (1, False): nn.AvgPool1d,
            (2, False): nn.AvgPool2d,
        }
        if largest:
            options = {**options, "dilation": dilation}
        module = of[n, largest](kernel, stride, padding, ceil_mode=ceil_mode, **options)
        tuples = [
            (v,) * n if isinstance(v, int) else tuple(v)
            for v in (kernel, stride or kernel, padding, dilation)
        ]
        return self.add("max" if largest else "mean", module, x, window=("pool", *tuples))

    def adaptive(self, x, largest, size):
        n = len(self.shape(x)) - 1
        of = {(1, True): nn.AdaptiveMaxPool1d, (2, True): nn.AdaptiveMaxPool2d}
        of |= {(1, False): nn.AdaptiveAvgPool1d, (2, False): nn.AdaptiveAvgPool2d}
        return self.add("max" if largest else "mean", of[n, largest](size), x, window=("adaptive",))

    def mean(self, x, axes, keep=False):
        """Axes count from the sample's first."""
        dims = [axis + 1 for axis in axes]
        return self.add(
            "mean", lambda x: x.mean(dims, keepdim=keep), x, window=("axes", tuple(axes), keep)
        )

    def sum(self, a, b, function=torch.add, signs=(1.0, 1.0)):
        return self.add("sum", function, a, b, signs=signs)

    def constant(self, x, function, sign=1.0, parameter=None):
        """A sum with something that does not depend on the image."""
        parameters = [] if parameter is None else [nn.Parameter(torch.from_numpy(parameter))]
        return self.add("sum", Call(function, *parameters), x, signs=(sign,))

    def scale(self, x, function, factor):
        """x times numbers that do not depend on the image."""
        factor = np.asarray(factor, float)
        parameters = [nn.Parameter(torch.from_numpy(factor))] if factor.ndim else []
        return self.add("scale", Call(function, *parameters), x, factor=factor)

    def gated(self, x, gate, function=torch.mul):
        return self.add("gated", function, x, gate)

    def product(self, a, b, function=torch.mul):
        return self.add("product", function, a, b)

    def module(self):
        return Steps(self.steps).double().eval()

    def values(self, images):
        """For every step its values, (images, ...)."""
        found = {self.image: images.clone()}
        with torch.no_grad():
            for step in self.steps[1:]:
                found[step] = step.run(*(found[operand].clone() for operand in step.inputs)).clone()
        return {step: value.detach().numpy().copy() for step, value in found.items()}


def fixed(b, x, weights):
    module = nn.Linear(len(weights[0]), len(weights), bias=False).double()
    module.weight.data = torch.tensor(weights, dtype=torch.float64)
    return b.linear(x, len(weights), module=module)


WEIGHTED = ("linear", "conv")


def sign(number):
    return -1 if number < 0 else 1


class Tracing:
    """One image's neurons at every step."""

    def __init__(self, steps, values, scoring):
        self.steps, self.values, self.scoring = steps, values, scoring
        self.weights = {s: s.params["weight"].detach().numpy() for s in steps if s.kind in WEIGHTED}
        self.last = [step for step in steps if step.kind in WEIGHTED][-1]
        self.moved = {}

    def shape(self, step):
        return self.values[step].shape

    def at(self, step, place):
        return float(self.values[step].flat[place])

    # Where values come from

    def products(self, step, place, direction):
        """For every candidate, in order, its places in the operand with their product and weight."""
        operand, weight = step.inputs[0], self.weights[step]
        if step.kind == "linear":
            features = weight.shape[1]
            row, out = divmod(place, weight.shape[0])
            for i in range(features):
                source = row * features + i
                yield [
                    (source, direction * self.at(operand, source) * weight[out, i], weight[out, i])
                ]
            return
        out, *position = np.unravel_index(place, self.shape(step))
        params = step.params
        per_group_out = weight.shape[0] // params["groups"]
        per_group_in = weight.shape[1]
        first = int(out) // per_group_out * per_group_in
        for c in range(per_group_in):
            found, away = [], {}
            for offsets in itertools.product(*(range(k) for k in weight.shape[2:])):
                source = [
                    int(p) * s - b + o * d
                    for p, s, b, o, d in zip(
                        position,
                        params["stride"],
                        params["before"],
                        offsets,
                        params["dilation"],
                        strict=True,
                    )
                ]
                if all(
                    0 <= p < size for p, size in zip(source, self.shape(operand)[1:], strict=True)
                ):
                    index = int(np.ravel_multi_index([first + c, *source], self.shape(operand)))
                    w = weight[(out, c, *offsets)]
                    found.append((index, direction * self.at(operand, index) * w, w))
                    away[index] = sum(
                        (2 * o - k + 1) ** 2 for o, k in zip(offsets, weight.shape[2:], strict=True)
                    )
            # Of equal products the one nearest to the middle of the window, of equally near ones
            # the first.
            yield sorted(found, key=lambda one: away[one[0]])

    def candidates(self, step, place, direction):
        """(Z_cur, place in the operand, direction there) of the candidates that take part."""
        found = []
        for products in self.products(step, place, direction):
            if any(product != 0 for _, product, _ in products):
                total = 0.0
                best = products[0]
                for one in products:
                    total += one[1]
                    if one[1] > best[1]:
                        best = one
                found.append((total, best[0], sign(direction * best[2])))
        return found

    def window(self, step, place):
        """The places of the operand, inside the image, that a pooled value is made of."""
        operand = step.inputs[0]
        kind, *rest = step.params["window"]
        shape = self.shape(operand)
        if kind == "axes":
            axes, keep = rest
            position = list(np.unravel_index(place, self.shape(step))) if self.shape(step) else []
            if not keep:
                for axis in sorted(axes):
                    position.insert(axis, 0)
            ranges = [range(n) if a in axes else [int(position[a])] for a, n in enumerate(shape)]
            return [int(np.ravel_multi_index(p, shape)) for p in itertools.product(*ranges)]
        channel, *position = (int(p) for p in np.unravel_index(place, self.shape(step)))
        ranges = []
        for axis, p in enumerate(position):
            n, m = shape[axis + 1], self.shape(step)[axis + 1]
            if kind == "adaptive":
                inside = range(p * n // m, -(-(p + 1) * n // m))
            else:
                kernel, stride, padding, dilation = (value[axis] for value in rest)
                wanted = [p * stride - padding + o * dilation for o in range(kernel)]
                inside = [i for i in wanted if 0 <= i < n]
            ranges.append(inside)
        return [int(np.ravel_multi_index([channel, *p], shape)) for p in itertools.product(*ranges)]

    def source(self, step, place):
        """Which operand a moved value came from, and where it stood; None if it is padding."""
        if step not in self.moved:
            codes, start = [], 10**6
            for operand in step.inputs:
                shape = self.shape(operand)
                count = int(np.prod(shape))
                codes.append(
                    torch.arange(start, start + count, dtype=torch.float64).reshape(1, *shape)
                )
                start += count
            with torch.no_grad():
                self.moved[step] = step.run(*codes).reshape(-1).tolist()
        code = int(self.moved[step][place]) - 10**6
        if code < 0:
            return None
        for operand in step.inputs:
            count = int(np.prod(self.shape(operand)))
            if code < count:
                return operand, code
            code -= count
        raise AssertionError

    def largest(self, step, place):
        operand = step.inputs[0]
        best = None
        for source in self.window(step, place):
            if best is None or self.at(operand, source) > self.at(operand, best):
                best = source
        return best

    def spread(self, step, operand, place):
        """The place of an operand that is broadcast to the step's shape."""
        shape, small = self.shape(step), self.shape(operand)
        position = np.unravel_index(place, shape)[len(shape) - len(small) :] if small else ()
        position = [0 if n == 1 else int(p) for p, n in zip(position, small, strict=True)]
        return int(np.ravel_multi_index(position, small)) if small else 0

    def slope(self, step, place):
        """What a norm multiplies a value with."""
        module, operand = step.run, step.inputs[0]
        value = self.values[operand]
        position = tuple(int(p) for p in np.unravel_index(place, value.shape))
        if step.params["norm"] == "batch":
            gamma = module.weight[position[0]].item() if module.affine else 1.0
            return gamma / np.sqrt(float(module.running_var[position[0]]) + module.eps)
        if step.params["norm"] == "layer":
            n = len(module.normalized_shape)
            gamma = module.weight[position[-n:]].item() if module.elementwise_affine else 1.0
            members = value[position[:-n]] if len(position) > n else value
        else:
            size = value.shape[0] // module.num_groups
            start = position[0] // size * size
            gamma = module.weight[position[0]].item()
            members = value[start : start + size]
        return gamma / np.sqrt(members.var() + module.eps)

    def factor(self, step, place):
        if step.kind == "norm":
            return self.slope(step, place)
        if step.kind == "scale":
            return float(np.broadcast_to(step.params["factor"], self.shape(step)).flat[place])
        return self.at(step.inputs[1], self.spread(step, step.inputs[1], place))

    # Z_pre

    def straight(self, step, place):
        """Whether a value leads to a weighted operator without an activation, a sum of two or an average between."""
        if step.kind in WEIGHTED:
            return True
        if step.kind in ("same", "norm") or (step.kind == "sum" and len(step.inputs) == 1):
            return self.straight(step.inputs[0], self.spread(step, step.inputs[0], place))
        if step.kind in ("scale", "gated"):
            return self.straight(step.inputs[0], self.spread(step, step.inputs[0], place))
        if step.kind == "move":
            came = self.source(step, place)
            return came is not None and self.straight(*came)
        if step.kind == "max":
            return self.straight(step.inputs[0], self.largest(step, place))
        return False

    def before(self, step, place, direction):
        """The highest support of the layer before for the value that stands here."""
        if step.kind == "image":
            return 0.0
        if step.kind in WEIGHTED:
            return max(
                sum(p for _, p, _ in products) for products in self.products(step, place, direction)
            )
        if step.kind == "move":
            came = self.source(step, place)
            return 0.0 if came is None else self.before(*came, direction)
        operand = step.inputs[0]
        if step.kind in ("act", "same"):
            return self.before(operand, place, direction)
        if step.kind in ("norm", "scale", "gated"):
            factor = self.factor(step, place)
            if factor == 0:
                return 0.0
            return abs(factor) * self.before(
                operand, self.spread(step, operand, place), direction * sign(factor)
            )
        if step.kind == "max":
            return self.before(operand, self.largest(step, place), direction)
        if step.kind == "mean":
            places = self.window(step, place)
            return max(direction * self.at(operand, p) / len(places) for p in places)
        assert step.kind == "sum", step.kind
        found = []
        for part, s in zip(step.inputs, step.params["signs"], strict=True):
            there = self.spread(step, part, place)
            if len(step.inputs) == 1 or self.straight(part, there):
                found.append(abs(s) * self.before(part, there, direction * sign(s)))
            else:
                found.append(direction * s * self.at(part, there))
        return max(found)

    # Neurons wanted

    def settled(self, step):
        """Whether a limit on the neurons of an image applies here; what only moves has no place of its own."""
        if step.kind == "move" and len(step.inputs) == 1:
            return False
        if step.kind in ("image", "act") or step.users > 1:
            return True
        user = next((other for other in self.steps if step in other.inputs), None)
        while user is not None and user.kind == "move" and len(user.inputs) == 1:
            places = range(int(np.prod(self.shape(user))))
            came = [found for place in places if (found := self.source(user, place)) is not None]
            if user.users > 1 or len(came) > len(set(came)):
                return True
            step, user = user, next((other for other in self.steps if user in other.inputs), None)
        if user is None:
            return False
        if user.kind in WEIGHTED or user.kind == "mean":
            return True
        if user.kind == "max":
            used = [
                p
                for place in range(int(np.prod(self.shape(user))))
                for p in self.window(user, place)
            ]
            return len(used) > len(set(used))
        return self.values[user].size > self.values[step].size

    def settle(self, step, arrived):
        found = {key: score if self.scoring.carried else 1.0 for key, score in arrived.items()}
        if self.scoring.most is not None and self.settled(step):
            order = sorted(found, key=lambda key: (-found[key], key[0], -key[1]))
            stay = {key: found[key] for key in order[: self.scoring.most]}
            # Those that stay take over the scores of the others, in proportion to their own.
            if self.scoring.carried:
                whole, left = sum(found.values()), sum(stay.values())
                stay = {key: score * whole / left for key, score in stay.items()}
            found = stay
        return found

    def trace(self, start):
        """`start`: {(place, direction): score} at the last step. The same for every step."""
        arrived = {step: defaultdict(float) for step in self.steps}
        arrived[self.steps[-1]].update(start)
        found = {}
        for step in reversed(self.steps):
            found[step] = self.settle(step, arrived[step]) if step is not self.steps[-1] else start
            for operand, place, direction, score in self.parts(step, found[step]):
                arrived[operand][place, direction] += score
        return found

    def parts(self, step, wanted):
        if step.kind == "image":
            return
        if step.kind in WEIGHTED:
            yield from self.chosen(step, wanted)
            return
        operand = step.inputs[0]
        for (place, direction), score in wanted.items():
            if step.kind in ("act", "same"):
                yield operand, place, direction, score
            elif step.kind in ("norm", "scale", "gated"):
                factor = self.factor(step, place)
                if factor != 0:
                    yield (
                        operand,
                        self.spread(step, operand, place),
                        direction * sign(factor),
                        score,
                    )
            elif step.kind == "max":
                yield operand, self.largest(step, place), direction, score
            elif step.kind == "move":
                came = self.source(step, place)
                if came is not None:
                    yield (*came, direction, score)
            elif step.kind == "product":
                for part, other in (step.inputs, step.inputs[::-1]):
                    g = self.at(other, self.spread(step, other, place))
                    if g != 0:
                        yield part, self.spread(step, part, place), direction * sign(g), score / 2
            elif step.kind == "mean":
                places = self.window(step, place)
                parts = [(direction * self.at(operand, p), operand, p, direction) for p in places]
                yield from self.shared(parts, score)
            elif step.kind == "sum" and len(step.inputs) == 1:
                yield (
                    operand,
                    self.spread(step, operand, place),
                    direction * sign(step.params["signs"][0]),
                    score,
                )
            else:
                assert step.kind == "sum", step.kind
                parts = []
                for part, s in zip(step.inputs, step.params["signs"], strict=True):
                    p = self.spread(step, part, place)
                    parts.append((direction * s * self.at(part, p), part, p, direction * sign(s)))
                yield from self.shared(parts, score)

    def shared(self, parts, score):
        total = sum(part[0] for part in parts if part[0] > 0)
        if total > 0:
            for contribution, *where in parts:
                if contribution > 0:
                    yield (*where, score * contribution / total)
        elif any(part[0] != 0 for part in parts):
            yield (*max(parts, key=lambda part: part[0])[1:], score)

    def chosen(self, step, wanted):
        scoring, operand = self.scoring, step.inputs[0]
        k = scoring.k_linear if step.kind == "linear" else scoring.k
        candidates = {key: self.candidates(step, *key) for key in wanted}
        best = defaultdict(int)
        for found in candidates.values():
            if found:
                best[max(found, key=lambda one: one[0])[1]] += 1
        for key, score in wanted.items():
            rated = []
            for order, (z, place, direction) in enumerate(candidates[key]):
                support = 0.0
                if scoring.preceding and operand.kind != "image":
                    support = self.before(operand, place, direction)
                count = max(best[place], 1) if scoring.counted else 1
                omega = count * (scoring.current * z + scoring.preceding * support)
                rated.append((omega, order, place, direction))
            rated.sort(key=lambda one: (-one[0], one[1]))
            total = sum(max(one[0], 0.0) for one in rated[:k])
            if total > 0:
                for omega, _, place, direction in rated[:k]:
                    if omega > 0:
                        yield operand, place, direction, score * omega / total
            elif rated and step is not self.last:
                yield operand, *rated[0][2:], score


# The comparison


def interpreted(network, model, images):
    """The value of every node of the library's graph."""
    held = {
        "p_" + name.replace(".", "_"): value
        for name, value in model.named_parameters(remove_duplicate=False)
    }
    held |= {
        "b_" + name.replace(".", "_"): value
        for name, value in model.named_buffers(remove_duplicate=False)
    }
    found = {}
    for node in network.graph.nodes:
        if node.op == "placeholder":
            found[node] = held.get(node.name, images)
        elif node.op == "call_function":
            args, kwargs = torch.fx.node.map_arg(
                (node.args, dict(node.kwargs)),
                lambda n: found[n].clone() if torch.is_tensor(found[n]) else found[n],
            )
            found[node] = node.target(*args, **kwargs)
    return found


def different(found, expected):
    """What two sets of neurons do not have in common, in words; empty if nothing (a score of 0 is nothing)."""
    for key in sorted(set(found) | set(expected)):
        one, other = found.get(key, 0.0), expected.get(key, 0.0)
        if not abs(one - other) <= 1e-9:
            return f"(image, place, direction) {key}: found {one}, expected {other}"
    return ""
