"""Runs each command once, whoever asks first; processes that share a folder share its results."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.golden.commands import BY_NAME, READ_BY_WRONG_USES, VERBS, WRONG_USES
from tests.golden.place import build
from tests.golden.running import run
from tests.golden.snapshot import names_below, pages_below, values_below
from tests.golden.text import lines_of, message_of

_OPTION = re.compile(r"^│[ *]+(--[\w-]+)(?: +(--[\w-]+))?", re.MULTILINE)


class Session:
    """What commands gave, in one folder.

    Args:
        folder: Where they run; several processes may share it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "outcomes").mkdir(parents=True, exist_ok=True)

    def outcome(self, name: str) -> dict[str, Any]:
        """What is recorded under a name."""
        other = OTHER.get(name)
        found = self._once(name, lambda: other(self) if other else self._command(name))
        assert "failed" not in found, found["failed"]
        return found

    def _once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self._folder / "outcomes" / f"{name}.json"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                text = json.dumps(make())
                path.write_text(text, encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    def _place(self, name: str) -> Path:
        place = self._folder / name
        self._once(f"place-{name}", lambda: {"built": str(build(place))})
        return place

    def _command(self, name: str) -> dict[str, Any]:
        command, place = BY_NAME[name], self._place("place")
        for before in command.after:
            self.outcome(before)
        told = run(command.arguments, place)
        gives = [place / given for given in command.gives]
        missing = [path.name for path in gives if not path.exists()]
        if told.exit or missing:
            return {"failed": f"cofire {command.line}\n{told.out}\n{told.err}\nwithout {missing}"}
        return {
            "command": f"cofire {command.line}",
            "exit": told.exit,
            "files": names_below(gives, place),
            "out": lines_of(told.out, place),
            "err": lines_of(told.err, place),
            "values": values_below(gives, place),
            "pages": pages_below(gives, place),
        }

    def wrong_uses(self) -> dict[str, Any]:
        """Exit code and message of each wrong use, and what it left behind."""
        place = self._place("wrong-place")
        for name in READ_BY_WRONG_USES:
            run(BY_NAME[name].arguments, place)
        found = {}
        for name, line in WRONG_USES.items():
            told = run(tuple(shlex.split(line)), place)
            left = place / "wrong"
            found[name] = {
                "command": f"cofire {line}",
                "exit": told.exit,
                "message": message_of(told.err, place),
                "left": names_below([left], place) if left.exists() else [],
            }
            shutil.rmtree(left, ignore_errors=True)
        return found

    def options(self) -> dict[str, Any]:
        """Options of each command, as its help shows them."""
        found = {}
        for verb in VERBS:
            told = run((*verb.split(), "--help"), self._folder)
            groups = _OPTION.findall(told.out)
            found[verb] = sorted(name for group in groups for name in group if name)
        return found


OTHER: dict[str, Callable[[Session], dict[str, Any]]] = {
    "wrong-uses": Session.wrong_uses,
    "options": Session.options,
}
"""What is recorded besides commands and their results."""
