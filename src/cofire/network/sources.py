"""Where in the user's code a node of a graph, or an intercepted call, comes from."""

from __future__ import annotations

import linecache
import re

from torch import fx

from cofire.network.operations import Operation
from cofire.network.reading import is_users, module_of

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in \S+\n\s*([^\n]*)')


def source_of(node: fx.Node) -> str:
    """The module and the line of code that a node comes from, as far as is known.

    Args:
        node: Of an exported graph.

    Returns:
        Words such as "'encoder.attention', attention.py line 12: q @ k".
    """
    path, _ = module_of(node)
    words = [repr(path) if path else "the top level"]
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    users = [frame for frame in frames if is_users(frame[0])] or frames
    if users:
        file, line, code = users[-1]
        words.append(f"{file} line {line}: {code.strip()}")
    return ", ".join(words)


def where(operation: Operation) -> str:
    """The module and the line of code that an operation comes from, as far as is known."""
    if operation.node is not None:
        return source_of(operation.node)
    words = [repr(operation.path) if operation.path else "the top level"]
    if operation.place is not None:
        file, line = operation.place
        words.append(f"{file} line {line}: {linecache.getline(file, line).strip()}")
    return ", ".join(words)
