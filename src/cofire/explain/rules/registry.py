"""What a rule is, and which operator has which."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, fx

from cofire.arguments import validated
from cofire.errors import OptionError, RuleError
from cofire.explain.rules.flow import Flow
from cofire.network.axes import Fold, Layout, folds_of, sample_shape
from cofire.network.operations import Extent, Operation
from cofire.network.operators import named
from cofire.network.reading import operator_of, source_of

Values = Mapping[fx.Node, Tensor]


@dataclass(frozen=True, eq=False)
class Step:
    """One operator of a network, as a rule sees it.

    Attributes:
        node: Of the graph.
        name: The operator's bare name, the same for all its forms ("relu", "conv2d", "add").
        arguments: Its arguments by name, defaults filled in; nodes of the graph stand for tensors.
        gates: Nodes that only scale something else, as in squeeze-and-excitation.
        weights: Whether evidence also goes through the weights of attention, to queries and keys;
            else they are constants, by which values are mixed.
        memory: What a rule keeps from one batch to the next, such as tables of places.
    """

    node: fx.Node
    name: str
    arguments: Mapping[str, Any]
    gates: frozenset[fx.Node] = field(default_factory=frozenset)
    weights: bool = False
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, node: fx.Node, gates: frozenset[fx.Node] = frozenset(), weights: bool = False
    ) -> Step:
        """The step that a node computes; of an operator with several results the one that it picks."""
        if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
            whole = cls.of(node.args[0], gates, weights)
            # The parts of a split are alike; of others, such as a maximum with its indices, the
            # first is meant.
            if whole.name not in named("split") and node.args[1] == 0:
                return cls(node, whole.name, whole.arguments, gates, weights)
        given: dict[str, Any] = dict(node.kwargs)
        if isinstance(node.target, torch._ops.OpOverload):
            for position, argument in enumerate(node.target._schema.arguments):
                if position < len(node.args):
                    given[argument.name] = node.args[position]
                elif argument.name not in given:
                    given[argument.name] = (
                        argument.default_value if argument.has_default_value() else None
                    )
        else:
            given |= {f"argument{position}": value for position, value in enumerate(node.args)}
        return cls(node, operator_of(node), given, gates, weights)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample's result."""
        return self.shape_of(self.node)

    def shape_of(self, node: fx.Node) -> tuple[int, ...]:
        """Of one sample's value at a node.

        Raises:
            RuleError: The batch is not its first axis, or another axis depends on the batch.
        """
        known: tuple[int, ...] | None = node.meta.get("sample_shape")
        if known is not None:
            return known
        value, fold = node.meta.get("val"), fold_of(node)
        if isinstance(value, Tensor) and fold is not None:
            shape = sample_shape(tuple(value.shape), fold)
            if all(isinstance(size, int) for size in shape):
                node.meta["sample_shape"] = shape
                return shape
        raise RuleError(
            f"{self.name} (node {self.node.name}, at {source_of(self.node)}) takes or gives values in which the "
            "batch cannot be told from other axes",
            "values of shape (batch, ...)",
            "keep the batch axis in front, or register a rule of your own with cofire.register_rule",
        )

    def axis(self, node: fx.Node, given: int) -> int:
        """The axis of one sample's value at a node that an operator calls by this number.

        Raises:
            RuleError: It is the batch's.
        """
        fold = fold_of(node) or Fold(0)
        axis = given % int(node.meta["val"].ndim)
        if axis == fold.axis:
            raise self.refuse("a step along the axis of the samples")
        parts = sum(part > 1 for part in (fold.before, fold.after))
        return axis if axis < fold.axis else axis - 1 + parts

    def refuse(self, given: str) -> RuleError:
        """An error that says where the operator stands."""
        return RuleError(
            f"{given} ({self.name}, node {self.node.name}, at {source_of(self.node)})",
            "an operator through which evidence can be traced",
            "register a rule for it with cofire.register_rule, or explain with a method that needs "
            "gradients alone, such as gradcam",
        )


def note_batches(
    operations: Sequence[Operation], batch: Extent, graph: fx.Graph, image: fx.Node
) -> None:
    """Note on the nodes of a graph how the batch lies in their values, and which depend on the image.

    Args:
        operations: That the graph was made from; their nodes have the same names.
        batch: The batch size at the two probed sizes.
        graph: Without writes in place.
        image: The node of the input.
    """
    folds = folds_of(operations, batch)
    for node in graph.nodes:
        # A cast that was put in behind another operator lies as its operand.
        before = next(iter(node.all_input_nodes), node)
        node.meta["fold"] = folds.get(node.name, folds.get(before.name))
        fed = any(other.meta.get("fed") for other in node.all_input_nodes)
        node.meta["fed"] = node is image or (fed and carries_values(node, floating=False))


