"""Read a model with `torch.export` into PyTorch's own operator graph."""

from __future__ import annotations

import inspect
import linecache
import re
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from cofire.errors import ExportError
from cofire.network.inlining import inlined
from cofire.network.operations import UNKNOWN, Extent, Operation, bare_name, batches_probed
from cofire.network.outputs import Output, choose_logits, ending_of, names_of
from cofire.network.quiet import quiet_export
from cofire.network.twin import evaluation_twin
from cofire.network.untouched import plain_path, plainly_computed

_CALLS = 'pass capture="calls", which records activations without reading the graph'
_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_STDLIB = sysconfig.get_path("stdlib")


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


def exported(model: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """Export a model in evaluation mode with a dynamic batch axis; the model stays as it is.

    Args:
        model: The unwrapped model.
        example: Its inputs, each with a batch of two or more.

    Raises:
        ExportError: It cannot be exported, or only for one fixed batch size.
    """
    reason: Exception | None = None
    name, model = type(model).__name__, evaluation_twin(model)
    with plainly_computed(example[0].device):
        for dimension in (Dim("batch"), Dim.AUTO):
            shapes: tuple[Any, ...] = tuple({0: dimension} for _ in example)
            if _takes_any_number(model):
                shapes = (shapes,)
            try:
                with quiet_export():
                    program = torch.export.export(
                        model, example, dynamic_shapes=shapes, strict=False
                    )
            except Exception as error:
                reason = reason or error
                continue
            if _has_dynamic_batch(program):
                return program
        failure = _failure_of_model(model, example)
    if failure is not None:
        raise ExportError(
            f"{name} fails on the example input: {first_line(failure)}{_where(failure)}",
            "an example input that the model accepts",
            "pass one sample as the model expects it, with the batch axis in front",
        ) from failure
    if reason is not None:
        raise ExportError(
            f"{name} does not export: {first_line(reason)}{_where(reason)}",
            "a forward pass that torch.export can trace for any batch size",
            _CALLS,
        ) from reason
    raise ExportError(
        f"{name} fixes the batch size to {example[0].shape[0]}",
        "a forward pass that works for any batch size",
        f"take sizes from the input's shape instead of writing them down, or {_CALLS}",
    )


def read_program(
    program: ExportedProgram, aliases: Mapping[str, str] | None = None
) -> GraphReading:
    """Read an exported program.

    Args:
        program: In evaluation mode, with a dynamic batch axis.
        aliases: For further paths of a module that the model holds under several names, the first
            of them.

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
    if not inputs or not _is_symbolic(placeholders[inputs[0]].meta["val"].shape[0]):
        raise ExportError(
            "a program whose batch size is fixed",
            "a program with a dynamic first axis",
            'export it with dynamic_shapes=({0: torch.export.Dim("batch")},)',
        )
    operations, batch, changed = operations_of(
        graph, roles, [placeholders[name] for name in inputs]
    )
    for operation in operations:
        operation.path = (aliases or {}).get(operation.path, operation.path)
    outputs = [
        spec.arg.name for spec in signature.output_specs if spec.kind is OutputKind.USER_OUTPUT
    ]
    returned = pytree.tree_unflatten(list(range(len(outputs))), program.call_spec.out_spec)
    names = names_of(returned, int)
    logits = _logits(
        graph,
        operations,
        outputs,
        names if len(names) == len(outputs) else [""] * len(outputs),
        batch,
    )
    output, logits = _without_softmax(graph, operations, logits)
    held = set(graph.nodes)
    kept = tuple(operation for operation in operations if operation.node in held)
    return GraphReading(
        graph, submodules, kept, batch, logits, output, tensors, constants, tuple(inputs), changed
    )


def operations_of(
    graph: fx.Graph, roles: Mapping[str, str], inputs: Sequence[fx.Node]
) -> tuple[list[Operation], Extent, frozenset[str]]:
    """The nodes of a graph as operations, the batch's extent, and the placeholders changed in place."""
    symbols = {symbol for node in inputs for symbol in _symbols(node.meta["val"])}
    sizes = _Sizes(symbols)
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
            name=bare_name(name_of(node)),
            args=_with_operations(node.args, made),
            kwargs={key: _with_operations(kept, made) for key, kept in node.kwargs.items()},
            path=path,
            module=module,
            sizes=tuple(map(sizes, value.shape)) if isinstance(value, Tensor) else None,
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


class _Sizes:
    """Sizes at the two probed batch sizes, worked out once for each expression."""

    def __init__(self, symbols: set[Any]) -> None:
        self._at = [dict.fromkeys(symbols, batch) for batch in batches_probed]
        self._known: dict[Any, Extent] = {}

    def __call__(self, size: Any) -> Extent:
        if not _is_symbolic(size):
            return Extent(int(size), int(size))
        expression = size.node.expr
        if expression not in self._known:
            small, large = (expression.subs(at) for at in self._at)
            known = small.is_Integer and large.is_Integer
            self._known[expression] = Extent(int(small), int(large)) if known else UNKNOWN
        return self._known[expression]


def _is_symbolic(size: Any) -> bool:
    return isinstance(size, torch.SymInt) and not size.node.expr.is_Integer


def _symbols(value: Tensor) -> set[Any]:
    sizes: list[Any] = [size for size in value.shape if _is_symbolic(size)]
    return {symbol for size in sizes for symbol in size.node.expr.free_symbols}


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
    return str(getattr(target, "__name__", target))


def module_of(node: fx.Node) -> tuple[str, str]:
    """The path and the class of the module in which a node's call happens."""
    stack = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", ""
    path, kind = list(stack.values())[-1]
    return plain_path(re.sub(r"@\d+", "", path)), kind if isinstance(
        kind, str
    ) else f"{kind.__module__}.{kind.__qualname__}"


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
        if argument.alias_info.is_write:
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
) -> fx.Node:
    by_name = {
        operation.node.name: operation for operation in operations if operation.node is not None
    }
    renamed = dict(zip(outputs, _last_outputs(graph, len(outputs)), strict=False))
    shapes: list[str] = []
    nodes: list[fx.Node] = []
    called: list[str] = []
    fitting: list[int] = []
    for output, name in zip(outputs, names, strict=True):
        node = renamed.get(output)
        operation = by_name.get(node.name) if node is not None else None
        if node is None or operation is None or operation.sizes is None:
            continue
        sizes = operation.sizes
        if (
            operation.floating
            and len(sizes) == 2
            and sizes[0] == batch
            and sizes[1].constant
            and node not in nodes
        ):
            fitting.append(len(nodes))
        shapes.append(f"({', '.join('batch' if not s.constant else str(s.small) for s in sizes)})")
        nodes.append(node)
        called.append(name)
    return nodes[choose_logits(shapes, fitting, called)]


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


