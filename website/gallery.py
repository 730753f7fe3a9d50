"""The gallery: twenty pictures, each with the command that made it; `make gallery` makes them in `build/gallery`."""

from __future__ import annotations

import contextlib
import html
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from website.blocks import DOCS, ROOT, blocks

FOLDER = ROOT / "build" / "gallery"
WIDTH = 720

_MINE = "--model mine:network --weights weights.safetensors --image-size 32"
_JUDGED = f"{_MINE} --data photos/test --boxes boxes.json --classes classes.txt"
_FIGURES = "cofire report cofire-demo --figures"


@dataclass(frozen=True)
class Picture:
    """A picture of the gallery.

    Attributes:
        name: Of its file.
        title: What it shows.
        command: What a reader types.
        source: The file that the command writes: an image, or a page, of which the top is taken.
    """

    name: str
    title: str
    command: str
    source: str


def _figure(name: str, title: str) -> Picture:
    return Picture(name, title, _FIGURES, f"cofire-demo/figures/{name}.png")


PICTURES = (
    Picture(
        "report", "A study in one page: the verdict first", "cofire demo", "cofire-demo/report.html"
    ),
    _figure("entropy-accuracy", "Entropy and accuracy over the checkpoints of a training run"),
    _figure("layer-entropy", "Entropy of each layer"),
    _figure("entropy-vs-accuracy", "Entropy against accuracy, checkpoint by checkpoint"),
    _figure("dead-neurons", "Neurons that never fire, by layer"),
    _figure("graph-layer-2-first", "Which neurons fire together, before training"),
    _figure("graph-layer-2-last", "The same layer afterwards"),
    _figure("modularity-layer-2", "How far the classes keep to themselves"),
    _figure("unique-neurons-layer-2-last", "How many neurons the classes share"),
    _figure("distribution-information", "What the firing of each neuron tells about the class"),
    _figure("distribution-selectivity", "How much each neuron prefers one class"),
    _figure("boost-gains", "What a booster gains, held against controls"),
    Picture(
        "summary",
        "One model on one data set",
        f"cofire summarize {_MINE} --data imagefolder:photos/train --by-class full --out summary",
        "summary/report.html",
    ),
    Picture(
        "neurons",
        "What a neuron fires for",
        f"cofire neurons {_MINE} --data imagefolder:photos/train --layer 11 --neuron 3 --out neurons",
        "neurons/*.png",
    ),
    Picture(
        "explained",
        "Three methods on one image, for two classes",
        f"cofire explain photos/test/four/four-121.png {_MINE} --classes classes.txt "
        "--method discernible,gradcam++,lrp --top 2 --out explained",
        "explained/*.html",
    ),
    Picture(
        "explained-sheet",
        "A sheet of explanations, with points and boxes",
        f"cofire explain photos/test/one/one-120.png photos/test/seven/seven-125.png {_MINE} "
        "--classes classes.txt --out sheet",
        "sheet/*/*.png",
    ),
    Picture(
        "boosted",
        "Whether to ship a booster",
        "cofire boost --model mine:network --weights checkpoints/epoch=2.pt --image-size 32 "
        "--train imagefolder:photos/train --validation imagefolder:photos/val "
        "--test imagefolder:photos/test --out boosted",
        "boosted/*.html",
    ),
    Picture(
        "judged",
        "Which explanation to trust",
        f"cofire evaluate {_JUDGED} --method discernible,gradcam,lrp,edges,centre --out judged",
        "judged/*.html",
    ),
    Picture(
        "followed",
        "Checkpoints that somebody else trained",
        "cofire follow checkpoints --model mine:network --data imagefolder:photos/train "
        "--test imagefolder:photos/test --image-size 32 --out followed",
        "followed/report.html",
    ),
    Picture(
        "tuned",
        "Options that suit the images, learned by a bandit",
        f"cofire tune {_JUDGED} --trials 30 --try contrast=0,0.7 --try sigma=0.03,0.05,0.1 "
        "--out tuned",
        "tuned/*.html",
    ),
)


def page() -> str:
    """The page in Markdown; pictures that are not made yet are left out."""
    there = {path.stem for path in made()}
    lines = [
        "# Gallery\n\nEach picture was made by the command below it, on the digits of scikit-learn or "
        "the files of [the example](start/example.md). `make gallery` makes them all.\n\n"
        '<div class="pictures">\n'
    ]
    for one in PICTURES:
        picture = (
            f'<img src="gallery/{one.name}.webp" alt="{html.escape(one.title)}" loading="lazy">'
            if one.name in there
            else ""
        )
        lines.append(
            f"<figure>{picture}<figcaption><b>{one.title}</b>"
            f"<pre><code>{html.escape(one.command)}</code></pre></figcaption></figure>\n"
        )
    return "".join([*lines, "</div>\n"])


def made() -> list[Path]:
    """The pictures that were made."""
    names = {one.name for one in PICTURES}
    return [path for path in sorted(FOLDER.glob("*.webp")) if path.stem in names]


def make(place: Path = FOLDER / "work") -> None:
    """Runs each command once, in a folder of its own, and keeps its picture small."""
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "mine.py").exists():
        (script,) = blocks((DOCS / "start" / "example.md").read_text(encoding="utf-8"))
        subprocess.run([sys.executable, "-c", script.code], cwd=place, check=True)
    done = set()
    with _shots() as shoot:
        for one in PICTURES:
            if one.command not in done:
                done.add(one.command)
                arguments = shlex.split(one.command)[1:]
                subprocess.run([sys.executable, "-m", "cofire", *arguments], cwd=place, check=True)
            source = min(place.glob(one.source))
            shown = shoot(source) if source.suffix == ".html" else source
            with Image.open(shown) as image:
                image.thumbnail((WIDTH, WIDTH))
                image.convert("RGB").save(FOLDER / f"{one.name}.webp", quality=80)


@contextlib.contextmanager
def _shots() -> Iterator[object]:
    """A function that takes a picture of the top of a page."""
    from playwright.sync_api import sync_playwright

    from cofire.report import browser

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 1100, "height": 800})

        def shoot(page: Path) -> Path:
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-ready=true]", state="attached")
            shot = page.with_suffix(".top.png")
            tab.screenshot(path=shot)
            return shot

        yield shoot
        chromium.close()


if __name__ == "__main__":
    make()
