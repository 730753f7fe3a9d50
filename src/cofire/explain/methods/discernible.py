"""The methods that trace evidence back: discernible neurons, the paper's form of it, and CNN-Fixations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

import torch
from pydantic import Field, PositiveInt, create_model, model_validator
from torch import Tensor, fx

from cofire.errors import OptionError
from cofire.explain.inputs import probabilities_of
from cofire.explain.methods.contrasted import carrying_of, relevance_map
from cofire.explain.methods.guided import ROWS, guide_of, guided_evidence
from cofire.explain.methods.registry import Found, register_method
from cofire.explain.result.layer_maps import LayerMaps, joined_maps, net_evidence
from cofire.explain.rules.attention import THROUGH, Through
from cofire.explain.rules.flow import Flow
from cofire.explain.rules.linear import attends, refuse_without_attention, skipping_functions
from cofire.explain.rules.registry import Values
from cofire.explain.tracing.plan import Plan, images_at_once, plan_of
from cofire.explain.tracing.scoring import Scoring
from cofire.explain.tracing.trace import Record, Table, trace
from cofire.marks import Mark, Refused
from cofire.network import Network
from cofire.network.untouched import without_autocast
from cofire.options import Options

One = TypeVar("One")
Other = TypeVar("Other")


def _alpha(given: Any) -> tuple[float, float, float]:
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 3:
        plain = [
            float(value)
            for value in given
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value < math.inf
        ]
        if len(plain) == 3 and plain[2] and plain[0] + plain[1]:
            return (plain[0], plain[1], plain[2])
    raise Refused(
        "three numbers from 0 up, for current, preceding and succeeding support; the last, and one of the first two, "
        "above 0"
    )


Alpha = Annotated[tuple[float, float, float], Mark("three numbers", _alpha, "(1.0, 1.0, 1.0)")]


class TracingOptions(Options):
    """Options of a method that traces evidence back through the network.

    Attributes:
        alpha: Weights of current, preceding and succeeding support (P3 Eq. 1). The last multiplies
            every score of a neuron's inputs alike and so changes nothing; it is there for the
            equation's sake.
        k: Inputs chosen for each neuron of a convolution, None for all.
        k_linear: Inputs chosen for each neuron of a linear layer, None for all.
        n: Classes to start from, those that the network finds most probable.
        most: Neurons of an image that go on from one place of the network: those that carry most,
            which take over what the others carried; None for all.
        counted: Whether an input counts more that has the highest support for several neurons.
        carried: Whether neurons hand on their score; else each chosen neuron counts 1, the set form
            of the paper, which is all that "discernible-p3" has.
        contrast: How much of the net evidence for the strongest rival is taken from that of the
            class, from 0 to 1, before heat maps and boxes are made of it (see
            `cofire.explain.result.layer_maps.net_evidence`); None makes them of the traced points
            alone, as the paper does.
        points: Whether points and neurons are traced; else there are heat maps and boxes alone, for
            less time. A network without layers that have net evidence is traced all the same.
        attention: Which way evidence takes through attention: "values", mixed by the weights of
            attention as numbers; or "weights", half of it through these, to queries and keys.
    """

    literal: ClassVar[bool] = False

    alpha: Alpha = Field(
        (1.0, 0.0, 1.0),
        title="Weights of support",
        description="Weights of current, preceding, succeeding support: 1,0,1.",
    )
    k: PositiveInt | None = Field(
        10,
        title="Inputs of a convolution",
        description="Inputs chosen per neuron of a convolution, or all.",
    )
    k_linear: PositiveInt | None = Field(
        2,
        title="Inputs of a linear layer",
        description="Inputs chosen per neuron of a linear layer, or all.",
    )
    n: PositiveInt = Field(1, title="Classes", description="Most probable classes to start from.")
    most: PositiveInt | None = Field(
        200,
        title="Neurons that go on",
        description="Neurons of an image that go on from one place, or all.",
    )
    counted: bool = Field(
        True, title="Counted", description="Count inputs more that serve several neurons."
    )
    carried: bool = Field(
        True, title="Carried", description="Hand evidence on; else neurons all count 1."
    )
    contrast: float | None = Field(
        0.7,
        ge=0,
        le=1,
        title="Contrast",
        description="How much of the rival's evidence is taken away, 0 to 1; none makes maps of points.",
    )
    points: bool = Field(
        True, title="Points", description="Trace points and neurons; else heat maps alone, faster."
    )

    @model_validator(mode="after")
    def _gives_something(self) -> Any:
        if not self.points and self.contrast is None:
            raise OptionError(
                "points=False without a contrast",
                "points, or evidence at layers to make heat maps of",
                "leave points out, or pass a contrast",
            )
        return self

    attention: Through = THROUGH

    def scoring(self) -> Scoring:
        """How the inputs of neurons are scored."""
        current, preceding, _ = self.alpha
        # Ratios decide, and α_suc changes none; kept near 1, the largest numbers there are do not
        # overflow.
        largest = max(current, preceding)
        return Scoring(
            current=current / largest,
            preceding=preceding / largest,
            k=self.k,
            k_linear=self.k_linear,
            counted=self.counted,
            carried=self.carried,
            most=self.most,
            literal=self.literal,
        )


def _with_defaults(name: str, base: type[Options], **defaults: Any) -> type[Any]:
    """The same options with other defaults."""
    fields: dict[str, Any] = {}
    for option, value in defaults.items():
        info = copy.copy(base.model_fields[option])
        info.default = value
        fields[option] = (info.annotation, info)
    return create_model(name, __base__=base, __module__=__name__, **fields)


class RelevanceOptions(TracingOptions):
    """Options of tracing, and of the map of relevance that is carried down.

    Attributes:
        contrast: What is taken from the relevance of the class is less than this share of the
            rival's, from 0 to 1 (see `cofire.explain.methods.contrasted.relevance_map`); None makes
            heat maps of the traced points alone.
        overlap: What the maps of class and rival may have in common: no more of the rival's is taken
            away than that asks for.
        rows: How fine the layer is that relevance is carried down to: rows and columns at the least.
            Fewer cost less; as many as the image has end at its pixels.
    """

    contrast: float | None = Field(
        1.0,
        ge=0,
        le=1,
        title="Contrast",
        description="How much of the rival's relevance may be taken away, 0 to 1; none makes maps of points.",
    )
    overlap: float = Field(
        0.67,
        gt=0,
        le=1,
        title="Overlap",
        description="What the maps of a class and of its rival may have in common, up to 1.",
    )
    rows: PositiveInt = Field(
        ROWS, title="Rows", description="Relevance goes down to a layer of so many rows."
    )


class GuidedOptions(TracingOptions):
    """Options of tracing, and of the map of evidence that is followed down once.

    Attributes:
        contrast: How much of the strongest rival's output is taken from that of the class, from 0
            to 1, before its evidence is followed (see
            `cofire.explain.methods.guided.guided_evidence`); None makes heat maps of the traced
            points alone.
        guided: Whether at activation layers only what speaks for the class goes on down; else
            everything does, as net evidence has it.
        rows: How fine the finest layer is that evidence goes down to: the coarsest of so many rows
            and columns. Fewer cost less; as many as the image has read all layers.
    """

    contrast: float | None = Field(
        0.6,
        ge=0,
        le=1,
        title="Contrast",
        description="How much of the rival's output is taken from the class's, 0 to 1; none makes maps of points.",
    )
    guided: bool = Field(
        True, title="Guided", description="Follow only what speaks for the class; else everything."
    )
    rows: PositiveInt = Field(
        ROWS, title="Rows", description="Evidence goes down to a layer of so many rows."
    )


_Points = _with_defaults(
    "PointsOptions",
    TracingOptions,
    alpha=(1.0, 1.0, 1.0),
    k=1,
    k_linear=1,
    most=None,
    carried=False,
    contrast=None,
)
_Fixations = _with_defaults(
    "FixationOptions", _Points, alpha=(1.0, 0.0, 1.0), k_linear=None, counted=False
)


class _P3Options(_Points):  # type: ignore[misc, valid-type]
    literal: ClassVar[bool] = True

    @model_validator(mode="after")
    def _has_no_scores(self) -> Any:
        if self.carried:
            raise OptionError(
                "carried=True for method 'discernible-p3'",
                "False: neurons of the paper's form are chosen or not, without scores",
                "leave it out, or pass method='discernible-points' or 'discernible'",
            )
        return self


_OF_EACH_LAYER = {"sigma": 12 / 224, "threshold": 0.45}
"""How heat maps and boxes of net evidence, contrasted in each layer, are made."""


@register_method(
    "discernible-relevance",
    title="Contrasted relevance",
    options=RelevanceOptions,
    gives="points",
    predicts=True,
    regions={"threshold": 0.2},
    meaning="The same neurons and points; maps of relevance that the strongest rival does not have as well.",
)
@register_method(
    "discernible-layers",
    title="Agreeing layers",
    options=TracingOptions,
    gives="points",
    predicts=True,
    regions=_OF_EACH_LAYER,
    meaning="The same neurons and points; maps of net evidence, contrasted in each layer, where layers agree.",
)
@register_method(
    "cnn-fixations",
    title="CNN-Fixations",
    options=_Fixations,
    gives="points",
    predicts=True,
    regions=_OF_EACH_LAYER,
    meaning="The forerunner: of each neuron the inputs with the largest product.",
)
@register_method(
    "discernible-points",
    title="Discernible points",
    options=_Points,
    gives="points",
    predicts=True,
    regions=_OF_EACH_LAYER,
    meaning="P3 with three repairs: what is silent takes no part, and inputs with negative weights are asked why they "
    "are small.",
)
@register_method(
    "discernible-p3",
    title="Discernible neurons of P3",
    options=_P3Options,
    gives="points",
    predicts=True,
    regions=_OF_EACH_LAYER,
    meaning="Eqs. 1 to 5 and Algorithm 1 of the paper, and nothing besides.",
)
@register_method(
    "discernible",
    title="Discernible neurons",
    options=GuidedOptions,
    gives="points",
    predicts=True,
    meaning="The decision traced back to the neurons and pixels that carried it; maps of what spoke for the class.",
)
def traced(
    network: Network, images: Tensor, classes: Tensor | None, options: TracingOptions
) -> Found:
    """Evidence followed from the classes down, a group of images at a time.

    Args:
        network: With a graph.
        images: (images, *network.input_shape), checked.
        classes: (images, n), None for the most probable.
        options: Of the method.

    Raises:
        OptionError: There are not so many classes, or `n` and classes are given.
        RuleError: The network has an operator through which evidence cannot be traced.
    """
    if classes is not None and options.n > 1:
        raise OptionError(
            f"n={options.n} and a target", "one of the two", "pass (images, n) classes as target"
        )
    if options.n > network.num_classes:
        raise OptionError(f"n={options.n}", f"at most {network.num_classes} classes", "pass n=1")
    plan, scoring = plan_of(network, options.attention == "weights"), options.scoring()
    refuse_without_attention(network, options.attention, attends(plan.steps))
    judged = {} if options.contrast is None else plan.judged
    carrying = None
    if judged and isinstance(options, RelevanceOptions):
        carrying = carrying_of(network, options.rows)
        # What no rule carries down has maps of its layers' evidence.
        judged = {} if carrying else judged
    guide, against = None, options.contrast or 0.0
    if judged and isinstance(options, GuidedOptions):
        guide = guide_of(network, options.attention == "weights", options.rows)
    functions: Mapping[fx.Node, Callable[..., Any]] = plan.functions
    if guide:
        looked = [*guide.starts, *guide.read]
        if isinstance(options, GuidedOptions) and options.guided:
            functions = plan.functions or guide.functions
    else:
        looked = [*judged]
    functions = {**skipping_functions(plan.steps), **functions}

    def mapped(
        images: Tensor, logits: Tensor, values: Values, classes: Tensor, first: int
    ) -> LayerMaps | None:
        with without_autocast():
            if carrying:
                assert isinstance(options, RelevanceOptions)
                of = (carrying, against, options.overlap, first)
                return relevance_map(network, images, classes, *of)
            if guide:
                return guided_evidence(guide, logits, values, classes, against, first)
            return net_evidence(judged, logits, values, classes, against, first)

    table = Table(plan)
    explained, layers, said = [], [], []
    whole = options.points or not (judged or carrying)
    # For maps alone it is enough to know whether anything speaks for the classes.
    way = plan if whole or scoring.preceding else plan.head
    *_, of_each = plan.bytes_alive
    each = images_at_once(plan, len(images), recorded=bool(judged or carrying))
    for first in range(0, len(images), each):
        part = slice(first, first + each)
        seen = dict.fromkeys([*way.needed, *looked])
        logits, values = network.trace(
            images[part], seen, gradients=looked, replace=functions if judged else None
        )
        probabilities = probabilities_of(logits.detach(), first)
        chosen = probabilities.topk(options.n, dim=1).indices if classes is None else classes[part]
        chosen = chosen.to(logits.device)
        maps, record = _side_by_side(
            partial(mapped, images[part], logits, values, chosen, first),
            partial(_record, way, logits, values, chosen, scoring),
            whole and not logits.is_cuda and of_each * len(chosen) >= _LONG,
        )
        if whole:
            table.add(first, record)
        elif maps is not None:
            maps = maps.where(torch.isin(torch.arange(len(chosen)), record.reached.cpu()))
        layers.append(maps)
        explained.append(chosen.cpu())
        said.append(logits.detach().cpu())
    together = joined_maps(layers)
    if together is None and not whole:
        return traced(network, images, classes, options.model_copy(update={"points": True}))
    sites, neurons = table.finished() if whole else ((), None)
    unused: tuple[str, ...] = () if attends(plan.steps) else ("attention",)
    if isinstance(options, RelevanceOptions) and not (carrying and together):
        unused += ("overlap", "rows")
    instead = {}
    if isinstance(options, GuidedOptions) and not (guide and together):
        unused += ("guided", "rows")
    elif isinstance(options, GuidedOptions) and plan.functions:
        # Through attention everything goes on, to the pixels.
        unused, instead = (*unused, "rows"), {"guided": False}
    return Found(
        sites=sites,
        neurons=neurons,
        layer_maps=together,
        unused=unused,
        instead=instead,
        logits=torch.cat(said),
        classes=torch.cat(explained),
    )


_LONG = 1 << 25
"""Bytes of values through which gradients take so long that a second thread gains more than it loses by waiting."""


def _record(way: Plan, logits: Tensor, values: Values, classes: Tensor, scoring: Scoring) -> Record:
    plain = {node: value.detach() for node, value in values.items()}
    with torch.inference_mode(), without_autocast():
        return trace(way, plain, _start(classes, logits.detach()), scoring)


def _side_by_side(
    first: Callable[[], One], second: Callable[[], Other], apart: bool
) -> tuple[One, Other]:
    """What two functions give, the second in a thread of its own: gradients leave a core free, tracing is one loop."""
    if not apart or torch.get_num_threads() == 1:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(second)
        return first(), other.result()


def _start(classes: Tensor, logits: Tensor) -> Flow:
    ordered, order = classes.sort(dim=1)
    # Softmax over these classes alone: their probabilities among themselves, however small each is.
    share = logits.double().gather(1, classes).softmax(1).gather(1, order)
    image = torch.arange(len(classes), device=classes.device).repeat_interleave(classes.shape[1])
    index, score = ordered.reshape(-1), share.reshape(-1)
    kept = score > 0
    row = torch.arange(int(kept.sum()), device=index.device)
    one = torch.ones_like(row, dtype=torch.int8)
    return Flow(image[kept], index[kept], one, score[kept], row)
