"""The command line: parses, calls, prints; decides nothing. One file for each verb."""

from cofire.cli.main import main

__all__ = ["main"]
