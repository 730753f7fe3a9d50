"""Read an exported program: PyTorch's own operators as one flat graph, and where they come from."""

from __future__ import annotations

import linecache
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from cofire.errors import ExportError
from cofire.network.operations import (
    UNKNOWN,
    Extent,
    Operation,
    bare_name,
    batches_probed,
    is_symbolic,
    is_users,
)
from cofire.network.operators import ACTIVATION_NAMES
from cofire.network.outputs import Chosen, Output, choose_logits, ending_of, names_of
from cofire.network.untouched import plain_path


@dataclass(frozen=True)
class GraphReading:
    """What an exported program says about the model.

    Attributes:
        graph: The operator graph, with regions such as `torch.no_grad()` inlined.
        submodules: Graphs that operators of higher order in the graph refer to.
        operations: The same as operations.
        batch: The batch size at the two probed sizes.
        logits: The node that holds the logits.
        output: What the model's own output is.
        tensors: For each placeholder that is a parameter or buffer, its qualified name in the
            model.
        constants: For each placeholder that is a constant of the program, its value.
        inputs: The placeholders of the inputs.
        changed: Placeholders whose tensors the model changes in place.
    """

    graph: fx.Graph
    submodules: Mapping[str, nn.Module]
    operations: tuple[Operation, ...]
    batch: Extent
    logits: fx.Node
    output: Output
    tensors: Mapping[str, str]
    constants: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    changed: frozenset[str]


def read_program(
    program: ExportedProgram,
    aliases: Mapping[str, str] | None = None,
    chosen: Chosen = None,
) -> GraphReading:
    """Read an exported program.

    Args:
        program: In evaluation mode, with a dynamic batch axis.
        aliases: For further paths of a module that the model holds under several names, the first
            of them.
        chosen: Which of several outputs holds the logits.

    Raises:
        ExportError: The batch is fixed, no output looks like logits, or an operator of higher order
            hides activation functions.
    """
    signature = program.graph_signature
    graph, submodules = inlined(program.graph_module)
    placeholders = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    tensors: dict[str, str] = {}
    constants: dict[str, Tensor] = {}
    inputs: list[str] = []
    roles: dict[str, str] = {}
    # By position: a copied graph renames placeholders that are called like a built-in, such as
    # "input".
    for spec, (name, node) in zip(signature.input_specs, placeholders.items(), strict=True):
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.target is not None:
            tensors[name] = spec.target
            roles[name] = "parameter" if spec.kind is InputKind.PARAMETER else "buffer"
            node.meta["tensor_name"] = spec.target
        elif spec.kind is InputKind.USER_INPUT and isinstance(node.meta.get("val"), Tensor):
            inputs.append(name)
            roles[name] = "input"
        elif spec.target is not None and isinstance(program.constants.get(spec.target), Tensor):
            constants[name] = program.constants[spec.target]
            roles[name] = "constant"
    if not inputs or not is_symbolic(placeholders[inputs[0]].meta["val"].shape[0]):
        raise ExportError(
            "a program whose batch size is fixed",
            "a program with a dynamic first axis",
            'export it with dynamic_shapes=({0: torch.export.Dim("batch")},)',
        )
    given = [placeholders[name] for name in inputs]
    _without_logit_of_sigmoid(graph)
    operations, batch, changed = operations_of(graph, roles, given)
    outputs = [
        spec.arg.name for spec in signature.output_specs if spec.kind is OutputKind.USER_OUTPUT
    ]
    returned = pytree.tree_unflatten(list(range(len(outputs))), program.call_spec.out_spec)
    names = names_of(returned, int)
    names = names if len(names) == len(outputs) else [""] * len(outputs)
    logits = _logits(graph, operations, outputs, names, batch, chosen)
    output, logits = _without_softmax(graph, operations, logits)
    if output == "one logit":
        logits = _of_two_classes(graph, logits)
        operations, batch, changed = operations_of(graph, roles, given)
    for operation in operations:
        operation.path = (aliases or {}).get(operation.path, operation.path)
    held = set(graph.nodes)
    kept = tuple(operation for operation in operations if operation.node in held)
    return GraphReading(
        graph, submodules, kept, batch, logits, output, tensors, constants, tuple(inputs), changed
    )


