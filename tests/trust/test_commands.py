"""`cofire trust make | serve | report` as a lab runs them, and every way to ask wrongly."""

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import cofire.cli.trust as trust
from cofire.cli.main import app
from cofire.errors import (
    CofireError,
    DataError,
    ImageError,
    MissingExtraError,
    OptionError,
    ResultError,
)
from cofire.images.collection import AnnotatedImage, Collection
from cofire.images.preparation import Preparation
from cofire.trust.answers import Answers
from cofire.trust.design import PICTURES, Study
from cofire.trust.making import Side, choose, name_of
from cofire.trust.raters import simulated
from tests.evaluate.judged import SIDE, tiny_model, tiny_network, write_photos

PLAIN = ["--resize", "0", "--mean", "0.5", "--std", "0.25"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_photos(tmp_path_factory.mktemp("trust"), 24)
    (folder / "names.txt").write_text("red\n<b>green</b>\nblue\n")
    for name, noise in (("a", 0.0), ("b", 0.25)):
        model = tiny_model()
        with torch.no_grad():
            model[0].weight.add_(noise * torch.randn_like(model[0].weight))
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(
            model, (torch.zeros(2, 3, SIDE, SIDE),), dynamic_shapes=(batch,)
        )
        torch.export.save(program, folder / f"{name}.pt2")
    return folder


@pytest.fixture
def cofire(place, monkeypatch):
    """Runs a command in the place; an error comes out as it is raised."""
    monkeypatch.chdir(place)

    def run(line):
        told = CliRunner().invoke(app, ["trust", *line.split()], catch_exceptions=True)
        if isinstance(told.exception, CofireError):
            raise told.exception
        assert told.exit_code == 0, (told.output, told.exception)
        return told.output

    return run


MAKE = f"make --model a.pt2 --against b.pt2 --data photos --boxes boxes.json {' '.join(PLAIN)}"


@pytest.fixture(scope="module")
def made(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        line = f"trust {MAKE} --count 6 --classes names.txt --method discernible,gradcam --out made"
        told = CliRunner().invoke(app, line.split())
    assert told.exit_code == 0, (told.output, told.exception)
    return place / "made", told.output


def test_make_chooses_what_both_are_right_about_and_says_how_many_people_are_needed(made):
    folder, told = made
    study = Study.open(folder)
    assert (len(study.pairs), len(study.checks), len(study)) == (6, 2, 10)
    assert study.networks == ("a.pt2", "b.pt2")
    assert study.methods == ("discernible", "gradcam")
    assert all(len(one.maps) == 2 for one in study.pairs)
    assert {one.object for one in study.pairs} <= {"red", "<b>green</b>", "blue"}
    names = [one.image for one in (*study.pairs, *study.checks, study.example)]
    assert len(set(names)) == 9
    assert "12 people and 6 pairs find a preference of" in told
    assert "55 % of votes: more pairs, however many come" in told
    for name in study.files:
        assert name_of((folder / PICTURES / name).read_bytes()) == name.partition(".")[0]


def test_maps_have_one_colour_scale_and_wrong_ones_are_bright_elsewhere(made):
    folder, _ = made
    study = Study.open(folder)

    def light(name):
        pixels = np.asarray(Image.open(folder / PICTURES / name), dtype=float)
        return pixels[..., 0] + pixels[..., 1] - pixels[..., 2]

    for one in study.pairs:
        # The hottest pixel of every map has the hottest colour.
        assert len({light(name).max() > 250 for both in one.maps for name in both}) == 1
    for one in (*study.checks, study.example):
        ((right, wrong),) = one.maps
        places = [np.unravel_index(light(name).argmax(), (448, 448)) for name in (right, wrong)]
        assert np.hypot(*np.subtract(*places)) > 150


def test_the_same_seed_makes_the_same_study_and_another_one_another(cofire, place):
    chosen = []
    for out, seed in (("one", 1), ("two", 1), ("three", 2)):
        cofire(f"{MAKE} --count 4 --checks 1 --repeats 1 --seed {seed} --out {out}")
        chosen.append(Study.open(place / out).pairs)
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_study_takes_the_place_of_another_but_never_where_there_are_answers(cofire, place):
    line = f"{MAKE} --count 4 --checks 1 --repeats 1 --out again"
    cofire(f"{line} --seed 3")
    cofire(f"{line} --seed 4")
    study = Study.open(place / "again")
    assert {file.name for file in (place / "again" / PICTURES).iterdir()} == study.files
    Answers(f"sqlite:///{place}/again/answers.db", study).close()
    with pytest.raises(OptionError, match="with answers to the study"):
        cofire(f"{line} --seed 5")
    assert Study.open(place / "again") == study


def test_networks_that_see_other_parts_of_an_image_are_refused(place):
    network = tiny_network()
    images = Collection(
        tuple(
            AnnotatedImage(place / "photos" / f"{number:03d}.png", f"{number}.png", number % 3, ())
            for number in range(12)
        ),
        place / "photos",
    )
    whole = Preparation((3, SIDE, SIDE), 0, (0.5,) * 3, (0.25,) * 3)
    cut = replace(whole, resize=2 * SIDE, same_size="prepared")
    sides = (Side(network, whole, "a"), Side(network, cut, "b"))
    with pytest.raises(OptionError, match="networks that see other parts"):
        choose(sides, images, {"edges": {}}, 4, least=4)


def test_consent_and_contact_are_the_labs_own(cofire, place):
    (place / "consent.txt").write_text("First\nparagraph.\n\nSecond.\n")
    cofire(
        f"{MAKE} --count 4 --checks 0 --repeats 0 --consent consent.txt --contact a@b.org --out own"
    )
    study = Study.open(place / "own")
    assert study.consent == ("First paragraph.", "Second.")
    assert study.contact == "a@b.org"
    (place / "consent.txt").write_text("\n\n")
    with pytest.raises(OptionError, match="without a word"):
        cofire(f"{MAKE} --consent consent.txt --out none")


def test_what_cannot_be_made_is_told(cofire, place):
    with pytest.raises(DataError, match="24 images"):
        cofire(f"{MAKE} --out none")
    with pytest.raises(OptionError, match="--repeats 5 of 8 pairs"):
        cofire(f"{MAKE} --count 8 --repeats 5 --out none")
    with pytest.raises(OptionError, match="--data, as it is called now"):
        cofire("make --images photos")
    swapped = json.loads((place / "boxes.json").read_text())
    for entry in swapped:
        entry["label"] = (entry["label"] + 1) % 3
    (place / "swapped.json").write_text(json.dumps(swapped))
    with pytest.raises(DataError, match="0 of 24 images that both networks classify rightly"):
        cofire(f"{MAKE.replace('boxes.json', 'swapped.json')} --count 4 --out none")
    assert not (place / "none").exists()


def test_damaged_images_are_refused_or_left_out(cofire, place):
    photos = place / "damaged"
    photos.mkdir()
    for number in range(24):
        name = f"{number:03d}.png"
        content = (place / "photos" / name).read_bytes()
        (photos / name).write_bytes(content[:60] if number % 2 else content)
    line = MAKE.replace("--data photos", "--data damaged") + " --count 4 --checks 1 --repeats 1"
    with pytest.raises(ImageError, match="damaged"):
        cofire(f"{line} --out broken")
    cofire(f"{line} --skip-unreadable --batch-size 2 --out whole")
    assert all(int(one.image[:3]) % 2 == 0 for one in Study.open(place / "whole").pairs)


def test_report_writes_every_answer_and_what_they_amount_to(cofire, made):
    folder, _ = made
    study = Study.open(folder)
    with pytest.raises(ResultError, match="without answers"):
        cofire("report made")
    with pytest.raises(ResultError, match="where no study was served"):
        cofire("report made --database sqlite:///made/empty.db")
    answers = Answers(f"sqlite:///{folder}/answers.db", study)
    rows = simulated(study, 5, 0.8, careless=(2,))
    for person, answer in rows:
        answers.begin(person.id, person.device)
        answers.keep(answer)
    answers.begin("silent", "phone")
    told = cofire("report made")
    table = pq.read_table(folder / "answers.parquet")
    assert len(table) == len(rows) == 50
    assert set(table["left_out"].to_pylist()) == {"", "chose an obviously wrong map"}
    with (folder / "answers.csv").open(newline="") as file:
        again = list(csv.DictReader(file))
    assert [row["image"] for row in again] == table["image"].to_pylist()
    assert "2 people of 6 left out" in told
    left_out = json.loads((folder / "report.json").read_text())["left_out"]
    assert ["silent", "did not answer anything"] in left_out
    page = (folder / "report.html").read_text()
    assert "Simulated raters" not in page
    assert json.loads((folder / "report.json").read_text())["people"] == 4


def test_a_report_of_simulated_people_says_so_and_touches_no_answers(cofire, made):
    folder, _ = made
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*answers*")}
    told = cofire("report made --simulated 12")
    assert "Simulated raters: no person answered this" in told
    assert "Simulated raters" in (folder / "simulated.html").read_text()
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*answers*")} == before


def test_a_table_for_spreadsheets_runs_nothing(tmp_path):
    import pyarrow as pa

    trust._write_csv(pa.table({"image": ["=1+1", "a.png", ""], "n": [1, 2, 3]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().split() == ["image,n", "'=1+1,1", "a.png,2", ",3"]


def test_others_reach_a_study_by_invitation_only(cofire, made, place, monkeypatch):
    served = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: served.append(self.config.app))
    with pytest.raises(OptionError, match="without --invite"):
        cofire("serve made --host 0.0.0.0 --port 0")
    first = cofire("serve made --host 0.0.0.0 --port 0 --invite 2")
    again = cofire("serve made --host 127.0.0.1 --port 0 --invite 3")
    file = place / "made" / "invites.txt"
    tokens = file.read_text().split()
    assert len(set(tokens)) == 3
    assert all(token in first for token in tokens[:2])
    assert all(token in again for token in tokens)
    assert file.stat().st_mode & 0o077 == 0
    assert "Note: answers cross the network as plain text" in first
    assert "Note" not in again
    assert len(served) == 2


def test_behind_a_proxy_links_are_those_that_people_open(cofire, made, monkeypatch):
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    line = "serve made --port 0 --behind-proxy"
    told = cofire(f"{line} https://study.example/ --invite 1")
    assert "https://study.example/p/" in told
    assert "passes https://study.example on to http://127.0.0.1:" in told
    assert "plain text" not in told
    assert "plain text" in cofire(f"{line} http://study.example --invite 1")
    with pytest.raises(OptionError, match="without --invite"):
        cofire(f"{line} https://study.example")
    for wrong in (
        "study.example",
        "ftp://a",
        "https://a/b",
        "https://a?b",
        "https://a:b",
        "https://[a",
    ):
        with pytest.raises(OptionError, match="--behind-proxy"):
            cofire(f"{line} {wrong} --invite 1")


def test_links_are_never_readable_by_others(cofire, made, place, monkeypatch):
    (place / "made" / "invites.txt").unlink(missing_ok=True)
    modes = []
    replace_ = type(place).replace

    def seen(self, target):
        modes.append((self.stat().st_mode & 0o777, str(target)))
        return replace_(self, target)

    monkeypatch.setattr(type(place), "replace", seen)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    cofire("serve made --port 0 --invite 1")
    assert [mode for mode, name in modes if name.endswith("invites.txt")] == [0o600]


def test_a_port_that_is_taken_and_a_host_that_is_none_are_told(cofire, made):
    import socket

    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OptionError, match="in use"),
    ):
        cofire(f"serve made --port {taken.getsockname()[1]}")
    with pytest.raises(OptionError, match="an address of this machine"):
        cofire("serve made --host 192.0.2.1 --invite 1 --port 0")


def test_without_the_extra_it_says_what_to_install(cofire, monkeypatch):
    monkeypatch.setattr(trust, "version_of", lambda name: None if name == "sqlmodel" else "1")
    with pytest.raises(MissingExtraError, match="cofire trust without sqlmodel"):
        cofire("report made")
