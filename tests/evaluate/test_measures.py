"""One row for each measure: what is registered is measured, stored, told and a metric."""

import pytest
import torch

from cofire.errors import DataError, OptionError
from cofire.evaluate import GROUPS, MEASURES, PerImage, as_torchmetric, register_measure
from cofire.evaluate.faithfulness import probability_of
from cofire.evaluate.measures import asked_groups
from cofire.evaluate.running import run_evaluation
from cofire.report.pages import markdown
from tests.evaluate.judged import PREPARATION, tiny_collection, tiny_network, write_photos


@pytest.fixture
def spread():
    @register_measure(
        "spread",
        title="spread",
        better="lower",
        unit="%",
        takes=("predicted.heat", "other.heat"),
        meaning="How much of both maps is hotter than their mean.",
    )
    def spread(first, second):
        both = first + second
        return PerImage.of_all((both > both.mean((1, 2), keepdim=True)).double().mean((1, 2)))

    yield spread
    del MEASURES["spread"], GROUPS["spread"]


def test_a_measure_of_ones_own_is_measured_stored_told_and_a_metric(spread, tmp_path):
    collection = tiny_collection(write_photos(tmp_path, 6))
    found = run_evaluation(
        tiny_network(),
        collection,
        PREPARATION,
        ["gradcam", "centre"],
        tmp_path / "out",
        measures=["localisation", "spread"],
        split="all",
        progress=False,
    )
    assert found.values("spread").shape == (len(found.chosen().nonzero()[0]), 2)
    assert 0 < found.table()["gradcam"]["spread"].value < 1
    assert "spread" in found.differences()["centre"]
    told = markdown(found)
    assert "| method | spread ↓ (%) |" in told
    metric = as_torchmetric(MEASURES["spread"].measure)
    metric.update(torch.eye(2)[None], torch.eye(2)[None])
    assert metric.compute().item() == 0.5


@pytest.mark.parametrize("row", MEASURES.values(), ids=list(MEASURES))
def test_every_row_says_all_of_itself(row):
    assert row.group in GROUPS
    assert row.meaning.endswith(".")
    assert row.percent == (row.digits == 1)
    assert type(row.measure).from_state(row.measure.state()).options == row.measure.options


def test_no_measures_are_not_the_usual_ones():
    with pytest.raises(OptionError, match=r"no measures.*leave them out to get the usual ones"):
        asked_groups([])
    assert set(asked_groups(None)) <= set(GROUPS)


def test_what_a_users_own_function_raises_is_told_with_the_inputs_it_got():
    inputs, classes = torch.zeros(2, 4), torch.tensor([0, 1])
    with pytest.raises(DataError, match=r"inputs \(2, 4\), torch.float32: RuntimeError.*correct"):
        probability_of(lambda given: given @ torch.zeros(9, 3), inputs, classes)
    assert (
        probability_of(
            lambda given: (given @ torch.zeros(4, 4)).softmax(1), inputs, classes
        ).tolist()
        == [0.25] * 2
    )
