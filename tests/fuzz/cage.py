"""One case of bad input after another: each is a right answer or an error of cofire, soon, and in little memory.

`COFIRE_FUZZ=20` tries twenty times as many cases, `COFIRE_FUZZ_SEED` others, `COFIRE_FUZZ_CASE` one of them alone.
"""

import faulthandler
import os
import random
import resource
import time
from contextlib import contextmanager
from pathlib import Path

from cofire.errors import CofireError

TIMES = int(os.environ.get("COFIRE_FUZZ", "1"))
SEED = os.environ.get("COFIRE_FUZZ_SEED", "0")
ONE = os.environ.get("COFIRE_FUZZ_CASE")

# A hang is told by the clock on the wall, so that a night in which the machine slept is none.
_SECONDS, _HANGS, _BYTES = 20, 1800, 1 << 30


def cases(usual):
    """The numbers of the cases."""
    return range(usual * TIMES) if ONE is None else [int(ONE)]


def drawn(number):
    """What draws a case, the same whichever were tried before."""
    return random.Random(f"{SEED} {number}")


@contextmanager
def judged(faults, number, name):
    """Notes what is wrong with a case: an error that is not ours, or not all of one; time; memory."""
    before, begun = _most_bytes(), time.process_time()
    faulthandler.dump_traceback_later(_HANGS, exit=True)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 4 * _BYTES, limits[1]))
    said = None
    try:
        yield
    except CofireError as error:
        if not (error.given and error.expected and error.remedy) or "more memory" in str(error):
            said = f"{type(error).__name__}: {error}"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    finally:
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, limits)
    if _most_bytes() - before > _BYTES:
        said = f"{_most_bytes() - before:,} bytes more"
    if time.process_time() - begun > _SECONDS:
        said = f"{time.process_time() - begun:.0f} seconds"
    if said is not None:
        faults.append((number, f"{name}: {said[:200]}"))


def _most_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def told(faults, kind):
    """The faults, and how to see one again."""
    again = f"COFIRE_FUZZ_SEED={SEED} COFIRE_FUZZ_CASE={faults[0][0]} python -m pytest tests/fuzz/test_{kind}.py"
    return "\n".join(
        [f"{len(faults)} cases; again: {again}", *(f"{n}: {said}" for n, said in faults[:30])]
    )
