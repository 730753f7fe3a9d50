"""What commands refuse before anything is read: parts that make no whole, methods of which one is too many."""

import pytest

from cofire.cli.evaluate import Evaluate
from cofire.cli.sharing import made_again
from cofire.errors import ResultError
from tests.golden.running import run


def refused(place, line):
    told = run(tuple(line.split()), place)
    assert told.exit in (1, 2)
    return " ".join(told.err.split())


def test_one_method_is_tuned_at_a_time(tmp_path):
    told = refused(tmp_path, "tune --model net.pt2 --data images --method lrp,gradcam")
    assert "--method lrp,gradcam" in told
    assert "name the first alone" in told


def test_a_whole_does_not_go_into_one_of_its_parts(tmp_path):
    (tmp_path / "part").mkdir()
    told = refused(tmp_path, "merge part --out part")
    assert "which is one of the parts" in told
    assert "choose another folder with --out" in told


def test_parts_that_do_not_say_what_they_were_made_with_are_no_parts():
    with pytest.raises(ResultError, match=r"do not say what they were made with.*run them again"):
        made_again(Evaluate, {"verb": "evaluate"})
