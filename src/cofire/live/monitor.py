"""A monitor of activations in a training loop: tables, numbers for a logger, and warnings a person acts on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
    ResultError,
)
from cofire.live.drawing import graph_drawing
from cofire.live.inputs import parts_of, some_of
from cofire.live.loggers import Log, logger
from cofire.live.observed import Batch, Kept, Observed, Window
from cofire.live.processes import of_all_processes, processes, rank
from cofire.live.ranges import FINER
from cofire.live.rows import Rows
from cofire.live.sayings import Sayings
from cofire.live.signs import numbers_of, warnings_of
from cofire.live.watching import unhooked, watching
from cofire.marks import LATER
from cofire.network import Network, Selector, Unit, check_decides
from cofire.network.untouched import unwrapped
from cofire.study import Trajectory


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
        self.said = Sayings()
        self._log: Log | None = None if log is None else self.said.safely("log", logger, log)
        self._kept: Kept | None = None
        self._off = False
        # Not known yet unless there is no module.
        self._hooked: bool | None = False if isinstance(model, Network) else None
        self._window: Window | None = None
        self._whole: Observed | None = None
        self._of: dict[str, Any] = {}
        self._late: tuple[Any, ...] | None = None
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
        batch = self.said.safely("batch", self._begin, inputs, labels) if due else None
        with ExitStack() as stack:
            if batch is not None and self._kept is not None:
                see = self._guarded(batch, batch.observe)
                if self._hooked and not own:
                    inner = unwrapped(self._model)  # type: ignore[arg-type]
                    out = self._guarded(batch, batch.logits)
                    stack.enter_context(watching(inner, self._kept.layers, see, out))
                else:
                    self.said.safely("batch", self._pass, batch, inputs, see)
            try:
                yield
            except BaseException:
                # Some layers may have counted what others have not.
                self._window = None if batch is not None else self._window
                raise
            finally:
                self.steps += 1
        self.said.safely("window", self._ended, batch)

    def _pass(self, batch: Batch, given: Any, see: Callable[..., None]) -> None:
        kept = self._kept
        if kept is not None:
            batch.logits(kept.network.run(parts_of(given, None, self._model)[0], see, kept.layers))

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
        self.said.safely("window", self._close_window, at)
        due = round(self.epoch) % self._epochs == 0
        whole, self._whole = self._whole, None
        if not due:
            return
        whole = self.said.safely("processes", of_all_processes, whole)
        row = (whole, self.epoch, at, accuracy)
        if whole is None:
            if not self._off and rank() == 0:
                self.said.say(
                    "no row of the tables: no forward pass was observed in this epoch",
                    "call the model that the monitor was given, within `monitor.step`",
                )
            return
        if self._kept is None:
            # Nothing but a state was there yet: the first batch tells what network it is of.
            self._late = row
        elif rank() == 0:
            self._row(self._kept, *row)

    def _row(
        self, kept: Kept, whole: Observed, epoch: float, at: int, accuracy: float | None
    ) -> None:
        graphs = self.said.safely("graphs", self._rows.graphs, kept)
        told = self.said.safely("row", self._rows.add, whole, kept, epoch, at, accuracy, graphs)
        self._give(told or {}, at)
        if self._log is not None and graphs is not None:
            self.said.safely("graphs", self._draw, graphs, at)

    def state_dict(self) -> dict[str, Any]:
        """What a run needs that goes on from a checkpoint, for that checkpoint.

        In the middle of an epoch it holds what this process observed of it so far.

        Returns:
            Numbers and tensors, which `torch.load(…, weights_only=True)` gives back.
        """
        whole = self._with(self._window)
        return {
            "steps": self.steps,
            "epoch": self.epoch,
            "updates": self.updates,
            "of": self._of,
            "whole": None if whole is None else whole.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a run was, in a loop that does so; earlier rows are those of `folder`.

        Args:
            state: What `state_dict` gave.

        Raises:
            ResultError: It is something else.
        """
        try:
            whole = None if state["whole"] is None else Observed.of(state["whole"])
            steps, epoch = int(state["steps"]), float(state["epoch"])
            updates, of = state["updates"], state["of"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ResultError(
                f"a state of a monitor without {error}",
                "what `monitor.state_dict()` gave",
                "pass that part of the checkpoint, or leave it out: counting begins anew then",
            ) from error
        # All of it, or nothing.
        self.steps, self.epoch, self.updates, self._of = steps, epoch, updates, of
        self._window, self._whole = None, whole if rank() == 0 else None
        if whole is not None and processes() > 1:
            self.said.say(
                "of the epoch until the checkpoint, what other processes observed is not kept",
                "save checkpoints at the ends of epochs",
            )
        if self.epoch and self._rows.folder is None:
            self.said.say(
                f"rows of the tables up to epoch {self.epoch:g} are not kept",
                "pass folder, which keeps them",
            )

    def go_on(self, read: Callable[[], Mapping[str, Any] | None], epoch: float) -> None:
        """`load_state_dict` for callbacks: what cannot be read, or is not there, is said.

        Args:
            read: Gives the state that a checkpoint holds; None where it holds none.
            epoch: Whole epochs of the run so far.
        """
        state = self.said.safely("checkpoint", read)
        self.epoch = float(epoch)
        if state is not None:
            self.said.safely("checkpoint", self.load_state_dict, state)
        else:
            self.said.say(
                "the checkpoint holds no state of the monitor: batches are counted anew",
                "nothing need be done",
            )

    @property
    def _at(self) -> int:
        return self.steps if self.updates is None else self.updates

    def _draw(self, graphs: ActivationSummary, at: int) -> None:
        for layer in graphs.layers:
            name = layer.layer.name
            self._give({f"{name}/graph": graph_drawing(graphs.graph(name))}, at)

    def _begin(self, given: Any, labels: Any) -> Batch | None:
        inputs, labels = parts_of(given, labels, self._model)
        samples = len(inputs[0] if isinstance(inputs, tuple) else inputs)
        if not samples:
            return None
        if self._kept is None:
            if labels is None and isinstance(given, Mapping):
                self.said.say(
                    "nothing is kept by class: a batch without 'labels'", "nothing need be done"
                )
            self._read(inputs, labels)
        kept = self._kept
        if kept is None:
            return None
        if self._hooked is None:
            part = some_of(inputs)
            missing = self.said.safely(
                "hooks", unhooked, kept.network, self._model, kept.layers, part
            )
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
            self.said.say(f"nothing is kept by class: {error.given}", error.remedy)
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
            self.said.say(
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
        of = {
            **rest,
            "network": network.fingerprint,
            "layers": [layer.name for layer in layers],
            "classes": None if labelling is None else list(labelling.names),
        }
        if self._whole is not None and self._of != of:
            apart = ", ".join(
                name for name in of if name not in self._of or self._of[name] != of[name]
            )
            self._whole = None
            self.said.say(
                f"of the epoch until the checkpoint nothing is kept: other values of {apart}",
                "go on with the options that the run had",
            )
        self._of, self._kept = of, Kept(network, layers, labelling, **rest)
        if rank() == 0:
            self.said.safely("folder", self._rows.begin, self._kept)
            late, self._late = self._late, None
            if late is not None and not self._rows.has(late[1]):
                self._row(self._kept, *late)
        self._off = False

    def _network(self, inputs: Any) -> Network:
        try:
            return Network(self._model, some_of(inputs))  # type: ignore[arg-type]
        except ExportError as error:
            network = Network(self._model, some_of(inputs), capture="calls")  # type: ignore[arg-type]
            self.said.say(f"the model is read by its calls: {error.given}", "nothing need be done")
            return network

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
        self._whole, found = self._with(window), window.observed()
        if rank() == 0:
            summary = found.summary(self._kept)
            for key, text, remedy in warnings_of(summary, found):
                self.said.say(text, remedy, key)
            if self._log is not None:
                self._give(numbers_of(summary), at)

    def _with(self, window: Window | None) -> Observed | None:
        """What the row that is to come is made of, so far."""
        parts = [self._whole, window.observed() if window is not None and window.batches else None]
        found = [part for part in parts if part is not None]
        return found[0].merge(found[1]) if len(found) == 2 else next(iter(found), None)

    def _give(self, told: Mapping[str, Any], step: int) -> None:
        if self._log is not None:
            for name, value in told.items():
                self.said.safely("log", self._log, f"cofire/{name}", value, step)

    def _guarded(self, batch: Batch, function: Callable[..., None]) -> Callable[..., None]:
        def guarded(*given: Any) -> None:
            if batch.window is self._window and not self.said.safely(
                "batch", _done, function, *given
            ):
                self._window = None

        return guarded


def _done(function: Callable[..., None], *given: Any) -> bool:
    function(*given)
    return True
