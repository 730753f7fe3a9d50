"""The options of graphs, which several commands share; None: not given."""

from __future__ import annotations

from typing import Annotated

import typer

Top = Annotated[
    int | None,
    typer.Option(
        help="Representative neurons per class at the most, fewer in narrow layers; 50 unless given."
    ),
]
Resolution = Annotated[
    float | None, typer.Option(help="γ of Louvain's method; 2 unless given, which is Gephi's 0.5.")
]
CommunityRuns = Annotated[
    int | None, typer.Option(help="Seeds of communities, and shuffles of weights; 10 unless given.")
]
NullGraphs = Annotated[
    int | None,
    typer.Option(help="Graphs with random labels to hold each graph against; 10 unless given."),
]
