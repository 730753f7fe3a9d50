"""What MkDocs is told besides `docs/`: generated pages, pictures of concepts, links into the repository."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from website import commands, errors, gallery, names, pictures
from website.blocks import DOCS, ROOT, title

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}
"""Pages of the repository that are pages of the site as well."""

_LINK = re.compile(r"\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Puts modules of the reference, and pages that nobody has named, into the navigation.

    Readers switch between versions where `mike` builds one of several.
    """
    if "MIKE_DOCS_VERSION" in os.environ:
        config.extra["version"] = {"provider": "mike"}
    parts = {title: part for one in config.nav for title, part in one.items()}
    parts["Reference"][3:3] = [{path: f"reference/{path}.md"} for path in names.public()]
    named = set(re.findall(r"[\w/.-]+\.md", str(config.nav)))
    found = (str(page.relative_to(DOCS)) for page in sorted(DOCS.rglob("*.md")))
    parts["How to"] += [page for page in found if page not in named]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made, those of the repository, and the pictures of the gallery."""
    made = {
        "errors.md": errors.page(),
        "reference/command-line.md": commands.page(),
        "gallery.md": gallery.page(),
        "reference/index.md": _contents(),
    }
    made |= {f"reference/{path}.md": _reference(path) for path in names.public()}
    for source, page in OUTSIDE.items():
        made[page] = _moved((ROOT / source).read_text(encoding="utf-8"), Path(source).parent)
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    for picture in gallery.made():
        files.append(File.generated(config, f"gallery/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Draws the pictures of concepts, and leads links to pages outside of `docs/` to their place."""
    drawn = re.sub(
        r"^<!-- picture: (\S+) -->$", lambda f: pictures.svg(f[1]), markdown, flags=re.MULTILINE
    )
    here = Path(page.file.src_uri).parent

    def lead(link: re.Match[str]) -> str:
        inside = Path(os.path.normpath(Path("docs") / here / link["target"]))
        new = OUTSIDE.get(str(inside))
        if new is None:
            return link[0]
        return f"]({os.path.relpath(new, here)}{link['anchor'] or ''})"

    return _LINK.sub(lead, drawn)


def _moved(text: str, folder: Path) -> str:
    """A page of the repository with links as seen from the site's first folder."""

    def lead(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link["target"]))
        if "://" in link["target"]:
            return link[0]
        if target.is_relative_to("docs"):
            return f"]({target.relative_to('docs')}{link['anchor'] or ''})"
        new = OUTSIDE.get(str(target)) or ("index.md" if target.name == "README.md" else None)
        return f"]({new}{link['anchor'] or ''})" if new else link[0]

    return _LINK.sub(lead, text)


def _contents() -> str:
    lines = [
        "# Reference\n\nEvery public name, from the docstrings; the examples are run by the tests. "
        "Verbs of the shell are in [the command line](command-line.md), messages in "
        "[errors](../errors.md).\n"
    ]
    for path, found in names.public().items():
        lines.append(f"\n**[{path}]({path}.md)** {_first(path)}\n\n")
        lines.append(", ".join(f"[`{name}`][{path}.{name}]" for name in found) + "\n")
    return "".join(lines)


def _first(path: str) -> str:
    lines = (inspect.getdoc(importlib.import_module(path)) or "").split("\n\n")
    return " ".join(lines[0].split())


def _reference(path: str) -> str:
    lines = [f"# {path}\n\n{_first(path)}\n"]
    for name in names.public()[path]:
        lines.append(f"\n::: {path}.{name}\n")
        if value := names.value_of(path, name):
            lines.append(f"\n```text\n{value}\n```\n")
        pages = [p for p in names.uses().get(name, ()) if p.is_relative_to(DOCS)]
        if pages:
            where = (
                f"[{title(p)}]({os.path.relpath(p.relative_to(DOCS), 'reference')})"
                for p in pages[:4]
            )
            lines.append(f"\nIn use: {', '.join(where)}\n")
    return "".join(lines)
