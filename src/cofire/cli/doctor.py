"""`cofire doctor`: what is installed, what runs where, and what an extra would add."""

from __future__ import annotations

import platform
from typing import Any

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cofire.cli.options import Output
from cofire.report import browser
from cofire.storage import version_of
from cofire.study import data_root

Doctor = Output

_LIBRARIES = ("torch", "torchvision", "numpy", "numba", "scipy", "scikit-learn")
_NEEDED = ("cofire", *_LIBRARIES, "safetensors", "pyarrow", "plotly", "networkx")
EXTRAS = {
    "matplotlib": ("matplotlib", "result.plot(backend='matplotlib')"),
    "lightning": ("lightning", "cofire.live's callback for Lightning"),
    "transformers": ("transformers", "cofire.live's callback for the Trainer of transformers"),
    "figures": (
        "kaleido",
        "figures of a report as PNG and SVG files (needs Chrome or Chromium as well)",
    ),
    "igraph": ("igraph", "Leiden's method and ActivationPatternGraph.to_igraph()"),
    "cloud": ("s3fs", "data and results in object stores, as s3://BUCKET/FOLDER"),
    "ray": ("ray", "checkpoints and batches on a cluster of Ray"),
    "trust": ("starlette", "cofire trust: studies with people"),
    "timm": ("timm", "the classifiers of timm, as --model timm:NAME"),
}
"""For each extra the package that it is known by, and what it adds."""
_DATA = {"MNIST": "MNIST/raw", "Fashion-MNIST": "FashionMNIST/raw"}


def doctor(options: Output) -> dict[str, Any]:
    """Versions, devices, what is installed, and what an extra would add."""
    found = {"python": f"{platform.python_version()} on {platform.system()} {platform.machine()}"}
    found |= {name: version_of(name) or "missing: reinstall cofire" for name in _NEEDED}
    found["processor"] = f"{torch.get_num_threads()} threads for torch"
    for index in range(torch.cuda.device_count()):
        found[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if not torch.cuda.is_available():
        found["gpu"] = "none that torch can use: everything runs on the processor"
    for extra, (package, adds) in EXTRAS.items():
        version = version_of(package)
        found[f"extra '{extra}'"] = (
            f"{package} {version}" if version else f'adds {adds}: pip install "cofire[{extra}]"'
        )
    found["browser"] = browser() or "none on the path: figures as files need Chrome or Chromium"
    root = data_root()
    for name, place in _DATA.items():
        there = (root / place).is_dir()
        missing = f"not in {root}: downloaded when needed, or set COFIRE_DATA"
        found[name] = f"in {root}" if there else missing
    found["digits"] = "comes with scikit-learn"
    table = Table("what", "found", box=None, header_style="bold")
    for what, said in found.items():
        table.add_row(what, escape(said))
    Console(soft_wrap=True).print(table)
    ready = all(version_of(name) for name in _NEEDED)
    typer.echo("Ready." if ready else "Something is missing.")
    return {**found, "ready": ready}
