"""Docstrings as mkdocstrings reads them: it knows "Examples", and cofire writes "Example"."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Makes the section `Example:` one of doctests, which are shown as code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for everything that is read.

        Args:
            obj: A module, class, function or attribute.
        """
        if obj.docstring is not None:
            found = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )
            obj.docstring.value = found
