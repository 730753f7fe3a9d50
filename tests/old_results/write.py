"""Write one small result of each kind: `python -m tests.old_results.write FILE.zip`.

It was run once with the code of each day that a file beside it is named after, by that code's
`src` in front of `PYTHONPATH`; what code of today writes becomes a new file of its day.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

import cofire
from tests.golden.place import build
from tests.golden.running import run

_PLAIN = "--model net.pt2 --resize 0 --mean 0.5 --std 0.25"
_BOXES = f"--data images --boxes boxes.json {_PLAIN}"
COMMANDS = (
    "study digits --hidden 6 --epochs 3 --checkpoints 3 --batch-size 64 --learning-rate 0.01 "
    "--bins 5 --top 3 --community-runs 2 --null-graphs 2 --boost readout --explain 1 --out study",
    "summarize --model mine:digits_network --data mine:test --by-class full --pairs class --bins 5 "
    "--top 3 --community-runs 2 --null-graphs 2 --out summary",
    "graph summary --out graph.safetensors",
    "boost --model mine:digits_network --train mine:train --validation mine:held_out "
    "--test mine:test --out boost",
    f"explain images/000.png {_PLAIN} --classes names.txt --out explained",
    f"evaluate {_BOXES} --method discernible,gradcam,centre --split all --measures all --limit 4 "
    "--classes names.txt --robustness 2 --against other.pt2 --against-mean 0.5 --against-std 0.25 "
    "--out evaluated",
    f"tune {_BOXES} --trials 3 --try contrast=0,0.7 --try sigma=0.05,0.2 "
    "--try threshold=0.3,0.5 --exact --out tuned",
)
_KINDS = {".parquet", ".json", ".safetensors"}
_LEFT_OUT = {"rows", "checkpoints", "boxes.json", "bad.json"}


def write(file: Path) -> None:
    """Run the commands and keep what tests need of their results."""
    with tempfile.TemporaryDirectory() as folder:
        place = build(Path(folder).resolve() / "place")
        for command in COMMANDS:
            told = run(tuple(command.split()), place)
            if told.exit:
                sys.exit(f"{command}\n{told.out}\n{told.err}")
        _by_calls(place)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(place.rglob("*")):
                name = path.relative_to(place)
                if path.suffix in _KINDS and not _LEFT_OUT & set(name.parts):
                    archive.write(path, name.as_posix())


def _by_calls(place: Path) -> None:
    """The boosted network's weights, and an explanation as a file."""
    sys.path.insert(0, str(place))
    import mine

    save_file(mine.digits_network().state_dict(), place / "digits_network.safetensors")
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    network = cofire.Network.load(place / "net.pt2")
    cofire.explain(network, images).save(place / "explanation.safetensors")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
