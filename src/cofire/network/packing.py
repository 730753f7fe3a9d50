"""What a model computes as plain data, so that a network can be sent to another process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

from cofire.network.operations import Operation
from cofire.network.reading import GraphReading, operations_of

PackedOperations = list[dict[str, Any]]
"""Operations that name each other by number: chains of objects would be too deep to pickle."""

_PLAIN = (
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    EllipsisType,
    torch.dtype,
    torch.device,
    torch.layout,
)
_KEPT = ("stack_trace", "tensor_name")


class _Place(NamedTuple):
    """Stands for another node or operation, by its number."""

    number: int


class _Sized(NamedTuple):
    """Stands for a tensor of which only type and shape are known."""

    sizes: tuple[Any, ...]
    dtype: torch.dtype


class _Symbolic(NamedTuple):
    """Stands for a number that depends on the batch."""

    kind: type
    expression: Any


def packed_operations(operations: Sequence[Operation]) -> PackedOperations:
    """Intercepted calls as plain data."""
    places = {operation: number for number, operation in enumerate(operations)}

    def one(value: Any) -> Any:
        return _Place(places[value]) if isinstance(value, Operation) else _plain(value)

    names = [entry.name for entry in dataclasses.fields(Operation)]
    packed = []
    for operation in operations:
        entry = {name: getattr(operation, name) for name in names}
        for name in ("args", "kwargs", "waits"):
            entry[name] = _mapped(entry[name], one)
        packed.append(entry)
    return packed


def unpacked_operations(packed: PackedOperations) -> list[Operation]:
    """The operations that `packed_operations` was given."""
    operations: list[Operation] = []

    def one(value: Any) -> Any:
        return operations[value.number] if isinstance(value, _Place) else value

    for entry in packed:
        lists = {name: _mapped(entry[name], one) for name in ("args", "kwargs", "waits")}
        operations.append(Operation(**{**entry, **lists}))
    return operations


def packed_reading(reading: GraphReading) -> dict[str, Any]:
    """A graph and what is known of it as plain data."""
    return {
        "nodes": _packed_graph(reading.graph),
        "regions": {name: _packed_region(region) for name, region in reading.submodules.items()},
        "roles": {
            o.node.name: o.role
            for o in reading.operations
            if o.node is not None and o.role != "operation"
        },
        "paths": [operation.path for operation in reading.operations],
        "logits": reading.logits.name,
        "rest": {
            name: getattr(reading, name)
            for name in ("batch", "output", "tensors", "constants", "inputs", "changed")
        },
    }


def unpacked_reading(packed: Mapping[str, Any]) -> GraphReading:
    """The reading that `packed_reading` was given."""
    sizes = _Sizes()
    graph, names = _unpacked_graph(packed["nodes"], sizes)
    nodes = {node.name: node for node in graph.nodes}
    rest = dict(packed["rest"])
    for name in ("tensors", "constants"):
        rest[name] = {names[one]: value for one, value in rest[name].items()}
    rest["inputs"] = tuple(names[one] for one in rest["inputs"])
    rest["changed"] = frozenset(names[one] for one in rest["changed"])
    roles = {names[name]: role for name, role in packed["roles"].items()}
    operations, _, _ = operations_of(graph, roles, [nodes[name] for name in rest["inputs"]])
    for operation, path in zip(operations, packed["paths"], strict=True):
        operation.path = path
    return GraphReading(
        graph=graph,
        submodules={
            name: _unpacked_region(region, sizes) for name, region in packed["regions"].items()
        },
        operations=tuple(operations),
        logits=nodes[names[packed["logits"]]],
        **rest,
    )


def _packed_graph(graph: fx.Graph) -> list[tuple[Any, ...]]:
    places = {node: number for number, node in enumerate(graph.nodes)}

    def one(value: Any) -> Any:
        return _Place(places[value]) if isinstance(value, fx.Node) else _with_symbols(value)

    return [
        (
            node.name,
            node.op,
            _packed_target(node.target),
            _mapped(node.args, one),
            _mapped(node.kwargs, one),
            _meta(node),
        )
        for node in graph.nodes
    ]


def _unpacked_graph(
    packed: Sequence[tuple[Any, ...]], sizes: _Sizes
) -> tuple[fx.Graph, dict[str, str]]:
    """The graph, and the new name of each node where one had to change."""
    graph = fx.Graph()
    nodes: list[fx.Node] = []
    names: dict[str, str] = {}

    def one(value: Any) -> Any:
        return nodes[value.number] if isinstance(value, _Place) else sizes.of(value)

    for name, op, target, args, kwargs, meta in packed:
        node = graph.create_node(
            op, _unpacked_target(target), _mapped(args, one), _mapped(kwargs, one), name
        )
        node.meta.update(
            {
                key: _mapped(value, sizes.of) if key == "val" else value
                for key, value in meta.items()
            }
        )
        nodes.append(node)
        names[name] = node.name
    return graph, names


def _packed_region(region: Any) -> Any:
    if not isinstance(region, fx.GraphModule):
        return region
    held = {str(node.target) for node in region.graph.nodes if node.op == "get_attr"}
    return _packed_graph(region.graph), {
        name: _packed_region(_attribute(region, name)) for name in held
    }


def _unpacked_region(packed: Any, sizes: _Sizes) -> Any:
    if not isinstance(packed, tuple):
        return packed
    nodes, held = packed
    graph, _ = _unpacked_graph(nodes, sizes)
    return fx.GraphModule(
        {name: _unpacked_region(value, sizes) for name, value in held.items()}, graph
    )


def _attribute(module: Any, target: str) -> Any:
    for part in target.split("."):
        module = getattr(module, part)
    return module


def _meta(node: fx.Node) -> dict[str, Any]:
    meta = {name: node.meta[name] for name in _KEPT if name in node.meta}
    stack = node.meta.get("nn_module_stack") or {}
    meta["nn_module_stack"] = {
        key: (path, kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}")
        for key, (path, kind) in stack.items()
    }
    if "val" in node.meta:
        meta["val"] = _mapped(node.meta["val"], _with_symbols)
    return meta


def _packed_target(target: Any) -> Any:
    if isinstance(target, torch._ops.OpOverload):
        space, name = target._schema.name.split("::")
        return ("operator", space, name, target._overloadname)
    if isinstance(target, torch._ops.HigherOrderOperator):
        return ("operator", "higher_order", target.name(), "")  # type: ignore[no-untyped-call]
    return target


def _unpacked_target(target: Any) -> Any:
    if not isinstance(target, tuple):
        return target
    _, space, name, overload = target
    found = getattr(getattr(torch.ops, space), name)
    return getattr(found, overload) if overload else found


def _with_symbols(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Sized(tuple(_with_symbols(size) for size in value.shape), value.dtype)
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        return _Symbolic(type(value), value.node.expr)
    return _plain(value)


def _plain(value: Any) -> Any:
    """A value as it is, if every process understands it, else the words for it, which nothing computes with."""
    known = isinstance(value, (*_PLAIN, torch.memory_format)) or callable(value)
    return (
        value
        if known and not isinstance(value, torch.nn.Module) and _by_name(value)
        else repr(value)
    )


def _by_name(value: Any) -> bool:
    return not callable(value) or "<" not in str(getattr(value, "__qualname__", "<"))


def _mapped(value: Any, one: Callable[[Any], Any]) -> Any:
    """Values inside tuples, lists, dictionaries and slices mapped one by one."""
    if isinstance(value, _Place | _Sized | _Symbolic):
        return one(value)
    if isinstance(value, tuple):
        return tuple(_mapped(entry, one) for entry in value)
    if isinstance(value, list):
        return [_mapped(entry, one) for entry in value]
    if isinstance(value, dict):
        return {key: _mapped(entry, one) for key, entry in value.items()}
    if isinstance(value, slice):
        return slice(_mapped(value.start, one), _mapped(value.stop, one), _mapped(value.step, one))
    return one(value)


class _Sizes:
    """Sizes that depend on the batch, in an environment of their own."""

    def __init__(self) -> None:
        self._environment = ShapeEnv()
        self._symbols: dict[Any, Any] = {}

    def of(self, value: Any) -> Any:
        """What a stand-in stands for; anything else itself."""
        if isinstance(value, _Sized):
            return torch.empty(
                [self.of(size) for size in value.sizes], dtype=value.dtype, device="meta"
            )
        if not isinstance(value, _Symbolic):
            return value
        expression = value.expression
        for symbol in expression.free_symbols:
            if symbol not in self._symbols:
                self._symbols[symbol] = self._made(str(symbol))
        expression = expression.subs(self._symbols)
        if value.kind is torch.SymInt:
            return self._environment.create_symintnode(expression, hint=None)
        if value.kind is torch.SymFloat:
            return self._environment.create_symfloatnode(expression, hint=None)
        return self._environment.create_symboolnode(expression)

    def _made(self, name: str) -> Any:
        from torch._dynamo.source import ConstantSource

        return self._environment.create_symbol(
            2, source=ConstantSource(name), dynamic_dim=DimDynamic.DYNAMIC
        )
