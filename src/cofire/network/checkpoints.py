"""Where in a checkpoint the network is: training programs write it under many names, and some write it twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cofire.errors import WeightsError, near_matches

_DEEPEST = 4
_WRAPPERS = ("module.", "_orig_mod.")
_NOT_A_NETWORK = ("optim", "sched", "scaler", "rng", "callback", "loop", "_extra_state")


@dataclass(frozen=True)
class Copy:
    """Tensors by name that may be a network's.

    Attributes:
        holder: The keys that lead to the state dict in the file, with dots; "" if it is the file
            itself.
        prefix: What the names of this copy begin with there, without the last dot.
        tensors: By their names without that prefix.
    """

    holder: str
    prefix: str
    tensors: dict[str, Tensor]

    @property
    def key(self) -> str:
        """What names it, holder and prefix.

        Example:
            >>> Copy("state_dict", "ema_model", {}).key
            'state_dict.ema_model'
        """
        return ".".join(part for part in (self.holder, self.prefix) if part)


def state_dicts_in(content: Any) -> dict[str, dict[str, Tensor]]:
    """Every mapping with tensors by name in what a file holds, by the keys that lead to it.

    States of optimisers, schedules and the like are left out, and so are tensors beside a state
    dict, a loss say.

    Example:
        >>> import torch
        >>> saved = {"model_state_dict": {"fc.weight": torch.ones(1)}, "loss": torch.ones(())}
        >>> {holder: list(state) for holder, state in state_dicts_in(saved).items()}
        {'model_state_dict': ['fc.weight']}
    """
    found = dict(_walk(content, (), set()))
    if len(found) > 1 and not any(
        "." in name or name in ("weight", "bias") for name in found.get("", {})
    ):
        found.pop("", None)
    return found


def _walk(
    content: Any, path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    if not isinstance(content, Mapping) or len(path) > _DEEPEST or id(content) in seen:
        return
    seen.add(id(content))
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor) and not value.is_nested
    }
    if tensors:
        yield ".".join(path), tensors
    for name, value in content.items():
        if isinstance(name, str) and not any(word in name.lower() for word in _NOT_A_NETWORK):
            yield from _walk(value, (*path, name), seen)


def copies_in(content: Any, reference: Mapping[str, Tensor]) -> list[Copy]:
    """Every copy of a network in what a file holds: wherever all its tensors are, in their shapes.

    Args:
        content: What the file holds, or a state dict.
        reference: The network's tensors by name; names of one tensor are tied, and one of them is
            enough.
    """
    tied: dict[int, list[str]] = {}
    for name, tensor in reference.items():
        # Evaluation never reads this counter, and old checkpoints lack it.
        if not name.endswith("num_batches_tracked"):
            tied.setdefault(id(tensor), []).append(name)
    groups = list(tied.values())
    found = []
    for holder, tensors in state_dicts_in(content).items():
        whole = []
        for prefix in _prefixes(tensors, groups[0] if groups else []):
            held = [next((n for n in names if prefix + n in tensors), None) for names in groups]
            if all(n is not None and tensors[prefix + n].shape == reference[n].shape for n in held):
                whole.append(prefix)
        for prefix in whole:
            others = tuple(other for other in whole if other != prefix and other.startswith(prefix))
            named = [n for n in tensors if n.startswith(prefix) and not n.startswith(others)]
            own = {n.removeprefix(prefix): tensors[n] for n in named}
            found.append(Copy(holder, prefix.removesuffix("."), own))
    return found


def _prefixes(tensors: Mapping[str, Tensor], names: list[str]) -> list[str]:
    found = [
        given.removesuffix(n)
        for given in tensors
        for n in names
        if given == n or given.endswith(f".{n}")
    ]
    return list(dict.fromkeys(found))


def copy_of(
    content: Any, reference: Mapping[str, Tensor], key: str | None, source: str
) -> dict[str, Tensor]:
    """The tensors of a network in what a file holds.

    Args:
        content: What the file holds, or a state dict.
        reference: The network's tensors by name, empty where it is not known.
        key: Which copy, where there are several: the key or prefix that it is held under.
        source: Where it comes from, for messages.

    Raises:
        WeightsError: There is no state dict, there are several and `key` names none of them, or it
            names nothing.
    """
    held = state_dicts_in(content)
    if not held:
        raise WeightsError(
            f"{source}, which holds a {type(content).__name__} without tensors by name",
            'a state dict, or a checkpoint with one under "state_dict" or another key',
            "write it with torch.save(model.state_dict(), path)",
        )
    copies = copies_in(content, reference) if reference else []
    if key is not None:
        return _named(held, copies, key.strip("."), source)
    if not copies:
        # Those that do not fit are judged by their names, which tells what is missing.
        copies = [Copy(holder, "", without_prefix(tensors)) for holder, tensors in held.items()]
        if reference and len(copies) > 1:
            copies = [max(copies, key=lambda copy: len(copy.tensors.keys() & reference.keys()))]
    if len(copies) == 1:
        return copies[0].tensors
    names = _short(copies)
    example = max(names[:2])  # not the empty name of a copy without a prefix
    raise WeightsError(
        f"{source} holds {'the network' if reference else 'state dicts'} {_times(len(copies))}, "
        f"as {', '.join(map(repr, names[:-1]))} and {names[-1]!r}",
        "one, or the name of the one to take",
        f"choose with weights_key={example!r} (--weights-key {example}), say",
    )


def _named(
    held: Mapping[str, dict[str, Tensor]], copies: list[Copy], key: str, source: str
) -> dict[str, Tensor]:
    matches = [copy for copy in copies if key in (copy.key, copy.prefix, copy.holder)]
    exact = (
        [copy for copy in matches if key == copy.key]
        or [copy for copy in matches if key == copy.prefix]
        or matches
    )
    if len(exact) == 1:
        return exact[0].tensors
    if not exact:
        # Named, and no copy that fits: what does not fit is told by its names.
        if key in held:
            return without_prefix(held[key])
        for holder, tensors in held.items():
            inner = key.removeprefix(f"{holder}.") if holder else key
            own = {
                n.removeprefix(f"{inner}."): value
                for n, value in tensors.items()
                if n.startswith(f"{inner}.")
            }
            if own:
                return without_prefix(own)
    there = (
        _short(copies)
        if copies
        else sorted({*held, *(n.split(".")[0] for t in held.values() for n in t)} - {""})
    )
    raise WeightsError(
        f"{source}: weights_key={key!r} names {'several state dicts' if exact else 'none of its state dicts'}",
        f"one of those it holds, such as {near_matches(key, there)}",
        f"pass weights_key={there[0]!r} (--weights-key {there[0]})"
        if len(there) > 1
        else "leave weights_key out",
    )


def _short(copies: list[Copy]) -> list[str]:
    """Names that tell copies apart: prefixes where one state dict holds all of them."""
    if len({copy.holder for copy in copies}) == 1:
        return [copy.prefix for copy in copies]
    return [
        copy.key
        if any(copy.holder == other.holder for other in copies if other is not copy)
        else copy.holder
        for copy in copies
    ]


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without a prefix that all names share because the model was wrapped.

    Example:
        >>> import torch
        >>> list(without_prefix({"module.fc.weight": torch.ones(1), "module.fc.bias": torch.ones(1)}))
        ['fc.weight', 'fc.bias']
    """
    stripped = dict(state)
    while stripped:
        prefix = next((p for p in _WRAPPERS if all(name.startswith(p) for name in stripped)), None)
        if prefix is None:
            break
        stripped = {name.removeprefix(prefix): tensor for name, tensor in stripped.items()}
    return stripped
