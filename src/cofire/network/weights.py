"""Read and write weights, and refuse those that are damaged, unsafe or do not fit."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import WeightsError, near_matches
from cofire.reading import reader
from cofire.storage import hash_of_tensors, read_tensors, write_tensors
from cofire.tensors import Values

_WEIGHTS = Values(finite=False, lists=False, error=WeightsError)


@validated
@reader(WeightsError, "a complete file of weights", "copy or download it again")
def load_weights(path: str | Path, *, weights_key: str | None = None) -> dict[str, Tensor]:
    """Read a state dict from a file, without running any code from it.

    Args:
        path: A `.safetensors` file, or a file that `torch.save` wrote: a state dict, or a
            checkpoint that holds one under "state_dict", "model_state_dict", "model", "net" or any
            other key.
        weights_key: Which, where the file holds several: the key or prefix of its names.

    Returns:
        The tensors by name, on the CPU, without the prefix that a parallel or compiled model adds.

    Raises:
        WeightsError: The file is missing, damaged, unsafe to load, or holds no state dict, or
            several.
    """
    return without_prefix(copy_of(read_checkpoint(path), {}, weights_key, repr(str(path))))


@reader(
    WeightsError,
    "a complete .safetensors, .pt or .pth file",
    "copy or download it again; it may have been cut off",
)
def read_checkpoint(path: str | Path) -> Any:
    """What a file of weights holds, tensors and plain values, without running any code from it.

    Raises:
        WeightsError: The file is missing, damaged or unsafe to load.
    """
    file = Path(path)
    if not file.is_file():
        beside = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise WeightsError(
            f"no file {str(file)!r}",
            "a file of weights",
            f"check the path; near it are {near_matches(file.name, beside)}",
        )
    return read_tensors(file)[0] if file.suffix == ".safetensors" else _read_pickle(file)


@validated
def save_weights(state: Mapping[str, Annotated[Tensor, _WEIGHTS]], path: str | Path) -> None:
    """Write a state dict to a `.safetensors` file, whole or not at all.

    Args:
        state: The tensors by name. Tensors that share memory are written once each.
        path: Where to write.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "weights.safetensors"
        >>> save_weights({"fc.weight": torch.eye(2)}, file)
        >>> load_weights(file)["fc.weight"].sum().item()
        2.0
    """
    # safetensors refuses tensors that share memory, such as tied weights.
    separate = {name: tensor.cpu().clone() for name, tensor in state.items()}
    write_tensors(path, separate, {"format": "pt"})


def fitted(
    state: Any,
    reference: Mapping[str, Tensor],
    source: str = "the given weights",
    weights_key: str | None = None,
) -> dict[str, Tensor]:
    """Find a network's weights, check them against its own, and bring them to its data types and device.

    Args:
        state: The weights by name, or a checkpoint that holds them.
        reference: The network's weights by name.
        source: Where the weights come from, for messages: a file's path where there is one.
        weights_key: Which copy, where the checkpoint holds the network several times.

    Raises:
        WeightsError: Names are missing or unexpected, shapes differ, or numbers are NaN or
            infinite; there is no state dict, or several that fit.
    """
    found = copy_of(state, reference, weights_key, source)
    given = {name: _WEIGHTS.of(f"{source}: {name!r}", tensor) for name, tensor in found.items()}
    for name in reference.keys() - given.keys():
        twin = next((other for other in given if reference.get(other) is reference[name]), None)
        if twin is not None:
            given[name] = given[twin]
    # Evaluation never reads this counter, and old checkpoints lack it.
    missing = [n for n in reference if n not in given and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in reference]
    if missing or unexpected:
        remedy = "load weights of the same architecture"
        if missing:
            remedy += (
                f"; among those given, near {missing[0]!r} are {near_matches(missing[0], given)}"
            )
        if unexpected:
            remedy += f"; in the network, near {unexpected[0]!r} are {near_matches(unexpected[0], reference)}"
        both = [_named("missing", missing), _named("unexpected", unexpected)]
        raise WeightsError(
            f"{source}: {' and '.join(part for part in both if part)}",
            f"the network's {len(reference)} tensors",
            remedy,
        )
    for name, tensor in given.items():
        if tensor.shape != reference[name].shape:
            raise WeightsError(
                f"{source}: {name!r} of shape {tuple(tensor.shape)}",
                f"shape {tuple(reference[name].shape)}",
                "load weights of the same architecture and number of classes",
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{source}: NaN or infinite numbers in {name!r}",
                "finite weights",
                "use a checkpoint from before the training diverged",
            )
    return {n: t.detach().to(reference[n].device, reference[n].dtype) for n, t in given.items()}


def _read_pickle(file: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch advises on files that other programs pickled; what it cannot read it refuses
            # anyway.
            warnings.filterwarnings(
                "ignore", message="Detected pickle protocol", category=UserWarning
            )
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(file) or _starts_like_pickle(file):
            raise WeightsError(
                f"{str(file)!r} holds more than weights: unsafe, so not loaded; {_reason(error)}",
                "a file of tensors alone, since unpickling anything else can run code",
                "if you trust the file, load it with torch.load(path, weights_only=False) and write the state dict "
                "in it (of a whole model, its state_dict()) with cofire.save_weights(state, 'weights.safetensors')",
            ) from error
        raise _damaged(file, error) from error
    except Exception as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{str(file)!r} is no readable file of weights: {_reason(error)}",
        "a complete .safetensors, .pt or .pth file",
        "copy or download it again; it may have been cut off",
    )


def _starts_like_pickle(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(1) == b"\x80"


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next(
        (line for line in lines if "Unsupported" in line or "GLOBAL" in line),
        lines[0] if lines else "",
    )
    return f"{type(error).__name__}: {said.split('. ')[0][:200]}".rstrip(". ")


def _named(word: str, names: list[str], most: int = 5) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{word} {', '.join(map(repr, names[:most]))}{rest}"


def fingerprint_of(
    layers: Sequence[Any],
    tensors: Mapping[str, Tensor],
    inputs: Sequence[tuple[tuple[int, ...], bool]],
    classes: int,
) -> str:
    """A hash of an architecture: its layers as plain data, tensors' names and shapes, inputs, classes."""
    described = {
        "layers": layers,
        "parameters": [[name, list(value.shape)] for name, value in sorted(tensors.items())],
        "inputs": [shape for shape, _ in inputs],
        "classes": classes,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


@validated(finite=False)
def digest_of(weights: Mapping[str, Tensor]) -> str:
    """A hash of weights: the same for the same names, shapes, types and numbers.

    Example:
        >>> digest_of({"w": torch.zeros(2)}) == digest_of({"w": torch.zeros(3)})
        False
    """
    return hash_of_tensors(weights)


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
        return _copy_named(held, copies, key.strip("."), source)
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


def _copy_named(
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
