"""Ray as the engine: independent pieces of work, done by actors of a cluster, as `map` does them here.

Ray Data hands the pieces out, does anew what was lost with a process or a machine, and brings the
results back. What a piece gives depends on its number alone, so which actor does it, or does it
again, changes nothing.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from cofire.activations.together import Each
from cofire.errors import MissingExtraError, OptionError, ResultError
from cofire.options import Options, option

Item = TypeVar("Item")
Result = TypeVar("Result")

_ANSWERS_WITHIN = 5.0
"""Seconds in which a cluster's address must answer."""
_RETRIES = 100
"""How often a piece of work is done again whose process ended, which it may have been that ended it.

Ray counts each time that it asks a machine that is gone, of which there are many until it knows.
"""
_STORE_BYTES = 256 << 20
"""Of the object store of a cluster that is started here alone: states pass through it one by one."""


class EngineOptions(Options):
    """Who does the work."""

    panel: ClassVar[str] = "Cluster"

    engine: Literal["here", "ray"] = option(
        "here", "Engine", "This process, or actors of a Ray cluster; the results are the same."
    )
    address: str | None = option(
        None,
        "Address",
        "HOST:PORT of a Ray cluster, or auto; started on this machine unless given.",
    )
    actors: int | None = option(
        None, "Actors", "How many hold the network at once; as many as fit unless given.", ge=1
    )
    actor_cpus: float = option(1.0, "Cores of an actor", "How many each takes.", gt=0)
    actor_gpus: float = option(0.0, "GPUs of an actor", "How many, or a share of one.", ge=0)

    @contextmanager
    def each(self) -> Iterator[Each]:
        """What does the work, until the block ends.

        Raises:
            OptionError: Something is said of a cluster and none is asked for, or it does not answer.
            MissingExtraError: Ray is not installed.
        """
        if self.engine == "here":
            fields = type(self).model_fields
            for name in ("address", "actors", "actor_cpus", "actor_gpus"):
                if getattr(self, name) == fields[name].default:
                    continue
                raise OptionError(
                    f"{name}={getattr(self, name)} without engine='ray'",
                    "the engine that it is an option of",
                    "pass engine='ray' as well",
                )
            yield map
            return
        engine = RayEngine(self.actors, self.actor_cpus, self.actor_gpus)
        with cluster(self.address):
            yield engine.each


@dataclass(frozen=True)
class RayEngine:
    """Actors of the cluster that this process is connected to.

    Attributes:
        actors: How many at the most; None for as many as fit.
        cpus: Cores of each.
        gpus: GPUs of each, or the share of one.
    """

    actors: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results of a piece of work for each item, in their order.

        Args:
            work: Sent to each actor once; it is called with the items.
            items: What it is done for.

        Raises:
            CofireError: What the work raised.
            OptionError: The cluster has no actor's room.
            ResultError: A piece of work ended its process again and again.
        """
        ray = _ray()
        items = list(items)
        if items:
            rows = ray.data.from_items(
                [{"item": packed(item)} for item in items], override_num_blocks=len(items)
            )
            yield from self.over(rows, _OnItems(work), len(items))

    def over(
        self, rows: Any, work: Callable[[dict[str, Any]], Any], most: int | None = None
    ) -> Iterator[Any]:
        """The results of a piece of work for each block of a Ray data set, in their order.

        Args:
            rows: The data set.
            work: Sent to each actor once; it is called with the columns of a block.
            most: How many blocks there are, where that is known.

        Raises:
            CofireError: As `each`.
        """
        ray = _ray()
        room = ray.cluster_resources()
        fit = int(room.get("CPU", 0) // self.cpus)
        fit = min(fit, int(room.get("GPU", 0) / self.gpus)) if self.gpus else fit
        if not fit:
            raise OptionError(
                f"actors of {self.cpus:g} cores and {self.gpus:g} GPUs in a cluster of {room.get('CPU', 0):g} and "
                f"{room.get('GPU', 0):g}",
                "actors that fit",
                "pass smaller actor_cpus and actor_gpus, or start more machines",
            )
        count = min(fit, self.actors or fit, most or fit)
        with quiet(), _known_errors(ray):
            results = rows.map_batches(
                _Actor,
                batch_size=None,
                fn_constructor_args=(
                    ray.put(packed(work)),
                    max(1, int(self.cpus)),
                    str(Path.cwd()),
                ),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count),
                num_cpus=self.cpus,
                num_gpus=self.gpus or None,
                max_task_retries=_RETRIES,
            )
            results.context.execution_options.preserve_order = True
            for row in results.iter_rows():
                result = pickle.loads(row["result"])
                if isinstance(result, Exception):
                    raise result
                yield result


class _OnItems:
    """Work for the one item that a block holds."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def __call__(self, rows: dict[str, Any]) -> Any:
        return self._work(pickle.loads(rows["item"][0]))


