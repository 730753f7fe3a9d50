"""Commands give what they gave. On purpose otherwise? `python -m tests.golden.record [NAME…]`."""

import pytest

from tests.golden.commands import COMMANDS
from tests.golden.compare import differences, told
from tests.golden.record import EXPECTED, NAMES, page_file, pages_recorded, recorded
from tests.golden.session import OTHER, Session

SLOW = {"follow", "study-cnn", "boost-auto", "boost-auxiliary"}
"""Commands that take longer than a few seconds; others are like each of them."""
COMMAND_NAMES = [
    pytest.param(command.name, marks=[pytest.mark.slow] if command.name in SLOW else [])
    for command in COMMANDS
]


@pytest.fixture(scope="session")
def session(all_tests_folder):
    return Session(all_tests_folder / "golden")


def held(expected, got):
    found = differences(expected, got)
    assert not found, told(found)


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_a_command_gives_the_values_that_it_gave(session, name):
    held(recorded(name)["values"], session.outcome(name)["values"])


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_a_command_ends_and_writes_files_as_it_did(session, name):
    expected, got = recorded(name), session.outcome(name)
    for part in ("command", "exit", "files"):
        held(expected[part], got[part])


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_a_command_says_what_it_said(session, name):
    expected, got = recorded(name), session.outcome(name)
    held(expected["out"], got["out"])
    held(expected["err"], got["err"])


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_pages_say_what_they_said(session, name):
    pages = session.outcome(name)["pages"]
    assert {page_file(name, page).name for page in pages} == pages_recorded(name)
    for page, lines in pages.items():
        held(page_file(name, page).read_text(encoding="utf-8").splitlines(), lines)


@pytest.mark.parametrize("name", OTHER)
def test_wrong_uses_and_options_are_as_they_were(session, name):
    held(recorded(name), session.outcome(name))


def test_nothing_else_is_recorded():
    assert {path.name.split(".")[0] for path in EXPECTED.iterdir()} == set(NAMES)


def test_a_difference_says_where_it_is():
    table = {"rows": 2, "columns": {"entropy": ["double", 1.0, 2.0], "layer": ["string", "a", "b"]}}
    other = {"rows": 2, "columns": {"entropy": ["double", 1.0005, 2.1], "unit": ["string", "a"]}}
    assert differences({"layers.parquet": table}, {"layers.parquet": other}) == [
        "layers.parquet, column layer: expected, not there",
        "layers.parquet, column unit: there, not expected",
        "layers.parquet, column entropy, row 1: expected 2.0, got 2.1",
    ]
    assert differences({"a": [1, {"b": True}]}, {"a": [1, {"b": 1}]}) == [
        "a[1], b: expected True, got 1"
    ]
    assert differences([["x", "y"]], [["x", "z"]]) == [
        "[0]: @@ -1,2 +1,2 @@",
        "[0]:  x",
        "[0]: -y",
        "[0]: +z",
    ]
    assert "and 5 more" in told([str(number) for number in range(35)])
