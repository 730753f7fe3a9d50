"""`explain`: why a network decided as it did, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cofire.arguments import validated
from cofire.errors import ExplanationError, OptionError
from cofire.explain.inputs import (
    Images,
    Inputs,
    Target,
    checked_classes,
    checked_images,
    checked_inputs,
    probabilities_of,
)
from cofire.explain.methods.registry import Found, Method, method_of
from cofire.explain.result.explanation import Explanation
from cofire.explain.result.neurons import Neurons, Site
from cofire.explain.views import in_views
from cofire.network import Network, classifier


@validated
def explain(
    network: Network | nn.Module,
    inputs: Inputs,
    target: Target = None,
    method: str = "discernible",
    *,
    images: Images = None,
    **options: Any,
) -> Explanation:
    """Trace a prediction back to the pixels that carried it.

    "discernible" follows evidence from the class down, operator by operator: of the inputs of a
    neuron with weights those are chosen that score highest by P3's Eq. 1, `Ω = α_suc · Z_suc ·
    (α_cur · Z_cur + α_pre · Z_pre)`, and each neuron hands its evidence on to them in proportion.
    That gives neurons, points and paths. Its heat map, and the box around it, show where the
    evidence for `z_c − contrast · z_d` comes from, the output of the class less that of its
    strongest rival: begun at the last places of the network, and followed down once by gradients,
    of activation layers only where it speaks for the class (see
    `cofire.explain.methods.guided.guided_evidence`); hot is where the layers on its way agree. A
    network without layers that have places has heat maps and boxes of points.

    "discernible-layers" has the same neurons, points and paths. Its heat map is made of the net
    evidence of the last activation layer of each resolution, class and rival contrasted in each:
    `(Ê_c − contrast · Ê_d)⁺`, where `E_c = (Σ_channels a · ∂z_c/∂a)⁺` and `Ê` is a share of 1.

    "discernible-relevance" has the same neurons, points and paths too. Its heat map is relevance that is
    carried from the last places of the network down to a finer layer, less as much of its strongest
    rival's as leaves the two maps no more than `overlap` in common (see
    `cofire.explain.methods.contrasted.relevance_map`); where no rule carries it, that of
    "discernible-layers".

    "discernible-p3" is the paper's form and nothing besides: the k inputs with the highest Ω are
    chosen, be they silent or speak against the neuron, each as a large value; neurons are chosen or
    not, without scores; heat maps and boxes are of points. "discernible-points" is that form with
    three repairs: inputs that contribute nothing take no part, nor does the last resort fall on
    them where nothing speaks for a neuron, and an input with a negative weight is asked why it is
    small, in `Z_pre` and further down. "cnn-fixations" is the same as the latter with other
    options. "gradcam" and "gradcam++" are class activation maps, as captum and grad-cam have them; "lrp"
    is relevance by LRP ε⁺, as zennit has it.

    Args:
        network: The classifier, read from its operator graph; a module is read with the inputs.
        inputs: A batch (images, *network.input_shape), prepared as for prediction; or one image.
        target: The class to explain: None for the one that each image is predicted as (of a network
            with a single logit class 1, which that logit is of), a number for all images, (images,)
            for one each, (images, n) to start from several at once.
        method: "discernible", "discernible-p3", "discernible-points", "cnn-fixations",
            "discernible-layers", "discernible-relevance", "gradcam", "gradcam++", "lrp", or
            one that was registered (see `cofire.register_method`).
        images: What to draw the explanation on, (images, height, width, 3), uint8. Left out, the
            inputs themselves, each stretched to the full range of grey values or colours.
        **options: Of the method. Those that trace: `alpha`, `k`, `k_linear`, `n`, `most`,
            `counted`, `carried`, `contrast` (see `cofire.explain.methods.discernible.TracingOptions`;
            None makes heat maps and boxes of points), `points` (False leaves them and neurons out:
            the same heat maps and boxes in less time, also where evidence would end on its way),
            `attention`, and of their heat maps and boxes `sigma`, and `threshold`, `connected` for
            heat of layers, `min_share`, `radius`, `weighted` for boxes of points (see
            `cofire.explain.result.regions.Regions`). Class activation maps: `layer`, the activation
            layer to look at. Relevance: `sigma`, how wide it is blurred, and `attention`. Of the boxes of
            all maps: `threshold`, `connected`. Of all methods: `views`, "mirror", "scale" (the
            image at three quarters of its size as well) or "both", for a heat map that is the mean
            over 2, 2 or 4 views of the image, at as many times the time of the map alone; points and
            neurons are left out.

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

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
        >>> for parameter, values in zip(model.parameters(), ([[1.0, 0, 0], [0, 0, 1]], [0.0, 0], [[2.0, 0], [0, 1]],
        ...                                                   [0.0, 0]), strict=True):
        ...     _ = parameter.data.copy_(torch.tensor(values))
        >>> found = explain(Network(model, torch.zeros(1, 3)), torch.tensor([[1.0, 5.0, 1.0]]))
        >>> found.target.tolist(), found.points(0)
        ([[0]], Points(1, score 1.0000))
    """
    return explain_by(method_of(method), network, inputs, target, images, options)


def explain_by(
    method: Method,
    network: Network | nn.Module,
    inputs: Tensor,
    target: int | Tensor | None,
    images: Tensor | None,
    options: Mapping[str, Any],
) -> Explanation:
    """The explanation by a row of the table of methods; see `explain`."""
    if isinstance(network, nn.Module) and getattr(inputs, "ndim", 0) in (1, 3):
        inputs = inputs[None]
    network = classifier(network, inputs)
    if len(network.input_shape) not in (1, 3):
        raise ExplanationError(
            f"a network on inputs of shape {network.input_shape}",
            "images (channels, height, width), or vectors (features,)",
            "wrap the model so that it takes images, of height 1 for a line",
        )
    batch = checked_inputs(network, inputs)
    if options.get("views") is not None:
        own = {name: value for name, value in options.items() if name != "views"}

        def once(seen: Tensor, classes: Any, asked: Mapping[str, Any]) -> Explanation:
            return explain_by(method, network, seen, classes, images, asked)

        return in_views(once, method, batch, target, own, options["views"])
    options = {name: value for name, value in options.items() if name != "views"}
    kind = method.kind(options)
    regions, chosen = method.read(options, kind)
    if target is None and network.output == "one logit" and options.get("n", 1) == 1:
        target = 1
    classes = checked_classes(network, target, len(batch))
    if classes is not None and classes.shape[1] > 1 and "n" not in method.options.model_fields:
        raise OptionError(
            f"{classes.shape[1]} classes for one image",
            f"one class, as {method.name} explains one",
            "explain each by itself",
        )
    shown = checked_images(batch, images)
    logits = None
    if not method.predicts:
        logits = network.run(batch).cpu()
        classes = probabilities_of(logits).argmax(1, keepdim=True) if classes is None else classes
        result = method(network, batch, classes[:, 0], chosen)
    else:
        result = method(network, batch, classes, chosen)
    found = result if isinstance(result, Found) else _found(method, network, result, classes)
    logits = found.logits if logits is None else logits
    classes = found.classes if classes is None else classes
    assert logits is not None
    assert classes is not None
    if kind == "layers" and found.layer_maps is None:
        # No layer says where its evidence lies: heat maps and boxes are of points.
        traced = {name: value for name, value in options.items() if name != "points"}
        regions, chosen = method.read({**traced, "contrast": None}, "points")
    maps, layer_maps, blur = found.maps, found.layer_maps, {}
    if layer_maps is not None and found.neurons is None:
        # Without points what the layers say together is all there is.
        if regions.around == "points":
            raise OptionError(
                "a box of points, and points=False",
                "an option of the heat map's box: threshold or connected",
                "leave points out, or min_share, radius and weighted",
            )
        maps, layer_maps = layer_maps.together(_size(network), regions.sigma), None
        blur = {"sigma": regions.sigma}
    record = {**chosen.record(), **found.instead}
    noted = {name: one for name, one in record.items() if name not in found.unused}
    probabilities = probabilities_of(logits).cpu()
    confidence, predicted = probabilities.max(1)
    return Explanation(
        method=method.name,
        options={**noted, **blur} if found.options is None else found.options,
        target=classes.clone(),
        probability=probabilities.gather(1, classes).float(),
        predicted=predicted,
        confidence=confidence.float(),
        input_shape=network.input_shape,
        sites=found.sites,
        neurons=found.neurons,
        maps=None if maps is None else maps.cpu(),
        images=shown,
        regions=regions,
        layer_maps=layer_maps,
    )


def _size(network: Network) -> tuple[int, int]:
    """Height and width of the images; vectors are one row of pixels."""
    shape = network.input_shape
    return (shape[1], shape[2]) if len(shape) == 3 else (1, shape[0])


def _found(method: Method, network: Network, values: Any, classes: Tensor | None) -> Found:
    """What a method's tensor says: maps, or points at the pixels above 0."""
    assert classes is not None
    shape = network.input_shape
    size = (len(classes), *_size(network))
    if (
        not isinstance(values, Tensor)
        or tuple(values.shape) != size
        or not bool((values.isfinite() & (values >= 0)).all())
    ):
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ExplanationError(
            f"{given} from method {method.name!r}",
            f"a tensor of shape {size} of finite values from 0 up",
            "correct the function that was registered with cofire.register_method",
        )
    values = values.detach().to("cpu", torch.float32)
    if method.gives == "maps":
        return Found(maps=values)
    image, y, x = values.nonzero(as_tuple=True)
    score, total = values[image, y, x], values.flatten(1).sum(1)
    top = total.nonzero().flatten()
    none = torch.zeros_like(image)
    channel = none if len(shape) == 3 else x
    columns = {
        "image": [top, image],
        "site": [torch.ones_like(top), none],
        "channel": [classes[top, 0], channel],
        "y": [torch.zeros_like(top), y],
        "x": [torch.zeros_like(top), x - channel],
        "child": [torch.arange(len(image)) + len(top)],
        "parent": [torch.searchsorted(top, image)],
    }
    neurons = Neurons(
        **{name: torch.cat(parts).to(torch.int32) for name, parts in columns.items()},
        score=torch.cat([total[top], score]),
        share=score,
    )
    classes_site = Site("classes", "classes", (network.num_classes,), 0)
    return Found(sites=(Site("input", "input", tuple(shape), 0), classes_site), neurons=neurons)
