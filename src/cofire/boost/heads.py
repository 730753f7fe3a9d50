"""Heads: from a classifier's logits and its evidence to better logits. Fitted on little data, by convex means or seeds.

Every head is a module `(logits, evidence) -> logits`, each (samples, classes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cofire.boost.evidence import Evidence
from cofire.boost.measures import check_logits, negative_log_likelihood
from cofire.errors import NonFiniteError

_BATCH = 128


_FEWEST = 300


"""Steps that the auxiliary network is trained for at least."""


class Tempered(nn.Module):
    """`(logits + share · evidence) / temperature`.

    Args:
        temperature: Above 0; softens (above 1) or sharpens what is predicted, without changing
            which class wins.
        share: Of the evidence.
    """

    def __init__(self, temperature: float = 1.0, share: float = 1.0) -> None:
        super().__init__()
        self.register_buffer(
            "scale", torch.tensor([1 / temperature, share / temperature], dtype=torch.float32)
        )
        self.scale: Tensor

    def forward(self, logits: Tensor, evidence: Tensor | None = None) -> Tensor:
        """Better logits, (samples, classes)."""
        if evidence is None:
            return logits * self.scale[0]
        return logits * self.scale[0] + evidence * self.scale[1]


class Affine(nn.Module):
    """An affine map of the standardised inputs: `W [logits, evidence] + b`, dense or a weight per input and class.

    Args:
        inputs: How many numbers of a sample come in: classes, or twice as many.
        classes: Number of classes.
    """

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, inputs, dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(classes, dtype=torch.float32))
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, logits: Tensor, evidence: Tensor | None = None) -> Tensor:
        """Better logits, (samples, classes)."""
        inputs = logits if evidence is None else torch.cat([logits, evidence], dim=1)
        return nn.functional.linear(inputs.to(self.weight.dtype), self.weight, self.bias)


class Auxiliary(nn.Module):
    """P1's auxiliary network (§5.2, Figure 1): one hidden layer of 2C ReLU units, then a softmax.

    Args:
        classes: C.
        proposes: Whether the inputs are [Y_predicted, Y_proposed], or Y_predicted alone.
        probabilities: Whether Y_predicted are probabilities, and evidence is multiplied by them
            (Eq. 16); else logits and plain evidence.
    """

    def __init__(self, classes: int, *, proposes: bool, probabilities: bool) -> None:
        super().__init__()
        width = classes * (2 if proposes else 1)
        self.probabilities = probabilities
        self.register_buffer("centre", torch.zeros(width, dtype=torch.float32))
        self.register_buffer("spread", torch.ones(width, dtype=torch.float32))
        self.centre: Tensor
        self.spread: Tensor
        self.hidden = nn.Linear(width, 2 * classes, dtype=torch.float32)
        self.output = nn.Linear(2 * classes, classes, dtype=torch.float32)

    def inputs(self, logits: Tensor, evidence: Tensor | None) -> Tensor:
        """What goes into the network, (samples, C or 2C)."""
        predicted = logits.softmax(dim=1) if self.probabilities else logits
        if evidence is None:
            return predicted
        return torch.cat(
            [predicted, evidence * predicted if self.probabilities else evidence], dim=1
        )

    def forward(self, logits: Tensor, evidence: Tensor | None = None) -> Tensor:
        """Better logits, (samples, classes)."""
        inputs = self.inputs(logits, evidence).to(self.centre.dtype)
        return self.through((inputs - self.centre) / self.spread)

    def through(self, inputs: Tensor) -> Tensor:
        """The network on standardised inputs."""
        found: Tensor = self.output(self.hidden(inputs).relu())
        return found


HEADS: dict[str, Callable[..., nn.Module]] = {
    "tempered": Tempered,
    "affine": Affine,
    "auxiliary": Auxiliary,
}


"""Heads by the name under which they are saved."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T that minimises the negative log-likelihood of `logits / T` (Guo et al. 2017).

    Args:
        logits: (samples, classes).
        labels: (samples,).

    Returns:
        T, from 0.01 to 100.

    Raises:
        DataError: Shapes that do not fit, or values that are not finite.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0]] * 4)
        >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 2)
        3.64
    """
    given, labels = check_logits(logits, labels)
    wins = given.gather(1, labels[:, None])[:, 0]

    def slope(power: float) -> float:
        """Of the loss, which is convex in 1/T: it never falls in the logarithm of 1/T."""
        return float((((given * math.exp(power)).softmax(dim=1) * given).sum(dim=1) - wins).mean())

    least, most = math.log(1e-2), math.log(1e2)
    if slope(least) >= 0:
        return 1e2
    if slope(most) <= 0:
        return 1e-2
    return math.exp(-float(brentq(slope, least, most, xtol=1e-13)))


def fit_scaling(
    logits: Tensor, evidence: Tensor | None, labels: Tensor, *, per_class: bool
) -> Affine:
    """A weight for the logits, one for the evidence, and a bias per class: with `per_class`, weights per class as well.

    Without evidence and with `per_class` this is vector scaling (Guo et al. 2017); with evidence, a
    product of experts.

    Args:
        logits: (samples, classes).
        evidence: (samples, classes), or None.
        labels: (samples,).
        per_class: Whether each class has weights of its own.
    """
    sources = [logits] if evidence is None else [logits, evidence]
    given = [check_logits(source, labels)[0] for source in sources]
    classes = logits.shape[1]
    sizes = [float(source.std().clamp_min(1e-12)) for source in given]
    scaled = [source / size for source, size in zip(given, sizes, strict=True)]
    weights = torch.zeros(len(given), classes if per_class else 1, dtype=torch.float64)
    weights[0] = sizes[0]
    bias = torch.zeros(classes, dtype=torch.float64)

    def loss() -> Tensor:
        score = sum((w * s for w, s in zip(weights, scaled, strict=True)), bias)
        apart = weights - weights.mean(dim=1, keepdim=True)
        return (
            cross_entropy(score, labels)
            + 1e-4 * bias.square().sum() / 2
            + 1e-3 * apart.square().sum()
        )

    _minimise(loss, [weights, bias])
    head = Affine(classes * len(given), classes)
    diagonals = [
        torch.diag((w / size).expand(classes)) for w, size in zip(weights, sizes, strict=True)
    ]
    head.weight.copy_(torch.cat(diagonals, dim=1))
    head.bias.copy_(bias)
    return head


def fit_affine(
    logits: Tensor, evidence: Tensor | None, labels: Tensor, *, penalty: float = 1e-3
) -> Affine:
    """Multinomial logistic regression on the standardised inputs: with the logits alone, matrix scaling.

    Args:
        logits: (samples, classes).
        evidence: (samples, classes), or None.
        labels: (samples,).
        penalty: Of the squared weights, per sample.
    """
    joined = check_logits(
        logits if evidence is None else torch.cat([logits, evidence], dim=1), labels
    )[0]
    centre, spread = joined.mean(dim=0), joined.std(dim=0, correction=0).clamp_min(1e-12)
    inputs = (joined - centre) / spread
    classes = logits.shape[1]
    weights = torch.zeros(classes, inputs.shape[1], dtype=torch.float64)
    bias = torch.zeros(classes, dtype=torch.float64)

    def loss() -> Tensor:
        return (
            cross_entropy(inputs @ weights.T + bias, labels) + penalty * weights.square().sum() / 2
        )

    _minimise(loss, [weights, bias])
    head = Affine(inputs.shape[1], classes)
    head.weight.copy_(weights / spread)
    head.bias.copy_(bias - (weights * (centre / spread)).sum(dim=1))
    return head


def fit_auxiliary(
    logits: Tensor,
    evidence: Tensor | None,
    labels: Tensor,
    *,
    probabilities: bool = True,
    standardise: bool = True,
    epochs: int = 20,
    seed: int = 0,
) -> Auxiliary:
    """Train P1's auxiliary network. The paper says nothing of its training: here Adam, 1e-3, batches of 128.

    Args:
        logits: (samples, classes).
        evidence: `P · U*`, (samples, classes), or None for the same network without activation
            patterns.
        labels: (samples,).
        probabilities: See `Auxiliary`.
        standardise: Whether inputs are brought to mean 0 and deviation 1; as printed, they are not.
        epochs: Passes over the samples, or as many as make 300 steps, if that is more.
        seed: Of weights and order.
    """
    check_logits(logits, labels)
    classes = logits.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            seed
        )  # torch.manual_seed would reset those of GPUs as well
        head = Auxiliary(
            classes, proposes=evidence is not None, probabilities=probabilities
        ).requires_grad_(False)
    inputs = head.inputs(logits.float(), None if evidence is None else evidence.float())
    if standardise:
        head.centre.copy_(inputs.mean(dim=0))
        head.spread.copy_(inputs.std(dim=0, correction=0).clamp_min(1e-6))
    layers = [head.hidden.weight, head.hidden.bias, head.output.weight, head.output.bias]
    found = _descend((inputs - head.centre) / head.spread, labels, layers, epochs=epochs, seed=seed)
    for layer, values in zip(layers, found, strict=True):
        layer.copy_(values)
    if not all(bool(torch.isfinite(value).all()) for value in found):
        raise NonFiniteError(
            "an auxiliary network whose training diverged",
            "finite weights",
            "choose a method on standardised inputs",
        )
    return head


def _descend(
    inputs: Tensor, labels: Tensor, layers: Sequence[Tensor], *, epochs: int, seed: int
) -> list[Tensor]:
    """The network's weights after training.

    The gradient is written out and computed by NumPy: at this size, autograd takes ten times as
        long.
    """
    given, targets = inputs.cpu().numpy(), labels.cpu().numpy()
    flat = torch.cat([layer.detach().cpu().flatten() for layer in layers]).numpy()
    slope, first, second = (np.zeros_like(flat) for _ in range(3))
    ends = np.cumsum([layer.numel() for layer in layers])[:-1]
    shapes = [tuple(layer.shape) for layer in layers]
    w1, b1, w2, b2 = (
        part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)
    )
    g1, h1, g2, h2 = (
        part.reshape(shape) for part, shape in zip(np.split(slope, ends), shapes, strict=True)
    )
    draw = np.random.default_rng(seed)
    samples = len(targets)
    per_epoch = -(-samples // _BATCH)
    step = 0
    for _ in range(max(epochs, -(-_FEWEST // per_epoch))):
        order = draw.permutation(samples)
        for start in range(0, samples, _BATCH):
            chosen = order[start : start + _BATCH]
            batch = given[chosen]
            hidden = np.maximum(batch @ w1.T + b1, 0)
            error = hidden @ w2.T + b2
            error = np.exp(error - error.max(axis=1, keepdims=True))
            error /= error.sum(axis=1, keepdims=True)
            error[np.arange(len(chosen)), targets[chosen]] -= 1
            error /= len(chosen)
            back = (error @ w2) * (hidden > 0)
            g2[:], h2[:], g1[:], h1[:] = (
                error.T @ hidden,
                error.sum(axis=0),
                back.T @ batch,
                back.sum(axis=0),
            )
            step += 1
            first += np.float32(0.1) * (slope - first)
            second += np.float32(0.001) * (slope * slope - second)
            root = np.sqrt(second / np.float32(1 - 0.999**step)) + np.float32(1e-8)
            flat -= np.float32(1e-3 / (1 - 0.9**step)) * first / root
    return [torch.from_numpy(value.copy()) for value in (w1, b1, w2, b2)]


def _minimise(loss: Callable[[], Tensor], values: list[Tensor]) -> None:
    """Put the values where a convex loss is least."""
    with torch.inference_mode(False), torch.enable_grad():
        for value in values:
            value.requires_grad_()
        solver = torch.optim.LBFGS(
            values,
            max_iter=200,
            tolerance_grad=1e-7,
            tolerance_change=1e-10,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            solver.zero_grad()
            now = loss()
            now.backward()  # type: ignore[no-untyped-call]
            return now

        solver.step(closure)  # type: ignore[no-untyped-call]
        for value in values:
            value.requires_grad_(False)


RATES = (3e-4, 1e-3, 3e-3)


"""Step sizes tried, for about 2,000 inputs; which of them is best, held-out data say."""


_DECAY = 1e-3


_STEP = 256


def fit_readouts(
    activations: Tensor,
    logits: Tensor,
    labels: Tensor,
    sizes: Sequence[int],
    *,
    patterns: bool,
    values: bool = True,
    threshold: float | Tensor = 0.0,
    of_head: bool = False,
    rates: Sequence[float] = RATES,
    epochs: int = 5,
    seed: int = 0,
) -> list[Evidence]:
    """Learn what to add to frozen logits: `z = logits + W a / s + V (a > threshold) + b`, by cross-entropy.

    W, V and b start at zero, which is the classifier as it is, and are trained by Adam with steps
    that shrink to zero, one run for each rate, all on the same batches. `s` is the mean deviation
    of a layer's neurons.

    Args:
        activations: (samples, neurons).
        logits: (samples, classes).
        labels: (samples,).
        sizes: Neurons of each layer.
        patterns: Whether there is a V.
        values: Whether there is a W; without it, only which neurons fire is read, and not how
            strongly.
        threshold: A neuron is active above it; or one for each neuron, (neurons,).
        of_head: What the evidence is to read (see `Evidence`).
        rates: Step sizes.
        epochs: Passes over the samples, or as many as make 300 steps, if that is more.
        seed: Of the order.

    Returns:
        For each rate, what is added.
    """
    sample, offset = activations.float(), logits.float()
    samples, neurons = sample.shape
    rows, device = (len(rates), offset.shape[1]), sample.device
    # Activations are multiplied by the scale where there are fewest of them: in the weights.
    scales = [_scales(sample, sizes)] * values + [torch.ones_like(sample[0])] * patterns
    weights = [sample.new_zeros(*rows, neurons) for _ in scales]
    bias = sample.new_zeros(rows)
    # The wider the input, the more a step changes the logits.
    step_size = min(max((2048 / (neurons * len(scales))) ** 0.5, 0.1), 3.0)
    learnt = [[each[number] for each in (*weights, bias)] for number in range(len(rates))]
    optimizer = torch.optim.Adam([{"params": of_rate} for of_rate in learnt])
    per_epoch = -(-samples // _STEP)
    total = max(epochs, -(-300 // per_epoch)) * per_epoch
    draw = torch.Generator().manual_seed(seed)
    order: Iterator[Tensor] = iter(())
    held, fired = (sample.new_empty(min(_STEP, samples), neurons) for _ in range(2))
    for step in range(1, total + 1):
        chosen = next(order, None)
        if chosen is None:
            order = iter(torch.split(torch.randperm(samples, generator=draw).to(device), _STEP))
            chosen = next(order)
        given = torch.index_select(sample, 0, chosen, out=held[: len(chosen)])
        inputs = [given] * values
        if patterns:
            inputs.append(torch.gt(given, threshold, out=fired[: len(chosen)]))
        score = bias[..., None] + offset[chosen].T
        for weight, scale, read in zip(weights, scales, inputs, strict=True):
            score += ((weight * scale).flatten(0, 1) @ read.T).view(score.shape)
        error = score.softmax(dim=1)
        error[:, labels[chosen], torch.arange(len(chosen), device=device)] -= 1
        error /= len(chosen)
        # Written out: without autograd, and one product for all rates.
        slopes = [
            (error.flatten(0, 1) @ read).mul_(scale).view(weight.shape).add_(weight, alpha=_DECAY)
            for weight, scale, read in zip(weights, scales, inputs, strict=True)
        ]
        slopes.append(error.sum(dim=2))
        for number, group in enumerate(optimizer.param_groups):
            for value, slope in zip(group["params"], slopes, strict=True):
                value.grad = slope[number]
            group["lr"] = rates[number] * step_size * (1 - (step - 1) / total)
        optimizer.step()
    return [
        Evidence(
            weights[0][number] * scales[0] if values else None,
            weights[-1][number] if patterns else None,
            bias[number],
            sizes,
            threshold=threshold,
            of_head=of_head,
        )
        for number in range(len(rates))
    ]


def _scales(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """One over the mean deviation of the neurons of each layer, (neurons,)."""
    spread = torch.split(values.std(dim=0, correction=0), list(sizes))
    return torch.cat([(1 / part.mean().clamp_min(1e-6)).expand(len(part)) for part in spread])


def choose_readout(
    logits: Tensor,
    candidates: Sequence[Tensor],
    labels: Tensor,
    shares: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
) -> tuple[int, Tempered]:
    """Which readout, how much of it, and at which temperature: what has the least loss on held-out data.

    The loss and not the accuracy, of which a few thousand samples say too little to choose by.

    Args:
        logits: The classifier's, (samples, classes).
        candidates: What each readout adds, (samples, classes) each.
        labels: (samples,).
        shares: How much of it may be added; nothing is tried as well.

    Returns:
        Which of the candidates, and the head: share and temperature.
    """

    def tried(score: Tensor) -> tuple[float, float]:
        temperature = fit_temperature(score, labels)
        return negative_log_likelihood(score / temperature, labels), temperature

    found = [(*tried(logits), 0, 0.0)]
    found += [
        (*tried(logits + s * added), n, s) for n, added in enumerate(candidates) for s in shares
    ]
    _, temperature, which, share = min(found, key=lambda one: one[0])
    return which, Tempered(temperature, share)
