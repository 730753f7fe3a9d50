"""`Network`: the one view of a model that everything else asks."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, fx, nn

from cofire.arguments import validated
from cofire.errors import BatchError, ExportError
from cofire.marks import LATER
from cofire.network.archives import load_program
from cofire.network.calls import read_calls
from cofire.network.export import exported
from cofire.network.layers import ActivationLayer, Selector, select
from cofire.network.outputs import (
    Chosen,
    Output,
    examples_of,
    inputs_of,
    placement_of,
    two_samples,
    without_nan,
)
from cofire.network.reading import GraphReading, read_program
from cofire.network.trace import CallEngine, Engine, FunctionalGraph, Given, GraphEngine
from cofire.network.untouched import (
    FixedWeights,
    LiveWeights,
    TensorSource,
    alias_paths,
    state_of,
    unwrapped,
    without_autocast,
)
from cofire.network.weights import digest_of, fingerprint_of, fitted, read_checkpoint
from cofire.reading import reader
from cofire.shown import Shown
from cofire.tensors import Values

Capture = Literal["export", "calls"]

_INPUTS = Values(finite=False, lists=False, error=BatchError)


@validated
class Network(Shown):
    """A classifier as its activation layers and operators.

    The model is read once. Its weights are shared, not copied, so that a network sees what training
    changes. The model itself is never changed: not its mode, its gradients, its hooks or its
    buffers.

    Args:
        model: The classifier, in whatever mode; it is read in evaluation mode.
        example_input: One batch as the model takes it, the batch axis in front: (batch, ...), or a
            tuple of several inputs. One sample is enough.
        capture: "export" reads the model's operator graph. "calls" intercepts its function calls
            instead, for models that do not export; their graph is not available then.
        output: Which of several outputs holds the logits, (batch, classes): a key or field, "." in front of one
            further inside, or a position from 0 among all tensors that come out. None for the only one, or "logits".

    Raises:
        ExportError: The model cannot be read this way; the message says where, and what to do.
        OptionError: `capture` is neither of the two.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> network = Network(model, torch.zeros(1, 4))
        >>> [(layer.name, layer.kind, layer.shape) for layer in network.activation_layers]
        [('1', 'relu', (3,))]
        >>> network.run(torch.ones(5, 4), lambda layer, values: print(layer.name, tuple(values.shape))).shape
        1 (5, 3)
        torch.Size([5, 2])
    """

    def __init__(
        self,
        model: Annotated[nn.Module, LATER],
        example_input: Annotated[Tensor | tuple[Tensor, ...], LATER],
        *,
        capture: Capture = "export",
        output: Chosen = None,
    ) -> None:
        inner = unwrapped(model)
        reference = state_of(inner)
        device, dtype = placement_of(inner.parameters(), example_input)
        example = examples_of(example_input, device, dtype)
        engine: Engine
        with without_autocast():
            if capture == "export":
                program = exported(inner, two_samples(example))
                engine = GraphEngine(read_program(program, alias_paths(inner), output), device)
            else:
                engine = CallEngine(inner, read_calls(inner, example, output))
        self._settle(engine, LiveWeights(inner), reference, example, dtype, type(inner).__name__)

    def _settle(
        self,
        engine: Engine,
        source: TensorSource,
        reference: Mapping[str, Tensor],
        example: Sequence[Tensor],
        dtype: torch.dtype,
        name: str | None = None,
    ) -> None:
        self._name, self._dtype = name, dtype
        self._engine, self._source, self._reference = engine, source, reference
        self._kinds = tuple(
            (tuple(int(size) for size in value.shape[1:]), value.is_floating_point())
            for value in example
        )
        self._first = next((n for n, value in reference.items() if value.is_floating_point()), None)

    @classmethod
    @reader(ExportError, "a file that torch.export.save wrote", "export the model again")
    def load(cls, path: str | Path, *, output: Chosen = None) -> Network:
        """A network from a program that `torch.export.save` wrote.

        Args:
            path: A `.pt2` file, exported in evaluation mode with a dynamic batch axis. No code from it is run: one
                with pickled objects, operators not PyTorch's own, or sizes that are more than arithmetic is refused.
            output: Which of several outputs holds the logits.

        Raises:
            ExportError: The file is missing, damaged, unsafe, or not such a program.
        """
        program = load_program(Path(path))
        reading = read_program(program, chosen=output)
        examples = [node.meta["val"] for node in reading.graph.nodes if node.name in reading.inputs]
        state = dict(program.state_dict)
        constants = {n: one for n, one in program.constants.items() if isinstance(one, Tensor)}
        floats = [value for value in (*state.values(), examples[0]) if value.is_floating_point()]
        network = cls.__new__(cls)
        network._settle(
            GraphEngine(reading, examples[0].device, saved=True),
            FixedWeights({**state, **constants}, None),
            state,
            examples,
            floats[0].dtype if floats else torch.get_default_dtype(),
        )
        return network

    @property
    def activation_layers(self) -> tuple[ActivationLayer, ...]:
        """The activation layers in order of execution, without the output layer."""
        return self._engine.found.layers

    @property
    def gates(self) -> tuple[ActivationLayer, ...]:
        """Activations whose every use scales something else, as in squeeze-and-excitation."""
        return self._engine.found.gates

    @property
    def heads(self) -> tuple[ActivationLayer, ...]:
        """Heads of attention as neurons: each observes the attention that a token gets from it, on average."""
        return self._engine.found.heads

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Names of activations that have no neurons of a sample, with the reason."""
        return dict(self._engine.found.unreadable)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self._engine.classes

    @property
    def output(self) -> Output:
        """What the model itself gives for a sample, by the functions that it ends with.

        - "logits": one for each class; `run` gives them.
        - "probabilities", "log-probabilities": it ends with a softmax or log-softmax over the
          classes. `run` leaves that out and gives the logits that go in.
        - "one logit": a single output z, of class 1 against class 0, or its sigmoid. `run` gives
          logits of these two, -z / 2 and z / 2, whose softmax is that sigmoid.
        - "sigmoids": several, each a probability by itself, not of classes that exclude each other.
          `run` gives what the model gives; what asks for classes refuses such networks.
        """
        return self._engine.output

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self._kinds[0][0]

    @property
    def most_values(self) -> int:
        """Numbers that the largest of all results on the way has for each sample."""
        return self._engine.most_values

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self._leading().device

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the network computes."""
        return self._leading().dtype

    def _leading(self) -> Tensor:
        if self._first is None:
            return next(iter(self._reference.values()), torch.empty(0, dtype=self._dtype))
        return self._source.tensors([self._first])[0]

    @property
    def num_inputs(self) -> int:
        """How many tensors the model takes."""
        return len(self._kinds)

    @property
    def input_kinds(self) -> tuple[tuple[tuple[int, ...], bool], ...]:
        """For each tensor that the model takes, the shape of one sample and whether its numbers are floating."""
        return self._kinds

    @property
    def has_graph(self) -> bool:
        """Whether there is an operator graph: not where calls are intercepted."""
        return isinstance(self._engine, GraphEngine)

    @property
    def has_head(self) -> bool:
        """Whether the logits are known to come out of a linear layer, whose input `run` can hand over."""
        return self._engine.head is not None

    @property
    def fingerprint(self) -> str:
        """A hash of the architecture, the same for all weights: layers, kinds, shapes and parameters."""
        layers = (*self.activation_layers, *self.gates)
        told = [[layer.name, layer.kind, list(layer.shape)] for layer in layers]
        return fingerprint_of(told, self._reference, self._kinds, self.num_classes)

    def digest(self) -> str:
        """A hash of the architecture and of the weights as they are now."""
        told = f"{self.fingerprint} {digest_of(self.state_dict())}"
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def reference(self) -> Mapping[str, Tensor]:
        """The parameters and saved buffers that the network was read with: names of one tensor are tied."""
        return self._reference

    def state_dict(self, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The tensors with which the network computes now, by name: themselves, not copies.

        Args:
            names: Of parameters and buffers; None for all of `reference`.
        """
        wanted = list(self._reference if names is None else names)
        return dict(zip(wanted, self._source.tensors(wanted), strict=True))

    @property
    def reading(self) -> GraphReading:
        """What was read of the model: its operators as a graph and as a list, to read and not to change.

        Raises:
            ExportError: The network intercepts calls and has no graph.
        """
        return self._graph_engine().reading

    @property
    def graph(self) -> fx.Graph:
        """The operator graph, to read and not to change; `node.meta["tensor_name"]` names a parameter or buffer.

        Raises:
            ExportError: The network intercepts calls and has no graph.
        """
        return self.reading.graph

    @property
    def functional(self) -> FunctionalGraph:
        """The same without writes in place, its nodes by the same names.

        Raises:
            ExportError: The network intercepts calls and has no graph.
            RuleError: A write in place cannot be left out.
        """
        return self._graph_engine().functional()

    @property
    def writes_in_place(self) -> bool:
        """Whether an activation may be written over after it was computed, as far as can be known."""
        return not isinstance(self._engine, GraphEngine) or self._engine.writes_in_place

    def node(self, layer: ActivationLayer) -> fx.Node:
        """The node of the graph that computes a layer's activations.

        Raises:
            ExportError: The network intercepts calls and has no graph.
            LayerError: The layer is not part of this network.
        """
        (found,) = self.select(layer)
        return self._graph_engine().node_of(found)

    def _graph_engine(self) -> GraphEngine:
        if not isinstance(self._engine, GraphEngine):
            raise ExportError(
                'a network with capture="calls", which has no operator graph',
                'a network with capture="export"',
                "rewrite the part of the model that does not export, or use what needs activations alone",
            )
        return self._engine

    def select(self, layers: Selector = None) -> tuple[ActivationLayer, ...]:
        """Choose activation layers.

        Args:
            layers: None for all; a name; the path of a module; a glob over names; "kind:relu"; a
                predicate; a layer or a gate; or a sequence that mixes these. Attention heads are
                taken by their kind, "kind:attention", by name, or out of `heads`.

        Returns:
            The chosen layers, each once, in order of execution.

        Raises:
            LayerError: Nothing is found; the message names what is near.

        Example:
            >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 2))
            >>> [layer.name for layer in Network(model, torch.zeros(1, 4)).select("kind:gelu")]
            ['3']
        """
        return select(self._engine.found, layers)

    def run(
        self,
        inputs: Annotated[Tensor | tuple[Tensor, ...], LATER],
        observe: Callable[[ActivationLayer, Tensor], None] | None = None,
        layers: Selector = None,
        head: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Run the network in evaluation mode, without gradients and autocast, and observe activations on the way.

        Args:
            inputs: A batch (batch, *input_shape); it is brought to the network's device and, if
                floating, to its type.
            observe: Called with a layer and its activations (batch, *layer.shape) the moment they are computed. It
                must not modify the tensor, and must copy what it keeps: the model may write over it later.
            layers: What to observe.
            head: Called with what goes into the last linear layer, (batch, features), if the network `has_head`.

        Returns:
            The logits (batch, classes), without a softmax that the model ends with (see `output`).

        Raises:
            BatchError: The inputs' shapes or types differ from the example's.
            LayerError: A selected layer does not exist, or was not computed for this batch.
            NonFiniteError: A logit is NaN.
        """
        prepared = self.prepared(inputs)
        chosen = self.select(layers) if observe is not None else ()
        with without_autocast():
            given = Given(self._source, prepared, self.device)
            logits = self._engine.run(given, chosen, observe, head)
        return without_nan(logits)

    def prepared(self, inputs: Annotated[Tensor | tuple[Tensor, ...], LATER]) -> tuple[Tensor, ...]:
        """The inputs of a run, checked and brought to the network's device and, if floating, to its type.

        Raises:
            BatchError: The inputs' shapes or types differ from the example's.
        """
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        checked = tuple(_INPUTS.of("inputs", value) for value in given)
        return inputs_of(checked, self._kinds, self.device, self.dtype)

    def trace(
        self,
        inputs: Annotated[Tensor | tuple[Tensor, ...], LATER],
        nodes: Annotated[Iterable[fx.Node], LATER] = (),
        *,
        gradients: Annotated[bool | Collection[fx.Node], LATER] = False,
        replace: Annotated[Mapping[fx.Node, Callable[..., Any]] | None, LATER] = None,
    ) -> tuple[Tensor, dict[fx.Node, Tensor]]:
        """Run the operator graph without writes in place, and keep the values of some of its nodes.

        Args:
            inputs: A batch, as `run` takes it.
            nodes: Of `graph` or of `functional`.
            gradients: Whether autograd records what is computed, whatever mode the caller is in: from `nodes`, or
                those of them given here, and from inputs that require gradients, which go in as they are.
            replace: Functions that are called in place of the operators of some nodes, with the operators'
                arguments; in place of a parameter or an input, with its tensor.

        Returns:
            The logits (batch, classes), and the values of `nodes`.

        Raises:
            BatchError: The inputs' shapes or types differ from the example's.
            ExportError: The network intercepts calls and has no graph.
            RuleError: A value of `nodes` cannot be kept as it was computed.

        Example:
            >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
            >>> _ = [layer.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]])) for layer in model[::2]]
            >>> network = Network(model, torch.zeros(1, 2))
            >>> relu = network.node(network.activation_layers[0])
            >>> logits, values = network.trace(torch.tensor([[1.0, -1.0]]), [relu], gradients=True)
            >>> torch.autograd.grad(logits.sum(), values[relu])
            (tensor([[1., 2.]]),)
            >>> network.trace(torch.tensor([[1.0, -1.0]]), replace={relu: lambda value: value})[0]
            tensor([[ 1., -4.]])
        """
        engine = self._graph_engine()
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        prepared = tuple(
            one if gradients and one.requires_grad else checked
            for one, checked in zip(given, self.prepared(inputs), strict=True)
        )
        with without_autocast():
            taken = Given(self._source, prepared, self.device)
            return engine.trace(taken, nodes, gradients, replace or {})

    def module(self, layers: Selector = None) -> nn.Module:
        """The graph as a module of PyTorch with a copy of the weights, which needs nothing of cofire once exported.

        Args:
            layers: What else it gives.

        Returns:
            A module from images to (logits, what goes into the last linear layer or None,
            activations of each layer).

        Raises:
            ExportError: The network has no graph, or takes several inputs.
            LayerError: A layer is not part of it.
        """
        return self._graph_engine().module(self._source, self.device, self.select(layers))

    def with_weights(
        self,
        weights: Annotated[Mapping[str, Any] | str | Path, LATER],
        *,
        weights_key: str | None = None,
    ) -> Network:
        """The same network with other weights, such as the next checkpoint's; nothing is read again.

        Args:
            weights: A state dict, a checkpoint that holds one under any key, or a file of either
                (`load_weights`).
            weights_key: Which, where it holds the network several times: the key or prefix that
                names are below.

        Returns:
            A new network.

        Raises:
            WeightsError: The file is missing, damaged or unsafe, or the weights do not fit, or
                several do.

        Example:
            >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
            >>> zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
            >>> Network(model, torch.zeros(1, 2)).with_weights(zeros).run(torch.ones(1, 2))
            tensor([[0., 0.]])
        """
        source = repr(str(weights)) if isinstance(weights, (str, Path)) else "the given weights"
        content = read_checkpoint(weights) if isinstance(weights, (str, Path)) else weights
        found = fitted(content, self.state_dict(), source, weights_key)
        other = copy.copy(self)
        other._source = FixedWeights(found, self._source)
        return other

    @property
    def model_name(self) -> str | None:
        """Name of the model's class, None of an exported program, which has forgotten it."""
        return self._name

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if isinstance(self._engine, GraphEngine):
            names = [*self._reference, *self._engine.reading.tensors.values()]
            held = {name: value.detach() for name, value in self.state_dict(names).items()}
            own = {name: held[name] for name in self._reference}
            state |= {"_source": FixedWeights(held, None), "_reference": own}
        return state

    def __copy__(self) -> Network:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        other = copy.copy(self)
        other.__dict__ = copy.deepcopy(self.__dict__, memo)
        return other

    def __repr__(self) -> str:
        return (
            f"Network({self.model_name or 'an exported program'}: {len(self.activation_layers)} activation layers, "
            f"{sum(layer.neurons() for layer in self.activation_layers):,} channels, "
            f"input {self.input_shape}, {self.num_classes} classes)"
        )
