"""`cofire trust`: a study of whose maps people trust: made, served to people, and reported."""

from __future__ import annotations

import csv
import re
import secrets
import socket
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import typer

from cofire.activations.progress import progress_over
from cofire.atomic import atomic_path, write_text
from cofire.cli.explain import asked_methods, options_of
from cofire.cli.options import BoxedImagesOptions, Output, RivalOptions, tell
from cofire.cli.terminal import claim, command_line, note, say
from cofire.errors import DataError, MissingExtraError, OptionError, ResultError
from cofire.evaluate.methods import EVALUATED
from cofire.explain import title_of
from cofire.explain.drawing.draw import drawn_size
from cofire.options import option
from cofire.reading import named, read_text
from cofire.storage import version_of, versions, write_table
from cofire.trust.design import FILE, INVITES, PICTURES, Study

if TYPE_CHECKING:
    import pyarrow as pa

    from cofire.trust.answers import Answers

_ANSWERS = "answers.db"
PARTS = ("make", "serve", "report")
_NEEDED = ("starlette", "uvicorn", "sqlmodel", "itsdangerous", "krippendorff")
_CONSENT = (
    "You will see images, each with two maps of what a computer program looked at, and say which map is better.",
    "Taking part is voluntary. Your answers are used for research, and published as numbers only.",
)


class Make(RivalOptions, BoxedImagesOptions):
    """What people are shown."""

    against: str = option(
        ..., "Against", "The other network, named as --model.", panel=RivalOptions.panel
    )
    method: str = option("discernible", "Methods", "That draw the maps, with commas, or all.")
    count: int = option(58, "Pairs", "Images, each a pair of maps, as the paper had.", ge=2)
    checks: int = option(2, "Checks", "Pairs with an obviously wrong map.", ge=0, le=20)
    repeats: int = option(2, "Repeats", "Pairs that each person sees twice.", ge=0, le=20)
    people: int = option(12, "People", "How many you expect, to say what they can find.", ge=2)
    seed: int = option(0, "Seed", "Of the choice of images.", ge=0)
    title: str = option("Which map is better?", "Title", "What people read first.")
    consent: Path | None = option(
        None, "Consent", "A text file of what people agree to, paragraphs between blank lines."
    )
    contact: str = option("", "Contact", "Whom people can ask; shown with the consent.")
    out: Path = option(Path("cofire-trust"), "Folder", "Folder for the study.", panel=Output.panel)


class _Kept(Output):
    """Where a study and its answers are."""

    panel: ClassVar[str] = "Study"

    folder: Path = option(..., "Folder", "Of the study, as cofire trust make wrote it.")
    database: str | None = option(
        None, "Database", "postgresql://USER@HOST/NAME; a file in the folder unless given."
    )


class Serve(_Kept):
    """To whom a study is served."""

    panel: ClassVar[str] = "Server"

    host: str = option("127.0.0.1", "Host", "Address to serve on; 0.0.0.0 for all of them.")
    port: int = option(8765, "Port", "To serve on; 0 for any.", ge=0, le=65535)
    invite: int | None = option(
        None, "Invite", "Only who has one of so many links may take part.", ge=1, le=10_000
    )
    behind_proxy: str | None = option(
        None, "Behind proxy", "Address by which a proxy passes people on, https://your.name."
    )


class Report(_Kept):
    """What is reported."""

    simulated: int = option(
        0, "Simulated", "A demo: the page that so many simulated people would give.", ge=0, le=1000
    )


