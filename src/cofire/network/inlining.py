"""Take regions such as `with torch.no_grad():` out of an exported graph, so that one flat graph is left."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from cofire.errors import ExportError
from cofire.network.operations import bare_name
from cofire.network.vocabulary import ACTIVATION_NAMES

# Where among their arguments these operators hold the region; its operands follow. Gradients are
# off anyway when a network runs, and nothing is recomputed.
_TRANSPARENT = {"wrap_with_set_grad_enabled": 1, "tag_activation_checkpoint": 0}
_SPELLED = frozenset(("erf",))


def inlined(module: fx.GraphModule) -> tuple[fx.Graph, dict[str, nn.Module]]:
    """A flat copy of a module's graph, and the graphs that are left inside it.

    Assertions about sizes and devices are left out: inputs are checked before a run, and the model
        may move
    to another device after it was read.

    Args:
        module: A graph module of an exported program; it is not changed.

    Raises:
        ExportError: A region that cannot be inlined contains activation functions.
    """
    graph = fx.Graph()
    regions: dict[str, nn.Module] = {}
    values: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = graph.node_copy(node, lambda other: other)
    result = _copy_body(module, graph, values, regions)
    graph.output(result)
    used = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return graph, {name: region for name, region in regions.items() if name in used}


def _copy_body(
    module: fx.GraphModule,
    graph: fx.Graph,
    values: dict[fx.Node, Any],
    regions: dict[str, nn.Module],
) -> Any:
    """Copy everything but the placeholders, and return what the body returns."""
    result: Any = None
    for node in module.graph.nodes:
        if node.op == "output":
            result = fx.node.map_arg(node.args[0], lambda other: values[other])
        elif node.op == "get_attr":
            region = _attribute(module, str(node.target))
            if not isinstance(region, fx.GraphModule):
                values[node] = _copied_attribute(node, region, graph, regions)
            else:
                values[node] = region
        elif node.op == "call_function" and not _is_assertion(node):
            values[node] = _copied_call(node, graph, values, regions)
    return result


def _copied_call(
    node: fx.Node, graph: fx.Graph, values: dict[fx.Node, Any], regions: dict[str, nn.Module]
) -> Any:
    name = _operator_name(node)
    if name in _TRANSPARENT:
        position = _TRANSPARENT[name]
        body = values[node.args[position]]  # type: ignore[index]
        inner = dict(values)
        places = [other for other in body.graph.nodes if other.op == "placeholder"]
        for place, operand in zip(places, node.args[position + 1 :], strict=True):
            inner[place] = fx.node.map_arg(operand, lambda other: values[other])
        return _copy_body(body, graph, inner, regions)
    source = node.args[0] if node.args else None
    if (
        name == "getitem"
        and isinstance(source, fx.Node)
        and isinstance(values[source], (tuple, list))
    ):
        return values[source][node.args[1]]
    for other in node.all_input_nodes:
        region = values[other]
        if isinstance(region, fx.GraphModule):
            _refuse_hidden(name, region)
            values[other] = _copied_attribute(other, region, graph, regions)
    return graph.node_copy(node, lambda other: values[other])


def _copied_attribute(
    node: fx.Node, value: Any, graph: fx.Graph, regions: dict[str, nn.Module]
) -> fx.Node:
    name = f"region_{len(regions)}"
    regions[name] = value
    copy = graph.get_attr(name)
    copy.meta = dict(node.meta)
    return copy


def _refuse_hidden(operator: str, region: fx.GraphModule) -> None:
    for part in region.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            name = bare_name(_operator_name(node))
            if name in ACTIVATION_NAMES or name in _SPELLED:
                raise ExportError(
                    f"activation function {name} inside a region of {operator}",
                    "activation functions outside of control flow and autocast regions",
                    'put the context manager around the whole forward pass, or pass capture="calls"',
                )


def _operator_name(node: fx.Node) -> str:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket.__name__)
    if isinstance(target, torch._ops.HigherOrderOperator):
        return str(target.name())  # type: ignore[no-untyped-call]
    return str(getattr(target, "__name__", target))


def _is_assertion(node: fx.Node) -> bool:
    return not node.users and _operator_name(node).startswith(("_assert", "sym_constrain_range"))


def _attribute(module: nn.Module, target: str) -> Any:
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    return value
