"""Options of a verb: one model that the command line, the stored record and the pages read."""

import numpy as np
import pytest
import torch
from pydantic import Field, PositiveInt

from cofire.cli.merge import Merge
from cofire.errors import OptionError
from cofire.options import Options
from cofire.study import StudyOptions


class Training(Options):
    optimizer: str = Field("adam", title="Optimiser", description="Of training.")
    steps: PositiveInt = Field(100, le=1000, json_schema_extra={"panel": "Training"})
    rate: float = Field(0.1, gt=0)
    sizes: tuple[PositiveInt, ...] = (8, 8)
    above: float | None = Field(None, lt=9)
    verbose: bool = False


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"step": 3}, r"no option step.*one of optimizer, steps.*write steps"),
        ({"steps": 0}, r"steps=0.*whole number from 1 to 1000.*pass steps=100"),
        ({"steps": True}, "steps=True"),
        ({"steps": 2.5}, r"steps=2\.5"),
        ({"rate": float("nan")}, "rate=nan.*finite number above 0"),
        ({"sizes": (8, 0)}, r"sizes\[1\]=0"),
        ({"optimizer": "a\x00"}, "take"),
        ({"verbose": 2}, "True or False"),
        ({"above": 9}, "a finite number below 9 or None"),
    ],
)
def test_what_does_not_fit_is_refused_in_three_parts(given, says):
    with pytest.raises(OptionError, match=says) as caught:
        Training(**given)
    assert all((caught.value.given, caught.value.expected, caught.value.remedy))


def test_numbers_of_numpy_and_torch_are_numbers_and_lists_are_sequences():
    made = Training(steps=np.int64(3), rate=torch.tensor(0.5), sizes=[1, 2], above="0.5")
    assert made.record() == {
        "optimizer": "adam",
        "steps": 3,
        "rate": 0.5,
        "sizes": [1, 2],
        "above": 0.5,
        "verbose": False,
    }


def test_a_record_of_another_version_is_completed_by_defaults_and_keeps_what_it_says():
    told = Training.completed({"steps": 3, "of_a_later_version": 1})
    assert told == {**Training().record(), "steps": 3, "of_a_later_version": 1}


def test_pages_get_titles_values_as_text_and_descriptions():
    assert list(Training(rate=1e-3).labelled())[:3] == [
        ("Optimiser", "adam", "Of training."),
        ("Steps", "100", ""),
        ("Rate", "0.001", ""),
    ]
    assert [text for _, text, _ in Training().labelled()][3:] == ["8, 8", "–", "no"]


def test_options_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        Training().steps = 3


def test_a_near_choice_is_told():
    with pytest.raises(OptionError, match="pass 'mnist'"):
        StudyOptions(data="minst")
    with pytest.raises(OptionError, match="two at least"):
        StudyOptions(null_graphs=1)


def test_a_wrong_value_of_what_may_be_none_is_refused_and_not_taken_for_none():
    class Shares(Options):
        share: float | None = Field(0.5, ge=0, le=1)

    assert Shares(share=None).share is None
    for wrong in (2, True, float("nan"), [0.5]):
        with pytest.raises(OptionError, match="share="):
            Shares(share=wrong)


def test_an_option_that_must_be_given_is_told_with_what_it_is():
    with pytest.raises(OptionError, match=r"no parts.*a path.*pass parts"):
        Merge()
