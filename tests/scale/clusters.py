"""A small Ray cluster on this machine, for one module of tests, of which nothing is left."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

STORE = 100 << 20
"""Bytes of a machine's object store."""


@contextmanager
def ray_cluster(machines: int = 2, cores: int = 5) -> Iterator[Any]:
    """Machines that are processes here; this process is connected to them."""
    told = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    with mock.patch.dict(os.environ, told), warnings.catch_warnings():
        # Ray's own: of its options, of files and sockets that it leaves to be collected.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        import ray
        import ray.data
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": cores,
                "object_store_memory": STORE,
                "include_dashboard": False,
            },
        )
        try:
            for _ in range(machines - 1):
                cluster.add_node(num_cpus=cores, object_store_memory=STORE)
            ray.init(
                cluster.address,
                log_to_driver=False,
                logging_level="error",
                runtime_env={
                    "env_vars": {
                        "PYTHONPATH": os.environ.get("PYTHONPATH", "") + ":" + str(Path.cwd())
                    }
                },
            )
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
