"""Which error messages of the package no test provokes: `pytest --every-message` lists them.

A message that nobody has ever seen is a guess about what the user did and what would help. There
are some left, most of them behind the checks of arguments that come first; a run of all tests fails
where they have become more.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cofire import errors
from website.errors import SOURCE, calls

Place = tuple[str, int]
MOST = 12
"""As many are left. The number may only fall."""
SKIPPED = 5
"""Where as many tests are skipped, data or a library is not there, and messages are left out for want of it."""


def messages() -> Iterator[tuple[str, int, int]]:
    """Where the package makes its errors: file below the package, first and last line of the call."""
    for path, _, node in calls():
        yield str(path.relative_to(SOURCE)), node.lineno, node.end_lineno or node.lineno


class EveryMessage:
    """Notes where errors are made, in this process and in those that run part of the tests."""

    def __init__(self) -> None:
        self.provoked: set[Place] = set()
        self._made = errors.CofireError.__init__

    def watch(self) -> None:
        provoked, made = self.provoked, self._made

        def noted(error: errors.CofireError, given: str, expected: str, remedy: str) -> None:
            made(error, given, expected, remedy)
            code = sys._getframe(1)
            path = Path(code.f_code.co_filename)
            if path.is_relative_to(SOURCE):
                provoked.add((str(path.relative_to(SOURCE)), code.f_lineno))

        errors.CofireError.__init__ = noted  # type: ignore[method-assign]

    def never(self) -> list[str]:
        lines: dict[str, set[int]] = {}
        for path, line in self.provoked:
            lines.setdefault(path, set()).add(line)
        return [
            f"{path}:{first}"
            for path, first, last in messages()
            if not lines.get(path, set()) & set(range(first, last + 1))
        ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """What a process of pytest-xdist has seen."""
        self.provoked |= {
            (path, line) for path, line in getattr(node, "workeroutput", {}).get("provoked", [])
        }

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["provoked"] = sorted(self.provoked)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if never := self.never():
            terminalreporter.section(f"{len(never)} error messages that no test provokes")
            terminalreporter.write_line("\n".join(never))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-message", action="store_true", help="list the error messages that no test provokes"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--every-message"):
        watching = EveryMessage()
        watching.watch()
        config.pluginmanager.register(watching, "every-message")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run of all tests that leaves more messages out than before."""
    watching = session.config.pluginmanager.get_plugin("every-message")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if watching is None or reporter is None or hasattr(session.config, "workeroutput"):
        return
    whole = (
        session.exitstatus == pytest.ExitCode.OK
        and len(reporter.stats.get("skipped", [])) < SKIPPED
    )
    if whole and len(watching.never()) > MOST:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
