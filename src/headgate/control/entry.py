"""The door of the admin API and the dashboard: who comes in, from where, and what a change has to prove.

In order: who asks, where that allows for a larger body; the body's size; a foreign Host or Origin where the machine's
owner is let in without login; who asks; for a change out of a browser, the Origin and the CSRF token. Every answer gets
the security headers.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.control.people import Principal, Right
from headgate.control.problems import problem_response, told
from headgate.core.errors import Denied, HeadgateError, TooLarge
from headgate.policy.guards.decisions import MAX_BODY as MAX_DECISION

if TYPE_CHECKING:
    from headgate.control.context import Control

MAX_BODY = 64 * 1024
"""Bytes of a request's body; more only with a decision about a tool call, of somebody who may decide."""
CSRF_HEADER = "x-headgate-csrf"
CSRF_FIELD = "csrf"
API = "/admin/api/"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PUBLIC = ("/static/",)
_LOGIN = "/login"
_DECIDES = re.compile(r"/ui/guards/decide|/admin/api/v1/approvals/[^/]+/decision")
_FORM = "application/x-www-form-urlencoded"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# `same-origin`, not `no-referrer`: under the latter a browser sends `Origin: null` with a form of our own.
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_CACHED = (b"cache-control", b"public, max-age=3600")
_NOT_CACHED = (b"cache-control", b"no-store")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, once it is known; `request.state.visitor`.

    Attributes:
        csrf: what a form has to send back in the field `csrf`, a script in the header `x-headgate-csrf`; "" for
            programs with a token, which need none.
        open: let in without login: the machine's owner, on loopback, as long as there are no people.
        session: the digest of the session's id; "" = none.
    """

    who: Principal
    csrf: str = ""
    open: bool = False
    session: str = ""


class Entry:
    """An ASGI app before another. What it lets in has `request.state.who` (a `Principal`), `.csrf` and `.visitor`."""

    def __init__(self, app: ASGIApp, control: Control) -> None:
        self._app = app
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        static = scope["path"].startswith(_PUBLIC)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _guarded(message["headers"], static)
            await send(message)

        self._control.serving()
        request = Request(scope)
        try:
            body = await _whole(request, receive, await self._most(request))
            if not static:
                await self._admit(request, body)
        except HeadgateError as error:
            await self._refused(request, error)(scope, receive, answer)
            return
        await self._app(scope, _replayed(body, receive), answer)

    async def _most(self, request: Request) -> int:
        """Bytes that a body may have."""
        if request.method != "POST" or _DECIDES.fullmatch(request.url.path) is None:
            return MAX_BODY
        visitor = await self._control.visitor(request)
        return MAX_DECISION if visitor is not None and visitor.who.may(Right.APPROVE) else MAX_BODY

    async def _admit(self, request: Request, body: bytes) -> None:
        """Find out who asks.

        Raises:
            Denied: nobody who may come in, or a change that a foreign page may have sent.
        """
        control = self._control
        visitor = await control.visitor(request)
        change = request.method not in _SAFE
        if request.url.path == _LOGIN:
            if change:
                _same_origin(request, control.host_of(request), must=True)
        elif visitor is None:
            said, code, status = await control.stranger(request)
            raise Denied(said, code=code, status_hint=status)
        elif change and visitor.csrf:
            self._prove(request, visitor, body)
        request.state.visitor = visitor
        request.state.who = None if visitor is None else visitor.who
        request.state.csrf = "" if visitor is None else visitor.csrf

    def _prove(self, request: Request, visitor: Visitor, body: bytes) -> None:
        """A change out of a browser comes from a page of ours."""
        headers = request.headers
        browser = "origin" in headers or "sec-fetch-site" in headers or "cookie" in headers
        if visitor.open and not browser:
            return  # a program on this machine, as at the data plane
        _same_origin(request, self._control.host_of(request), must=True)
        given = headers.get(CSRF_HEADER) or _field(headers, body)
        if not hmac.compare_digest(given.encode("utf-8", "replace"), visitor.csrf.encode()):
            raise Denied(
                "The page is out of date: load it again, then repeat what you did.", code="csrf", status_hint=403
            )

    def _refused(self, request: Request, error: HeadgateError) -> Response:
        """Programs get a problem, browsers a page, or the login."""
        status, code, detail, wait = told(error)
        if request.url.path.startswith(API):
            return problem_response(status, code, detail, retry_after=wait)
        if status == 401:
            if "hx-request" in request.headers:
                return Response(status_code=401, headers={"hx-redirect": _LOGIN})
            back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            told_back = "" if request.method != "GET" or back == "/" else f"?next={quote(back, safe='')}"
            return RedirectResponse(_LOGIN + told_back, status_code=303)
        return self._control.refused_page(request, status, code, detail)


def _guarded(headers: list[tuple[bytes, bytes]], static: bool) -> list[tuple[bytes, bytes]]:
    """With the security headers; what the app says itself stays."""
    said = {name for name, _ in headers}
    ours = (*_HEADERS, _CACHED if static else _NOT_CACHED)
    return [*headers, *(each for each in ours if each[0] not in said)]


async def _whole(request: Request, receive: Receive, most: int) -> bytes:
    """The body.

    Raises:
        TooLarge: above `most` bytes.
    """
    pieces: list[bytes] = []
    size, more = 0, request.method not in ("GET", "HEAD")
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise TooLarge(f"The body of this request may have {most:,} bytes at most.")
        pieces.append(piece)
        more = message.get("more_body", False)
    return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`receive`, with the body once more."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _same_origin(request: Request, host: str, *, must: bool) -> None:
    """The page that sends this is one of ours.

    Raises:
        Denied: another page's; or it does not say and has to.
    """
    origin = request.headers.get("origin")
    if origin is None:
        if must and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Denied("The request comes from another site.", code="foreign_origin", status_hint=403)
        if must and "sec-fetch-site" not in request.headers:
            raise Denied("A change out of a browser has to name its Origin.", code="foreign_origin", status_hint=403)
        return
    scheme, found, named = origin.partition("://")
    if not found or scheme not in ("http", "https") or named.lower() != host.lower():
        raise Denied("The request comes from another site.", code="foreign_origin", status_hint=403)


def _field(headers: Mapping[str, str], body: bytes) -> str:
    """The token in a form's body; "" where there is none."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return ""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return ""
    return dict(pairs).get(CSRF_FIELD, "")