class _Actor:
    """Does the work in a process of the cluster, which sent it itself.

    Whatever is raised is a result: Ray would wrap it in its own, or start the process again.
    """

    def __init__(self, work: Any, threads: int, folder: str) -> None:
        import torch

        with suppress(OSError):
            os.chdir(folder)  # what paths begin at, where all machines see the same files
        torch.set_num_threads(threads)
        self._packed = work
        self._work: Callable[[dict[str, Any]], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._work is None:
                held = self._packed
                self._work = pickle.loads(held if isinstance(held, bytes) else _ray().get(held))
            return {"result": [packed(self._work(batch))]}
        except (Exception, SystemExit) as error:
            return {"result": [_packed_error(error)]}


def _packed_error(error: BaseException) -> bytes:
    """An error for another process: itself, or what it said where it cannot be sent."""
    with suppress(Exception):
        content = packed(error)
        if isinstance(pickle.loads(content), Exception):
            return content
    return packed(RuntimeError(f"{type(error).__name__}: {error}"))


@contextmanager
def _known_errors(ray: Any) -> Iterator[None]:
    """Says in our words that Ray has given up."""
    try:
        yield
    except ray.exceptions.RayError as error:
        said = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        raise ResultError(
            f"work on the cluster that failed: {type(error).__name__}: {said.strip()}",
            f"work whose process lives, or a cluster that does it anew (up to {_RETRIES} times)",
            "see what ends the processes (memory?), and try fewer actors, or engine='here'",
        ) from error


def packed(thing: Any, apart: Callable[[Any], int | None] = lambda part: None) -> bytes:
    """A thing for another process of this cluster: also functions within functions, which pickle does not know.

    Args:
        thing: What to pack.
        apart: The number of a part of it that reaches the other process otherwise; None for all others.
    """
    from ray import cloudpickle

    content = io.BytesIO()
    writing = cloudpickle.Pickler(content)
    writing.persistent_id = apart
    writing.dump(thing)
    return content.getvalue()


def _ray() -> Any:
    # Read when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import ray
            import ray.data
    except ImportError as error:
        raise MissingExtraError(
            "engine='ray' without Ray", "the extra 'ray'", "pip install 'cofire[ray]'"
        ) from error
    return ray


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """Connect this process to a cluster until the block ends; where it is connected already, it stays so.

    Args:
        address: HOST:PORT, `ray://HOST:PORT`, or "auto" for one that runs on this machine; None starts
            one of this machine alone, which ends with the block.

    Raises:
        OptionError: Nobody answers there.
        MissingExtraError: Ray is not installed.
    """
    ray = _ray()
    if address not in (None, "auto"):
        _check_answers(str(address))
    if ray.is_initialized():
        yield
        return
    alone = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    paths = [path for path in sys.path if path and not path.startswith(sys.prefix)]
    try:
        ray.init(
            address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *paths])}},
            **({} if address else alone),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unanswered(str(address or "this machine"), error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ask at an address first: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWERS_WITHIN).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _unanswered(address, error) from error


def _unanswered(address: str, error: Exception) -> OptionError:
    said = (str(error).splitlines() or [""])[0] or type(error).__name__
    return OptionError(
        f"no Ray cluster at '{address}': {said}",
        "the HOST:PORT that `ray start --head` named",
        "start one there, or leave address out for this machine alone",
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without what Ray Data tells of itself: progress is shown by who asked."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
