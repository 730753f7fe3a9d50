"""`cofire study --explain` as a user runs it."""

import json

import pyarrow.parquet as pq
import pytest

from tests.cli.test_cli import cofire

SMALL = (
    "study",
    "digits",
    "--hidden",
    "32",
    "--epochs",
    "4",
    "--checkpoints",
    "2",
    "--pairs",
    "none",
)


@pytest.mark.slow
def test_a_study_explains_decisions_and_shows_them(tmp_path):
    done = cofire(*SMALL, "--explain", "4", "--out", "run", cwd=tmp_path)
    assert "xplanations" in done.stdout
    folder = tmp_path / "run"
    assert json.loads((folder / "study.json").read_text())["explain"] == 4
    assert pq.read_table(folder / "tracings.parquet").num_rows == 1
    explained = pq.read_table(folder / "explanations.parquet").to_pylist()
    assert {row["checkpoint"] for row in explained} == {2}
    assert len(explained) == 4 + 2 * 4
    page = (folder / "report.html").read_text()
    assert page.count('<article class="case">') == 4
    assert "Do explanations depend on the class?" in page
    (folder / "report.html").unlink()
    cofire("report", folder, cwd=tmp_path)
    assert (folder / "report.html").read_text().count('<article class="case">') == 4


def test_a_number_below_zero_is_refused_before_anything_is_trained(tmp_path):
    refused = cofire(*SMALL, "--explain", "-1", "--out", "other", cwd=tmp_path, ok=False)
    assert "--explain -1" in refused.stderr
    assert not (tmp_path / "other").exists()
