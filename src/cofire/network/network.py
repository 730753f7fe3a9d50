"""`Network`: the one view of a model that everything else asks."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from cofire.arguments import validated
from cofire.errors import BatchError, ExportError
from cofire.marks import LATER
from cofire.network.archives import load_program
from cofire.network.engines import (
    CallEngine,
    Engine,
    FixedWeights,
    GraphEngine,
    LiveWeights,
    TensorSource,
    state_of,
)
from cofire.network.examples import examples_of, inputs_of, placement_of, two_samples
from cofire.network.layers import ActivationLayer
from cofire.network.outputs import Output, without_nan
from cofire.network.reading import exported, read_program
from cofire.network.selection import Selector, select
from cofire.network.untouched import alias_paths, unwrapped, without_autocast
from cofire.network.weights import digest_of, fitted, read_checkpoint
from cofire.reading import reader
from cofire.tensors import Values

Capture = Literal["export", "calls"]

_INPUTS = Values(finite=False, lists=False, error=BatchError)


@validated
class Network:
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
    ) -> None:
        inner = unwrapped(model)
        reference = state_of(inner)
        device, dtype = placement_of(inner.parameters(), example_input)
        example = examples_of(example_input, device, dtype)
        engine: Engine
        with without_autocast():
            if capture == "export":
                program = exported(inner, two_samples(example))
                engine = GraphEngine(read_program(program, alias_paths(inner)), device)
            else:
                engine = CallEngine(inner, example)
        shapes = tuple(tuple(value.shape[1:]) for value in example)
        floating = tuple(value.is_floating_point() for value in example)
        self._settle(engine, LiveWeights(inner), inner, reference, shapes, floating, dtype)

    def _settle(
        self,
        engine: Engine,
        source: TensorSource,
        model: nn.Module | None,
        reference: Mapping[str, Tensor],
        shapes: tuple[tuple[int, ...], ...],
        floating: tuple[bool, ...],
        example_dtype: torch.dtype,
    ) -> None:
        self._engine = engine
        self._source = source
        self._model = model
        self._name = None if model is None else type(model).__name__
        self._reference = reference
        self._shapes = shapes
        self._floating = floating
        self._example_dtype = example_dtype
        self._first = next(
            (name for name, value in reference.items() if value.is_floating_point()), None
        )

    @classmethod
    @reader(ExportError, "a file that torch.export.save wrote", "export the model again")
    def load(cls, path: str | Path) -> Network:
        """A network from a program that `torch.export.save` wrote.

        Args:
            path: A `.pt2` file, exported in evaluation mode with a dynamic batch axis. No code from
                it is run: one with pickled objects, operators that are not PyTorch's own, or sizes
                that are more than arithmetic is refused.

        Raises:
            ExportError: The file is missing, damaged, unsafe, or not such a program.
        """
        file = Path(path)
        if not file.is_file():
            raise ExportError(f"no file {str(file)!r}", "a .pt2 file", "check the path")
        return cls._from_program(load_program(file))

    @classmethod
    def _from_program(cls, program: ExportedProgram) -> Network:
        reading = read_program(program)
        nodes = {node.name: node for node in reading.graph.nodes if node.op == "placeholder"}
        examples = [nodes[name].meta["val"] for name in reading.inputs]
        state = dict(program.state_dict)
        held = {
            **state,
            **{
                name: value
                for name, value in program.constants.items()
                if isinstance(value, Tensor)
            },
        }
        floats = [value for value in (*state.values(), examples[0]) if value.is_floating_point()]
        network = cls.__new__(cls)
        network._settle(
            GraphEngine(reading, examples[0].device, saved=True),
            FixedWeights(held, None),
            None,
            state,
            tuple(tuple(int(size) for size in value.shape[1:]) for value in examples),
            tuple(value.is_floating_point() for value in examples),
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
          classes. `run` leaves
          that out and gives the logits that go in, of which a softmax makes just these
          probabilities.
        - "sigmoids": each a probability by itself, not of classes that exclude each other; "one
          logit": a single
          output. `run` gives what the model gives; what asks for classes refuses such networks.
        """
        return self._engine.output

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self._shapes[0]

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
            return next(iter(self._reference.values()), torch.empty(0, dtype=self._example_dtype))
        return self._source.tensors([self._first])[0]

    @property
    def num_inputs(self) -> int:
        """How many tensors the model takes."""
        return len(self._shapes)

    @property
    def input_kinds(self) -> tuple[tuple[tuple[int, ...], bool], ...]:
        """For each tensor that the model takes, the shape of one sample and whether its numbers are floating."""
        return tuple(zip(self._shapes, self._floating, strict=True))

    @property
    def has_graph(self) -> bool:
        """Whether there is an operator graph: not where calls are intercepted."""
        return isinstance(self._engine, GraphEngine)

    @property
    def has_head(self) -> bool:
        """Whether the logits are known to come out of a linear layer, so that `run` can hand over what goes into it."""
        return self._engine.head is not None

    @property
    def fingerprint(self) -> str:
        """A hash of the architecture, the same for all weights: layers, kinds, shapes and parameters."""
        layers = [
            [layer.name, layer.kind, list(layer.shape)]
            for layer in (*self.activation_layers, *self.gates)
        ]
        parameters = [[name, list(value.shape)] for name, value in sorted(self._reference.items())]
        described = {
            "layers": layers,
            "parameters": parameters,
            "inputs": self._shapes,
            "classes": self.num_classes,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def digest(self) -> str:
        """A hash of the architecture and of the weights as they are now."""
        names = list(self._reference)
        weights = dict(zip(names, self._source.tensors(names), strict=True))
        return hashlib.sha256(f"{self.fingerprint} {digest_of(weights)}".encode()).hexdigest()

    @property
    def graph(self) -> fx.Graph:
        """The operator graph, to read and not to change.

        A placeholder of a parameter or buffer carries its name in the model as
        `node.meta["tensor_name"]`.

        Raises:
            ExportError: The network intercepts calls and has no graph.
        """
        return self._graph_engine().reading.graph

    def node(self, layer: ActivationLayer) -> fx.Node:
        """The node of the graph that computes a layer's activations.

        Raises:
            ExportError: The network intercepts calls and has no graph.
            LayerError: The layer is not part of this network.
        """
        engine = self._graph_engine()
        (found,) = self.select(layer)
        return engine.nodes[(*self.activation_layers, *self.gates).index(found)]

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
                predicate; a layer or a gate; or a sequence that mixes these.

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
            observe: Called with a layer and its activations (batch, *layer.shape) the moment they
                are computed. It must not modify the tensor, and must copy what it keeps: the model
                may write over it later.
            layers: What to observe.
            head: Called with what goes into the last linear layer, (batch, features), if the
                network `has_head`.

        Returns:
            The logits (batch, classes), without a softmax or log-softmax that the model ends with
            (see `output`).

        Raises:
            BatchError: The inputs' shapes or types differ from the example's.
            LayerError: A selected layer does not exist, or was not computed for this batch.
            NonFiniteError: A logit is NaN.
        """
        device = self.device
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        prepared = self._prepared(given, device)
        chosen = self.select(layers) if observe is not None else ()
        with without_autocast():
            logits = self._engine.run(self._source, prepared, device, chosen, observe, head)
        return without_nan(logits)

    def _prepared(self, given: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
        given = tuple(_INPUTS.of("inputs", value) for value in given)
        return inputs_of(given, self.input_kinds, device, self.dtype)

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
            A new network. This one and the user's model stay as they are.

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
        names = list(self._reference)
        reference = dict(zip(names, self._source.tensors(names), strict=True))
        return self._with(
            {
                **self.__dict__,
                "_source": FixedWeights(
                    fitted(content, reference, source, weights_key), self._source
                ),
            }
        )

    @property
    def model_name(self) -> str | None:
        """Name of the model's class, None of an exported program, which has forgotten it."""
        return self._name

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if isinstance(self._engine, GraphEngine):
            names = list(dict.fromkeys([*self._reference, *self._engine.reading.tensors.values()]))
            held = {
                n: value.detach()
                for n, value in zip(names, self._source.tensors(names), strict=True)
            }
            own = {name: held[name] for name in self._reference}
            state |= {"_model": None, "_source": FixedWeights(held, None), "_reference": own}
        return state

    def __copy__(self) -> Network:
        return self._with(dict(self.__dict__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self._with(
            {name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()}
        )

    def _with(self, state: dict[str, Any]) -> Network:
        other = type(self).__new__(type(self))
        other.__dict__.update(state)
        return other

    def __repr__(self) -> str:
        return (
            f"Network({self.model_name or 'an exported program'}: {len(self.activation_layers)} activation layers, "
            f"{sum(layer.neurons() for layer in self.activation_layers):,} channels, "
            f"input {self.input_shape}, {self.num_classes} classes)"
        )
