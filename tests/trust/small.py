"""A small study of trust with pictures of one colour, that no network made."""

import io
import re

from PIL import Image

from cofire.trust.answers import Answers
from cofire.trust.design import FILE, PICTURES, Picture, Study
from cofire.trust.making import name_of

EVIL = "<img src=x onerror=alert(1)>\"'&.png"


def small_study(folder, pairs=6, checks=1, repeats=1, methods=("discernible",), **more):
    """Writes a study and gives it."""
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    colours = iter(range(1 << 20))

    def drawn():
        file = io.BytesIO()
        Image.new("RGB", (8, 8), f"#{next(colours) * 977 % (1 << 24):06x}").save(file, "PNG")
        name = f"{name_of(file.getvalue())}.png"
        (folder / PICTURES / name).write_bytes(file.getvalue())
        return name

    def picture(number, of):
        maps = tuple((drawn(), drawn()) for _ in range(of))
        return Picture(f"{number} {EVIL}", f"dog {EVIL}", drawn(), maps)

    study = Study(
        title="Which map is better?",
        networks=("alexnet", "vgg16"),
        methods=tuple(methods),
        pairs=tuple(picture(at, len(methods)) for at in range(pairs)),
        checks=tuple(picture(f"check {at}", 1) for at in range(checks)),
        example=picture("example", 1),
        size=(8, 8),
        repeats=repeats,
        seed=0,
        consent=("You will see <b>images</b>.",),
        contact="somebody@example.org",
        **more,
    )
    study.save(folder / FILE)
    return study


def answers_of(folder, study):
    return Answers(f"sqlite:///{folder}/answers.db", study)


def form_in(page):
    """The signed field of a page's form."""
    return re.search(r'name="form" value="([^"]+)"', page)[1]


def begin(client, at="/"):
    """Agrees, and gives the address of the person's pages."""
    found = client.post(at, data={"form": form_in(client.get(at).text), "agree": "yes"})
    return str(found.url.path).rpartition("/")[0]


def reply(client, address, best="left", left="4", right="2"):
    """Answers a page, and gives what comes back."""
    form = form_in(client.get(address).text)
    return client.post(address, data={"form": form, "best": best, "left": left, "right": right})
