"""The page of what was learnt: words that say no more than the numbers, and figures that draw."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cofire.evaluate.bandit import ucb1
from cofire.evaluate.tuned import Learned, Score, Tuned
from cofire.explain.result.regions import Regions
from cofire.report.evaluate.regret import regret_figures, write_regret_page
from cofire.report.evaluate.regret_words import intervals_of, notes_of, rows_of, verdict
from cofire.statistics import Interval


def learned(name, values, chances, start, *, exact=False, alike=False, trials=200):
    table = (np.random.default_rng(3).random((trials, len(values))) < np.array(chances)).astype(
        float
    )
    if alike:
        table[:] = table[:, :1]
    names = [str(value) for value in values]
    run = ucb1(names, table if exact or alike else lambda arm, trial: table[trial, arm], trials)
    chosen = start if alike else values[run.arm]
    return Learned(
        name, values, start, chosen, "pointing" if name == "sigma" else "iou", alike, run
    )


def tuned(gain=(0.12, 0.04, 0.2), **changes):
    found = Tuned(
        method="discernible",
        options={"alpha": [1.0, 0.0, 1.0], "k": 5},
        regions=Regions(sigma=0.05),
        network="a",
        architecture="b",
        photos=140,
        without_box=3,
        least_iou=0.5,
        seed=0,
        learned=(
            learned("current", (0.0, 0.5, 1.0), (0.1, 0.3, 0.6), 1.0),
            learned("succeeding", (0.5, 1.0), (0.5, 0.5), 1.0, alike=True),
            learned("k", (1, 5, None), (0.2, 0.7, 0.4), 10, exact=True),
            learned("sigma", (0.05, 0.1), (0.9, 0.8), 0.1),
        ),
        before=Score(0.4, 0.38, 0.8),
        after=Score(0.5, 0.5, 0.85),
        gain=Interval(*gain, 140),
        setup={
            "model": "</script><img src=x onerror=window.evil=1>",
            "command": "cofire tune photos",
        },
    )
    return replace(found, **changes)


def test_the_verdict_follows_the_interval():
    assert verdict(tuned()).endswith(
        "Learning helps here; by how much elsewhere, photos that it has not seen have to tell."
    )
    assert "38.0\u00a0% with the method’s own options and in 50.0\u00a0%" in verdict(tuned())
    assert "+12.0 points (+4.0 to +20.0)" in verdict(tuned())
    assert "undecided: about" in verdict(tuned((0.01, -0.03, 0.05)))
    assert "equal within ±2 points" in verdict(tuned((0.001, -0.01, 0.012)))
    assert "do not use those learnt" in verdict(tuned((-0.1, -0.2, -0.05)))
    kept = tuned((0.0, -0.03, 0.03))
    kept = replace(kept, learned=tuple(replace(one, chosen=one.start) for one in kept.learned))
    assert "nothing changes" in verdict(kept)


def test_what_has_to_be_known_is_said():
    notes = " ".join(notes_of(tuned()))
    assert "3 tuning photos show the network no box" in notes
    assert "All values of α of succeeding support give the same explanations" in notes


def test_rows_have_every_value_and_what_was_chosen():
    rows = rows_of(tuned())
    assert [row["option"] for row in rows][:2] == [
        "α of current support",
        "α of succeeding support",
    ]
    assert [value["value"] for value in rows[2]["values"]] == ["1", "5", "all"]
    assert [value["chosen"] for value in rows[2]["values"]] == [False, True, False]
    assert rows[1]["regret"] == "0.0"


def test_intervals_of_few_rewards_are_wide():
    few = learned("k", (1, 2), (0.0, 1.0), 1, trials=6)
    low, high = intervals_of(few)
    assert low.value == 0.0
    assert low.high > 0.5
    assert high.low < 0.9


def test_figures_have_a_line_or_a_row_for_each():
    drawn = regret_figures(tuned())
    assert [len(figure.data) for figure in drawn.values()] == [4, 4]
    assert drawn["regret"].data[2].y[-1] == pytest.approx(tuned().learned[2].run.regret[-1])
    assert regret_figures(tuned(learned=())) == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_without_a_network(tmp_path, visit, scheme):
    page = visit(write_regret_page(tuned(), tmp_path / "regret.html"), scheme=scheme)
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requested)
    assert page.locator(".plot svg.main-svg").count() >= 2
    assert not page.evaluate("window.evil")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_learnt_nothing_has_a_page_too(tmp_path):
    text = write_regret_page(tuned(learned=()), tmp_path / "regret.html").read_text(
        encoding="utf-8"
    )
    assert "Options of Discernible neurons, learnt" in re.sub(
        r"<script.*?</script>", "", text, flags=re.DOTALL
    )