def _has_dynamic_batch(program: ExportedProgram) -> bool:
    names = set(program.graph_signature.user_inputs)
    values = [
        node.meta.get("val")
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names
    ]
    return all(
        _is_symbolic(value.shape[0])
        for value in values
        if isinstance(value, Tensor) and value.dim()
    )


def _takes_any_number(model: nn.Module) -> bool:
    kinds = [parameter.kind for parameter in inspect.signature(model.forward).parameters.values()]
    return bool(kinds) and kinds[0] is inspect.Parameter.VAR_POSITIONAL


def _failure_of_model(model: nn.Module, example: tuple[Tensor, ...]) -> Exception | None:
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with torch.no_grad():
            torch.func.functional_call(model, buffers, tuple(value.clone() for value in example))
    except Exception as error:
        return error
    return None


def first_line(error: BaseException) -> str:
    """The line of an exception's message that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.endswith(":")]
    text = (said or lines or [""])[0]
    return f"{type(error).__name__}: {text}".rstrip(". :")


def _where(error: BaseException) -> str:
    """The line of the user's code that an exception passed through last, as " (file, line n: code)"."""
    frames = [
        (frame.filename, frame.lineno or 0)
        for cause in _causes(error)
        for frame in traceback.extract_tb(cause.__traceback__)
    ]
    frames += [
        (name, int(line)) for name, line in re.findall(r'File "([^"<>]+)", line (\d+)', str(error))
    ]
    for filename, line in reversed(frames):
        if is_users(filename):
            code = linecache.getline(filename, line).strip()
            return f" ({filename}, line {line}: {code})"
    return ""


def is_users(filename: str) -> bool:
    """Whether a file holds code of the user, not of PyTorch, of Python or of this package."""
    if filename.startswith((_TORCH, _HERE, "<")) or not Path(filename).exists():
        return False
    return not filename.startswith(_STDLIB) or "site-packages" in filename


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain
