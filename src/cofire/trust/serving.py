"""Ask people: the pages of a study, one pair of maps each, in any browser and without scripts.

Who somebody is stands in the address of their pages alone, as a random token, so that they can go
on by its link. There are no cookies, and addresses of the network are forgotten.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from cofire.explain.drawing import draw
from cofire.report.sheet import environment
from cofire.trust.answers import Answer, Answers
from cofire.trust.design import PICTURES, Study, Trial
from cofire.trust.guard import HEADERS, Allowance, Form, device_of, form_of, person_of

_OPEN_SECONDS = 3 * 86400
"""So long a page may lie open before it is sent."""
_LOGGER = logging.getLogger("cofire.trust")
_SIDES, _RATINGS = ("left", "right"), ("1", "2", "3", "4", "5")
_ASKED = {
    "best": (_SIDES, "which map is best"),
    "left": (_RATINGS, "how reliable the left map is"),
    "right": (_RATINGS, "how reliable the right map is"),
}
"""What may be said, and what is missing where nothing was."""
_AWAY = "The answers cannot be kept just now"
_TOLD = {
    403: ("This did not come from a page of this study", "Or the page lay open for days."),
    404: ("There is no such page", "Please check the link that you were given."),
    405: ("There is no such page", "Please check the link that you were given."),
    413: ("This is too long", "No answer is so long."),
    429: ("One moment, please", "Many pages were asked for at once. Reload in a few seconds."),
    503: (_AWAY, "All answers that you gave so far are safe. Reload this page in a minute."),
}


class Pages:
    """The pages of a study, as an application that any ASGI server takes.

    Args:
        folder: Where its pictures are.
        study: What is asked.
        answers: Where it is kept.
        invites: Tokens of those who may take part; None for anybody.
        home: Address by which a proxy passes people on; None where they come by themselves.
    """

    def __init__(
        self,
        folder: Path,
        study: Study,
        answers: Answers,
        invites: list[str] | None = None,
        *,
        home: str | None = None,
    ) -> None:
        self.folder, self.study, self.answers, self.home = folder, study, answers, home
        self.invited = None if invites is None else {person_of(token) for token in invites}
        self.pictures = study.files
        self.forms = URLSafeTimedSerializer(answers.key, salt="form")
        # A room full of people may have one address.
        self.visits, self.arrivals = Allowance(1500, 75.0), Allowance(150, 1.0)
        found = environment()
        self.templates = found.overlay(loader=jinja2.PackageLoader("cofire.trust", "templates"))

    @cached_property
    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/", self._asked(self.welcome)),
            Route("/", self._asked(self.begin), methods=["POST"]),
            Route("/p/{token}", self._asked(self.resume)),
            Route("/p/{token}", self._asked(self.begin), methods=["POST"]),
            Route("/p/{token}/instructions", self._asked(self.instructions)),
            Route("/p/{token}/{place:int}", self._asked(self.trial)),
            Route("/p/{token}/{place:int}", self._asked(self.answer), methods=["POST"]),
            Route("/p/{token}/withdraw", self._asked(self.leaving)),
            Route("/p/{token}/withdraw", self._asked(self.withdraw), methods=["POST"]),
            Route("/pictures/{name}", self._asked(self.picture)),
            Route("/style.css", self._asked(self.style)),
        ]
        handlers: dict[Any, Any] = {HTTPException: self._told, SQLAlchemyError: self._told}
        return Starlette(routes=routes, exception_handlers=handlers)

    def _asked(self, handler: Callable[[Request, Form], Response]) -> Any:
        """A handler that may wait for the database, called once a request is found in order."""

        async def endpoint(request: Request) -> Response:
            address = request.client.host if request.client else ""
            posted = request.method == "POST"
            arrives = posted and "place" not in request.path_params
            if not self.visits.takes(address) or (arrives and not self.arrivals.takes(address)):
                raise HTTPException(429)
            form = await form_of(request, self.home) if posted else {}
            response = await run_in_threadpool(handler, request, form)
            response.headers.update(HEADERS)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return endpoint

    def _told(self, request: Request, error: Exception) -> Response:
        """What went wrong, in words; of the database all that can be said is to try again."""
        status = error.status_code if isinstance(error, HTTPException) else _away(error)
        title, text = _TOLD.get(status, _TOLD[404])
        wait = {"Retry-After": "5"} if status in (429, 503) else {}
        return self._page("message", title, status, HEADERS | wait, text=text)

    def welcome(self, request: Request, form: Form) -> Response:
        """What people agree to; by invitation only its link leads further."""
        if self.invited is None:
            return self._consent("")
        text = "Please open the link that you were sent."
        return self._page("message", "This study is by invitation", 403, text=text)

    def resume(self, request: Request, form: Form) -> Response:
        """Where somebody was; who was invited and has not begun reads what they agree to."""
        token = request.path_params["token"]
        found = self.answers.find(person_of(token))
        if found is not None:
            return _to(token, found[1] + 1 if found[1] else "instructions")
        if self.invited is None or person_of(token) not in self.invited:
            raise HTTPException(404)
        return self._consent(token)

    def begin(self, request: Request, form: Form) -> Response:
        """Somebody agreed."""
        token = request.path_params.get("token", "")
        if self._signed(form)[0] != ["begin", token]:
            raise HTTPException(403)
        if token not in ("",) if self.invited is None else person_of(token) not in self.invited:
            raise HTTPException(404)
        if form.get("agree") != "yes":
            return self._consent(token, "Please tick the box if you want to take part.")
        token = token or secrets.token_urlsafe(18)
        self.answers.begin(person_of(token), device_of(request))
        return _to(token, "instructions")

    def instructions(self, request: Request, form: Form) -> Response:
        """What is asked, with an example."""
        token, _, answered = self._person(request)
        example = Trial("check", self.study.example, 0, first_left=True)
        onward = f"/p/{token}/{answered + 1}"
        return self._page(
            "instructions", "What you will see", trial=example, onward=onward, token=token
        )

    def trial(self, request: Request, form: Form) -> Response:
        """The page that somebody is at; all others lead there."""
        token, number, answered = self._person(request)
        place = answered + 1
        if request.path_params["place"] != place:
            return _to(token, place)
        if place > len(self.study):
            text = f"All {answered} answers are kept. You may close this page."
            return self._page("message", "Thank you", text=text, token=token)
        return self._question(token, number, place)

    def answer(self, request: Request, form: Form) -> Response:
        """Keep an answer, once: what was answered before stays as it was."""
        token, place = request.path_params["token"], request.path_params["place"]
        signed, seconds = self._signed(form)
        if not isinstance(signed, list) or [*signed[:1], *signed[2:]] != [person_of(token), place]:
            raise HTTPException(403)
        number = signed[1]
        faults = {name: told for name, (may, told) in _ASKED.items() if form.get(name) not in may}
        if faults:
            return self._question(token, number, place, form, faults, 422)
        shown = self.study.trials(number - 1)[place - 1]
        answer = Answer(
            person=number,
            place=place,
            kind=shown.kind,
            image=shown.picture.image,
            method=self.study.methods[shown.method],
            left="first" if shown.first_left else "second",
            chosen=form["best"],
            left_rating=int(form["left"]),
            right_rating=int(form["right"]),
            seconds=seconds,
        )
        try:
            found = self.answers.find(person_of(token))
            # Pages come in their order.
            if found is not None and (found[0].number, found[1] + 1) == (number, place):
                self.answers.keep(answer)
        except SQLAlchemyError as error:
            return self._question(token, number, place, form, {"away": _AWAY}, _away(error))
        return _to(token, place + 1)

    def leaving(self, request: Request, form: Form) -> Response:
        """What withdrawing means."""
        token, _, answered = self._person(request)
        signed = self.forms.dumps(["withdraw", person_of(token)])
        title = "Do you want to withdraw?"
        return self._page("withdraw", title, form=signed, onward=f"/p/{token}", answered=answered)

    def withdraw(self, request: Request, form: Form) -> Response:
        """Somebody changed their mind: nothing of theirs stays."""
        token, _, _ = self._person(request)
        if self._signed(form)[0] != ["withdraw", person_of(token)]:
            raise HTTPException(403)
        self.answers.withdraw(person_of(token))
        text = "Your answers are deleted. You may close this page."
        return self._page("message", "You have withdrawn", text=text)

    def picture(self, request: Request, form: Form) -> Response:
        """A picture of the study."""
        name = request.path_params["name"]
        if name not in self.pictures:
            raise HTTPException(404)
        content = (self.folder / PICTURES / name).read_bytes()
        kind = "image/png" if name.endswith(".png") else "image/jpeg"
        kept = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(content, media_type=kind, headers=kept)

    def style(self, request: Request, form: Form) -> Response:
        """How the pages look."""
        kept = {"Cache-Control": "max-age=3600"}
        return Response(self._look, media_type="text/css", headers=kept)

    @cached_property
    def _look(self) -> str:
        stops = np.asarray(draw.bar())[0, ::15].tolist()
        heat = ", ".join(f"rgb({r},{g},{b})" for r, g, b in stops)
        return self.templates.get_template("trust.css").render(heat=heat)

    def _person(self, request: Request) -> tuple[str, int, int]:
        """Token, number and number of answers of somebody."""
        token = request.path_params["token"]
        found = self.answers.find(person_of(token))
        if found is None or found[0].number is None:
            raise HTTPException(404)
        return token, found[0].number, found[1]

    def _signed(self, form: Form) -> tuple[Any, float]:
        """What the form of a page of ours says of itself, and how many seconds ago the page was made.

        Raises:
            HTTPException: It is of no page of ours.
        """
        try:
            told, made = self.forms.loads(
                form.get("form", ""), max_age=_OPEN_SECONDS, return_timestamp=True
            )
        except BadData as error:
            raise HTTPException(403) from error
        return told, round(max(0.0, time.time() - made.timestamp()), 1)

    def _consent(self, token: str, fault: str = "") -> Response:
        form = self.forms.dumps(["begin", token])
        status = 422 if fault else 200
        return self._page("consent", self.study.title, status, form=form, fault=fault)

    def _question(
        self,
        token: str,
        number: int,
        place: int,
        given: Form | None = None,
        faults: Form | None = None,
        status: int = 200,
    ) -> Response:
        form = self.forms.dumps([person_of(token), number, place])
        return self._page(
            "trial",
            f"Pair {place} of {len(self.study)}",
            status,
            trial=self.study.trials(number - 1)[place - 1],
            place=place,
            token=token,
            form=form,
            given=given or {},
            faults=faults or {},
        )

    def _page(
        self,
        template: str,
        title: str,
        status: int = 200,
        headers: dict[str, str] | None = None,
        **words: Any,
    ) -> Response:
        made = self.templates.get_template(f"{template}.html.j2")
        text = made.render(title=title, study=self.study, **{"token": ""} | words)
        return HTMLResponse(text, status, headers)


def _away(error: Exception) -> int:
    """Tell whoever serves the study, on whose terminal people's pages are not seen."""
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    _LOGGER.warning("the database does not answer: %s", said)
    return 503


def _to(token: str, place: int | str) -> Response:
    return RedirectResponse(f"/p/{token}/{place}", 303)
