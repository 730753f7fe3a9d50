"""`explain`: why a network decided as it did, image by image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from cofire.arguments import validated
from cofire.errors import ExplanationError, OptionError, near_matches
from cofire.explain.inputs import (
    Images,
    Pictures,
    Target,
    chances_of,
    classes_asked,
    images_asked,
    pictures_asked,
)
from cofire.explain.methods.discernible import (
    DEFAULTS,
    METHODS,
    Tracing,
    kind_of,
    scoring_of,
    tracing_of,
)
from cofire.explain.methods.mapping import MapMethod, mapped
from cofire.explain.result.explanation import Explanation
from cofire.explain.result.layer_maps import LayerMaps, joined_maps, net_evidence
from cofire.explain.result.regions import Regions, regions_of
from cofire.explain.rules.flow import Flow
from cofire.explain.tracing.plan import images_at_once, plan_of
from cofire.explain.tracing.trace import Table, trace
from cofire.network import Network, classifier
from cofire.network.untouched import without_autocast


@validated
def explain(
    network: Network | nn.Module,
    images: Images,
    target: Target = None,
    method: str = "discernible",
    *,
    pictures: Pictures = None,
    **options: Any,
) -> Explanation:
    """Trace a prediction back to the pixels that carried it.

    "discernible" follows evidence from the class down, operator by operator: of the inputs of a
    neuron with weights those are chosen that score highest by P3's Eq. 1, `Ω = α_suc · Z_suc ·
    (α_cur · Z_cur + α_pre · Z_pre)`, and each neuron hands its evidence on to them in proportion.
    That gives neurons, points and paths. Its heat map, and the box around it, are made of net
    evidence: at the last activation layer of each resolution `(Ê_c − contrast · Ê_d)⁺`, where `E_c
    = (Σ_channels a · ∂z_c/∂a)⁺` for the class, `E_d` for its strongest rival, and `Ê` is a share of
    1; hot is where all these layers agree. A network without such layers has heat maps and boxes of
    points.

    "discernible-p3" is the paper's form and nothing besides: the k inputs with the highest Ω are
    chosen, be they silent or speak against the neuron, each as a large value; neurons are chosen or
    not, without scores; heat maps and boxes are of points. "discernible-points" is that form with
    three repairs: inputs that contribute nothing take no part, nor does the last resort fall on
    them where nothing speaks for a neuron, and an input with a negative weight is asked why it is
    small, in `Z_pre` and further down. "cnn-fixations" is the same as the latter with other
    options. "gradcam" and "gradcam++" are the class activation maps of captum and grad-cam; "lrp"
    is the relevance of zennit's LRP ε⁺.

    Args:
        network: The classifier, read from its operator graph; a module is read with the images.
        images: A batch (images, *network.input_shape), prepared as for prediction; or one image.
        target: The class to explain: None for the one that each image is predicted as, a number for
            all images, (images,) for one each, (images, n) to start from several at once.
        method: "discernible", "discernible-p3", "discernible-points", "cnn-fixations", "gradcam",
            "gradcam++" or "lrp".
        pictures: What to draw the explanation on, (images, height, width, 3), uint8. Left out, the
            images themselves, each stretched to the full range of grey values or colours.
        **options: Of the method. Those that trace: `alpha`, `k`, `k_linear`, `n`, `most`,
            `counted`, `carried`, `contrast` (see `cofire.explain.methods.discernible.Tracing`; None makes heat
            maps and boxes of points), and of their heat maps and boxes `sigma`, and `threshold`,
            `connected` for heat of layers, `min_share`, `radius`, `weighted` for boxes of points
            (see `cofire.explain.result.regions.Regions`). Class activation maps: `layer`, the
            activation layer to look at. Relevance: `sigma`, how wide it is blurred. Of the boxes of
            all maps: `threshold`, `connected`.

    Returns:
        The explanation of all images. What nothing speaks for has "no evidence": no points, a map
        of zeros. The paper's form alone chooses neurons for that as well.

    Raises:
        BatchError: The images' shape or type is not the network's.
        NonFiniteError: An image or a logit is NaN or infinite.
        LabelError: A target is no class.
        OptionError: The method or an option does not exist, or has a value it cannot have.
        RuleError: The network has an operator through which evidence cannot be traced, or relevance
            cannot go.
        ExportError: The network has no operator graph.
        ExplanationError: The network has no layer for a class activation map.
        MissingExtraError: The library of a class activation map, or of relevance, is not installed.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
        >>> for parameter, values in zip(model.parameters(), ([[1.0, 0, 0], [0, 0, 1]], [0.0, 0], [[2.0, 0], [0, 1]],
        ...                                                   [0.0, 0]), strict=True):
        ...     _ = parameter.data.copy_(torch.tensor(values))
        >>> found = explain(Network(model, torch.zeros(1, 3)), torch.tensor([[1.0, 5.0, 1.0]]))
        >>> found.target.tolist(), found.points(0)
        ([[0]], Points(1, score 1.0000))
    """
    if method not in METHODS:
        raise OptionError(
            f"method={method!r}",
            f"one of {', '.join(map(repr, METHODS))}",
            f"pass {near_matches(str(method), METHODS, most=1)}",
        )
    network = classifier(network, images)
    if len(network.input_shape) not in (1, 3):
        raise ExplanationError(
            f"a network on inputs of shape {network.input_shape}",
            "images (channels, height, width), or vectors (features,)",
            "wrap the model so that it takes images, of height 1 for a line",
        )
    batch = images_asked(network, images)
    kind = kind_of(method, options)
    regions, own = regions_of(options, kind)
    if method not in DEFAULTS:
        found_maps = mapped(
            network,
            batch,
            classes_asked(network, target, len(batch)),
            cast("MapMethod", method),
            pictures_asked(batch, pictures),
            own,
        )
        return replace(found_maps, regions=regions)
    tracing = tracing_of(method, own)
    classes = classes_asked(network, target, len(batch))
    if classes is not None and tracing.n > 1:
        raise OptionError(
            f"n={tracing.n} and a target", "one of the two", "pass (images, n) classes as target"
        )
    if tracing.n > network.num_classes:
        raise OptionError(f"n={tracing.n}", f"at most {network.num_classes} classes", "pass n=1")
    plan = plan_of(network)
    if kind == "layers" and not plan.judged:
        kind = "points"
        regions, tracing = _without_layers(method, options)
    asked = plan.judged if kind == "layers" else {}
    scoring = scoring_of(method, tracing)
    table = Table(plan)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    layers: list[LayerMaps | None] = []
    each = images_at_once(plan, len(batch), recorded=bool(asked))
    for first in range(0, len(batch), each):
        part = batch[first : first + each]
        logits, values = plan.tap(network, part, recorded=bool(asked))
        chances = chances_of(logits.detach(), first)
        chosen = (
            chances.topk(tracing.n, dim=1).indices
            if classes is None
            else classes[first : first + each]
        )
        chosen = chosen.to(logits.device)
        with without_autocast():
            layers.append(
                net_evidence(asked, logits, values, chosen, tracing.contrast or 0.0, first)
            )
        logits, values = logits.detach(), {node: value.detach() for node, value in values.items()}
        with torch.inference_mode(), without_autocast():
            table.add(first, trace(plan, values, _start(chosen, logits), scoring))
        found.append(
            (chosen.cpu(), chances.gather(1, chosen).cpu(), torch.stack(chances.max(1)).cpu())
        )
    sites, neurons = table.finished()
    layer_maps = joined_maps(layers)
    if kind == "layers" and layer_maps is None:
        regions, tracing = _without_layers(method, options)
    highest = torch.cat([part[2] for part in found], dim=1)
    return Explanation(
        method=method,
        options=tracing.described(),
        target=torch.cat([part[0] for part in found]),
        probability=torch.cat([part[1] for part in found]).float(),
        predicted=highest[1].long(),
        confidence=highest[0].float(),
        input_shape=network.input_shape,
        sites=sites,
        neurons=neurons,
        maps=None,
        pictures=pictures_asked(batch, pictures),
        regions=regions,
        layer_maps=layer_maps,
    )


def _without_layers(method: str, options: dict[str, Any]) -> tuple[Regions, Tracing]:
    """What is so where no layer says where its evidence lies: heat maps and boxes are of points."""
    regions, own = regions_of(options, "points")
    return regions, replace(tracing_of(method, own), contrast=None)


def _start(classes: Tensor, logits: Tensor) -> Flow:
    ordered, order = classes.sort(dim=1)
    # Softmax over these classes alone: their probabilities among themselves, however small each is.
    share = logits.double().gather(1, classes).softmax(1).gather(1, order)
    image = torch.arange(len(classes), device=classes.device).repeat_interleave(classes.shape[1])
    index, score = ordered.reshape(-1), share.reshape(-1)
    kept = score > 0
    one = torch.ones_like(index, dtype=torch.int8)
    flow = Flow(image, index, one, score, torch.arange(len(index), device=index.device)).where(kept)
    return Flow(
        flow.image,
        flow.index,
        flow.direction,
        flow.score,
        torch.arange(len(flow), device=index.device),
    )
