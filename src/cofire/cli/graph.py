"""`cofire graph`: the activation pattern graph of a layer, as a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import typer

from cofire.cli.options import Output
from cofire.cli.terminal import note
from cofire.errors import OptionError, ResultError
from cofire.graphs import Method
from cofire.options import option
from cofire.study import Trajectory

_WRITERS = {".gexf": "write_gexf", ".graphml": "write_graphml"}


class Graph(Output):
    """Which graph, and what is done with it."""

    folder: Path = option(..., "Folder", "Of a study or a summary.")
    layer: str | None = option(None, "Layer", "Which layer; the last one unless given.")
    checkpoint: int | None = option(None, "Checkpoint", "Of a study; the last one unless given.")
    communities: Method = option(
        "representatives", "Communities", "How communities come about, which colour the vertices."
    )
    resolution: float | None = option(
        None,
        "Resolution",
        "γ of louvain and leiden, that of the tables unless given; Gephi's is its inverse.",
    )
    seed: int = option(0, "Seed", "Of methods that draw.", ge=0)
    out: Path | None = option(
        None, "File", "FILE.gexf (Gephi), .graphml or .safetensors.", panel=Output.panel
    )


def graph(options: Graph) -> dict[str, Any]:
    """Which neurons of a layer fire together: the graph of one checkpoint, as a file for Gephi."""
    out, folder, communities = options.out, options.folder, options.communities
    kinds = (*_WRITERS, ".safetensors")
    if out is not None and out.suffix not in kinds:
        raise OptionError(
            f"'{out}'", f"a file ending in {', '.join(kinds)}", "choose one of these endings"
        )
    trajectory = Trajectory.load(folder)
    layers = list(dict.fromkeys(trajectory.graphs["layer"].to_pylist()))
    if not layers:
        raise ResultError(
            f"'{folder}' without graphs",
            "a study or a summary that has them",
            "make it again with --pairs class",
        )
    found = trajectory.graph(options.layer or layers[-1], options.checkpoint)
    resolution = options.resolution
    if resolution is None and communities in ("louvain", "leiden"):
        resolution = trajectory.graphs["resolution"][0].as_py()
    chosen = found.communities(communities, resolution=resolution, seed=options.seed)
    typer.echo(found)
    neurons = trajectory.layers.filter(pc.field("layer") == found.layer)["neurons"][0].as_py()
    if 2 * found.top > neurons:
        note(
            f"{found.top} of {neurons} neurons represent each class, so that the classes share most of them; a "
            f"smaller --top, {max(1, neurons // 10)} say, tells them apart."
        )
    typer.echo(chosen)
    if out is not None:
        colours = (
            ()
            if out.suffix not in _WRITERS
            else (None if communities == "representatives" else chosen,)
        )
        written = getattr(found, _WRITERS.get(out.suffix, "save"))(out, *colours)
        typer.echo(f"Graph: {written}")
    return {"layer": found.layer, "graph": str(found), "communities": str(chosen), "file": out}
