"""A linear readout of neurons on top of a frozen classifier: what to add to its logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cofire.boost.evidence import Evidence
from cofire.boost.heads import Tempered, fit_temperature
from cofire.boost.measures import negative_log_likelihood

RATES = (3e-4, 1e-3, 3e-3)
"""Step sizes tried, for about 2,000 inputs; which of them is best, held-out data say."""

_DECAY = 1e-3
_BATCH = 256


def fit_readouts(
    parts: Sequence[tuple[Tensor, Tensor, Tensor]],
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
        parts: Batches of (activations, logits, labels): (samples, neurons), (samples, classes),
            (samples,).
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
    sample = (
        torch.cat([part[0] for part in parts]).to(torch.float32)
        if len(parts) > 1
        else parts[0][0].float()
    )
    offset = torch.cat([part[1] for part in parts]).to(torch.float32)
    labels = torch.cat([part[2] for part in parts])
    samples, neurons = sample.shape
    classes, device = offset.shape[1], sample.device
    scale = _scales(sample, sizes)
    width = neurons * (values + patterns)
    weights = [torch.zeros(classes, width, device=device, dtype=torch.float32) for _ in rates]
    biases = [torch.zeros(classes, device=device, dtype=torch.float32) for _ in rates]
    # The wider the input, the more a step changes the logits.
    step_size = min(max((2048 / width) ** 0.5, 0.1), 3.0)
    optimizer = torch.optim.Adam([{"params": both} for both in zip(weights, biases, strict=True)])
    per_epoch = -(-samples // _BATCH)
    total = max(epochs, -(-300 // per_epoch)) * per_epoch
    draw = torch.Generator().manual_seed(seed)
    order: Iterator[Tensor] = iter(())
    for step in range(1, total + 1):
        chosen = next(order, None)
        if chosen is None:
            order = iter(torch.split(torch.randperm(samples, generator=draw).to(device), _BATCH))
            chosen = next(order)
        given = sample[chosen]
        read = [given * scale] if values else []
        if patterns:
            read.append((given > threshold).to(given.dtype))
        inputs = torch.cat(read, dim=1) if len(read) > 1 else read[0]
        score = (inputs @ torch.cat(weights).T).reshape(len(chosen), len(rates), classes)
        score = score + torch.stack(biases) + offset[chosen, None]
        error = score.softmax(dim=2)
        error[torch.arange(len(chosen), device=device), :, labels[chosen]] -= 1
        error /= len(chosen)
        for number, group in enumerate(optimizer.param_groups):
            # Written out: without autograd, and one product for all runs above.
            weights[number].grad = error[:, number].T @ inputs + _DECAY * weights[number]
            biases[number].grad = error[:, number].sum(dim=0)
            group["lr"] = rates[number] * step_size * (1 - (step - 1) / total)
        optimizer.step()
    return [
        Evidence(
            w[:, :neurons] * scale if values else None,
            w[:, -neurons:] if patterns else None,
            b,
            sizes,
            threshold=threshold,
            of_head=of_head,
        )
        for w, b in zip(weights, biases, strict=True)
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
