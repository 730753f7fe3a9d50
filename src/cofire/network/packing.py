"""What a model computes as plain data, so that a network can be sent to another process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from torch import fx

from cofire.network.operations import Operation
from cofire.network.reading import GraphReading, operations_of

PackedOperations = list[dict[str, Any]]
"""Operations that name each other by number: chains of objects would be too deep to pickle."""

_PLAIN = (int, float, complex, str, bytes, type(None), EllipsisType, torch.dtype, torch.device)
_LINKS = ("args", "kwargs", "waits")


class _Place(NamedTuple):
    """Stands for another operation, by its number."""

    number: int


def packed_operations(operations: Sequence[Operation]) -> PackedOperations:
    """Intercepted calls as plain data."""
    places = {operation: number for number, operation in enumerate(operations)}

    def one(value: Any) -> Any:
        return _Place(places[value]) if isinstance(value, Operation) else _plain(value)

    names = [entry.name for entry in dataclasses.fields(Operation)]
    return [
        {n: _mapped(getattr(o, n), one) if n in _LINKS else getattr(o, n) for n in names}
        for o in operations
    ]


def unpacked_operations(packed: PackedOperations) -> list[Operation]:
    """The operations that `packed_operations` was given."""
    operations: list[Operation] = []

    def one(value: Any) -> Any:
        return operations[value.number] if isinstance(value, _Place) else value

    for entry in packed:
        operations.append(Operation(**entry | {n: _mapped(entry[n], one) for n in _LINKS}))
    return operations


def packed_reading(reading: GraphReading) -> dict[str, Any]:
    """A graph and what is known of it as plain data."""
    from torch.fx._graph_pickler import GraphPickler

    stacks = []
    for node in reading.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        stacks.append(
            {
                key: (
                    path,
                    kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}",
                )
                for key, (path, kind) in stack.items()
            }
        )
    kept = ("batch", "output", "tensors", "constants", "inputs", "changed")
    nodes = list(reading.graph.nodes)
    return {
        "graph": GraphPickler.dumps(fx.GraphModule(dict(reading.submodules), reading.graph)),
        "stacks": stacks,
        "names": [node.meta.get("tensor_name") for node in nodes],
        "roles": {
            o.node.name: o.role
            for o in reading.operations
            if o.node is not None and o.role != "operation"
        },
        "paths": [operation.path for operation in reading.operations],
        "logits": reading.logits.name,
        "submodules": list(reading.submodules),
        "rest": {name: getattr(reading, name) for name in kept},
    }


def unpacked_reading(packed: Mapping[str, Any]) -> GraphReading:
    """The reading that `packed_reading` was given."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx._graph_pickler import GraphPickler
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    module: Any = GraphPickler.loads(packed["graph"], FakeTensorMode(shape_env=ShapeEnv()))
    graph: fx.Graph = module.graph
    nodes = {node.name: node for node in graph.nodes}
    for node, stack, name in zip(nodes.values(), packed["stacks"], packed["names"], strict=True):
        node.meta["nn_module_stack"] = stack
        if name is not None:
            node.meta["tensor_name"] = name
    rest = packed["rest"]
    inputs = [nodes[name] for name in rest["inputs"]]
    operations, _, _ = operations_of(graph, packed["roles"], inputs)
    for operation, path in zip(operations, packed["paths"], strict=True):
        operation.path = path
    return GraphReading(
        graph=graph,
        submodules={name: getattr(module, name) for name in packed["submodules"]},
        operations=tuple(operations),
        logits=nodes[packed["logits"]],
        **rest,
    )


def _plain(value: Any) -> Any:
    """A value as it is, if every process understands it, else the words for it, which nothing computes with."""
    if isinstance(value, (*_PLAIN, torch.layout, torch.memory_format)):
        return value
    named = callable(value) and "<" not in str(getattr(value, "__qualname__", "<"))
    return value if named and not isinstance(value, torch.nn.Module) else repr(value)


def _mapped(value: Any, one: Callable[[Any], Any]) -> Any:
    """Values inside tuples, lists, dictionaries and slices mapped one by one."""
    if isinstance(value, tuple | list) and not isinstance(value, _Place):
        return type(value)(_mapped(entry, one) for entry in value)
    if isinstance(value, dict):
        return {key: _mapped(entry, one) for key, entry in value.items()}
    if isinstance(value, slice):
        return slice(_mapped(value.start, one), _mapped(value.stop, one), _mapped(value.step, one))
    return one(value)
