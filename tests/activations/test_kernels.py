"""What is compiled once is found again by the next process."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import torch
from cofire.activations.kernels import kernels_for
from cofire.functional import activation_entropy
activation_entropy(torch.rand(20, 4))
kernels = kernels_for(torch.float32)
print(sum(k.stats.cache_misses.total() for k in (kernels.sums_last, kernels.histogram_last)))
"""


@pytest.mark.slow
def test_the_next_process_compiles_nothing(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    misses = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in (1, 2)
    ]
    assert [int(m) for m in misses] == [2, 0]


@pytest.mark.slow
def test_where_nothing_can_be_kept_it_is_compiled_anew(tmp_path):
    script = (
        "import numba.core.caching as c\nc.CacheImpl._locator_classes = []\n"
        + SCRIPT.rsplit("print", 1)[0]
    )
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
