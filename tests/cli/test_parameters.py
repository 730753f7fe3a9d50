"""One command line: what is the same for every verb, and what a wrong value is told."""

import json

import pytest

from cofire.cli.main import VERBS
from tests.golden.running import run
from tests.study.shrunken import folders


@pytest.mark.parametrize(
    "verb", [*(one for one in VERBS if one != "trust"), "trust make", "trust serve"]
)
def test_every_verb_has_the_same_flags_for_what_it_says(verb, tmp_path):
    told = run((*verb.split(), "--help"), tmp_path).out
    for flag in ("--quiet", "-q", "--verbose", "-v", "--json", "--version", "-V", "-h"):
        assert f" {flag} " in told, flag
    if verb in VERBS:
        assert " ".join(VERBS[verb].split()) in " ".join(told.split())


@pytest.mark.parametrize("verb", ["study", "summarize", "report", "explain"])
def test_a_verb_alone_shows_its_usage(verb, tmp_path):
    assert f"Usage: cofire {verb} [OPTIONS]" in run((verb,), tmp_path).out


def test_a_verb_of_several_parts_lists_them(tmp_path):
    for arguments in (("trust",), ("trust", "--help")):
        told = run(arguments, tmp_path).out
        assert all(f" {part} " in told for part in ("make", "serve", "report"))


def test_json_is_all_that_is_printed(tmp_path):
    told = run(("doctor", "--json"), tmp_path)
    assert json.loads(told.out)["ready"] is True


def test_quiet_says_nothing_beside_the_results_and_verbose_says_how_long_it_took(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\ntorch.manual_seed(0)\n"
        "def model():\n    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))\n"
        "def data():\n    return torch.randn(20, 4), torch.arange(20) % 2\n"
    )
    command = ("summarize", "--model", "mine:model", "--data", "mine:data", "--out", "out")
    loud, quiet = run((*command, "-v"), tmp_path), run((*command, "-q"), tmp_path)
    assert "2 layers" in loud.err or "1 layers" in loud.err
    assert "Took " in loud.err
    assert quiet.err == ""
    assert quiet.out == loud.out


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [
        ("boost", "--method", "--booster"),
        ("evaluate", "--images", "--data"),
        ("evaluate", "--methods", "--method"),
        ("evaluate", "--tuning-photos", "--tuning-images"),
        ("tune", "--images", "--data"),
        ("tune", "--photos", "--sample"),
    ],
)
def test_a_renamed_flag_names_the_new_one(command, old, new, tmp_path):
    for given in ((old, "x"), (f"{old}=x",)):
        told = run((command, *given), tmp_path)
        assert told.exit == 1
        assert f"cofire: {old}. Expected: {new}, as it is called now." in told.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--unit", "chanel"), "--unit 'chanel'. Expected: one of 'channel', "),
        (("--unit", "chanel"), "To fix it: pass 'channel'."),
        (("--bins", "0"), "To fix it: pass --bins 100."),
        (("--batch-size", "0"), "--batch-size 0. Expected: a whole number from 1"),
        (("--bisn", "3"), "No such option: --bisn (Possible options: --bins"),
    ],
)
def test_a_wrong_value_is_told_in_the_shells_words(given, said, tmp_path):
    told = run(("summarize", "--model", "a:b", "--data", "c:d", *given), tmp_path)
    assert said in " ".join(told.err.split())
    assert "batch_size" not in told.err


def test_options_of_methods_are_options_of_explain_in_panels_of_their_own(tmp_path):
    told = run(("explain", "--help"), tmp_path).out
    assert "Options of gradcam, gradcam++" in told
    assert "Options of discernible " in told
    assert "[default: 10]" in told


def test_remedies_name_options_as_the_shell_does():
    from cofire.cli.parameters import in_shell_words
    from cofire.cli.study import Study

    said = in_shell_words("pass another observe, or leave train_samples out", Study)
    assert said == "pass another --observe, or leave --train-samples out"


def test_images_that_a_network_is_too_deep_for_are_told_with_what_works(tmp_path):
    data = f"imagefolder:{folders(tmp_path, 2, 16, (2, 2)) / 'train'}"
    (tmp_path / "deep.py").write_text(
        "from torch import nn\ndef model():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), "
        "nn.MaxPool2d(12), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    command = ("summarize", "--model", "deep:model", "--data", data, "--out", "out")
    told = run((*command, "--image-size", "8"), tmp_path)
    assert told.exit == 1
    assert "images of shape (3, 8, 8)" in told.err
    assert "a larger --image-size" in told.err
    assert run((*command, "--image-size", "16"), tmp_path).exit == 0