def operations_of(
    graph: fx.Graph, roles: Mapping[str, str], inputs: Sequence[fx.Node]
) -> tuple[list[Operation], Extent, frozenset[str]]:
    """The nodes of a graph as operations, the batch's extent, and the placeholders changed in place."""
    given = [size for node in inputs for size in node.meta["val"].shape if is_symbolic(size)]
    symbols = {symbol for size in given for symbol in size.node.expr.free_symbols}
    extents: dict[Any, Extent] = {}

    def extent(size: Any) -> Extent:
        """At the two probed batch sizes, worked out once for each expression."""
        expression: Any = size.node.expr if is_symbolic(size) else int(size)
        if expression not in extents:
            at = [dict.fromkeys(symbols, batch) for batch in batches_probed]
            ends = [expression.subs(one) for one in at] if is_symbolic(size) else [expression] * 2
            whole = not is_symbolic(size) or all(end.is_Integer for end in ends)
            extents[expression] = Extent(*map(int, ends)) if whole else UNKNOWN
        return extents[expression]

    made: dict[fx.Node, Operation] = {}
    root: dict[fx.Node, fx.Node] = {}
    writer: dict[fx.Node, Operation] = {}
    changed: set[str] = set()
    for node in graph.nodes:
        if node.op in ("output", "get_attr"):
            continue
        value = node.meta.get("val")
        path, module = module_of(node)
        operation = Operation(
            name=operator_of(node),
            args=_with_operations(node.args, made),
            kwargs={key: _with_operations(kept, made) for key, kept in node.kwargs.items()},
            path=path,
            module=module,
            sizes=tuple(map(extent, value.shape)) if isinstance(value, Tensor) else None,
            role=roles.get(node.name, "constant") if node.op == "placeholder" else "operation",  # type: ignore[arg-type]
            node=node,
            floating=isinstance(value, Tensor) and value.is_floating_point(),
        )
        made[node] = operation
        same, written = aliasing(node)
        root[node] = root.get(same, same) if same is not None else node
        waits = {writer[root[other]] for other in node.all_input_nodes if root.get(other) in writer}
        operation.waits = tuple(waits - set(operation.operands()))
        for target in written:
            writer[root[target]] = operation
            if root[target].op == "placeholder":
                changed.add(root[target].name)
    first = next(made[node] for node in graph.nodes if node is inputs[0])
    assert first.sizes is not None
    return list(made.values()), first.sizes[0], frozenset(changed)


def _with_operations(value: Any, made: Mapping[fx.Node, Operation]) -> Any:
    if isinstance(value, fx.Node):
        return made.get(value, value)
    if isinstance(value, (tuple, list)):
        return tuple(_with_operations(entry, made) for entry in value)
    return value


def name_of(node: fx.Node) -> str:
    """The name of the operator that a node calls."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket.__name__)
    if isinstance(target, torch._ops.HigherOrderOperator):
        return str(target.name())  # type: ignore[no-untyped-call]
    return str(getattr(target, "__name__", target))


def operator_of(node: fx.Node) -> str:
    """The bare name of the operator that a node calls, as `operators.OPERATORS` has it."""
    return bare_name(name_of(node))


def module_of(node: fx.Node) -> tuple[str, str]:
    """The path and the class of the module in which a node's call happens."""
    stack = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", ""
    path, kind = list(stack.values())[-1]
    named = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return plain_path(re.sub(r"@\d+", "", path)), named


