"""The notebooks run as they stand, and show what they say they do."""

from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

SOURCES = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))


def test_there_are_notebooks_and_no_copies_of_them():
    assert len(SOURCES) == 5
    assert {path.suffix for path in SOURCES[0].parent.iterdir()} <= {".py"}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs(source, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    notebook = jupytext.read(source)
    assert notebook.cells[0].source.startswith("# ")
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    shown = [kind for one in outputs for kind in one.get("data", {})]
    told = "".join(one.get("text", "") for one in outputs)
    assert "text/html" in shown, "a result that shows itself"
    assert any("plotly" in kind for kind in shown), "a figure"
    assert "Warning" not in told
