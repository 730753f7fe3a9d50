"""Record anew what commands give: `python -m tests.golden.record [NAME…]`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.golden.commands import COMMANDS
from tests.golden.session import OTHER, Session

EXPECTED = Path(__file__).with_name("expected")
NAMES = (*(command.name for command in COMMANDS), *OTHER)
_WIDTH = 100


def recorded(name: str) -> dict[str, Any]:
    """What is recorded under a name."""
    return json.loads((EXPECTED / f"{name}.json").read_text(encoding="utf-8"))


def page_file(name: str, page: str) -> Path:
    """Where the text of a command's page is recorded."""
    return EXPECTED / f"{name}.{Path(page).name}.page.txt"


def pages_recorded(name: str) -> set[str]:
    """Names of the files of a command's pages."""
    return {path.name for path in EXPECTED.glob(f"{name}.*.page.txt")}


def record(name: str, outcome: dict[str, Any]) -> None:
    """Write what was got in place of what is recorded."""
    for path in (EXPECTED / f"{name}.json", *EXPECTED.glob(f"{name}.*.page.txt")):
        path.unlink(missing_ok=True)
    for page, lines in outcome.pop("pages", {}).items():
        page_file(name, page).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (EXPECTED / f"{name}.json").write_text(_readable(outcome) + "\n", encoding="utf-8")


def _readable(value: Any, indent: str = "") -> str:
    """JSON with a line for what fits on one, and for each list of values."""
    line = json.dumps(value, ensure_ascii=False)
    values = isinstance(value, list) and not any(isinstance(one, str | dict) for one in value[1:])
    if len(indent) + len(line) <= _WIDTH or not isinstance(value, dict | list) or values:
        return line
    inner = indent + " "
    if isinstance(value, list):
        parts, ends = [_readable(one, inner) for one in value], "[]"
    else:
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {_readable(one, inner)}"
            for key, one in value.items()
        ]
        ends = "{}"
    between = f",\n{inner}".join(parts)
    return f"{ends[0]}\n{inner}{between}\n{indent}{ends[1]}"


def main(names: list[str]) -> None:
    """Record the commands of these names, or all."""
    if unknown := [name for name in names if name not in NAMES]:
        sys.exit(f"no command {', '.join(unknown)}; there are {', '.join(NAMES)}")
    EXPECTED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder).resolve())
        for name in names or NAMES:
            record(name, session.outcome(name))
            sys.stderr.write(f"recorded {name}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