def aliasing(node: fx.Node) -> tuple[fx.Node | None, list[fx.Node]]:
    """The operand whose memory the result may share, and the operands that the operator writes to."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        first = node.args[0] if node.args else None
        return (first if isinstance(first, fx.Node) else None), []
    arguments = target._schema.arguments
    given = {
        **dict(zip((argument.name for argument in arguments), node.args, strict=False)),
        **node.kwargs,
    }
    shared: fx.Node | None = None
    written = []
    for argument in arguments:
        value = given.get(argument.name)
        if argument.alias_info is None or not isinstance(value, fx.Node):
            continue
        shared = shared or value
        # Statistics of batch normalisation are written in training mode alone.
        if argument.alias_info.is_write and given.get("training") is not False:
            written.append(value)
    # In evaluation mode a dropout hands on its very operand, though its schema does not say so.
    if shared is None and "dropout" in name_of(node) and isinstance(node.args[0], fx.Node):
        shared = node.args[0]
    return shared, written


def _logits(
    graph: fx.Graph,
    operations: Sequence[Operation],
    outputs: Sequence[str],
    names: Sequence[str],
    batch: Extent,
    chosen: Chosen,
) -> fx.Node:
    by_name = {
        operation.node.name: operation for operation in operations if operation.node is not None
    }
    renamed = dict(zip(outputs, _last_outputs(graph, len(outputs)), strict=False))
    shapes: list[str] = []
    nodes: list[fx.Node] = []
    called: list[str] = []
    fitting: dict[int, int] = {}
    for output, name in zip(outputs, names, strict=True):
        node = renamed.get(output)
        operation = by_name.get(node.name) if node is not None else None
        if node is None or operation is None or operation.sizes is None:
            continue
        sizes = operation.sizes
        if (
            operation.floating
            and len(sizes) in (1, 2)
            and sizes[0] == batch
            and all(size.constant for size in sizes[1:])
            and node not in nodes
        ):
            fitting[len(nodes)] = len(sizes)
        shapes.append(f"({', '.join('batch' if not s.constant else str(s.small) for s in sizes)})")
        nodes.append(node)
        called.append(name)
    return nodes[choose_logits(shapes, fitting, called, chosen)]


def _without_logit_of_sigmoid(graph: fx.Graph) -> None:
    """Let a graph go on from what a sigmoid is of, where its logit is taken: no rounding makes it infinite."""
    for node in list(graph.nodes):
        if (
            node.op == "call_function"
            and name_of(node) == "logit"
            and node.args[1:] in ((), (None,))
        ):
            (inner,) = node.all_input_nodes
            if inner.op == "call_function" and name_of(inner) == "sigmoid":
                node.replace_all_uses_with(inner.args[0])
                graph.erase_node(node)
                if not inner.users:
                    graph.erase_node(inner)


def _of_two_classes(graph: fx.Graph, logit: fx.Node) -> fx.Node:
    """Let a graph that ends with a single logit end with those of two classes."""
    aten = torch.ops.aten
    end = next(node for node in reversed(graph.nodes) if node.op == "output")

    def added(target: Any, *args: Any) -> fx.Node:
        node = graph.call_function(target, args)
        node.meta = {**logit.meta, "val": target(*fx.map_arg(args, lambda n: n.meta["val"]))}
        return node

    with graph.inserting_before(end):
        rank = logit.meta["val"].ndim
        if rank == 1:
            logit = added(aten.unsqueeze.default, logit, 1)
        elif rank > 2:
            logit = added(aten.flatten.using_ints, logit, 1)
        both = added(aten.cat.default, [added(aten.neg.default, logit), logit], 1)
        halved = added(aten.div.Tensor, both, 2)
    end.args = (halved,)
    return halved


def _without_softmax(
    graph: fx.Graph, operations: Sequence[Operation], result: fx.Node
) -> tuple[Output, fx.Node]:
    """Let a graph end with the logits where it goes on to a softmax: what its output was, and the logits."""
    output, operation = ending_of(
        next(operation for operation in operations if operation.node is result)
    )
    logits = operation.node
    assert logits is not None
    if logits is not result:
        next(node for node in reversed(graph.nodes) if node.op == "output").replace_input_with(
            result, logits
        )
        while result is not logits and not result.users:
            before = next(node for node in result.all_input_nodes)
            graph.erase_node(result)
            result = before
    return output, logits


def _last_outputs(graph: fx.Graph, count: int) -> list[fx.Node]:
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    values = output.args[0]
    flat = list(values) if isinstance(values, (tuple, list)) else [values]
    # Buffers that change come first in what a program returns, the user's outputs last.
    return [value for value in flat[len(flat) - count :] if isinstance(value, fx.Node)]


# Where among their arguments these operators hold the region; its operands follow. Gradients and
# autocast are off anyway when a network runs, and nothing is recomputed.
_TRANSPARENT = {
    "wrap_with_set_grad_enabled": 1,
    "tag_activation_checkpoint": 0,
    "wrap_with_autocast": 4,
}


def _is_transparent(node: fx.Node) -> bool:
    """Whether a region computes what the same operators give outside of it: autocast that is switched off, say."""
    name = name_of(node)
    return name in _TRANSPARENT and (name != "wrap_with_autocast" or node.args[2] is False)


def inlined(module: fx.GraphModule) -> tuple[fx.Graph, dict[str, nn.Module]]:
    """A flat copy of a module's graph, and the graphs that are left inside it.

    Assertions about sizes and devices are left out: inputs are checked before a run, and the model
    may move to another device after it was read.

    Args:
        module: A graph module of an exported program; it is not changed.

    Raises:
        ExportError: A region that cannot be inlined contains activation functions.
    """
    graph = fx.Graph()
    regions: dict[str, nn.Module] = {}

    def held(node: fx.Node, value: Any) -> fx.Node:
        name = f"region_{len(regions)}"
        regions[name] = value
        copy = graph.get_attr(name)
        copy.meta = dict(node.meta)
        return copy

    def called(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        name = name_of(node)
        if _is_transparent(node):
            position = _TRANSPARENT[name]
            inner = values[node.args[position]]  # type: ignore[index]
            places = [other for other in inner.graph.nodes if other.op == "placeholder"]
            given = fx.node.map_arg(node.args[position + 1 :], values.__getitem__)
            return body(inner, {**values, **dict(zip(places, given, strict=True))})
        first = node.args[0] if node.args else None
        source = values[first] if isinstance(first, fx.Node) else None
        if name == "getitem" and isinstance(source, (tuple, list)):
            return source[node.args[1]]  # type: ignore[index]
        for other in node.all_input_nodes:
            region = values[other]
            if isinstance(region, fx.GraphModule):
                _refuse_hidden(name, region)
                values[other] = held(other, region)
        return graph.node_copy(node, values.__getitem__)

    def body(inner: fx.GraphModule, values: dict[fx.Node, Any]) -> Any:
        """Copy everything but the placeholders, and return what the body returns."""
        result: Any = None
        for node in inner.graph.nodes:
            if node.op == "output":
                result = fx.node.map_arg(node.args[0], values.__getitem__)
            elif node.op == "get_attr":
                region = operator.attrgetter(str(node.target))(inner)
                values[node] = region if isinstance(region, fx.GraphModule) else held(node, region)
            elif node.op == "call_function" and not _is_assertion(node):
                values[node] = called(node, values)
        return result

    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    graph.output(body(module, {node: graph.node_copy(node) for node in placeholders}))
    used = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return graph, {name: region for name, region in regions.items() if name in used}


def _refuse_hidden(operator: str, region: fx.GraphModule) -> None:
    for part in region.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            name = operator_of(node)
            if name in ACTIVATION_NAMES or name == "erf":
                raise ExportError(
                    f"activation function {name} inside a region of {operator}",
                    "activation functions outside of control flow and autocast regions",
                    'put the context manager around the whole forward pass, or pass capture="calls"',
                )


def _is_assertion(node: fx.Node) -> bool:
    return not node.users and name_of(node).startswith(("_assert", "sym_constrain_range"))


_FRAME = re.compile(r'File "([^"]+)", line (\d+), in \S+\n\s*([^\n]*)')


def source_of(node: fx.Node) -> str:
    """The module and the line of code that a node comes from, as far as is known.

    Args:
        node: Of an exported graph.

    Returns:
        Words such as "'encoder.attention', attention.py line 12: q @ k".
    """
    path, _ = module_of(node)
    words = [repr(path) if path else "the top level"]
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    users = [frame for frame in frames if is_users(frame[0])] or frames
    if users:
        file, line, code = users[-1]
        words.append(f"{file} line {line}: {code.strip()}")
    return ", ".join(words)


def where(operation: Operation) -> str:
    """The module and the line of code that an operation comes from, as far as is known."""
    if operation.node is not None:
        return source_of(operation.node)
    words = [repr(operation.path) if operation.path else "the top level"]
    if operation.place is not None:
        file, line = operation.place
        words.append(f"{file} line {line}: {linecache.getline(file, line).strip()}")
    return ", ".join(words)
