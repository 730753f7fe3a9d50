"""Whatever stops a command, the same command then gives what an undisturbed run gives, and leaves nothing else.

`COFIRE_CRASHES=12` kills each so often instead of once, and those of shards too, `COFIRE_FUZZ_SEED` at other moments;
what fails says when.
"""

import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.crash.forks import Struck, begun, command, without_rights
from tests.crash.verbs import DEMO, SHARDS, VERBS, prepared, rows_in, shards_prepared

TIMES = int(os.environ.get("COFIRE_CRASHES", "1"))
SEED = os.environ.get("COFIRE_FUZZ_SEED", "0")
WHOLE = TIMES >= 12
LINES = {**VERBS, **SHARDS, "demo": DEMO} if WHOLE else VERBS
KEPT = {".cofire.json", ".cofire.lock"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def inputs(made_once):
    """A folder that commands read."""
    return made_once("crash", shards_prepared if WHOLE else prepared)


@pytest.fixture
def fresh(inputs, tmp_path):
    def copied(name):
        return Path(shutil.copytree(inputs, tmp_path / name))

    return copied


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    """What a command gives that nothing stops, and how many things it does to the folder."""
    known = {}

    def once(verb):
        if verb not in known:
            place = Path(shutil.copytree(inputs, tmp_path_factory.mktemp("undisturbed") / "place"))
            told, done = command(LINES[verb], place)
            assert not told.exit, told.err
            known[verb] = rows_in(place), done
        return known[verb]

    return once


def whole_files(place):
    """Names of what lies in a folder besides what a killed run could not tidy up; each is whole."""
    return {n for n in rows_in(place) if not any(p.endswith(".partial") for p in n.split("/"))}


def check_finished(line, place, expected):
    told, _ = command(line, place)
    assert not told.exit, told.err
    found = rows_in(place)
    assert found.keys() == expected.keys()
    assert found == expected


@pytest.mark.parametrize("verb", LINES)
def test_a_killed_command_gives_the_same_when_it_is_given_again(verb, fresh, undisturbed):
    expected, done = undisturbed(verb)
    draw = random.Random(f"{SEED} {verb}")
    for number in range(TIMES):
        place = fresh(f"killed-{number}")
        # Every fourth is killed once more when it is given again.
        for moment in sorted(draw.sample(range(1, done + 1), 1 + (number % 4 == 0))):
            sys.stdout.write(f"cofire {LINES[verb]}: killed before its change {moment} of {done}\n")
            try:
                told, _ = command(LINES[verb], place, "kill", moment)
                assert not told.exit, told.err  # it went on where it was, and had less to do
            except Struck:
                pass
            files = {n for n in whole_files(place) if n.split("/")[-1] not in KEPT}
            assert files <= expected.keys()
        check_finished(LINES[verb], place, expected)


@pytest.mark.parametrize("verb", LINES)
def test_a_full_disk_is_said_and_nothing_is_lost(verb, fresh, undisturbed):
    expected, done = undisturbed(verb)
    draw = random.Random(f"{SEED} {verb}")
    for number in range(max(1, TIMES // 4)):
        place = fresh(f"full-{number}")
        moment = draw.randrange(1, done * 3 // 4)
        sys.stdout.write(f"cofire {LINES[verb]}: no room from its change {moment} of {done} on\n")
        told, _ = command(LINES[verb], place, "fill", moment)
        assert told.exit == 1
        assert "the disk is full" in told.err
        assert "free some room" in told.err
        assert {n for n in rows_in(place) if n.split("/")[-1] != ".cofire.json"} <= expected.keys()
        check_finished(LINES[verb], place, expected)


@pytest.mark.parametrize("verb", LINES)
def test_a_folder_that_cannot_be_written_to_is_said_and_left_alone(verb, fresh):
    place = fresh("read-only")
    before = rows_in(place)
    folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    told, _ = command(LINES[verb], place, before=without_rights)
    for folder in folders:
        folder.chmod(0o755)
    assert told.exit == 1
    assert "cannot be written" in told.err
    assert rows_in(place) == before


@pytest.mark.parametrize("verb", LINES)
def test_of_two_in_one_folder_the_second_is_told_and_the_first_goes_on(verb, fresh, undisturbed):
    expected, done = undisturbed(verb)
    place = fresh("two")
    with begun(LINES[verb], place, "stop", done * 3 // 4) as first:
        process = first()
        second, _ = command(LINES[verb], place)
        if LINES[verb].endswith("--out out"):
            assert second.exit == 1
            assert f"process {process}" in second.err
            assert "wait until the other has ended" in second.err
        os.kill(process, signal.SIGCONT)
        told, _ = first()
    assert not told.exit, told.err
    assert rows_in(place) == expected