def make(options: Make) -> dict[str, Any]:
    """Make a study: images that both networks classify rightly, with the maps of both, blinded.

    Which side a network's map is on, which method drew it, and the order of images follow from
    Latin squares. Prints what so many people would find, and how many would find a weaker or
    stronger preference.
    """
    _check_installed()
    from cofire.trust.making import Side, choose, draw_pictures

    methods = asked_methods(options.method, tuple(EVALUATED))
    needed = options.count + options.checks + 1
    if 2 * options.repeats > options.count:
        raise OptionError(
            f"repeats={options.repeats} of {options.count} pairs",
            "half of the pairs at the most",
            f"pass repeats={options.count // 2}",
        )
    if (options.out / _ANSWERS).exists():
        raise OptionError(
            f"out='{options.out}' with answers to the study that it holds",
            "a folder of its own for each study",
            "choose another folder",
        )
    consent = _CONSENT if options.consent is None else _paragraphs(options.consent)
    claim(options.out, FILE, "a study of trust")
    network, preparation = options.opened()
    tell(preparation)
    rival = options.opened_rival(network)
    assert rival is not None
    names_of_both = options.names_of_both()
    sides = (
        Side(network, preparation, names_of_both[0]),
        Side(*rival, names_of_both[1]),
    )
    images, names = options.collection(network)
    if len(images) < needed:
        raise DataError(
            f"{len(images):,} images",
            f"{needed}: {options.count} pairs, {options.checks} checks, one for the instructions",
            "give more images or pass a smaller --count",
        )
    # Of a few more, those whose maps agree best make the clearest checks.
    wanted = options.count + 3 * (options.checks + 1)
    with progress_over("Drawing maps", wanted) as advance:
        chosen = choose(
            sides,
            images,
            options_of(methods),
            wanted,
            least=needed,
            names=names,
            seed=options.seed,
            batch_size=options.batch_size,
            skip_unreadable=options.skip_unreadable,
            advance=advance,
        )
        pairs, checks, example = draw_pictures(chosen, options.count, options.checks, options.out)
    study = Study(
        title=options.title,
        networks=names_of_both,
        methods=tuple(methods),
        pairs=tuple(pairs),
        checks=tuple(checks),
        example=example,
        size=drawn_size((preparation.shape[1], preparation.shape[2])),
        repeats=options.repeats,
        seed=options.seed,
        consent=tuple(consent),
        contact=options.contact,
        options={
            "model": named(options.model),
            "weights": options.own_weights,
            "against": named(options.against),
            "against_weights": named(options.against_weights or "the model's own"),
            "images": named(options.folder),
            "prepared": preparation.told,
            "methods": ", ".join(map(title_of, methods)),
            "seed": options.seed,
            "command": named(command_line()),
            "versions": versions(),
        },
    )
    study.save(options.out / FILE)
    for file in (options.out / PICTURES).iterdir():
        if file.name not in study.files:  # of a study that was made here before
            file.unlink()
    say("Pairs", f"{len(pairs)}, and {len(checks)} checks; about {study.minutes} minutes a person")
    sizes = _tell_sizes(len(pairs), options.people)
    say("Study", named(options.out))
    say("Next", f"cofire trust serve {named(options.out)}")
    return {"study": options.out / FILE, "pairs": len(pairs), "sample_size": sizes}


def _paragraphs(file: Path) -> list[str]:
    text = read_text(file)
    found = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    if not found:
        raise OptionError(f"'{file}' without a word", "what people agree to", "write it there")
    return found


def _tell_sizes(pairs: int, people: int) -> dict[str, int | float | None]:
    """Print what so many people would find, and how many are needed."""
    from cofire.trust.raters import IMAGES, PEOPLE, detectable, people_needed

    found = detectable(people, pairs)
    told = f"a preference of {100 * found:.0f} % or more"
    say("Size", f"{people} people and {pairs} pairs find {told} in 4 of 5 studies")
    sizes: dict[str, int | float | None] = {"detectable": found}
    for share in (0.55, 0.6, 0.65, 0.7):
        sizes[f"people for {share:.0%}"] = needed = people_needed(share, pairs)
        told = "more pairs, however many come" if needed is None else f"{needed} people"
        say("", f"{100 * share:.0f} % of votes: {told}")
    say("", f"if votes of a person correlate by {PEOPLE}, votes on an image by {IMAGES}")
    return sizes


