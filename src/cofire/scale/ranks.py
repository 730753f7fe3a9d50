"""Processes that torchrun started share a pass: each counts its blocks, the first one puts them together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cofire.activations.sharing import BLOCK, Count, Counted, blocks_of
from cofire.errors import CofireError, OptionError, ResultError
from cofire.network import export  # noqa: F401 (there before the group is, as it asks for)
from cofire.scale.parts import from_bytes, load_counts, save_counts, to_bytes
from cofire.storage import check_same

_ANSWERS_WITHIN = 5
"""Seconds in which torchrun must answer."""


def launched() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def on_gpu(device: str) -> bool:
    """Whether this process computes on a GPU, which is then one of its own.

    Args:
        device: As it is asked for: cpu, cuda, auto.

    Raises:
        OptionError: It names one GPU for all processes, or they are more than the GPUs of this machine.
    """
    if not (device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())):
        return False
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if ":" in device:
        raise OptionError(
            f"device='{device}' under torchrun",
            "device='cuda': each process takes a GPU of its own",
            "pass device='cuda', and choose GPUs with CUDA_VISIBLE_DEVICES",
        )
    if processes > gpus:
        raise OptionError(
            f"{processes} processes on a machine with {gpus} GPUs",
            "a GPU for each process",
            f"start torchrun with --nproc-per-node {gpus}" if gpus else "pass device='cpu'",
        )
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return True


def first_to_tell() -> bool:
    """Whether this process is the first of its job that has an error to tell: the others need not repeat it."""
    told = os.environ
    if not launched() or told.get("WORLD_SIZE", "1") == "1":
        return True
    try:
        # Of torchrun itself, which was there before the processes.
        store = dist.TCPStore(  # type: ignore[attr-defined]
            told["MASTER_ADDR"],
            int(told["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=_ANSWERS_WITHIN),
        )
        count: int = store.add(f"cofire/told/{told.get('TORCHELASTIC_RESTART_COUNT')}", 1)
    except (RuntimeError, KeyError):  # nobody answers, or it is not said who would
        return told["RANK"] == "0"
    return count == 1


class Follower(Exception):  # noqa: N818 (nothing went wrong)
    """What this process had to do is done, or cannot be: the first one goes on, or says why not."""


class Ranks:
    """Shares passes between the processes of a group.

    The first process keeps what each pass counted in a file, from which a job that died goes on.

    Args:
        kept: The file.
        record: What the job was started with, as JSON holds it.
        passes: How many there will be; after the last the other processes are done.
    """

    def __init__(self, kept: Path, record: Mapping[str, Any], passes: int) -> None:
        self._kept, self._record, self._left = kept, record, passes
        self._rank, self._size = dist.get_rank(), dist.get_world_size()
        self._done: list[Counted] = []
        if self.leads and kept.exists():
            found, made = load_counts(kept)
            check_same(kept.parent, made, record)
            self._done = found
        (count,) = self._broadcast(torch.tensor([len(self._done)])).tolist()
        self._known, self._next = count, 0

    @property
    def leads(self) -> bool:
        """Whether this process writes results."""
        return self._rank == 0

    def __call__(self, count: Count, samples: int, size: int = BLOCK) -> Counted:
        """What all processes counted in the next pass."""
        number, self._next = self._next, self._next + 1
        self._left -= 1
        whole = self._done[number] if number < len(self._done) else None
        if number >= self._known:
            whole = self._gathered(
                lambda: count(blocks_of(samples, self._rank + 1, self._size, size))
            )
            if whole is not None and self._left:
                self._done.append(whole)
                save_counts(self._kept, self._done, self._record)
        if not self._left:
            if whole is None:
                raise Follower
            return whole
        content = self._broadcast_bytes(b"" if whole is None else to_bytes(whole))
        return from_bytes(content) if whole is None else whole

    def _gathered(self, count: Callable[[], Counted]) -> Counted | None:
        """What all counted, in the first process; nothing in the others."""
        mine, fault = None, None
        try:
            mine = count()
        except CofireError as error:
            fault = error
        told = b"" if fault is None else json.dumps(_told(fault)).encode()
        faults = [told] if self.leads else []
        for other in range(1, self._size):
            if self.leads:
                faults.append(self._received(other))
            elif other == self._rank:
                self._send(told, 0)
        failed = self._broadcast(torch.tensor([int(any(faults))]))
        if int(failed):
            if not self.leads:
                raise Follower
            if fault is not None:
                raise fault
            kind, *parts = json.loads(next(one for one in faults if one))
            raise _kinds()[kind](*parts)
        assert mine is not None
        if not self.leads:
            self._send(to_bytes(mine), 0)
            return None
        for other in range(1, self._size):
            mine = mine.merge(from_bytes(self._received(other)))
        return mine

    @property
    def _device(self) -> str:
        return "cuda" if dist.get_backend() == "nccl" else "cpu"

    def _broadcast(self, values: Tensor) -> Tensor:
        values = values.to(self._device)
        with self._all_alive():
            dist.broadcast(values, 0)
        return values.cpu()

    @contextmanager
    def _all_alive(self) -> Iterator[None]:
        """Says once where a connection was closed: torch has no kind of error of its own for it."""
        try:
            yield
        except RuntimeError as error:
            if not self.leads:
                raise Follower from error
            raise ResultError(
                "a process of this job died",
                "all of them to stay until each pass is counted",
                "see what ended it (memory?), then start the job again: passes that all had counted are not "
                "run again",
            ) from error

    def _broadcast_bytes(self, content: bytes) -> bytes:
        (size,) = self._broadcast(torch.tensor([len(content)])).tolist()
        held = _as_tensor(content) if self.leads else torch.empty(size, dtype=torch.uint8)
        return self._broadcast(held).numpy().tobytes()

    def _send(self, content: bytes, to: int) -> None:
        with self._all_alive():
            dist.send(torch.tensor([len(content)]).to(self._device), to)
            if content:
                dist.send(_as_tensor(content).to(self._device), to)

    def _received(self, sender: int) -> bytes:
        size = torch.zeros(1, dtype=torch.int64, device=self._device)
        with self._all_alive():
            dist.recv(size, sender)
            content = torch.empty(int(size), dtype=torch.uint8, device=self._device)
            if int(size):
                dist.recv(content, sender)
        return content.cpu().numpy().tobytes()


def _as_tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _told(error: CofireError) -> list[str]:
    return [type(error).__name__, error.given, error.expected, error.remedy]


def _kinds() -> dict[str, Any]:
    from cofire import errors

    return {name: getattr(errors, name) for name in errors.__all__}


@contextmanager
def ranks(
    kept: Path, record: Mapping[str, Any], passes: int, *, gpu: bool = False
) -> Iterator[Ranks]:
    """The processes that torchrun started, as a group that shares passes.

    Args:
        kept: See `Ranks`.
        record: See `Ranks`.
        passes: See `Ranks`.
        gpu: Whether networks are on GPUs: nccl in place of gloo.
    """
    # Others may count far longer than this one; where a process dies torchrun ends the job itself.
    dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(days=30))
    try:
        yield Ranks(kept, record, passes)
    finally:
        dist.destroy_process_group()
