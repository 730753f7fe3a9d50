"""Read and write weights, and refuse those that are damaged, unsafe or do not fit."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from cofire.arguments import validated
from cofire.atomic import atomic_path
from cofire.checksums import hash_of_tensors, read_tensors, sealed
from cofire.errors import WeightsError, near_matches
from cofire.network.checkpoints import copy_of, without_prefix
from cofire.reading import reader
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
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)


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
    separate = {name: tensor.cpu().clone().contiguous() for name, tensor in state.items()}
    with atomic_path(path) as partial:
        save_file(separate, partial, metadata=sealed(separate, {"format": "pt"}))


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


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(file)[0]
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{str(file)!r} is no readable safetensors file: {error}",
            "a complete safetensors file",
            "copy or download it again; it may have been cut off",
        ) from error


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
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        IndexError,
    ) as error:
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


@validated(finite=False)
def digest_of(weights: Mapping[str, Tensor]) -> str:
    """A hash of weights: the same for the same names, shapes, types and numbers.

    Example:
        >>> digest_of({"w": torch.zeros(2)}) == digest_of({"w": torch.zeros(3)})
        False
    """
    return hash_of_tensors(weights)