def serve(options: Serve) -> dict[str, Any]:
    """Serve a study to people until Ctrl-C; an answer is on disk before its person sees the next page."""
    _check_installed()
    import uvicorn

    from cofire.trust.serving import Pages

    study = Study.open(options.folder)
    home = None if options.behind_proxy is None else _home(options.behind_proxy)
    alone = _is_here(options.host)
    if options.invite is None and (home or not alone):
        way = f"behind_proxy={home!r}" if home else f"host={options.host!r}"
        raise OptionError(
            f"{way} without --invite",
            "links for those who may take part, where others could reach the pages",
            "pass invite=12, or serve on 127.0.0.1 for this machine alone",
        )
    invites = None if options.invite is None else _invites(options.folder, options.invite)
    with (
        closing(_answers(options, study)) as answers,
        _listening(options.host, options.port) as listening,
    ):
        port = listening.getsockname()[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        here = f"http://{host}:{port}"
        say("Study", f"{home or here}/")
        for token in invites or ():
            say("Invite", f"{home or here}/p/{token}")
        if home:
            say("Proxy", f"passes {home} on to {here}")
        if not alone or (home and home.startswith("http:")):
            note(
                "answers cross the network as plain text. Put the pages behind a proxy with HTTPS "
                f"(caddy reverse-proxy --from your.name --to 127.0.0.1:{port}), serve on 127.0.0.1, and pass "
                "--behind-proxy https://your.name."
            )
        pages = Pages(options.folder, study, answers, invites, home=home)
        # People think for longer than the usual 5 s before they send what they chose.
        # Without a proxy nobody else may say where a request is from.
        config = uvicorn.Config(
            pages.app,
            log_level="warning",
            access_log=False,
            proxy_headers=home is not None,
            timeout_keep_alive=75,
        )
        uvicorn.Server(config).run(sockets=[listening])
    return {"port": port}


def _home(address: str) -> str:
    """The address of a proxy, without a slash at its end."""
    try:
        parts = urlsplit(address)
        fits = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        fits = fits and re.fullmatch(r"[\w.:\[\]-]+", parts.netloc) is not None
    except ValueError:
        fits = False
    if (
        not fits
        or parts.scheme not in ("http", "https")
        or any((*parts[3:], parts.path.strip("/")))
    ):
        raise OptionError(
            f"behind_proxy={address!r}",
            "https:// and a name, to which the proxy answers with these pages and nothing else",
            "pass behind_proxy=https://your.name",
        )
    return f"{parts.scheme}://{parts.netloc}"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, UnicodeError) as error:
        raise OptionError(
            f"host={host!r}, port={port}: {error}",
            "an address of this machine, and a port that is free",
            "pass port=0 for any free one",
        ) from error


def _invites(folder: Path, count: int) -> list[str]:
    """So many tokens, those of earlier first: a link that was sent stays good."""
    file = folder / INVITES
    known = read_text(file).split() if file.exists() else []
    more = [secrets.token_urlsafe(18) for _ in range(count - len(known))]
    if more:
        write_text(file, "\n".join([*known, *more]) + "\n", mode=0o600)
    return [*known, *more]


def report(options: Report) -> dict[str, Any]:
    """Report a study: preference, reliability, agreement, who is left out, and every answer as a table."""
    _check_installed()
    from cofire.trust.judging import answers_table, judge
    from cofire.trust.page import findings, write_judgement
    from cofire.trust.raters import simulated

    study = Study.open(options.folder)
    stem = "simulated" if options.simulated else "report"
    began: list[str] = []
    if options.simulated:
        rows = simulated(study, options.simulated, 0.65)
        table = answers_table(study, rows)
    else:
        with closing(_answers(options, study, begun=True)) as answers:
            table, began = answers_table(study, answers.all()), answers.people()
        write_table(table, options.folder / "answers.parquet")
        _write_csv(table, options.folder / "answers.csv")
        say("Answers", f"{named(options.folder / 'answers.parquet')}, answers.csv ({len(table):,})")
    found = judge(study, table, began, simulated=bool(options.simulated))
    found.save(options.folder / f"{stem}.json")
    page = write_judgement(options.folder / f"{stem}.html", study, found)
    lines = [str(one) for one in findings(found)]
    for line in lines:
        typer.echo(f"  {line}")
    say("Numbers", named(options.folder / f"{stem}.json"))
    say("Page", named(page))
    return {"verdict": lines, "page": page}


def _answers(options: _Kept, study: Study, *, begun: bool = False) -> Answers:
    from cofire.trust.answers import Answers

    file = options.folder / _ANSWERS
    if begun and options.database is None and not file.exists():
        raise ResultError(
            f"'{options.folder}' without answers",
            "answers.db, which cofire trust serve writes, or --database",
            "serve the study first; simulated=12 shows what a report looks like",
        )
    return Answers(options.database or f"sqlite:///{file}", study, begun=begun)


def _write_csv(table: pa.Table, path: Path) -> None:
    """The same for spreadsheets, which would run a name that begins as a formula does."""
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(table.column_names)
        for row in table.to_pylist():
            rows.writerow(
                f"'{one}" if isinstance(one, str) and one[:1] in "=+-@\t\r" and one else one
                for one in row.values()
            )


def _check_installed() -> None:
    missing = [package for package in _NEEDED if version_of(package) is None]
    if missing:
        raise MissingExtraError(
            f"cofire trust without {', '.join(missing)}",
            "what the extra 'trust' brings",
            "pip install 'cofire[trust]'",
        )
