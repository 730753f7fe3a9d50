"""What a user's own code holds, named as package.module:name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from cofire.errors import CofireError, OptionError


def referenced(spec: str) -> Any:
    """The object that `package.module:name` names; modules of the current folder can be named too.

    Args:
        spec: The module, a colon, and a name in it.

    Raises:
        ValueError: It has not this form.
        Exception: Whatever importing the module raises, and AttributeError where it has no such
            name.

    Example:
        >>> referenced("math:pi")
        3.141592653589793
    """
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ValueError(f"'{spec}' is not of the form package.module:name")
    return getattr(imported(module), name)


def imported(module: str) -> ModuleType:
    """The module of a name; as with `python -m`, those of the current folder can be named."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(module)


@contextmanager
def theirs(
    told: str, expected: str, remedy: str, kind: type[CofireError] = OptionError
) -> Iterator[None]:
    """Turn whatever a user's own code raises into an error that says what was called; cofire's own go through.

    Example:
        >>> with theirs("'mine:data' failed", "a data set", "correct it"):
        ...     raise KeyError("a")
        Traceback (most recent call last):
        cofire.errors.OptionError: 'mine:data' failed: KeyError: 'a'. Expected: a data set. To fix it: correct it.
    """
    try:
        yield
    except CofireError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise kind(f"{told}: {type(error).__name__}: {said}", expected, remedy) from error
