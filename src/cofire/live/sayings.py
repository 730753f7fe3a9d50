"""What a monitor cannot do: said once, while training goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cofire.errors import CofireError

_LOGGER = logging.getLogger("cofire.live")


class Sayings:
    """Lines for a person, to the logger "cofire.live", each of them once."""

    def __init__(self) -> None:
        self._said: set[tuple[Any, ...]] = set()

    def say(self, text: str, remedy: str, key: tuple[Any, ...] | None = None) -> None:
        """Say it, unless it was said.

        Args:
            text: What is the case.
            remedy: What to do.
            key: What tells it from other lines; the text unless given.
        """
        if (key or (text,)) not in self._said:
            self._said.add(key or (text,))
            _LOGGER.warning("%s (%s)", text, remedy)

    def safely(self, what: str, function: Callable[..., Any], *given: Any) -> Any:
        """What a function gives; None where it fails, which is said.

        Args:
            what: The attempt.
            function: What may fail.
            given: Its arguments.
        """
        try:
            return function(*given)
        except CofireError as error:
            self.say(str(error.given), error.remedy, (what, type(error)))
        except Exception as error:
            told = f"{what}: {type(error).__name__}: {error}"
            self.say(told, "training goes on", (what, type(error)))
        return None
