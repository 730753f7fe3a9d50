"""The commands whose results are recorded: a new one is one row."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command, run in the user's folder.

    Attributes:
        name: Of the recorded files.
        line: What follows `cofire`.
        gives: Files and folders, below the user's, whose contents are recorded.
        after: Names of commands whose results it reads.
    """

    name: str
    line: str
    gives: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(shlex.split(self.line))


_PLAIN = "--resize 0 --mean 0.5 --std 0.25"
_IMAGES = f"--model net.pt2 {_PLAIN}"
_BRANCHED = f"--model mine:branched --image-size 16 {_PLAIN}"
_BOXES = f"--data images --boxes boxes.json {_IMAGES}"
_STUDY = (
    "study digits --batch-size 64 --learning-rate 0.01 --bins 10 "
    "--community-runs 2 --null-graphs 2 --boost readout"
)
_FCNN = f"{_STUDY} --hidden 12,12 --epochs 3 --checkpoints 3 --explain 2 --out fcnn"
_BOOST = "--train mine:train --test mine:test"

COMMANDS = (
    Command("study-fcnn", _FCNN, ("fcnn",)),
    Command(
        "study-fcnn-again",
        _FCNN,
        ("fcnn/correlations.parquet",),
        ("study-fcnn",),
    ),
    Command(
        "study-cnn",
        f"{_STUDY} --model cnn --hidden 12 --epochs 1 --checkpoints 2 --pairs none --explain 1 "
        "--out cnn",
        ("cnn",),
    ),
    Command("study-config", "study --config small.toml --seed 1 --out mixed", ("mixed",)),
    Command(
        "follow",
        "follow fcnn/checkpoints --model mine:studied --data mine:train --test mine:test --bins 10 "
        "--top 2,4 --community-runs 2 --null-graphs 2 --boost readout --boost-layers all,LL "
        "--out followed",
        ("followed",),
        ("study-fcnn",),
    ),
    Command("recipes", "recipes"),
    Command("report-study", "report fcnn", ("fcnn/report.html",), ("study-fcnn-again",)),
    Command(
        "summarize",
        "summarize --model mine:digits_network --data mine:test --by-class full --pairs class "
        "--bins 10 --community-runs 2 --null-graphs 2 --out summary",
        ("summary",),
    ),
    Command(
        "summarize-images",
        f"summarize {_IMAGES} --data imagefolder:by_class --by-class statistics --bins 10 "
        "--out summary-images",
        ("summary-images",),
    ),
    Command(
        "summarize-elements",
        "summarize --model mine:digits_cnn --data mine:test --unit element --layer 1 --bins 5 "
        "--range global --threshold 0.1 --out summary-elements",
        ("summary-elements",),
    ),
    Command("report-summary", "report summary", ("summary/report.html",), ("summarize",)),
    Command("graph", "graph fcnn --out fcnn.gexf", ("fcnn.gexf",), ("study-fcnn",)),
    Command(
        "graph-louvain",
        "graph fcnn --layer relu1 --checkpoint 1 --communities louvain --out fcnn.graphml",
        ("fcnn.graphml",),
        ("study-fcnn",),
    ),
    Command(
        "graph-leiden",
        "graph summary --communities leiden --resolution 1 --out summary.graphml",
        ("summary.graphml",),
        ("summarize",),
    ),
    Command(
        "graph-kernighan-lin", "graph summary --communities kernighan-lin", after=("summarize",)
    ),
    Command(
        "boost",
        f"boost --model mine:digits_network {_BOOST} --validation mine:held_out --out boost",
        ("boost",),
    ),
    Command(
        "boost-auto",
        f"boost --model mine:digits_cnn {_BOOST} --validation mine:held_out --booster auto "
        "--layer L2L --unit channel-max --threshold mean --margin 2 --out boost-auto",
        ("boost-auto",),
    ),
    Command(
        "boost-auxiliary",
        f"boost --model mine:digits_network {_BOOST} --validation mine:held_out "
        "--booster auxiliary --layer LL --out boost-auxiliary",
        ("boost-auxiliary",),
    ),
    Command(
        "explain",
        f"explain images/000.png images/004.png {_IMAGES} --method all --classes names.txt "
        "--out explained",
        ("explained",),
    ),
    Command(
        "explain-branched",
        f"explain images/001.png {_BRANCHED} --target 1 --out explained-branched --method "
        "discernible,discernible-p3,discernible-points,cnn-fixations,gradcam,gradcam++",
        ("explained-branched",),
    ),
    Command(
        "explain-top",
        f"explain images/000.png {_IMAGES} --top 2 --alpha 1,0.5,1 --k 3 --contrast none "
        "--out explained-top",
        ("explained-top",),
    ),
    Command(
        "explain-tuned",
        f"explain images/000.png {_IMAGES} --weights-of-layers tuned/weights-of-layers.json "
        "--out explained-tuned",
        ("explained-tuned",),
        ("tune",),
    ),
    Command(
        "evaluate",
        f"evaluate {_BOXES} --method discernible,gradcam,lrp,centre --split all --measures all "
        "--limit 4 --classes names.txt --robustness 2 --against other.pt2 --against-mean 0.5 "
        "--against-std 0.25 --out evaluated",
        ("evaluated",),
    ),
    Command(
        "trust-make",
        f"trust make {_BOXES} --against net.pt2 --against-mean 0.4 --against-std 0.25 --count 4 "
        "--checks 1 --repeats 1 --out trust",
    ),
    Command(
        "trust-simulated",
        "trust report trust --simulated 12",
        ("trust/simulated.html", "trust/simulated.json"),
        ("trust-make",),
    ),
    Command(
        "evaluate-all",
        f"evaluate {_BOXES} --method all --split all --limit 2 --out evaluated-all",
        ("evaluated-all",),
    ),
    Command(
        "evaluate-draws",
        f"evaluate {_BOXES} --method centre,random --measures localisation,soft --sample 3 "
        "--draws 2 --fill black --margin 5 --out evaluated-draws",
        ("evaluated-draws",),
    ),
    Command(
        "tune",
        f"tune {_BOXES} --trials 3 --try contrast=0,0.7 --try sigma=0.05,0.2 "
        "--try threshold=0.3,0.5 --exact --out tuned",
        ("tuned",),
    ),
    Command(
        "tune-points",
        f"tune {_BOXES} --method discernible-points --trials 3 --try current=0.5,1 "
        "--try preceding=0,1 --try succeeding= --try k=1,all --try k-linear= --try min_share= "
        "--try radius= --try sigma=0.05,0.2 --out tuned-points",
        ("tuned-points",),
    ),
)

