"""What is compiled is kept for the next process, until anything changes that it was compiled from."""

import os
import subprocess
import sys

CALLED = """import numpy as np
from cofire.compiled import compiler

BY = 1


@compiler()
def times(value):
    return sum([value for _ in range(1)]) - value + {}
"""

CALLING = """from cofire.compiled import compiler
from called import times


@compiler()
def doubled(value):
    return 2 * times(value)


print(doubled(3), sum(doubled.stats.cache_hits.values()))
"""


def run(folder):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "calling.py"]
    done = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def test_a_change_of_what_a_loop_calls_is_seen_and_nothing_else_is_compiled_anew(tmp_path):
    called = tmp_path / "called.py"
    (tmp_path / "calling.py").write_text(CALLING)
    called.write_text(CALLED.format("value * BY"))
    assert run(tmp_path) == ["6", "0"]
    assert run(tmp_path) == ["6", "1"]
    called.write_text(CALLED.format("value + 10"))
    assert run(tmp_path) == ["26", "0"]
    called.write_text(CALLED.format("value * BY").replace("BY = 1", "BY = np.int64(5)"))
    assert run(tmp_path) == ["30", "0"]
    assert run(tmp_path) == ["30", "1"]
    called.write_text(CALLED.format("value * BY").replace("BY = 1", "BY = np.int64(7)"))
    assert run(tmp_path) == ["42", "0"]
