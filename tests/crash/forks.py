"""Commands in processes of their own, forked from one that has everything loaded, struck at a moment of their work.

A moment is a number of things done to the user's folder: files opened for writing, renamed, removed, folders made.
Between two of them nothing changes there but what is in a file that has no name yet.
"""

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.golden.running import Told, run

_CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_PATIENCE = 3600

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.crash.loaded"])


class Struck(Exception):  # noqa: N818  it is no error
    """A command was killed."""


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def _stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def _fill():
    """From here on no file grows, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


STRIKES = {"kill": _kill, "stop": _stop, "fill": _fill}


def _command(pipe, arguments, place, strike, at, before):
    """Run a command, in the fork; what it said and how much it did to the folder goes through the pipe."""
    done = 0

    def watch(event, given):
        nonlocal done
        if not _changes(event, given, place):
            return
        done += 1
        if done == at:
            pipe.send("struck")
            STRIKES[strike]()

    if before is not None:
        before()
    sys.addaudithook(watch)
    told = run(arguments, place)
    pipe.send((told.exit, told.out, told.err, done))


def _changes(event, given, place):
    if event == "open":
        path, mode, flags = given
        if not (flags & _WRITING if isinstance(flags, int) else set(mode or "r") & set("wax+")):
            return False
    elif event in _CHANGES:
        path = given[0]
    else:
        return False
    if isinstance(path, int) or "__pycache__" in os.fsdecode(path):
        return False
    return Path(os.fsdecode(path)).absolute().is_relative_to(place)


@contextmanager
def begun(line, place, strike=None, at=0, before=None):
    """A command at work; ends it, if it has not ended.

    Yields:
        A function that waits for what it said and for the number of things that it did, or raises `Struck`.
    """
    ours, theirs = _forks.Pipe()
    work = (theirs, tuple(line.split()), place, strike, at, before)
    process = _forks.Process(target=_command, args=work)
    process.start()
    theirs.close()

    def heard():
        assert ours.poll(_PATIENCE), f"cofire {line}: nothing said in {_PATIENCE} s"
        return ours.recv()

    def ended():
        try:
            while (told := heard()) == "struck":
                if strike == "stop":
                    return process.pid
        except EOFError:
            raise Struck from None
        return Told(*told[:3]), told[3]

    try:
        yield ended
    finally:
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):  # it may have ended just now
                os.kill(process.pid, signal.SIGKILL)
        process.join()
        ours.close()


def command(line, place, strike=None, at=0, before=None):
    """Run a command to its end: what it said, and how many things it did to the folder."""
    with begun(line, place, strike, at, before) as ended:
        return ended()


def without_rights():
    """From here on even the administrator's rights are those that files give."""
    # Bits 1 and 2: to write and to read whatever the owner forbids.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, sets) == 0:
        for at in range(3):
            sets[at] &= ~0b110
        libc.capset(header, sets)
