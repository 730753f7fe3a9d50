"""What a rule is, and which operator has which."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, fx

from cofire.arguments import validated
from cofire.errors import OptionError, RuleError
from cofire.explain.rules.flow import Flow
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
        memory: What a rule keeps from one batch to the next, such as tables of places.
    """

    node: fx.Node
    name: str
    arguments: Mapping[str, Any]
    gates: frozenset[fx.Node] = field(default_factory=frozenset)
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, node: fx.Node, gates: frozenset[fx.Node] = frozenset()) -> Step:
        """The step that a node computes; of an operator with several results the one that it picks."""
        if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
            whole = cls.of(node.args[0], gates)
            # The parts of a split are alike; of others, such as a maximum with its indices, the
            # first is meant.
            if whole.name not in named("split") and node.args[1] == 0:
                return cls(node, whole.name, whole.arguments, gates)
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
        return cls(node, operator_of(node), given, gates)

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
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.ndim:
            sizes = value.shape[1:]
            if is_batched(node) and all(isinstance(size, int) for size in sizes):
                node.meta["sample_shape"] = tuple(sizes)
                return tuple(sizes)
        raise RuleError(
            f"{self.name} (node {self.node.name}, at {source_of(self.node)}) takes or gives values whose first axis is "
            "not the batch's",
            "values of shape (batch, ...)",
            "keep the batch axis in front, or register a rule of your own with cofire.register_rule",
        )

    def refuse(self, given: str) -> RuleError:
        """An error that says where the operator stands."""
        return RuleError(
            f"{given} ({self.name}, node {self.node.name}, at {source_of(self.node)})",
            "an operator through which evidence can be traced",
            "register a rule for it with cofire.register_rule, or explain with a method that needs "
            "gradients alone, such as gradcam",
        )


def is_batched(node: fx.Node) -> bool:
    """Whether a node's first axis grows with the batch alone."""
    value = node.meta.get("val")
    if (
        not isinstance(value, Tensor)
        or not value.ndim
        or not isinstance(value.shape[0], torch.SymInt)
    ):
        return False
    return bool(value.shape[0].node.expr.is_Symbol)


class Rule:
    """How evidence for an operator's result goes on to its operands.

    A rule that can send two neurons to the same place says so with `own=False` in the flow that it
    hands on.
    """

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
    return found
