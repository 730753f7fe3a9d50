"""Logits that autograd follows back to the input, on the network's own graph and without touching the model."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.errors import ExplanationError
from cofire.network import Network
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
        whole = not network.input_kinds[0][1]
        if network.num_inputs != 1 or whole:
            raise ExplanationError(
                f"a network of {network.num_inputs} input(s){', whole numbers' if whole else ''}",
                "one input of floating-point numbers, along which there are gradients",
                "wrap the model so that it takes one batch of images",
            )
        self._network = network
        _ = network.graph  # refused here, and not at the first call, where there is none

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
        network = self._network
        # Gradients need tensors that autograd may keep, also where the caller records nothing.
        with torch.inference_mode(False), torch.enable_grad(), without_autocast():
            (prepared,) = network.prepared(images)
            # Half precision is the network's own business: sums and gradients of the input are
            # wide.
            wide = torch.promote_types(prepared.dtype, torch.float32)
            leaf = prepared.detach().to(wide, copy=True).requires_grad_()
            logits = network.trace(leaf.to(prepared.dtype), gradients=True)[0].to(wide)
            if not logits.requires_grad:
                raise ExplanationError(
                    "a network whose logits have no gradient with respect to its input",
                    "differentiable operators from the input to the logits",
                    "leave out what only explains by gradients",
                )
            chosen = logits.gather(1, classes.to(logits.device, copy=True))
            slopes = [
                torch.autograd.grad(column.sum(), leaf, retain_graph=number < chosen.shape[1] - 1)[
                    0
                ]
                for number, column in enumerate(chosen.unbind(1))
            ]
        return logits.detach(), torch.stack(slopes, dim=1)
