"""Labels that can be trusted, what they mean to a network, and which classes occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from cofire.activations.batches import classes_of
from cofire.errors import DataError, LabelError, OptionError
from cofire.marks import check_whole
from cofire.network import Network

Outputs = Literal["number", "name", "none"]


"""How classes and outputs of the network belong together: class i is output i; each class has an output of another
number; not at all, so that there is no accuracy."""


@dataclass(frozen=True)
class Labelling:
    """What the labels of a data set mean to a network.

    Attributes:
        names: Name of every class that a label can be, in the order of the labels.
        outputs: Number of each class's output, (classes,), int64; None where the two have nothing
            to do with each other.
        network_outputs: How many outputs the network has.
    """

    names: tuple[str, ...]
    outputs: Tensor | None
    network_outputs: int

    @classmethod
    def of(
        cls,
        network: Network,
        data: Any,
        class_names: Sequence[str] | None = None,
        outputs: Sequence[int] | None = None,
    ) -> Self:
        """Of a data set and a network.

        Args:
            network: The classifier.
            data: What `cofire.summarize` takes. A data set that names its classes has as many as
                names; another has those of the network.
            class_names: Names of the classes, in the order of the labels, in place of the data's
                own.
            outputs: Number of each class's output, where class i is not output i.

        Raises:
            OptionError: Not as many outputs as classes, an output that the network has not, or one
                class alone.
        """
        count = network.num_classes
        known = (
            classes_of(data) if class_names is None else tuple(str(name) for name in class_names)
        )
        names = known if known is not None else tuple(map(str, range(count)))
        if outputs is not None:
            numbers = [
                check_whole("outputs", number, least=0, most=count - 1) for number in outputs
            ]
            if len(numbers) != len(names):
                raise OptionError(
                    f"{len(numbers)} outputs for {len(names)} classes",
                    "one output of the network per class",
                    "pass them in the order of labels",
                )
            return cls(names, torch.tensor(numbers, dtype=torch.int64), count)
        if len(names) < 2:
            raise OptionError(
                f"{len(names)} class names for {count} classes",
                "one name per class, two at least",
                "pass them in the order of labels",
            )
        return cls(names, torch.arange(count) if len(names) == count else None, count)

    @property
    def matched(self) -> Outputs:
        """How classes and outputs belong together."""
        if self.outputs is None:
            return "none"
        same = len(self.outputs) == self.network_outputs
        return (
            "number"
            if same and torch.equal(self.outputs, torch.arange(len(self.outputs)))
            else "name"
        )

    def check_outputs(self, what: str) -> None:
        """Refuse classes that are not the network's outputs, one by one, where these are what is worked on.

        Raises:
            OptionError: They are not.
        """
        if self.matched != "number":
            raise OptionError(
                f"{what} with {len(self.names)} classes, of a network with {self.network_outputs} outputs",
                "class i as output i of the network",
                "give the network one output per class and train it",
            )

    def check_same(self, data: Any, what: str, remedy: str = "") -> None:
        """Refuse further data whose own names say that its labels mean other classes.

        Args:
            data: What `cofire.summarize` takes, or None.
            what: The data, for the message.
            remedy: What else would help.

        Raises:
            LabelError: They do.
        """
        others = classes_of(data)
        # Names that only this data has are no contradiction: then numbers stand for both.
        if (
            others is None
            or others == self.names
            or self.names == tuple(map(str, range(len(self.names))))
        ):
            return
        apart = [name for name in self.names if name not in others] or [
            n for n in others if n not in self.names
        ]
        raise LabelError(
            f"{what} with {len(others)} classes, the training data with {len(self.names)}"
            + (f" ('{apart[0]}' is in one alone)" if apart else ", in another order"),
            "the same classes in the same order, so that a label means the same in both",
            f"give both the same folders of classes{remedy}",
        )

    def without_accuracy(self) -> str:
        """Why there is no accuracy, in a line; "" where there is one."""
        if self.outputs is not None:
            return ""
        return (
            f"accuracy is left out: the data has {len(self.names)} classes and the network "
            f"{self.network_outputs} outputs, and nothing says which output is whose"
        )


class ClassRows:
    """A row for each class that occurs, so that what is kept by class is no larger than the data has classes.

    Args:
        most: Labels lie below it.
        known: The classes that occur, in order; None to give rows to classes as they are first
            seen.

    Example:
        >>> rows = ClassRows(1000)
        >>> rows.of(torch.tensor([7, 3, 7])), rows.numbers, rows.of(torch.tensor([999, 3]))
        (tensor([1, 0, 1]), tensor([3, 7]), tensor([2, 0]))
    """

    def __init__(self, most: int, known: Tensor | None = None) -> None:
        self._row = torch.full((most,), -1, dtype=torch.int64)
        self._complete = known is not None
        self.numbers = torch.zeros(0, dtype=torch.int64) if known is None else known
        self._row[self.numbers] = torch.arange(len(self.numbers))

    @property
    def capacity(self) -> int:
        """For how many rows a state has room: twice as many each time, so that it is seldom copied."""
        if self._complete:
            return len(self.numbers)
        return min(len(self._row), 1 << max(0, len(self.numbers) - 1).bit_length())

    def of(self, labels: Tensor) -> Tensor:
        """The row of each label.

        Args:
            labels: (samples,), int64, each below `most`.

        Raises:
            DataError: A class that is not among the known ones.
        """
        labels = labels.cpu()
        new = torch.unique(labels[self._row[labels] < 0])
        if len(new) and self._complete:
            raise DataError(
                f"samples of class {int(new[0])}, which the reading before had not",
                "the same samples in every reading of the data",
                "do not let the loader drop or draw other samples each time",
            )
        if len(new):
            self._row[new] = len(self.numbers) + torch.arange(len(new))
            self.numbers = torch.cat([self.numbers, new])
        return self._row[labels]
