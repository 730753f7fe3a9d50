"""A monitor of activations in a training loop: tables, numbers for a logger, and warnings a person acts on."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from cofire.activations import DEFAULT_TOP, ActivationSummary, cost_of
from cofire.activations.batches import check_labels
from cofire.activations.labelling import Labelling
from cofire.arguments import validated
from cofire.errors import (
    BatchError,
    BudgetError,
    CofireError,
    ExportError,
    LayerError,
    OptionError,
)
from cofire.live.drawing import graph_drawing
from cofire.live.loggers import Log, logger
from cofire.live.observed import Batch, Kept, Observed, Window
from cofire.live.ranges import FINER
from cofire.live.rows import Rows
from cofire.live.signs import numbers_of, warnings_of
from cofire.live.watching import unhooked, watching
from cofire.marks import LATER
from cofire.network import Network, Selector, Unit, check_decides
from cofire.network.untouched import unwrapped
from cofire.study import Trajectory

_SAYS = logging.getLogger("cofire.live")


@validated
class Monitor:
    """Watches the neurons of a network while it trains.

    Every `every`-th batch is observed on its way through the model, which has hooks for as long as
    that takes; the states are those of `cofire.summarize` and do not grow with the data. What is
    seen is what training sees: dropout, batch statistics and half precision included. Where hooks
    do not reach an activation (a function called within a module's forward, a compiled model, a
    `Network` in place of the model), the batch goes through the network once more, in evaluation
    mode and without gradients.

    Training never fails because of the monitor: what it cannot do, it says once, to the logger
    "cofire.live".

    Args:
        model: The classifier that is trained, also compiled or wrapped for several processes; or a
            `Network`.
        every: Every how many batches one is observed.
        layers: Which activation layers; None takes all (see `Network.select`).
        unit: What a neuron is (see `cofire.summarize`).
        bins: Bins of each histogram.
        threshold: A neuron is active above it.
        window: After how many batches numbers are logged and signs looked for; an epoch's end ends
            it as well.
        log: Where numbers go: a function `log(name, value, step)`, or what `cofire.live.logger`
            takes; None for nowhere.
        folder: Where to keep the tables for `cofire report`; None to keep them in memory alone.
            What an earlier run left there of earlier epochs is gone on with.
        reference: A small fixed pair (inputs, labels) by which the graph of `graph_layers` is made
            at every row; None for no graph.
        graph_layers: Which layers; the last one unless given.
        top: Representative neurons per class at the most.
        epochs: A row of the tables every so many epochs.
        checkpoints: Whether the weights are kept beside each row, in `folder`.
        class_names: Names of the classes, in the order of the labels.
        max_bytes: The most that the states may take.

    Raises:
        OptionError: An option is out of bounds, or needs another one.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> monitor = Monitor(model, every=1)
        >>> for inputs, labels in [(torch.eye(2), torch.tensor([0, 1]))] * 3:
        ...     with monitor.step(inputs, labels):
        ...         loss = nn.functional.cross_entropy(model(inputs), labels)
        >>> monitor.end_epoch()
        >>> monitor.trajectory
        Trajectory(1 checkpoints, 1 layers, 0 classes)
    """

    def __init__(
        self,
        model: Annotated[nn.Module | Network, LATER],
        *,
        every: PositiveInt = 20,
        layers: Selector = None,
        unit: Unit = "channel",
        bins: PositiveInt = 100,
        threshold: float = 0.0,
        window: PositiveInt = 500,
        log: Any = None,
        folder: str | Path | None = None,
        reference: Annotated[tuple[Tensor, Tensor] | None, LATER] = None,
        graph_layers: Selector = None,
        top: PositiveInt = DEFAULT_TOP,
        epochs: PositiveInt = 1,
        checkpoints: bool = False,
        class_names: Sequence[str] | None = None,
        max_bytes: PositiveInt = 1_000_000_000,
    ) -> None:
        for fault, holds in {
            "checkpoints=True without folder": checkpoints and folder is None,
            "graph_layers without reference": graph_layers is not None and reference is None,
        }.items():
            if holds:
                option, _, other = fault.partition(" without ")
                raise OptionError(fault, f"{other} as well", f"pass {other}, or leave {option} out")
        self._model, self._every, self._length = model, every, window
        self._asked: dict[str, Any] = {
            "layers": layers,
            "unit": unit,
            "bins": bins,
            "threshold": threshold,
        }
        self._class_names, self._max_bytes, self._epochs = class_names, max_bytes, epochs
        self._rows = Rows(
            None if folder is None else Path(folder),
            reference,
            graph_layers,
            top,
            checkpoints,
            {"observed": "training batches" if every == 1 else f"one of {every} training batches"},
        )
        self._said: set[tuple[Any, ...]] = set()
        self._log: Log | None = None if log is None else self._safely("log", logger, log)
        self._kept: Kept | None = None
        self._off = False
        # Not known yet unless there is no module.
        self._hooked: bool | None = False if isinstance(model, Network) else None
        self._window: Window | None = None
        self._whole: Observed | None = None
        self.steps, self.epoch = 0, 0.0
        """Batches and epochs so far."""
        self.updates: int | None = None
        """Steps of the optimiser so far, by which charts go; None where each batch makes one."""

    @property
    def trajectory(self) -> Trajectory:
        """The tables so far, one checkpoint for each row."""
        return self._rows.trajectory

    @contextmanager
    def step(self, inputs: Any, labels: Any = None) -> Iterator[None]:
        """Around the forward pass of one batch, or around the whole step.

        Args:
            inputs: What goes into the model: (batch, ...), a tuple of several, or a mapping by
                the names of the model's parameters; one that holds "labels" needs none beside.
            labels: Class of each sample, (batch,); without labels nothing is kept by class.
        """
        with self._observing(inputs, labels, own=False):
            yield

    def observe(self, inputs: Any, labels: Any = None) -> None:
        """One step, by a pass of its own in evaluation mode and without gradients.

        Args:
            inputs: As `step` takes them.
            labels: The same.
        """
        with self._observing(inputs, labels, own=True):
            pass

    @contextmanager
    def _observing(self, inputs: Any, labels: Any, *, own: bool) -> Iterator[None]:
        due = not self._off and self.steps % self._every == 0
        batch = self._safely("batch", self._begin, inputs, labels) if due else None
        with ExitStack() as stack:
            if batch is not None and self._kept is not None:
                see = self._guarded(batch, batch.observe)
                if self._hooked and not own:
                    inner = unwrapped(self._model)  # type: ignore[arg-type]
                    out = self._guarded(batch, batch.logits)
                    stack.enter_context(watching(inner, self._kept.layers, see, out))
                else:
                    self._safely("batch", self._pass, batch, inputs, see)
            try:
                yield
            except BaseException:
                # Some layers may have counted what others have not.
                self._window = None if batch is not None else self._window
                raise
            finally:
                self.steps += 1
        self._safely("window", self._ended, batch)

    def _pass(self, batch: Batch, given: Any, see: Callable[..., None]) -> None:
        kept = self._kept
        if kept is not None:
            batch.logits(kept.network.run(self._parts(given, None)[0], see, kept.layers))

    def end_epoch(
        self,
        epoch: float | None = None,
        *,
        accuracy: float | None = None,
        step: int | None = None,
    ) -> None:
        """Make a row of the tables out of what was observed since the last one.

        In a run of several processes each calls it; the first one writes the row of all.

        Args:
            epoch: Passes over the training data so far; one more than the last time unless given.
                A run that goes on from a checkpoint gives it, or sets `epoch` of the monitor.
            accuracy: On test or validation data, a share from 0 to 1, if it was found.
            step: Optimiser steps so far; `updates`, or the number of batches, unless given.
        """
        self.epoch = float(self.epoch + 1 if epoch is None else epoch)
        at = self._at if step is None else step
        self._safely("window", self._close_window, at)
        due = round(self.epoch) % self._epochs == 0
        whole, self._whole = self._whole, None
        if not due:
            return
        whole = self._safely("processes", _of_all_processes, whole)
        if whole is None:
            if not self._off and _rank() == 0:
                self._say(
                    "no row of the tables: no forward pass was observed in this epoch",
                    "call the model that the monitor was given, within `monitor.step`",
                )
            return
        if _rank() == 0 and self._kept is not None:
            graphs = self._safely("graphs", self._rows.graphs, self._kept)
            told = self._safely(
                "row", self._rows.add, whole, self._kept, self.epoch, at, accuracy, graphs
            )
            self._give(told or {}, at)
            if self._log is not None and graphs is not None:
                self._safely("graphs", self._draw, graphs, at)

    @property
    def _at(self) -> int:
        return self.steps if self.updates is None else self.updates

    def _draw(self, graphs: ActivationSummary, at: int) -> None:
        for layer in graphs.layers:
            name = layer.layer.name
            self._give({f"{name}/graph": graph_drawing(graphs.graph(name))}, at)

    def _begin(self, given: Any, labels: Any) -> Batch | None:
        inputs, labels = self._parts(given, labels)
        samples = len(inputs[0] if isinstance(inputs, tuple) else inputs)
        if not samples:
            return None
        if self._kept is None:
            if labels is None and isinstance(given, Mapping):
                self._say(
                    "nothing is kept by class: a batch without 'labels'", "nothing need be done"
                )
            self._read(inputs, labels)
        kept = self._kept
        if kept is None:
            return None
        if self._hooked is None:
            part = _some(inputs)
            missing = self._safely("hooks", unhooked, kept.network, self._model, kept.layers, part)
            # What could not be found out is looked at again with the next batch.
            self._hooked = None if missing is None else not missing
        if kept.labelling is None:
            numbers = torch.zeros(samples, dtype=torch.int64)
        else:
            if labels is None:
                raise BatchError(
                    "a batch without labels after batches with labels",
                    "labels with every batch, or with none",
                    "pass them to monitor.step",
                )
            numbers = check_labels(
                torch.as_tensor(labels).detach(), samples, len(kept.labelling.names)
            ).cpu()
        if self._window is None:
            self._window = Window(kept)
        return self._window.batch(numbers, self.steps + 1)

    def _read(self, inputs: Any, labels: Any) -> None:
        """Read the network by its first batch; what cannot be read is off from here on."""
        self._off = True
        network = self._model if isinstance(self._model, Network) else self._network(inputs)
        labelling = None
        try:
            check_decides(network)
            if labels is not None:
                labelling = Labelling.of(network, None, self._class_names)
                check_labels(
                    torch.as_tensor(labels), len(torch.as_tensor(labels)), len(labelling.names)
                )
        except CofireError as error:
            labelling = None
            self._say(f"nothing is kept by class: {error.given}", error.remedy)
        layers = network.select(self._asked["layers"])
        if not layers:
            raise LayerError(
                "a model without activation layers",
                "an activation function between two layers with weights",
                "see network.unreadable",
            )
        sizes = {"unit": self._asked["unit"], "bins": FINER * self._asked["bins"]}
        classes = 1 if labelling is None else len(labelling.names)
        by_class = cost_of(layers, **sizes, by_class="statistics", num_classes=classes)
        together = cost_of(layers, **sizes)
        if labelling is not None and 2 * by_class.bytes > self._max_bytes >= 2 * together.bytes:
            labelling = None
            self._say(
                f"nothing is kept by class: {by_class} twice, of {classes} classes",
                "raise max_bytes",
            )
        elif 2 * together.bytes > self._max_bytes:
            raise BudgetError(
                f"{together} twice",
                f"at most {self._max_bytes} bytes",
                "choose fewer layers or bins",
            )
        rest = {name: value for name, value in self._asked.items() if name != "layers"}
        self._kept = Kept(network, layers, labelling, **rest)
        if _rank() == 0:
            self._safely("folder", self._rows.begin, self._kept)
        self._off = False

    def _network(self, inputs: Any) -> Network:
        try:
            return Network(self._model, _some(inputs))  # type: ignore[arg-type]
        except ExportError as error:
            network = Network(self._model, _some(inputs), capture="calls")  # type: ignore[arg-type]
            self._say(f"the model is read by its calls: {error.given}", "nothing need be done")
            return network

    def _parts(self, given: Any, labels: Any) -> tuple[Any, Any]:
        """Inputs as the network takes them, and labels."""
        if isinstance(given, Mapping):
            named = dict(given)
            for name in ("labels", "label"):
                found = named.pop(name, None)
                labels = found if labels is None else labels
            tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
            if len(tensors) > 1:
                taken = [] if isinstance(self._model, Network) else _taken_by(self._model)
                first = taken[: len(tensors)]
                if set(first) != set(tensors):
                    raise BatchError(
                        f"a batch of {', '.join(tensors)} for a model that takes {', '.join(taken)}",
                        "inputs by the names of the model's first parameters",
                        "pass a tuple in the order in which the model takes them",
                    )
                tensors = {name: tensors[name] for name in first}
            given = tuple(tensors.values())
        if isinstance(given, list | tuple):
            given = tuple(given)
            given = given[0] if len(given) == 1 else given
        if not isinstance(given, Tensor) and not (isinstance(given, tuple) and given):
            raise BatchError(
                f"a batch of type {type(given).__name__}",
                "a tensor, a tuple of tensors or a mapping",
                "pass what goes into the model to monitor.step",
            )
        return given, labels

    def _ended(self, batch: Batch | None) -> None:
        window = self._window
        if batch is not None and batch.window is window and batch.layers:
            batch.window.add(batch)
        if window is not None:
            window.steps += 1
            if window.steps >= self._length:
                self._close_window(self._at)

    def _close_window(self, at: int) -> None:
        window, self._window = self._window, None
        if window is None or not window.batches or self._kept is None:
            return
        found = window.close()
        self._whole = found if self._whole is None else self._whole.merge(found)
        if _rank() == 0:
            summary = found.summary(self._kept)
            for key, text, remedy in warnings_of(summary, found):
                self._say(text, remedy, key)
            if self._log is not None:
                self._give(numbers_of(summary), at)

    def _give(self, told: Mapping[str, Any], step: int) -> None:
        if self._log is not None:
            for name, value in told.items():
                self._safely("log", self._log, f"cofire/{name}", value, step)

    def _guarded(self, batch: Batch, function: Callable[..., None]) -> Callable[..., None]:
        def guarded(*given: Any) -> None:
            if batch.window is self._window and not self._safely("batch", _done, function, *given):
                self._window = None

        return guarded

    def _safely(self, what: str, function: Callable[..., Any], *given: Any) -> Any:
        """What a function gives; None where it fails, which is said once."""
        try:
            return function(*given)
        except CofireError as error:
            self._say(str(error.given), error.remedy, (what, type(error)))
        except Exception as error:
            self._say(
                f"{what}: {type(error).__name__}: {error}", "training goes on", (what, type(error))
            )
        return None

    def _say(self, text: str, remedy: str, key: tuple[Any, ...] | None = None) -> None:
        """A line for a person, once."""
        if (key or (text,)) not in self._said:
            self._said.add(key or (text,))
            _SAYS.warning("%s (%s)", text, remedy)


def _done(function: Callable[..., None], *given: Any) -> bool:
    function(*given)
    return True


def _some(inputs: Any) -> Any:
    return tuple(one[:2] for one in inputs) if isinstance(inputs, tuple) else inputs[:2]


def _taken_by(model: nn.Module) -> list[str]:
    return list(inspect.signature(unwrapped(model).forward).parameters)


def _rank() -> int:
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if there else 0


def _of_all_processes(own: Observed | None) -> Observed | None:
    """What all processes of a distributed run observed."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not there or torch.distributed.get_world_size() == 1:
        return own
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    found = [part for part in gathered if part is not None]
    whole: Observed | None = found[0] if found else None
    for part in found[1:]:
        whole = whole.merge(part)  # type: ignore[union-attr]
    # All saw the same steps, each its share of the batches.
    return whole if whole is None else replace(whole, steps=found[0].steps)
