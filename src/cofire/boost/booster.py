"""`Booster`: a trained classifier with what its activation patterns add, as one module."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.export import Dim

from cofire.activations.neurons import view_neurons
from cofire.activations.together import alone
from cofire.arguments import validated
from cofire.atomic import atomic_path
from cofire.boost.evidence import Evidence
from cofire.boost.fitting import Fits, FitSettings, Fitted, fit_methods
from cofire.boost.heads import HEADS, Affine, Auxiliary
from cofire.boost.measures import check_finite
from cofire.boost.methods import DEFAULT_METHOD, METHODS, method_of
from cofire.boost.reading import (
    DEFAULT_UNIT,
    MEAN,
    Reader,
    Reading,
    Threshold,
    chosen_layers,
)
from cofire.errors import ExportError, LayerError, OptionError, ResultError
from cofire.network import Network, Selector, Unit
from cofire.network.untouched import without_autocast
from cofire.reading import reader
from cofire.shown import Shown
from cofire.storage import load_result, save_result

AUTO = "auto"


"""Fit every method and keep the one that is most often right on held-out data."""


class Boosted(NamedTuple):
    """What a booster says of a batch, from one forward pass of the classifier.

    Attributes:
        probabilities: (samples, classes).
        logits: Their logarithms, up to a constant for each sample, (samples, classes).
        base_logits: The classifier's own, (samples, classes).
    """

    probabilities: Tensor
    logits: Tensor
    base_logits: Tensor


@validated
class Booster(Shown, nn.Module):
    """A better classifier out of a trained one and its activation patterns (P1 §5.2).

    Once fitted, it takes images as the classifier does, runs it once, and gives class
    probabilities. The classifier stays frozen and as it is: it is no submodule, so that `.to()`,
    `.train()` and `.parameters()` of the booster leave it alone, and the booster computes where the
    classifier lies.

    Args:
        network: The trained classifier.
        layers: Which activation layers; None takes all, "L2L" the last two and "LL" the last (P1
            Table 4), or see `Network.select`.
        method: One of `cofire.boost.METHODS`: "readout" (unless given; it won on held-out data),
            "auxiliary" (P1's, to the letter) and others; a control such as "temperature"; or
            "auto", which fits all methods and keeps the one that is best on held-out data.
        unit: What a neuron of a feature map is: "channel-mean", "channel-max" (a channel's mean or
            maximum) or "element" (each place of each channel; see `max_bytes`).
        threshold: A neuron is active above it; "mean" for each neuron's own mean over the training
            data.
        seed: Of networks and orders.
        max_bytes: Bound for the sample of training activations that readouts learn from (of more,
            fewer samples are kept), for counts and sums per class, and for second moments (where
            they have no room, the covariance of "discriminant" is that of the sample).

    Attributes:
        fitted: What was fitted, None before.
        always_active: For each layer the share of P (Eq. 14), over classes and neurons, that lies
            above 0.99: who fires tells little in a layer where that is most of it. Without entries
            before `fit`.

    Raises:
        LayerError: No such layer, or none at all.
        OptionError: An option has a value it cannot have.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> inputs = torch.randn(300, 2)
        >>> labels = (inputs[:, 0] > inputs[:, 1]).long()
        >>> booster = Booster(Network(model, inputs)).fit((inputs[:200], labels[:200]), (inputs[200:], labels[200:]))
        >>> probabilities = booster(inputs)
        >>> probabilities.shape, round(float((probabilities.argmax(dim=1) == labels).float().mean()), 2)
        (torch.Size([300, 2]), 0.97)
    """

    def __init__(
        self,
        network: Network,
        layers: Selector = None,
        method: str = DEFAULT_METHOD,
        *,
        unit: Unit = DEFAULT_UNIT,
        threshold: Threshold = 0.0,
        seed: int = 0,
        max_bytes: int = 1_000_000_000,
    ) -> None:
        super().__init__()
        self._reader = Reader(network, chosen_layers(network, layers), unit)
        if method != AUTO:
            method_of(method)
        self.method = method
        self._asked = method
        self._settings = FitSettings(threshold=threshold, seed=seed, max_bytes=max_bytes)
        self.fitted: Fitted | None = None
        self.always_active: Mapping[str, float] = {}
        self._digest = ""

    @property
    def network(self) -> Network:
        """The classifier."""
        return self._reader.network

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers it reads."""
        return tuple(layer.name for layer in self._reader.layers)

    def fit(
        self,
        train_loader: Any,
        validation_loader: Any = None,
        *,
        batch_size: int = 1024,
        progress: bool | None = None,
    ) -> Self:
        """Learn from data that the classifier was trained on and, better, from data that it was not.

        Nothing of size (samples × neurons) is kept but, for readouts, a sample of at most
        `max_bytes`.

        Args:
            train_loader: Labelled training data, as `cofire.summarize` takes it.
            validation_loader: Labelled data that the classifier has not seen. Without it, a fifth
                of the training data, chosen by content, takes its place; the classifier knows it by
                heart, so that less is learnt.
            batch_size: For data that does not come in batches.
            progress: Show progress bars; None shows them on a terminal.

        Returns:
            The booster itself.

        Raises:
            DataError: No samples, data that overlaps, and its kinds `BatchError`, `LabelError` (a
                class without training samples, or labels out of range) and `NonFiniteError`.
            BudgetError: The method needs more memory than `max_bytes`.
        """
        settings = FitSettings(
            **self._settings.model_dump() | {"batch_size": batch_size, "progress": progress}
        )
        methods = list(METHODS.values()) if self._asked == AUTO else [method_of(self._asked)]
        task = fit_methods(self._reader, methods, train_loader, validation_loader, settings)
        fits = alone(self.network, task, progress)
        return self.adopt(fits.fitted[best_of(fits, list(fits.fitted))], fits.always_active)

    def adopt(self, fitted: Fitted, always_active: Mapping[str, float] | None = None) -> Self:
        """Take over what was fitted elsewhere to the same network and layers."""
        self.always_active = dict(always_active or {})
        self.fitted = fitted.to(self.network.device)
        self._digest = self.network.digest()
        self.method = fitted.method.name
        return self

    def _ready(self) -> Fitted:
        if self.fitted is None:
            raise OptionError(
                "a booster that is not fitted",
                "a fitted or loaded one",
                "call booster.fit(train_loader) first",
            )
        return self.fitted

    def predict(self, images: Tensor) -> Boosted:
        """Probabilities and logits, with the classifier's own logits, from one forward pass.

        Args:
            images: A batch, as the classifier takes it.

        Raises:
            OptionError: The booster is not fitted.
            BatchError: The images do not fit the classifier.
            NonFiniteError: The classifier gives NaN or infinite logits.
        """
        fitted = self._ready()
        with torch.no_grad(), without_autocast():
            evidence = fitted.evidence
            of_head = evidence is not None and evidence.of_head
            reading = self._reader(images, head=of_head, layers=evidence is not None)
            if fitted.head_device != reading.logits.device:
                fitted.to(reading.logits.device)
            better = fitted(reading)
            check_finite(better, "NaN or infinite scores")
            kind = self.network.dtype
            return Boosted(
                better.softmax(dim=1).to(kind), better.to(kind), reading.logits.to(kind, copy=True)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities, (samples, classes), on the classifier's device and of its type (see `predict`)."""
        return self.predict(images).probabilities

    def logits(self, images: Tensor) -> Tensor:
        """Logits, (samples, classes) (see `predict`)."""
        return self.predict(images).logits

    def save(self, path: str | Path) -> Path:
        """Write what was learnt, without the classifier's weights: safetensors with a JSON note.

        Args:
            path: Such as "booster.safetensors"; the file appears whole or not at all.

        Raises:
            OptionError: The booster is not fitted.
        """
        fitted = self._ready()
        evidence = fitted.evidence
        note = {
            "method": fitted.method.name,
            "fitted_on": fitted.fitted_on,
            "head": next(name for name, kind in HEADS.items() if type(fitted.head) is kind),
            "evidence": None
            if evidence is None
            else {
                "sizes": list(evidence.sizes),
                "of_head": evidence.of_head,
                "values": evidence.has_values,
                "patterns": evidence.has_patterns,
            },
            "layers": list(self.layers),
            "unit": self._reader.unit,
            "threshold": self._settings.threshold,
            "always_active": [self.always_active[layer] for layer in self.layers]
            if self.always_active
            else None,
            "seed": self._settings.seed,
            "fingerprint": self.network.fingerprint,
            "weights": self._digest,
        }
        tensors = {name: value.detach().cpu() for name, value in fitted.state_dict().items()}
        return save_result(path, "booster", note, tensors)

    @classmethod
    @reader(ResultError, "a file that Booster.save wrote", "fit it again")
    def load(cls, path: str | Path, network: Network) -> Booster:
        """Read a booster back for the classifier that it was fitted to.

        Args:
            path: What `save` wrote.
            network: The same classifier, with the same weights.

        Raises:
            ResultError: The file is missing, damaged or no booster, or it belongs to another
                classifier.
        """

        def read(note: dict[str, Any], tensors: dict[str, Tensor]) -> Booster:
            if note["fingerprint"] != network.fingerprint:
                raise _foreign(path, "another architecture")
            if note["weights"] != network.digest():
                raise _foreign(path, "other weights of the same architecture")
            try:
                booster = cls(
                    network,
                    list(note["layers"]),
                    note["method"],
                    unit=note["unit"],
                    threshold=note["threshold"],
                    seed=note["seed"],
                )
                fitted = _restored(note, tensors, network.num_classes)
            except (OptionError, LayerError, RuntimeError) as error:
                raise ValueError(str(error)) from error
            read = fitted.evidence
            if read is not None and not read.of_head and list(read.sizes) != booster._reader.sizes:
                raise ValueError("other neurons")
            shares = note.get("always_active")  # files of earlier versions have none
            return booster.adopt(
                fitted, {} if shares is None else dict(zip(booster.layers, shares, strict=True))
            )

        return load_result(path, "booster", read)

    def to_module(self) -> nn.Module:
        """Classifier and booster as one plain module of PyTorch, weights copied: images to class probabilities.

        It exports with `torch.export` to a program that needs nothing of cofire.

        Raises:
            OptionError: The booster is not fitted.
            ExportError: The network has no graph (`capture="calls"`).
        """
        return boosted_program(self._reader, self._ready())

    def export(self, path: str | Path) -> Path:
        """Write classifier and booster as a `.pt2` program that runs without cofire.

        Args:
            path: Such as "boosted.pt2"; the file appears whole or not at all.

        Raises:
            OptionError: The booster is not fitted, or the path does not end in .pt2.
            ExportError: The network has no graph.
        """
        return write_program(self.to_module(), self._reader, path)

    def extra_repr(self) -> str:
        """What stands between the brackets of its repr."""
        state = (
            "not fitted"
            if self.fitted is None
            else f"fitted on {self.fitted.fitted_on or 'nothing'}"
        )
        return f"method={self.method!r}, layers={list(self.layers)}, {state}"


def best_of(fits: Fits, names: list[str]) -> str:
    """The name of the fit that is most often right on held-out data; of equals, the one with the least loss."""

    def quality(name: str) -> tuple[int, float]:
        score = fits.held_out[name]
        loss = float(nn.functional.cross_entropy(score, fits.labels))
        return int((score.argmax(dim=1) == fits.labels).sum()), -loss

    return max(names, key=quality)


def _foreign(path: str | Path, found: str) -> ResultError:
    return ResultError(
        f"{path}, a booster fitted to {found}",
        "the classifier it was fitted to",
        "load those weights first, or fit a booster to this classifier",
    )


def _restored(note: dict[str, Any], tensors: dict[str, Tensor], classes: int) -> Fitted:
    evidence = None
    if note["evidence"] is not None:
        told = note["evidence"]
        parts = iter(torch.split(tensors["evidence.weight"], sum(told["sizes"]), dim=1))
        own = note["threshold"] == MEAN and told["patterns"]
        limit = (
            tensors["evidence.thresholds"]
            if own
            else 0.0
            if note["threshold"] == MEAN
            else note["threshold"]
        )
        evidence = Evidence(
            next(parts) if told["values"] else None,
            next(parts) if told["patterns"] else None,
            tensors["evidence.bias"],
            told["sizes"],
            threshold=limit,
            of_head=told["of_head"],
        )
    kind = HEADS[note["head"]]
    if kind is Affine:
        head: nn.Module = Affine(tensors["head.weight"].shape[1], classes)
    elif kind is Auxiliary:
        probabilities = note["method"] != "auxiliary-logits"
        head = Auxiliary(classes, proposes=evidence is not None, probabilities=probabilities)
    else:
        head = kind()
    fitted = Fitted(method_of(note["method"]), evidence, head, note["fitted_on"])
    try:
        fitted.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return fitted.requires_grad_(False)


class _Program(nn.Module):
    """The classifier's graph with its own copy of the weights, and what was fitted on top."""

    def __init__(self, base: nn.Module, reader: Reader, fitted: Fitted) -> None:
        super().__init__()
        self.base = base
        self.evidence = fitted.evidence
        self.head = fitted.head
        self._layers = reader.layers
        self._unit = reader.unit
        self._kind = reader.network.dtype

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities, (samples, classes)."""
        logits, head, *activations = self.base(images)
        wide = logits if logits.dtype == torch.float64 else logits.to(torch.float32)
        layers = tuple(
            view_neurons(activation, layer, self._unit).values.flatten(1)
            for activation, layer in zip(activations, self._layers, strict=True)
        )
        evidence = None
        if self.evidence is not None:
            last = (
                layers[-1]
                if head is None
                else (head if head.dtype == torch.float64 else head.to(torch.float32))
            )
            evidence = self.evidence.of(Reading(wide, layers, last))
        better: Tensor = self.head(wide, evidence)
        return better.softmax(dim=1).to(self._kind)


def boosted_program(reader: Reader, fitted: Fitted) -> nn.Module:
    """Classifier and booster as one module.

    Args:
        reader: Of the classifier.
        fitted: What was fitted to it.

    Raises:
        ExportError: The network has no graph.
    """
    copied = copy.deepcopy(fitted).to(reader.network.device)
    return (
        _Program(reader.network.module(reader.layers), reader, copied).eval().requires_grad_(False)
    )


def write_program(module: nn.Module, reader: Reader, path: str | Path) -> Path:
    """Export a module that `boosted_program` made and write it, whole or not at all.

    Raises:
        OptionError: The path does not end in .pt2.
        ExportError: It does not export.
    """
    target = Path(path)
    if target.suffix != ".pt2":
        raise OptionError(
            f"'{target}'", "a path that ends in .pt2", f"pass '{target.with_suffix('.pt2')}'"
        )
    network = reader.network
    example = torch.zeros(2, *network.input_shape, device=network.device, dtype=network.dtype)
    shapes: Any = ({0: Dim("batch")},)
    try:
        program = torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise ExportError(
            f"the boosted classifier does not export: {str(error).splitlines()[0]}",
            "a classifier of floating-point images that exports for any batch size",
            "use booster.save, and the booster itself",
        ) from error
    held = io.BytesIO()
    torch.export.save(program, held)
    with atomic_path(target) as partial:
        partial.write_bytes(held.getvalue())
    return target
