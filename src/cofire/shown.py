"""What results show of themselves: a small table in a notebook, and their figures, drawn by `report` when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

Backend = Literal["plotly", "matplotlib"]


class Shown:
    """Something that a notebook shows as a table, and that draws its own figures.

    What a type shows is registered in `cofire.report.notebook`, which is imported at the first
    look: results are made, and kept, without plotly.
    """

    def _repr_html_(self) -> str:
        shown: str = import_module("cofire.report.notebook").in_notebook(self)
        return shown

    def plot(self, what: str | None = None, *, backend: Backend = "plotly") -> Any:
        """Draw a figure of it, in the light theme, as the pages have it.

        Args:
            what: Name of the figure; the most telling one unless given. An unknown name is answered
                with those that there are.
            backend: "plotly", or "matplotlib" (the extra "matplotlib").

        Returns:
            A `plotly.graph_objects.Figure`, or a `matplotlib.figure.Figure` that no window holds.

        Raises:
            OptionError: There is no such figure or backend.
            ResultError: There is nothing to draw, as of a booster that is not fitted.
            MissingExtraError: Matplotlib is absent.
        """
        return import_module("cofire.report.notebook").figure_of(self, what, backend)
