"""The sanity check of Adebayo et al. (2018): with the weights at random, the explanation must change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.bounds import check_whole
from cofire.errors import DataError, LayerError
from cofire.evaluate.per_image import PerImage
from cofire.evaluate.sensitivity import rank_correlation
from cofire.explain.explanation import Explanation
from cofire.network import Network, classifier


@validated
@dataclass(frozen=True, eq=False)
class Cascade:
    """What became of an explanation while a network's weights were randomised from the top down.

    Attributes:
        layers: What each stage randomised in addition to the stages before it.
        rank_correlation: Spearman's of each stage's maps with the original ones, -1 to 1. 1 says
            that the explanation did not see what was randomised. Not counted where a map is
            constant.
    """

    layers: tuple[tuple[str, ...], ...]
    rank_correlation: tuple[PerImage, ...]

    def __len__(self) -> int:
        return len(self.layers)


@validated
def randomisation(
    network: Network,
    explained: Callable[[Network], Explanation],
    *,
    stages: int | None = None,
    seed: int = 0,
    sigma: float | None = None,
) -> Cascade:
    """Explain the same images while the weights are randomised, from the layer next to the classes downwards.

    Args:
        network: As it was trained; it stays so.
        explained: Explains the images by a network; always the same images and classes.
        stages: In how many stages, each of as many layers; None for a stage each layer.
        seed: Of the random order of the weights.
        sigma: Blur of the heat maps, not for maps (see `Explanation.heatmap`); the explanations'
            own unless given.

    Returns:
        One entry for each stage.

    Raises:
        DataError: An explanation of other images.
        ExportError: The network has no operator graph.
        LayerError: The network has no weights.
        OptionError: `stages` or `seed` is no such number, or there are fewer layers than stages.

    Example:
        >>> from cofire.explain import explain
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> images = torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
        >>> found = randomisation(Network(model, images), lambda other: explain(other, images, 0, k_linear=None))
        >>> found.layers, len(found.rank_correlation)
        ((('2',), ('0',)), 2)
    """
    network = classifier(network)
    original = explained(network)
    before = original.heatmap(sigma)
    layers, found = [], []
    for names, other in randomised(network, stages=stages, seed=seed):
        after = explained(other)
        if len(after) != len(original) or after.size != original.size:
            raise DataError(
                f"an explanation of {len(after)} images of {after.size}",
                f"of {len(original)} of {original.size}",
                "explain the same images at every stage",
            )
        layers.append(names)
        found.append(rank_correlation(before, after.heatmap(sigma)))
    return Cascade(tuple(layers), tuple(found))


def randomised(
    network: Network, *, stages: int | None = None, seed: int = 0
) -> Iterator[tuple[tuple[str, ...], Network]]:
    """The network with ever more of its layers randomised, from the one next to the classes downwards.

    The numbers of each weight change places at random among themselves, so that each keeps its
    distribution. What a normalisation counted in training (running means and variances) stays.

    Args:
        network: As it was trained; it stays so.
        stages: In how many stages; None for a stage each layer.
        seed: The same numbers for the same weight, whatever else is randomised.

    Yields:
        The layers that a stage adds, and the network with them and those of all stages before.

    Raises:
        ExportError: The network has no operator graph.
        LayerError: The network has no weights.
        OptionError: `stages` or `seed` is no such number, or there are fewer layers than stages.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> [names for names, _ in randomised(Network(model, torch.zeros(1, 4)))]
        [('2',), ('0',)]
    """
    seed = check_whole("seed", seed, least=0)
    layers = _layers(network)
    if not layers:
        raise LayerError("a network without weights", "one that was trained", "check the model")
    several = len(layers) if stages is None else check_whole("stages", stages, most=len(layers))
    reference, tensors = network._reference, dict(_tensors(network))
    names = list(layers)
    for stage in range(several):
        added = names[stage * len(names) // several : (stage + 1) * len(names) // several]
        chosen = [reference[name] for layer in added for name in layers[layer]]
        for name in tensors:
            # A weight that several layers share has several names, and must remain one weight.
            if any(each is reference[name] for each in chosen):
                first = next(other for other in reference if reference[other] is reference[name])
                tensors[name] = _permuted(tensors[name], seed, first)
        yield tuple(added), network.with_weights(tensors)


def _tensors(network: Network) -> Iterator[tuple[str, Tensor]]:
    """The network's weights as they are now, by name."""
    names = list(network._reference)
    return zip(names, network._source.tensors(names), strict=True)


def _layers(network: Network) -> dict[str, list[str]]:
    """Names of weights by the path of their module, the last to be used first; each weight once."""
    found: dict[str, list[str]] = {}
    seen: list[Tensor] = []
    for node in reversed(list(network.graph.nodes)):
        for operand in node.all_input_nodes:
            name = operand.meta.get("tensor_name")
            held = network._reference.get(name) if name is not None else None
            if (
                held is None
                or not held.is_floating_point()
                or not isinstance(held, torch.nn.Parameter)
            ):
                continue
            if held.numel() > 1 and not any(held is other for other in seen):
                seen.append(held)
                found.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return found


def _permuted(values: Tensor, seed: int, name: str) -> Tensor:
    """The same numbers in a random order, drawn from the seed and the weight's name."""
    order = np.random.default_rng([seed, *name.encode()]).permutation(values.numel())
    flat = values.detach().flatten()
    return flat[torch.from_numpy(order).to(flat.device)].reshape(values.shape)
