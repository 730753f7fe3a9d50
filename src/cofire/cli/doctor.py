"""`cofire doctor`: what is installed, what runs where, and what an extra would add."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cofire.report import browser
from cofire.storage import version_of
from cofire.study import data_root

_NEEDED = (
    "cofire",
    "torch",
    "torchvision",
    "numpy",
    "numba",
    "scipy",
    "safetensors",
    "pyarrow",
    "plotly",
    "networkx",
)
_EXTRAS = {
    "figures": (
        "kaleido",
        "figures of a report as PNG and SVG files (needs Chrome or Chromium as well)",
    ),
    "igraph": ("igraph", "Leiden's method and ActivationPatternGraph.to_igraph()"),
    "cams": ("captum", "Grad-CAM, and Grad-CAM++ by grad-cam, to compare explanations with"),
    "lrp": ("zennit", "layer-wise relevance propagation, to compare explanations with"),
    "timm": ("timm", "the classifiers of timm, as --model timm:NAME"),
}
_DATA = {"MNIST": "MNIST/raw", "Fashion-MNIST": "FashionMNIST/raw"}


def doctor() -> None:
    """Versions, devices, what is installed, and what an extra would add."""
    table = Table("what", "found", box=None, header_style="bold")
    table.add_row(
        "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    for name in _NEEDED:
        table.add_row(name, version_of(name) or "missing: reinstall cofire")
    table.add_row("processor", f"{torch.get_num_threads()} threads for torch")
    for index in range(torch.cuda.device_count()):
        table.add_row(f"cuda:{index}", torch.cuda.get_device_name(index))
    if not torch.cuda.is_available():
        table.add_row("gpu", "none that torch can use: everything runs on the processor")
    for extra, (package, adds) in _EXTRAS.items():
        found = version_of(package)
        table.add_row(
            f"extra '{extra}'",
            f"{package} {found}"
            if found
            else escape(f'adds {adds}: pip install ".[{extra}]" in its folder'),
        )
    table.add_row(
        "browser", browser() or "none on the path: figures as files need Chrome or Chromium"
    )
    root = data_root()
    for name, place in _DATA.items():
        there = (root / Path(place)).is_dir()
        table.add_row(
            name,
            f"in {root}" if there else f"not in {root}: downloaded when needed, or set COFIRE_DATA",
        )
    table.add_row("digits", f"comes with scikit-learn {version_of('scikit-learn')}")
    Console(soft_wrap=True).print(table)
    typer.echo("Ready." if all(version_of(name) for name in _NEEDED) else "Something is missing.")
