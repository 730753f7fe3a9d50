"""What ends the help of every verb: examples that run as they stand, and what its exit status says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

EXAMPLES = {
    "demo": (
        (
            "Everything that a study does, on data that come with scikit-learn, in about a minute:",
            "",
        ),
        ("Other weights and another order, in a folder of its own:", "--seed 1 --out second-demo"),
    ),
    "study": (
        ("A paper's experiment by its name; `cofire recipes` lists them:", "fashion-mnist"),
        (
            "Own images, one folder for each class, and a small CNN:",
            "--data imagefolder:photos/train --model cnn --image-size 64 --epochs 20",
        ),
        ("What the neurons do when labels mean nothing:", "digits-mixed --epochs 30 --seed 3"),
        ("Boost every checkpoint, and explain 8 images:", "digits --boost readout --explain 8"),
    ),
    "follow": (
        (
            "Checkpoints that a training run of your own has written:",
            "runs/mine --model my.models:net --data imagefolder:photos/train --test imagefolder:photos/val",
        ),
        (
            "Under the key at which a trainer keeps the weights, without graphs:",
            "epoch-*.pt --model torchvision:resnet18 --num-classes 10 --weights-key model "
            "--data my.data:training --pairs none",
        ),
    ),
    "summarize": (
        (
            "A network of torchvision on a folder of images:",
            "--model torchvision:resnet50 --data imagefolder:photos/val",
        ),
        (
            "Selectivity and graphs of the last two layers as well:",
            "--model my.models:net --weights net.safetensors --data my.data:training --layer relu4 --layer relu5 "
            "--by-class statistics --pairs class",
        ),
        (
            "The third of sixteen parts of a job array, for `cofire merge`:",
            "--model torchvision:resnet50 --data imagefolder:photos/val --shard 3/16 --out part3",
        ),
    ),
    "merge": (
        (
            "The results of two parts; of summarize the ranges first, and the results after the second pass:",
            "part1 part2 --out whole",
        ),
    ),
    "report": (
        ("The page of a finished study, written again:", "runs/digits-seed0"),
        ("Its figures as PNG and SVG too:", "runs/digits-seed0 --figures"),
    ),
    "graph": (
        ("The last layer's graph, in numbers:", "runs/digits-seed0"),
        (
            "For Gephi, coloured by communities of Louvain:",
            "cofire-demo --communities louvain --out last.gexf",
        ),
        (
            "An earlier layer and checkpoint:",
            "cofire-demo --layer relu1 --checkpoint 1 --out first.graphml",
        ),
    ),
    "neurons": (
        (
            "The images that three neurons fire most for:",
            "--model torchvision:resnet50 --data imagefolder:photos/val --layer layer4.2.relu:2 --neuron 7,21,300",
        ),
        (
            "Twenty images for each, from a network of your own:",
            "--model my.models:net --data my.data:training --layer relu3 --neuron 0 --top-samples 20",
        ),
    ),
    "boost": (
        (
            "Does it help? Fitted on training data, judged on test data:",
            "--model my.models:net --train my.data:training --validation my.data:held_out --test my.data:test",
        ),
        (
            "From the last two layers, by whichever method is best on held-out data:",
            "--model net.pt2 --train imagefolder:photos/train --test imagefolder:photos/test --layer L2L "
            "--booster auto",
        ),
        (
            "The second of four parts of a job array, for `cofire merge`:",
            "--model my.models:net --train my.data:training --test my.data:test --shard 2/4 --out part2",
        ),
    ),
    "explain": (
        ("Why this class?", "cat.jpg --model torchvision:resnet50"),
        (
            "All methods side by side, for the two likeliest classes:",
            "photos --model torchvision:resnet18 --method all --top 2",
        ),
        (
            "Why class 281, in a network of your own?",
            "cat.jpg --model net.pt2 --classes names.txt --target 281",
        ),
        (
            "The second of four parts of a job array, for `cofire merge`:",
            "photos --model torchvision:resnet18 --shard 2/4 --out part2",
        ),
    ),
    "evaluate": (
        (
            "Do maps point at the object? Two methods against the centre of the image:",
            "--data photos --boxes boxes.json --model torchvision:resnet50 --method discernible,gradcam,centre",
        ),
        (
            "How far maps move under an attack, and where another network looks:",
            "--data photos --boxes annotations --model torchvision:vgg16 --robustness 50 "
            "--against torchvision:resnet50",
        ),
        (
            "The second of four parts of a job array, for `cofire merge`:",
            "--data photos --boxes boxes.json --model torchvision:resnet50 --shard 2/4 --out part2",
        ),
    ),
    "tune": (
        (
            "Learn a method's options on images with boxes:",
            "--data photos --boxes boxes.json --model torchvision:vgg16",
        ),
        (
            "Choose among these values only:",
            "--data photos --boxes boxes.json --model net.pt2 --try sigma=0.02,0.05 --try threshold=0.3,0.5",
        ),
    ),
    "trust make": (
        (
            "Sixteen pairs of maps of two networks:",
            "--data photos --boxes boxes.json --model torchvision:vgg16 --against torchvision:alexnet --count 16",
        ),
    ),
    "trust serve": (
        ("On this machine:", "cofire-trust"),
        ("For a network, with 40 links of invitation:", "cofire-trust --host 0.0.0.0 --invite 40"),
    ),
    "trust report": (
        ("What people said so far:", "cofire-trust"),
        ("The page that 30 simulated people would give:", "cofire-trust --simulated 30"),
    ),
    "recipes": (
        ("All of them:", ""),
        ("One whole: options, the paper's numbers, what it costs here:", "fashion-mnist"),
    ),
    "doctor": (("What is installed and what an extra would add:", ""), ("For a script:", "--json")),
}
"""For every verb what it is asked, and the options that ask it."""

STATUS = {
    0: "done",
    1: "a fault of data, model, files or options, which one message names, with what would mend it",
    2: "words on the command line that it does not know",
    130: "stopped by Ctrl-C",
}
"""What the exit status of every verb says."""

VARIABLES = {
    "COFIRE_DATA": "where data sets lie, unless --data-root says it",
    "COFIRE_PLUGINS": "own code to load, as --plugin does",
    "COFIRE_CHROMIUM": "the browser that draws figures as files",
    "COFIRE_DEBUG": "set: an unexpected error shows where it happened",
}
"""Variables of the environment that are read."""


class Ended:
    """A command whose help ends with lines as they stand, which can be copied: no frame, no break."""

    epilog: str | None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Called for --help."""
        ending, self.epilog = self.epilog, None
        try:
            super().format_help(ctx, formatter)  # type: ignore[misc]
        finally:
            self.epilog = ending
        typer.echo(f"{ending}\n")


def epilog(verb: str, *more: str) -> str:
    """What ends the help of a verb.

    Args:
        verb: Its name, as typed.
        more: What stands between its examples and the exit status.
    """
    lines = ["Examples:"]
    for asked, options in EXAMPLES[verb]:
        lines += [f"  {asked}", f"    cofire {verb} {options}".rstrip()]
    return "\n\n".join(["\n".join(lines), *more, told("Exit status", STATUS)])


def told(title: str, names: Mapping[Any, str]) -> str:
    """Names and what they say, a line each."""
    wide = max(len(str(name)) for name in names)
    return "\n".join(
        [f"{title}:", *(f"  {name!s:<{wide}}  {words}" for name, words in names.items())]
    )
