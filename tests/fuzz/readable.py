"""A good file of every kind that is read, with its reader."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import cofire
from cofire import evaluate
from cofire.evaluate.bandit import BanditRun
from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.measures import records_schema
from cofire.evaluate.records import Chunks
from cofire.evaluate.results import Robustness, TwoNetworks
from cofire.evaluate.tuned import read_tuned
from cofire.graphs import ActivationPatternGraph
from cofire.images.boxes import read_boxes
from cofire.images.classes import read_names
from cofire.images.datasets import folder_of_classes
from cofire.images.elsewhere import parts_elsewhere
from cofire.images.layouts import open_collection
from cofire.images.preparation import Preparation
from cofire.images.reading import read_image
from cofire.study import StudyOptions, run_study
from cofire.study.networks import fcnn
from cofire.study.samples import Samples
from cofire.study.training import Course, Training
from cofire.trust.answers import Answers
from cofire.trust.design import FILE, Study
from cofire.trust.judging import Judgement, answers_table, judge
from cofire.trust.raters import simulated
from tests.conftest import Tiny
from tests.trust.small import answers_of, small_study

HELD = {"file": "a.png", "label": 0, "size": [8, 8], "boxes": [[0, 0, 4, 4]]}
COCO = {
    "images": [{"id": 7, "file_name": "a.png", "width": 8, "height": 8}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 2, "bbox": [0, 0, 4, 4], "iscrowd": 0}],
    "categories": [{"id": 2, "name": "b"}],
}
VOC = (
    "<annotation><filename>v.jpg</filename><size><width>8</width><height>8</height></size><object><name>a</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object></annotation>"
)
ENDINGS = ("png", "jpg", "tif", "gif", "webp", "bmp")
RECIPE = 'data = "digits"\nhidden = [8, 8]\nepochs = 1\n'


def good_files(place):
    """Write them, each with what reads it."""
    torch.manual_seed(0)
    tiny = Tiny()
    network, weights = tiny.network, tiny.model.state_dict()
    cofire.save_weights(weights, place / "w.safetensors")
    torch.save(weights, place / "w.pt")
    torch.save({"state_dict": weights, "epoch": 3}, place / "w.ckpt")
    torch.save(weights, place / "old.pth", _use_new_zipfile_serialization=False)
    program = torch.export.export(
        tiny.model.eval(), (tiny.inputs[:2],), dynamic_shapes=({0: torch.export.Dim("b")},)
    )
    torch.export.save(program, place / "m.pt2")
    summary = cofire.summarize(network, tiny.data, by_class=True, pairs="class", top=2, bins=4)
    summary.save(place / "s.safetensors")
    summary.graph("3").save(place / "g.safetensors")
    cofire.explain(network, tiny.inputs[:2]).save(place / "e.safetensors")
    others = torch.randn(30, 5), torch.arange(30) % 3
    cofire.Booster(network).fit(tiny.data, others).save(place / "b.safetensors")
    cofire.PatternConfidence(network).fit(tiny.data).save(place / "c.safetensors")
    cofire.follow(
        network, [weights], tiny.data, top=2, null_graphs=0, community_runs=2, folder=place / "t"
    )
    evaluate.ucb1(3, torch.rand(10, 3), 10).save(place / "bandit.json")
    Chunks(place / "run", {"seed": 0}).put(0, records_schema().empty_table())
    (place / "boxes.json").write_text(json.dumps([HELD]))
    (place / "coco.json").write_text(json.dumps(COCO))
    (place / "v.xml").write_text(VOC)
    (place / "names.json").write_text('["a", {"name": "b"}, "c"]')
    (place / "names.txt").write_text("a\nb\nc\n")
    (place / "c.toml").write_text(RECIPE)
    for ending in ENDINGS:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / f"i.{ending}")
    options = StudyOptions.of(data="digits", hidden=(4,), epochs=1, checkpoints=1, pairs="none")
    run_study(options, place / "study", progress=False)
    people = trust_study(place / "trust")
    labelled_images(place)
    archive = max((Path(__file__).parents[1] / "old_results").glob("*.zip"))
    with zipfile.ZipFile(archive) as results:
        results.extractall(place / "old")
    old = place / "old"
    return {
        **{
            place / name: network.with_weights
            for name in ("w.safetensors", "w.pt", "w.ckpt", "old.pth")
        },
        place / "m.pt2": cofire.Network.load,
        place / "s.safetensors": cofire.ActivationSummary.load,
        place / "g.safetensors": ActivationPatternGraph.load,
        place / "e.safetensors": cofire.Explanation.load,
        place / "b.safetensors": lambda path: cofire.Booster.load(path, network),
        place / "c.safetensors": lambda path: cofire.PatternConfidence.load(path, network),
        place / "t" / "layers.parquet": in_folder(cofire.Trajectory.load),
        **{path: in_folder(cofire.Trajectory.load) for path in old.glob("study/[!c]*.parquet")},
        **{path: in_folder(Evaluation.load) for path in old.glob("evaluated/[er]*.*")},
        old / "evaluated" / "robustness.json": Robustness.load,
        old / "evaluated" / "two-networks.json": TwoNetworks.load,
        old / "tuned" / "weights-of-layers.json": read_tuned,
        place / "bandit.json": BanditRun.load,
        place / "tuned.json": read_tuned,
        place / "evaluation.json": in_folder(Evaluation.load),
        place / "run" / "rows" / "options.json": lambda path: Chunks(
            path.parent.parent, {"seed": 0}
        ),
        place / "run" / "rows" / "000000.parquet": lambda path: Chunks(
            path.parent.parent, {"seed": 0}
        ).get(0, [], []),
        place / "boxes.json": lambda path: read_boxes(path, ["a", "b", "c"]),
        place / "coco.json": lambda path: read_boxes(path, ["a", "b", "c"]),
        place / "v.xml": lambda path: read_boxes(path, ["a", "b", "c"]),
        place / "names.json": lambda path: read_names(path, 3),
        place / "names.txt": lambda path: read_names(path, 3),
        place / "c.toml": StudyOptions.of,
        **{place / f"i.{ending}": read_image for ending in ENDINGS},
        place / "study" / "study.json": lambda path: run_study(
            options, path.parent, progress=False
        ),
        place / "study" / "training.pt": lambda path: state(options, path),
        place / "trust" / FILE: lambda path: Study.open(path.parent).trials(1),
        place / "trust" / "answers.db": lambda path: answered(path, people),
        place / "trust" / "judgement.json": Judgement.load,
        place / "folder" / "a" / "one.png": lambda path: whole(path.parents[1], "imagefolder"),
        place / "folder" / "boxes.json": lambda path: open_collection(path.parent, path),
        place / "parquet" / "train.parquet": lambda path: whole(path, "parquet"),
        place / "tar" / "train.tar": lambda path: whole(path, "webdataset"),
    }


def in_folder(load):
    return lambda path: load(path.parent)


def trust_study(place):
    """A study with answers of all kinds, and what they amount to."""
    study = small_study(place, pairs=3)
    said = simulated(study, 6, 0.7)
    judge(study, answers_table(study, said)).save(place / "judgement.json")
    study_answers = answers_of(place, study)
    for person in {person.id: person for person, _ in said}.values():
        study_answers.begin(person.id, person.device)
    for _, answer in said:
        study_answers.keep(answer)
    study_answers.close()
    return study


def answered(path, study):
    """Reads a database of answers, of which it leaves the file alone."""
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    found = Answers(f"sqlite:///{path}", study, begun=True)
    try:
        judge(study, answers_table(study, found.all()), found.people())
    finally:
        found.close()


def labelled_images(place):
    """The same images in folders of classes, in a table and in a tar."""
    for folder in ("folder/a", "folder/b", "parquet", "tar"):
        (place / folder).mkdir(parents=True)
    rows = []
    with tarfile.open(place / "tar" / "train.tar", "w") as tar:
        for label, name in enumerate("ab"):
            file = place / "folder" / name / "one.png"
            Image.fromarray(np.full((8, 8, 3), 9 * label, np.uint8)).save(file)
            content = file.read_bytes()
            rows.append({"image": {"bytes": content, "path": None}, "label": label})
            for member, held in ((f"{name}.png", content), (f"{name}.cls", name.encode())):
                entry = tarfile.TarInfo(member)
                entry.size = len(held)
                tar.addfile(entry, io.BytesIO(held))
    pq.write_table(pa.Table.from_pylist(rows), place / "parquet" / "train.parquet")
    boxed = [HELD | {"file": f"{name}/one.png", "label": label} for label, name in enumerate("ab")]
    (place / "folder" / "boxes.json").write_text(json.dumps(boxed))


def whole(path, kind):
    """Reads all images of a data set."""
    look = Preparation((3, 8, 8), 0, (0.5,) * 3, (0.5,) * 3)
    if kind == "imagefolder":
        for image, _ in folder_of_classes(path, look):
            assert image.shape == look.shape
    for opened in parts_elsewhere(kind, str(path)).values():
        for image, _ in opened(look):
            assert image.shape == look.shape


def state(options, path):
    labels = torch.zeros(4, dtype=torch.int64)
    data = Samples(torch.zeros(4, 64), labels, "0123456789")
    return Training(fcnn(64, (4,), 10), options, data, Course(1, [1]), path.parent)
