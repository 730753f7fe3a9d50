"""The way back through a network, worked out once."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from torch import Tensor, fx

from cofire.errors import RuleError
from cofire.explain.result.neurons import Site
from cofire.explain.rules import Rule, Step, rule_of
from cofire.explain.rules.binary import Sum
from cofire.explain.rules.linear import attends, linear_functions
from cofire.explain.rules.positions import TokenMap, token_maps
from cofire.explain.rules.registry import depends, is_batched, note_batches
from cofire.explain.rules.weighted import Weighted
from cofire.network import ActivationLayer, Network
from cofire.network.operators import named
from cofire.network.reading import module_of, source_of
from cofire.network.trace import FunctionalGraph


@dataclass(frozen=True, eq=False)
class Plan:
    """The operators that evidence passes on its way from the classes to the input.

    Attributes:
        functional: The graph.
        steps: What each node computes and its rule, from the logits down.
        image: The node of the input.
        last: The last operator with weights, whose neurons are the classes or lead to them.
        needed: Nodes whose values the rules want to see.
        layers: Nodes at which neurons are always recorded.
        judged: Feature maps that are asked where their evidence lies.
        functions: What takes the place of operators where evidence of layers is worked out, in a
            network with attention.
        constants: Nodes at which evidence ends, as they do not depend on the image, by name: a
            class token.
        sites: Which sites there are of nodes that evidence reached, as far as that was asked.
    """

    functional: FunctionalGraph
    steps: dict[fx.Node, tuple[Step, Rule]]
    image: fx.Node
    last: fx.Node | None
    needed: tuple[fx.Node, ...]
    layers: dict[fx.Node, ActivationLayer] = field(default_factory=dict)
    judged: dict[fx.Node, ActivationLayer | TokenMap] = field(default_factory=dict)
    functions: dict[fx.Node, Callable[..., Any]] = field(default_factory=dict)
    constants: dict[fx.Node, str] = field(default_factory=dict)
    sites: dict[tuple[fx.Node, ...], tuple[Site, ...]] = field(default_factory=dict)

    @functools.cached_property
    def bytes_alive(self) -> tuple[int, int, int]:
        """Of one sample: at the worst moment of a forward pass, what rules want, and that with all that is recorded."""
        rules = {node for step, rule in self.steps.values() for node in rule.needed(step)}
        wanted = {node for node in rules if is_batched(node)}
        computed = {node for node in self.functional.graph.nodes if node.op == "call_function"}
        recorded = wanted | {node for node in computed if is_batched(node)}
        traced, everything = (sum(map(_bytes, nodes)) for nodes in (wanted, recorded))
        return _peak(self.functional.graph), traced, everything

    @functools.cached_property
    def head(self) -> Plan:
        """The way to the inputs of the last operator with weights: there evidence ends where nothing speaks for it."""
        steps = {}
        for node, step in self.steps.items():
            steps[node] = step
            if node is self.last:
                break
        needed = [node for step, rule in steps.values() for node in rule.needed(step)]
        return replace(self, steps=steps, needed=(self.image, *needed))


Made = TypeVar("Made")
Asked = ParamSpec("Asked")


def once_a_graph(
    make: Callable[Concatenate[Network, Asked], Made],
) -> Callable[Concatenate[Network, Asked], Made]:
    """Make something of a network once, for all its weights: it follows from the graph alone."""
    known: weakref.WeakKeyDictionary[fx.Graph, dict[Any, Made]] = weakref.WeakKeyDictionary()

    @functools.wraps(make)
    def found(network: Network, *asked: Asked.args, **named: Asked.kwargs) -> Made:
        made = known.setdefault(network.graph, {})
        key = (asked, *named.items())
        if key not in made:
            made[key] = make(network, *asked, **named)
        return made[key]

    return cast("Callable[Concatenate[Network, Asked], Made]", found)


def image_of(network: Network) -> fx.Node:
    """The node of the network's one input.

    Raises:
        RuleError: It has several.
    """
    if network.num_inputs != 1:
        raise RuleError(
            f"a network of {network.num_inputs} inputs",
            "a network of one input",
            "wrap the model so that it takes images alone",
        )
    return network.functional.inputs[0]


@once_a_graph
def plan_of(network: Network, weights: bool = False) -> Plan:
    """The plan of a network, the same for all its weights.

    Args:
        network: With a graph.
        weights: Whether evidence also goes through the weights of attention, to queries and keys.

    Raises:
        ExportError: The network has no graph.
        RuleError: An operator has no rule, or stands in a form that its rule does not know.
    """
    functional, image = network.functional, image_of(network)
    gates = _behind(
        {node for node, layer in functional.layers.items() if layer in network.gates},
        functional.graph,
    )
    reading = network.reading
    note_batches(reading.operations, reading.batch, functional.graph, image)
    order = {node: number for number, node in enumerate(functional.graph.nodes)}
    steps: dict[fx.Node, tuple[Step, Rule]] = {}
    constants: dict[fx.Node, str] = {}
    pending = {functional.logits}
    while pending:
        node = max(pending, key=order.__getitem__)
        pending.remove(node)
        if node is image:
            continue
        if steps and not depends(node):
            constants[node] = _constant_name(functional, node)
            continue
        step = Step.of(node, gates, weights)
        if node.op != "call_function":
            raise step.refuse(f"{node.op} {node.name}, which does not depend on the image")
        rule = rule_of(step)
        steps[node] = (step, rule)
        try:
            pending.update(rule.operands(step))
        except RuleError:
            # What is reshaped in an unusual way is so for the sake of something further up: better
            # name that.
            _refuse_without_rule(node)
            raise
    if not any(image in rule.operands(step) for step, rule in steps.values()):
        raise RuleError(
            f"no way from the classes back to the input (last at {source_of(list(steps)[-1])})",
            "a classifier whose logits come from its input",
            "check the model",
        )
    needed = [node for step, rule in steps.values() for node in rule.needed(step)]
    layers = {node: layer for node, layer in functional.layers.items() if node in steps}
    judged: dict[fx.Node, ActivationLayer | TokenMap] = {}
    functions: dict[fx.Node, Callable[..., Any]] = {}
    # A vector that the model makes a map of has no height and width to say where.
    if len(network.input_shape) == 3 and attends(steps):
        judged |= judged_blocks(functional.graph, image, steps)
        functions = linear_functions(steps) if judged else {}
    elif len(network.input_shape) == 3:
        judged |= judged_layers(functional.graph, layers, network.gates)
    kept = tuple(dict.fromkeys([image, *needed, *judged]))
    last = next((node for node, (_, rule) in steps.items() if isinstance(rule, Weighted)), None)
    return Plan(functional, steps, image, last, kept, layers, judged, functions, constants)


def _constant_name(functional: FunctionalGraph, node: fx.Node) -> str:
    """The parameter that a constant is made of, or the node."""
    pending = [node]
    while pending:
        one = pending.pop(0)
        if one in functional.tensors:
            return functional.tensors[one]
        pending += one.all_input_nodes
    return node.name


def _refuse_without_rule(node: fx.Node) -> None:
    """An error for the nearest operator without a rule that leads to a node, if there is one."""
    pending, seen = [node], {node}
    while pending:
        nearest = pending.pop(0)
        for other in nearest.all_input_nodes:
            if (
                other.op == "call_function"
                and other not in seen
                and isinstance(other.meta.get("val"), Tensor)
            ):
                seen.add(other)
                pending.append(other)
                if is_batched(other):
                    rule_of(Step.of(other))


def _behind(gates: set[fx.Node], graph: fx.Graph) -> frozenset[fx.Node]:
    """Gates, and what is made of them by changing their shape alone."""
    same = named("reshape", "squeeze", "expand", "reorder", "identity")
    found = set(gates)
    for node in graph.nodes:
        if node.op == "call_function" and Step.of(node).name in same and node.args[0] in found:
            found.add(node)
    return frozenset(found)


def judged_layers(
    graph: fx.Graph, layers: Mapping[fx.Node, ActivationLayer], gates: Container[ActivationLayer]
) -> dict[fx.Node, ActivationLayer]:
    """The last activation layer of each resolution, from the input up.

    The last one has seen most of what its resolution will ever show. Layers of one position have no
    places; gates only scale others.

    Args:
        graph: The network's.
        layers: Its activation layers by node.
        gates: Layers to leave out.
    """
    last: dict[tuple[int, ...], fx.Node] = {}
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in sorted(layers, key=order.__getitem__):
        layer = layers[node]
        grid = tuple(size for axis, size in enumerate(layer.shape) if axis != layer.channel_axis)
        if len(grid) == 2 and max(grid) > 1 and layer not in gates:
            last[grid] = node
    return {node: layers[node] for node in sorted(last.values(), key=order.__getitem__)}


def judged_blocks(
    graph: fx.Graph, image: fx.Node, steps: Mapping[fx.Node, tuple[Step, Rule]]
) -> dict[fx.Node, TokenMap]:
    """The tokens after each block of a transformer, from the input up: after its last residual sum.

    Args:
        graph: The network's.
        image: The node of the input.
        steps: What evidence passes.
    """
    blocks: dict[str, fx.Node] = {}
    for node, (step, rule) in reversed(list(steps.items())):
        if isinstance(rule, Sum) and len(rule.operands(step)) == 2:
            path, _ = module_of(node)
            # A sum outside of modules is a block of its own.
            blocks[path or node.name] = node
    return token_maps(graph, image, {node: name for name, node in blocks.items()})


ENOUGH = 2 << 30
"""Bytes of values that may be kept in any case."""


def images_at_once(plan: Plan, images: int, *, recorded: bool = False) -> int:
    """As many that keeping the values that the rules want to see at most doubles the memory of a bare forward pass.

    Or as many as fit into `ENOUGH`: one by one they would take longer. Groups are as large as each other.

    Args:
        plan: The way back.
        images: Of the whole batch.
        recorded: Whether autograd keeps what gradients need, which can be every value.
    """
    bare, traced, everything = plan.bytes_alive
    kept = max(bare * images, ENOUGH)
    most = max(1, int(kept / max(1, everything if recorded else traced)))
    return max(1, math.ceil(images / max(1, math.ceil(images / most))))


def _bytes(node: fx.Node) -> int:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return 0
    sizes = [int(size) for size in value.shape if isinstance(size, int)]
    return math.prod(sizes) * value.element_size()


def _peak(graph: fx.Graph) -> int:
    """Bytes of one sample that are alive together at the worst moment of a forward pass."""
    last = {}
    for node in graph.nodes:
        for used in node.all_input_nodes:
            last[used] = node
    alive, peak = 0, 0
    ending: dict[fx.Node, int] = {}
    for node in graph.nodes:
        if node.op == "call_function" and is_batched(node):
            size = _bytes(node)
            alive += size
            peak = max(peak, alive)
            if node in last:
                ending[last[node]] = ending.get(last[node], 0) + size
        alive -= ending.pop(node, 0)
    return peak
