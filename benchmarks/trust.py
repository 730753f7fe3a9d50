"""A study of trust: whether it finds a preference and invents none, and how long people wait when many come at once.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/trust.py errors
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/trust.py load

`errors` draws 1,000 studies of simulated people for each row and counts how often each interval
leaves out 50 %. `load` starts `cofire trust serve` and lets 100 people go through a study at the
same time over loopback, each with the page, its pictures and the answer; then it holds what is in
the database against what was confirmed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from cofire.statistics import crossed_interval, exact_interval
from cofire.trust.answers import Answers
from cofire.trust.design import FILE, PICTURES, Picture, Study
from cofire.trust.making import name_of
from cofire.trust.raters import IMAGES, PEOPLE, detectable, votes


def leaves_out(interval):
    return interval.low > 0.5 or interval.high < 0.5


def errors(studies):
    print(
        "| people × images | votes alike (person, image) | true preference | found: people and images vary "
        "| covered | found: as if independent |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for people, images, alike in (
        (12, 58, (PEOPLE, IMAGES)),
        (12, 58, (0.2, 0.0)),
        (12, 58, (0.0, 0.2)),
        (40, 30, (PEOPLE, IMAGES)),
    ):
        for true in (
            0.5,
            0.6,
            *([detectable(people, images)] if alike == (PEOPLE, IMAGES) else []),
        ):
            told = []
            for table in votes(studies, people, images, true, alike=alike, seed=1).astype(float):
                crossed = crossed_interval(table, draws=1000)
                alone = exact_interval(int(table.sum()), table.size)
                told.append(
                    (leaves_out(crossed), crossed.low <= true <= crossed.high, leaves_out(alone))
                )
            found = " | ".join(f"{100 * share:.1f} %" for share in np.mean(told, axis=0))
            print(
                f"| {people} × {images} | {alike[0]:g}, {alike[1]:g} | {100 * true:.1f} % | {found} |"
            )


def a_study(folder, pairs):
    """A study with photograph-like pictures of 448 pixels."""
    (folder / PICTURES).mkdir()
    draw = np.random.default_rng(0)

    def drawn():
        coarse = Image.fromarray(draw.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        place = folder / PICTURES / "new.jpg"
        coarse.resize((448, 448), Image.Resampling.BICUBIC).save(place, quality=90)
        name = f"{name_of(place.read_bytes())}.jpg"
        place.rename(folder / PICTURES / name)
        return name

    def picture(number):
        return Picture(f"{number}.jpg", "dog", drawn(), ((drawn(), drawn()),))

    study = Study(
        "Which map is better?", ("a", "b"), ("discernible",), tuple(map(picture, range(pairs))), (),
        picture(-1), (448, 448), 0, 0, ("You will see images.",), "",
    )  # fmt: skip
    study.save(folder / FILE)
    return study


async def person(number, site, pairs, think, waits, confirmed):
    """One person, from the first page to the last; each has an address of their own, as behind a proxy."""
    headers = {"X-Forwarded-For": f"10.0.{number // 250}.{number % 250}"}
    # As browsers do: a few connections, which stay; what a certificate costs is not waited for.
    limits = httpx.Limits(max_connections=4)
    async with httpx.AsyncClient(
        base_url=site, headers=headers, limits=limits, timeout=60, verify=False
    ) as client:

        async def asked(kind, address, **form):
            start = time.perf_counter()
            found = await client.request("POST" if form else "GET", address, data=form or None)
            waits.setdefault(kind, []).append(time.perf_counter() - start)
            assert found.status_code in (200, 303), (found.status_code, found.text)
            return found

        def signed(page):
            return re.search(r'name="form" value="([^"]+)"', page.text)[1]

        await asyncio.sleep(2 * random.random() * think)
        page = await asked("page", "/")
        found = await asked("begin", "/", form=signed(page), agree="yes")
        own = found.headers["location"].rpartition("/")[0]
        for place in range(1, pairs + 1):
            page = await asked("page", f"{own}/{place}")
            pictures = re.findall(r"/pictures/[\w.]+", page.text)
            await asyncio.gather(*(asked("picture", one) for one in pictures))
            await asyncio.sleep(random.uniform(0.5, 1.5) * think)
            found = await asked(
                "answer", f"{own}/{place}", form=signed(page), best="left", left="4", right="2"
            )
            assert found.headers["location"] == f"{own}/{place + 1}"
            confirmed.append((own, place))


async def all_of_them(people, site, pairs, think):
    waits, confirmed = {}, []
    start = time.perf_counter()
    await asyncio.gather(*(person(n, site, pairs, think, waits, confirmed) for n in range(people)))
    return waits, confirmed, time.perf_counter() - start


def load(people, pairs, think):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        study = a_study(folder, pairs)
        process = subprocess.Popen(
            [sys.executable, "-m", "cofire", "trust", "serve", place, "--port", "0"],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            site = re.search(r"http://\S+", process.stdout.readline())[0].rstrip("/")
            before = processor_of(process.pid)
            waits, confirmed, took = asyncio.run(all_of_them(people, site, pairs, think))
            used = processor_of(process.pid) - before
        finally:
            process.kill()
            process.wait()
        kept = Answers(f"sqlite:///{folder}/answers.db", study).all()
    every = [wait for of in waits.values() for wait in of]
    print(
        f"{people} people, {pairs} pairs each, {think:g} s to think; load {os.getloadavg()[0]:.0f}; "
        f"{len(every)} requests in {took:.1f} s ({len(every) / took:.0f} a second), "
        f"server {1000 * used / len(every):.1f} ms of processor each"
    )
    print("| what | requests | median | p95 | most |")
    print("| --- | --- | --- | --- | --- |")
    for kind, of in {**waits, "all": every}.items():
        p95 = statistics.quantiles(of, n=20)[-1]
        told = " | ".join(f"{1000 * one:.0f} ms" for one in (statistics.median(of), p95, max(of)))
        print(f"| {kind} | {len(of)} | {told} |")
    print(f"confirmed {len(confirmed)}, kept {len(kept)}, lost {len(confirmed) - len(kept)}")


def processor_of(process):
    """Seconds of the processor that a process used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("errors", "load"))
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument(
        "--think", type=float, default=5.0, help="seconds for each pair, half to one and a half"
    )
    asked = parser.parse_args()
    if asked.what == "errors":
        errors(asked.studies)
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        load(asked.people, asked.pairs, asked.think)
