"""The command line: parses, calls, prints; decides nothing."""

from cofire.cli.main import main

__all__ = ["main"]
