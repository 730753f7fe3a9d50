"""The page of errors: every message of the package, read from where it is made."""

from __future__ import annotations

import ast
import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from cofire import errors

SOURCE = Path(errors.__file__).parent

_INTRODUCTION = """# Errors by message

Every error that cofire raises on purpose is a `cofire.errors.CofireError` and says three things: what was given, what was
expected, what to do. Search this page, or the site, for the words of your message; a ⟨name⟩ stands for what your message
says at its place. The page is made from the source when the site is built, so that it has the messages of this version.

On the command line such an error is one line after `cofire:`, and the exit status is 1. Anything else that goes wrong, a
fault of ours or of your own code, ends with its type and message; `COFIRE_DEBUG=1` shows where.

```python
import cofire

try:
    cofire.functional.activation_entropy([[1.0, 2.0]], bins=0)
except cofire.errors.OptionError as error:
    print(error.given, "|", error.expected, "|", error.remedy)
```

```text
"""


def _template(node: ast.expr) -> str:
    """The words of a message, with ⟨…⟩ for what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_template(part) for part in parts)
        case ast.FormattedValue(value=value):
            return f"⟨{_word(value)}⟩"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _template(left) + _template(right)
        case ast.IfExp(body=body, orelse=other):
            return " / ".join(filter(None, (_template(body), _template(other))))
        case ast.BoolOp(values=values):
            return " / ".join(map(_template, values))
    return f"⟨{_word(node)}⟩"


def _word(node: ast.expr) -> str:
    """What stands in a message at this place, by the names of the code."""
    names = [
        n.attr if isinstance(n, ast.Attribute) else n.id
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute | ast.Name)
    ]
    plain = [
        name.strip("_") for name in names if name not in ("self", "len", "str", "repr", "sorted")
    ]
    return plain[0].replace("_", " ") if plain else "…"


def calls() -> Iterator[tuple[Path, str, ast.Call]]:
    """Where the package makes its errors: the file, the error's class, the call."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = (
                node.func.id
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                else ""
            )
            if name.endswith("Error") and name in errors.__all__:
                yield path, name, node


def messages() -> Iterator[tuple[str, str, str, str]]:
    """Every error that is made: its class, what was given, what was expected, what to do."""
    for _, name, node in calls():
        if name != "CofireError":
            # Where all three come from elsewhere at once, their words are not known here.
            words = [_template(a) for a in node.args] if len(node.args) == 3 else ["…"] * 3
            yield name, words[0], words[1], words[2]


def page() -> str:
    """The page in Markdown."""
    drawn = re.search(r"```\n(.*?)```", errors.__doc__ or "", re.DOTALL)
    lines = [_INTRODUCTION + (drawn[1] if drawn else "") + "```\n"]
    found: dict[str, set[tuple[str, str, str]]] = {}
    for name, *words in messages():
        found.setdefault(name, set()).add((words[0], words[1], words[2]))
    for name in sorted(found):
        lines.append(f"\n## {name}\n\n{inspect.getdoc(getattr(errors, name))}\n")
        for given, expected, remedy in sorted(found[name]):
            said, wanted, act = (
                html.escape(w.replace("\n", " ")) for w in (given, expected, remedy)
            )
            lines.append(
                f'\n<details class="message" markdown="0"><summary>{said}</summary>'
                f"<p><b>Expected</b> {wanted}</p><p><b>To fix it</b> {act}</p></details>\n"
            )
    return "".join(lines)
