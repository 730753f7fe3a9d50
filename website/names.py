"""The public names of the package, each at the first module that has it, and where pages use them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import cofire
from website.blocks import blocks, pages

CALLBACKS = ("cofire.live.lightning", "cofire.live.transformers")


def modules() -> list[str]:
    """Modules with public names: the package, what it lists as its folders, and the callbacks."""
    beside = ("errors", "functional", "statistics")
    folders = [
        f"cofire.{one.name}"
        for one in pkgutil.iter_modules(cofire.__path__)
        if (one.ispkg and one.name != "cli") or one.name in beside
    ]
    return ["cofire", *(m for m in folders if getattr(importlib.import_module(m), "__all__", ()))]


@cache
def public() -> dict[str, list[str]]:
    """The public names, each at the module that documents it.

    That is the package, where it has the name; else the first module that has it, `cofire.statistics` before others.
    `cofire.explain` is a module as well, and its function stands there.
    """
    paths = modules()
    own = {path: importlib.import_module(path) for path in paths}
    seen: set[int] = set()
    found: dict[str, list[str]] = {path: [] for path in paths}
    homes = [*paths[:1], *sorted(paths[1:], key=lambda path: path != "cofire.statistics")]
    for path in homes:
        for name in own[path].__all__:
            thing = getattr(own[path], name)
            if inspect.ismodule(thing) or f"{path}.{name}" in own:
                continue
            # Small constants can be one object with several meanings.
            if inspect.isclass(thing) or inspect.isfunction(thing):
                if id(thing) in seen:
                    continue
                seen.add(id(thing))
            found[path].append(name)
    return found | {path: ["ActivationMonitor"] for path in CALLBACKS}


@cache
def uses() -> dict[str, list[Path]]:
    """The pages whose code, which tests run, uses a word."""
    found: dict[str, list[Path]] = {}
    for page in pages():
        code = "\n".join(b.code for b in blocks(page.read_text(encoding="utf-8")))
        for word in set(re.findall(r"\w+", code)):
            found.setdefault(word, []).append(page)
    return found


def value_of(path: str, name: str) -> str:
    """What a constant or an alias of types is, which the reference shows; empty for functions and classes."""
    if path in CALLBACKS:
        return ""
    thing = getattr(importlib.import_module(path), name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return ""
    if isinstance(thing, Mapping):
        return ", ".join(map(repr, thing))
    return re.sub(
        r"\b(?:typing|collections\.abc|cofire(?:\.\w+)+)\.|FieldInfo\(.*?\]\)", "", str(thing)
    )


def has_example(path: str, name: str) -> bool:
    """Whether the documentation of a public name shows it in use, or what it is.

    Errors are shown by their messages, on the page of errors.
    """
    if path == "cofire.errors" or name in uses():
        return True
    if path in CALLBACKS:
        return False
    thing = getattr(importlib.import_module(path), name)
    return bool(value_of(path, name)) or ">>>" in (inspect.getdoc(thing) or "")
