"""Logits that autograd follows back to the input, on the network's own graph and without touching the model."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.errors import ExplanationError
from cofire.network import Network
from cofire.network.execution import Program
from cofire.network.untouched import without_autocast


class InputGradients:
    """A network whose logits have gradients with respect to its input.

    The graph is run with the model's weights shared and detached, so that nothing of the model
    records anything, whether or not its weights are frozen and whatever mode the caller is in. What
    a model for inference alone writes in place, over values that gradients need, is written
    elsewhere.

    Args:
        network: With a graph, of one floating-point input.

    Raises:
        ExplanationError: The network takes several inputs, or whole numbers.
        ExportError: The network intercepts calls and has no graph.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0], [0.0, -3.0]]))
        >>> logits, slopes = InputGradients(Network(model, torch.zeros(1, 2)))(torch.ones(1, 2), torch.tensor([[1, 0]]))
        >>> logits.tolist(), slopes.tolist(), model.weight.grad
        ([[3.0, -3.0]], [[[0.0, -3.0], [1.0, 2.0]]], None)
    """

    def __init__(self, network: Network) -> None:
        if network.num_inputs != 1 or not network._floating[0]:
            raise ExplanationError(
                f"a network of {network.num_inputs} input(s){'' if network._floating[0] else ', whole numbers'}",
                "one input of floating-point numbers, along which there are gradients",
                "wrap the model so that it takes one batch of images",
            )
        self._network = network
        self._reading = network._graph_engine().reading
        self._program = Program(self._reading, {}, network._graph_engine().device)

    def __call__(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of images, and the gradients of some of them.

        Args:
            images: (images, *input_shape).
            classes: For each image the classes whose logits are differentiated, (images, n), whole
                numbers.

        Returns:
            The logits (images, classes); d logit / d input, (images, n, *input_shape). Both in
            single precision or more, on the network's device.

        Raises:
            BatchError: The images do not fit the network.
            ExplanationError: The logits do not depend on the input by differentiable operators.
        """
        device = self._network.device
        # Gradients need tensors that autograd may keep, also where the caller records nothing.
        with torch.inference_mode(False), torch.enable_grad(), without_autocast():
            (prepared,) = self._network._prepared((images,), device)
            wide = torch.promote_types(prepared.dtype, torch.float32)
            leaf = prepared.detach().to(wide, copy=True).requires_grad_()
            values = self._values()

            def run(given: Tensor) -> Tensor:
                tensors = [given if value is None else value for value in values]
                pairs = zip(self._program.names, tensors, strict=True)
                return self._program(
                    None,
                    device,
                    [
                        value.clone() if name in self._reading.changed else value
                        for name, value in pairs
                    ],
                )

            # Half precision is the network's own business: sums and gradients of the input are
            # wide.
            logits: Tensor = torch.func.functionalize(run)(leaf.to(prepared.dtype)).to(wide)
            if not logits.requires_grad:
                raise ExplanationError(
                    "a network whose logits have no gradient with respect to its input",
                    "differentiable operators from the input to the logits",
                    "leave out what only explains by gradients",
                )
            chosen = logits.gather(1, classes.to(device, copy=True))
            slopes = [
                torch.autograd.grad(column.sum(), leaf, retain_graph=number < chosen.shape[1] - 1)[
                    0
                ]
                for number, column in enumerate(chosen.unbind(1))
            ]
        return logits.detach(), torch.stack(slopes, dim=1)

    def _values(self) -> list[Tensor | None]:
        """What the graph takes, detached; None for the images."""
        reading, device, names = self._reading, self._network.device, self._program.names
        held = [reading.tensors[name] for name in names if name in reading.tensors]
        weights = iter(self._network._source.tensors(held))
        values: list[Tensor | None] = []
        for name in names:
            if name in reading.inputs:
                values.append(None)
                continue
            value = next(weights) if name in reading.tensors else reading.constants[name]
            value = value.detach().to(device)
            # Autograd keeps no tensor that was made where nothing is recorded.
            values.append(value.clone() if value.is_inference() else value)
        return values