def carries_values(node: fx.Node, floating: bool = True) -> bool:
    """Whether what a node computes is numbers that are made from others, to which evidence can come.

    Args:
        node: Of the graph.
        floating: Whether these have to be real numbers.
    """
    value = node.meta.get("val")
    results = value if isinstance(value, tuple | list) else (value,)
    return operator_of(node) not in named("filled") and any(
        isinstance(one, Tensor) and (one.is_floating_point() or not floating) for one in results
    )


def fold_of(node: fx.Node) -> Fold | None:
    """How the batch lies in the value of a node; None where it has no batch, or that cannot be told."""
    if "fold" in node.meta:
        found: Fold | None = node.meta["fold"]
        return found
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.ndim:
        return None
    first = value.shape[0]
    plain = isinstance(first, torch.SymInt) and bool(first.node.expr.is_Symbol)
    return Fold(0) if plain else None


def is_batched(node: fx.Node) -> bool:
    """Whether a node has a value of its own for each sample of a batch."""
    return fold_of(node) is not None


def depends(node: fx.Node) -> bool:
    """Whether a node's value depends on the image; a class token, expanded to a batch, does not."""
    return is_batched(node) and bool(node.meta.get("fed", True))


def in_front(step: Step, values: Values, batch: int) -> Values:
    """The same values with the batch in front, (batch, *step.shape_of(node)), where they have one.

    Args:
        step: Any of the graph.
        values: As the network computed them.
        batch: The number of samples.
    """
    found = {}
    for node, value in values.items():
        fold = fold_of(node)
        plain = fold is None or fold.plain
        found[node] = value if plain else laid_out(step, node).batch_first(value, batch)
    return found


def laid_out(step: Step, node: fx.Node) -> Layout:
    """The way a node's value lies."""
    return Layout(step.shape_of(node), 0, fold_of(node) or Fold(0))


class Rule:
    """How evidence for an operator's result goes on to its operands.

    A rule that can send two neurons to the same place says so with `own=False` in the flow that it
    hands on.
    """

    def of(self, step: Step) -> Rule:
        """The rule for an operator of this name; another one where what it does depends on its operands."""
        return self

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """The operands that evidence goes on to, each of shape (batch, ...).

        Raises:
            RuleError: The operator stands in a form that the rule does not know.
        """
        raise NotImplementedError

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """The nodes whose values the rule wants to see."""
        return ()

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """Hand evidence on.

        Args:
            step: The operator.
            values: Of the nodes that the rule asked for.
            flow: Neurons of the operator's result.

        Returns:
            Operands with the neurons that the evidence goes on to.
        """
        raise NotImplementedError


RuleType = TypeVar("RuleType", bound=Rule)
_RULES: dict[str, Rule] = {}


@validated
def register_rule(*operators: str) -> Callable[[type[RuleType]], type[RuleType]]:
    """Register a rule for operators, in place of the one that they may have.

    Args:
        operators: Bare names, as an error about an operator without a rule gives them ("relu",
            "my_operator").

    Raises:
        OptionError: No name is given.

    Example:
        >>> @register_rule("my_scaling")
        ... class ScalingRule(Rule):
        ...     def operands(self, step):
        ...         return (step.arguments["self"],)
        ...     def trace(self, step, values, flow):
        ...         return [(step.arguments["self"], flow)]
    """
    if not all(operators or [""]):
        raise OptionError(
            f"register_rule{operators!r}",
            "names of operators",
            'write @register_rule("my_operator")',
        )

    def registered(rule: type[RuleType]) -> type[RuleType]:
        _RULES.update(dict.fromkeys(operators, rule()))
        return rule

    return registered


def rule_of(step: Step) -> Rule:
    """The rule of an operator.

    Raises:
        RuleError: It has none.
    """
    found = _RULES.get(step.name)
    if found is None:
        whole = isinstance(step.node.target, torch._ops.OpOverload)
        raise step.refuse(f"operator {step.node.target if whole else step.name} has no rule")
    return found.of(step)
