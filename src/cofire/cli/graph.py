"""`cofire graph`: the activation pattern graph of a layer, as a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pyarrow.compute as pc
import typer

from cofire.errors import OptionError, ResultError
from cofire.graphs import Method
from cofire.study import Trajectory


def graph(
    folder: Annotated[Path, typer.Argument(help="Folder of a study or a summary.")],
    layer: Annotated[
        str | None, typer.Option(help="Which layer; the last one unless given.")
    ] = None,
    checkpoint: Annotated[
        int | None, typer.Option(help="Of a study; the last one unless given.")
    ] = None,
    communities: Annotated[
        Method, typer.Option(help="How communities come about, which colour the vertices.")
    ] = "representatives",
    resolution: Annotated[
        float | None,
        typer.Option(
            help="γ of louvain and leiden, that of the tables unless given; Gephi's is its inverse."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of methods that draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="FILE.gexf (Gephi), .graphml or .safetensors.")
    ] = None,
) -> None:
    """Which neurons of a layer fire together: the graph of one checkpoint, described, and as a file for Gephi."""
    kinds = (".gexf", ".graphml", ".safetensors")
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
    found = trajectory.graph(layer or layers[-1], checkpoint)
    if resolution is None and communities in ("louvain", "leiden"):
        resolution = trajectory.graphs["resolution"][0].as_py()
    chosen = found.communities(communities, resolution=resolution, seed=seed)
    typer.echo(found)
    neurons = trajectory.layers.filter(pc.field("layer") == found.layer)["neurons"][0].as_py()
    if 2 * found.top > neurons:
        typer.echo(
            f"Note: {found.top} of {neurons} neurons represent each class, so that the classes share most of them; a "
            f"smaller --top, {max(1, neurons // 10)} say, tells them apart.",
            err=True,
        )
    typer.echo(chosen)
    if out is None:
        return
    if out.suffix == ".gexf":
        written = found.write_gexf(out, None if communities == "representatives" else chosen)
    elif out.suffix == ".graphml":
        written = found.write_graphml(out, None if communities == "representatives" else chosen)
    else:
        written = found.save(out)
    typer.echo(f"Graph: {written}")
