"""Modules of the user's own that register measures, methods, rules or sections before a command runs."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path

from cofire.errors import CofireError, OptionError
from cofire.references import imported

VARIABLE = "COFIRE_PLUGINS"
"""Of the environment: plugins with commas between them, loaded before those of `--plugin`."""


def load(names: Iterable[str] = ()) -> None:
    """Import plugins, so that what they register is there: those of COFIRE_PLUGINS first.

    A plugin that was imported before is not run again.

    Args:
        names: Modules (`package.module`, also of the current folder), or files (`own.py`).

    Raises:
        OptionError: One is not found, or fails as it is imported.
        CofireError: What a plugin registers is refused.

    Example:
        >>> load(["own_methods.py"])
        Traceback (most recent call last):
        cofire.errors.OptionError: plugin own_methods.py: FileNotFoundError: ...
    """
    asked = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    for name in (*filter(None, asked), *names):
        try:
            if name.endswith(".py"):
                _run(Path(name).resolve(strict=True))
            else:
                imported(name)
        except CofireError:
            raise
        except Exception as error:
            raise OptionError(
                f"plugin {name}: {type(error).__name__}: {error}",
                "a module (package.module) or a file (own.py) that can be imported",
                f"correct it, or leave it out of --plugin and {VARIABLE}",
            ) from error


def _run(path: Path) -> None:
    # Named after the whole path: two plugins may both be called own.py, or as a module of Python.
    name = f"cofire_plugin_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # the loader is given
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
