"""What keeps the pages of a study safe: how often an address may ask, how long a form may be, and where it is from."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Without an address there would be no origin to check either.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
"""Of every page: nothing runs, nothing is loaded from elsewhere, and no other page can hold it."""
_FORM_BYTES, _FIELDS = 1 << 12, 16
_DEVICES = (
    ("tablet", r"iPad|Tablet|PlayBook|Android(?!.*Mobi)"),
    ("phone", r"Mobi|iPhone|Android"),
    ("computer", r"Windows|Macintosh|Linux|CrOS|X11"),
)
Form = dict[str, str]


class Allowance:
    """How many requests an address of the network may still make: a bucket that fills again.

    Args:
        at_once: How many it holds.
        a_second: How fast it fills.
        most: How many addresses are remembered; beyond, those not heard of for longest are
            forgotten.

    Example:
        >>> allowance = Allowance(at_once=2, a_second=1.0)
        >>> [allowance.takes("a", now) for now in (0.0, 0.1, 0.2, 1.2)]
        [True, True, False, True]
    """

    def __init__(self, at_once: int, a_second: float, most: int = 4096) -> None:
        self.at_once, self.a_second, self.most = at_once, a_second, most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def takes(self, address: str, now: float | None = None) -> bool:
        """Whether one more is allowed now."""
        now = time.monotonic() if now is None else now
        left, since = self._left.pop(address, (float(self.at_once), now))
        left = min(float(self.at_once), left + (now - since) * self.a_second)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > self.most:
            self._left.popitem(last=False)
        return left >= 1


async def form_of(request: Request, home: str | None = None) -> Form:
    """The fields of a form, each the last one of its name.

    Args:
        request: That brought it.
        home: Address by which a proxy passes people on, which may not tell what it was asked for.

    Raises:
        HTTPException: It is too long, is no form, or was not sent from a page of ours.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    ours = {_place(f"//{request.headers.get('host', '')}"), _place(home or "")} - {None}
    # What a browser says by itself holds behind any proxy; old ones, and pages without HTTPS, say
    # where a form is from alone.
    if site not in ("same-origin", "none", None) or (
        site is None and origin is not None and _place(origin) not in ours
    ):
        raise HTTPException(403)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            raise HTTPException(413)
    try:
        fields = parse_qs(body.decode(), max_num_fields=_FIELDS)
    except ValueError as error:
        raise HTTPException(403) from error
    return {name: values[-1] for name, values in fields.items()}


def _place(address: str) -> tuple[str, int | None] | None:
    """Name and port of an address, None where it has none; names have no case, and usual ports are not told."""
    try:
        parts = urlsplit(address)
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    return None if not name else (name, None if port in (80, 443) else port)


def person_of(token: str) -> str:
    """The id of whose pages have this token in their address; it leads to no page."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()[:16]


def device_of(request: Request) -> str:
    """What kind of device somebody uses; of what a browser tells no more is kept."""
    agent = request.headers.get("user-agent", "")
    return next((kind for kind, marks in _DEVICES if re.search(marks, agent)), "other")
