"""Every verb that prints results gives them as one JSON object."""

import json
import re

import pytest

from cofire.cli.main import VERBS
from tests.golden.place import build
from tests.golden.running import run

_PLAIN = "--resize 0 --mean 0.5 --std 0.25"
_BOXES = f"--data images --boxes boxes.json --model net.pt2 {_PLAIN}"
_STUDIED = "--bins 5 --community-runs 2 --null-graphs 2"
_OWN = "--model mine:digits_network"
WALK = {
    "study": f"digits --hidden 12,12 --epochs 1 --checkpoints 1 --top 2 {_STUDIED} --out run",
    "follow": f"run/checkpoints --model mine:studied --data mine:train --top 2 {_STUDIED} --out followed",
    "summarize": f"{_OWN} --data mine:test --bins 5 --shard 1/1 --out part",
    "merge": "part --out whole",
    "report": "run",
    "graph": "run",
    "neurons": f"{_OWN} --data mine:test --layer 2 --neuron 0 --out neurons",
    "boost": f"{_OWN} --train mine:train --validation mine:held_out --test mine:test --out boost",
    "explain": f"images/000.png --model net.pt2 {_PLAIN} --out explained",
    "evaluate": f"{_BOXES} --method centre,random --split all --limit 2 --out evaluated",
    "evaluate --shard 1/1": f"{_BOXES} --method centre --split all --limit 2 --out judged-part",
    "merge judged-part": "--out judged",
    "tune": f"{_BOXES} --trials 11 --try sigma=0.05,0.2 --out tuned",
    "trust make": f"{_BOXES} --against net.pt2 --count 4 --checks 1 --repeats 1 --out trust",
    "trust report": "trust --simulated 8",
    "recipes": "",
    "doctor": "",
}
"""What each verb is asked, in an order in which later ones read what earlier ones wrote."""
WITHOUT = {"demo": "two studies, as study gives them", "trust serve": "serves until it is stopped"}


def test_every_verb_is_walked():
    walked = {name.split()[0] for name in (*WALK, *WITHOUT)}
    assert walked == set(VERBS)


@pytest.mark.slow
def test_every_verb_gives_json_and_nothing_else(tmp_path):
    place = build(tmp_path / "user")
    for verb, options in WALK.items():
        told = run((*verb.split(), *options.split(), "--json"), place)
        assert told.exit == 0, (verb, told.err)
        found = json.loads(told.out, parse_constant=pytest.fail)
        assert isinstance(found, dict), verb
        assert found, verb
        objects = re.findall(r'"(?:tensor|array|<\w+)[(. ][^"]*"', told.out)
        assert not objects, (verb, objects[:3])


def test_what_is_not_known_is_null(monkeypatch, tmp_path):
    from cofire.cli import doctor

    values = {"ready": [float("nan"), (1.5, float("inf"))]}
    monkeypatch.setattr(doctor, "doctor", lambda options: values)
    assert json.loads(run(("doctor", "--json"), tmp_path).out) == {"ready": [None, [1.5, None]]}
