"""Logging in and out in a browser: `/login` and `/logout`."""

from __future__ import annotations

import asyncio
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from headgate.control.context import Control
from headgate.control.forms import form
from headgate.core.errors import Denied, RateExceeded, Refusal
from headgate.stores.sessions import ABSOLUTE_SECONDS

LOGIN, LOGOUT = "/login", "/logout"


def login_routes(control: Control) -> list[Route]:
    """GET and POST `/login` (fields `name`, `password`, `next`), POST `/logout`."""

    async def show(request: Request) -> Response:
        if request.state.who is not None:
            return RedirectResponse(back_of(request.query_params.get("next", "")), status_code=303)
        if not await asyncio.to_thread(control.identity.anybody):
            said, code, status = await control.stranger(request)
            return control.refused_page(request, status, code, said)
        return _page(control, request, "", back_of(request.query_params.get("next", "")), 200)

    async def log_in(request: Request) -> Response:
        told = await form(request)
        back = back_of(told.get("next", ""))
        name, password, address = told.get("name", "").strip(), told.get("password", ""), control.address_of(request)
        before = control.cookie_of(request)
        try:
            logged_in = await asyncio.to_thread(control.identity.log_in, name, password, address, before=before)
        except Refusal as refusal:
            if not isinstance(refusal, Denied | RateExceeded) and refusal.status_hint < 500:
                raise
            page = _page(control, request, refusal.message, back, refusal.status_hint)
            if isinstance(refusal, RateExceeded) and refusal.retry_after is not None:
                page.headers["retry-after"] = str(round(refusal.retry_after + 0.5))
            return page
        response = RedirectResponse(back, status_code=303)
        response.set_cookie(
            control.cookie_name(request),
            logged_in.cookie,
            max_age=int(ABSOLUTE_SECONDS),
            path="/",
            secure=control.secure(request),
            httponly=True,
            samesite="lax",  # a link in an alert, followed from Slack or a mail, finds whoever is logged in
        )
        return response

    async def log_out(request: Request) -> Response:
        cookie = control.cookie_of(request)
        if cookie:
            await asyncio.to_thread(control.identity.log_out, cookie, request.state.who)
        response = RedirectResponse(LOGIN, status_code=303)
        secure = control.secure(request)
        response.delete_cookie(control.cookie_name(request), path="/", secure=secure, httponly=True, samesite="lax")
        return response

    return [
        Route(LOGIN, show, methods=["GET"]),
        Route(LOGIN, log_in, methods=["POST"]),
        Route(LOGOUT, log_out, methods=["POST"]),
    ]


def back_of(told: str) -> str:
    """Where to go on: a path of ours, else the overview. Nothing that a browser takes for another host's address."""
    plain = told.isascii() and told.isprintable() and len(told) <= 2_000 and "\\" not in told
    return told if plain and told.startswith("/") and not told.startswith("//") else "/"


def _page(control: Control, request: Request, said: str, back: str, status: int) -> Response:
    if control.pages.login is not None:
        return control.pages.login(request, said, back, status)
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Headgate: log in</title><main><h1>Headgate</h1>'
        f'<p role="alert">{escape(said)}</p><form method="post" action="{LOGIN}">'
        f'<input type="hidden" name="next" value="{escape(back)}">'
        '<p><label>Name <input name="name" autocomplete="username" required></label></p>'
        '<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label>'
        "</p><button>Log in</button></form></main></html>",
        status_code=status,
    )