BY_NAME = {command.name: command for command in COMMANDS}

_DATA = "--data mine:test --out wrong"

WRONG_USES = {
    "no such command": "studdy digits",
    "no such option": "study digits --epoch 3",
    "no data set": "study --seed 1",
    "unknown data set": "study digit --out wrong",
    "unknown network": "study digits --model resnet --out wrong",
    "epochs that are no number": "study digits --epochs ten",
    "no epochs": "study digits --epochs 0 --out wrong",
    "more checkpoints than steps": "study digits --epochs 1 --checkpoints 500 --out wrong",
    "dropout above one": "study digits --dropout 1.5 --out wrong",
    "no file of options": "study --config missing.toml --out wrong",
    "file of options that cannot be read": "study --config bad.toml --out wrong",
    "unknown option in a file": "study --config unknown.toml --out wrong",
    "unknown booster in a study": "study digits --boost forest --out wrong",
    "report of a missing folder": "report missing",
    "report of another folder": "report images",
    "graph of a missing folder": "graph missing",
    "graph of an unknown layer": "graph summary --layer relu9",
    "graph of an unknown kind of file": "graph summary --out graph.dot",
    "graph of unknown communities": "graph summary --communities infomap",
    "graph of a summary without pairs": "graph summary-images",
    "summarize without a model": "summarize --data mine:test",
    "unknown torchvision model": f"summarize --model torchvision:resnet5 {_DATA}",
    "unknown module": f"summarize --model ours:model {_DATA}",
    "unknown function": f"summarize --model mine:digits_net {_DATA}",
    "a function that gives no model": f"summarize --model mine:number {_DATA}",
    "a function that fails": f"summarize --model mine:broken {_DATA}",
    "a missing program": f"summarize --model missing.pt2 {_DATA}",
    "missing weights": f"summarize --model mine:digits_network --weights missing.pt {_DATA}",
    "no such data": "summarize --model mine:digits_network --data imagefolder:missing --out wrong",
    "data with NaN": "summarize --model mine:digits_network --data mine:with_nan --out wrong",
    "labels that are no integers": "summarize --model mine:digits_network --data mine:floats "
    "--by-class full --out wrong",
    "images of another size": f"summarize --model net.pt2 {_DATA}",
    "unknown layer": f"summarize --model mine:digits_network --layer relu {_DATA}",
    "unknown unit": f"summarize --model mine:digits_network --unit pixel {_DATA}",
    "no bins": f"summarize --model mine:digits_network --bins 0 {_DATA}",
    "pairs without classes": f"summarize --model mine:digits_network --pairs class {_DATA}",
    "unknown device": f"summarize --model mine:digits_network --device tpu {_DATA}",
    "unknown booster": f"boost --model mine:digits_network {_BOOST} --validation mine:held_out "
    "--booster forest --out wrong",
    "explain a missing image": f"explain missing.png {_IMAGES} --out wrong",
    "explain an empty folder": f"explain empty {_IMAGES} --out wrong",
    "explain a damaged image": f"explain bad.png {_IMAGES} --out wrong",
    "unknown method": f"explain images/000.png {_IMAGES} --method gradcan --out wrong",
    "weights of attention where there is none": f"explain images/000.png {_BRANCHED} --method lrp "
    "--attention weights --out wrong",
    "unknown class": f"explain images/000.png {_IMAGES} --classes names.txt --target yellow "
    "--out wrong",
    "class out of range": f"explain images/000.png {_IMAGES} --target 3 --out wrong",
    "too few names of classes": f"explain images/000.png {_IMAGES} --classes two.txt --out wrong",
    "unknown layer of Grad-CAM": f"explain images/000.png {_IMAGES} --method gradcam --layer conv9 "
    "--out wrong",
    "weights of layers that are no numbers": f"explain images/000.png {_IMAGES} --alpha 1,x,1 "
    "--out wrong",
    "a mean of two channels": "explain images/000.png --model net.pt2 --resize 0 --mean 0.5,0.5 "
    "--std 0.25 --out wrong",
    "boxes that cannot be read": f"evaluate --data images --boxes bad.json {_IMAGES} --out wrong",
    "no images to evaluate": f"evaluate --data empty --boxes boxes.json {_IMAGES} --out wrong",
    "unknown method to evaluate": f"evaluate {_BOXES} --method centre,gradcan --out wrong",
    "unknown measure": f"evaluate {_BOXES} --measures localization --out wrong",
    "unknown split": f"evaluate {_BOXES} --split test --out wrong",
    "a mean for another network that is not given": f"evaluate {_BOXES} --against-mean 0.5 "
    "--out wrong",
    "other options in the same folder": f"evaluate {_BOXES} --method centre,random "
    "--measures localisation --seed 3 --out evaluated-draws",
    "unknown option to tune": f"tune {_BOXES} --try width=1,2 --out wrong",
    "values to try that are none": f"tune {_BOXES} --try contrast=a,b --out wrong",
    "unknown method to tune": f"tune {_BOXES} --method edges --out wrong",
}
"""What is asked wrongly, and how. Most would write a folder `wrong`; nothing may be left in it."""

READ_BY_WRONG_USES = ("summarize", "summarize-images", "evaluate-draws")
"""Commands whose results wrong uses read."""

VERBS = (
    "demo",
    "study",
    "follow",
    "summarize",
    "report",
    "graph",
    "boost",
    "explain",
    "evaluate",
    "tune",
    "trust make",
    "trust serve",
    "trust report",
    "recipes",
    "doctor",
)
"""Commands whose options are recorded."""
