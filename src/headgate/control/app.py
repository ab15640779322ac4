"""The ASGI app beside the data plane: the door, the admin API, the dashboard's pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from headgate.control.api import make
from headgate.control.context import Control, Pages, plain_page
from headgate.control.entry import API, Entry
from headgate.control.login import login_routes
from headgate.control.passwords import Passwords
from headgate.control.problems import problem_response, told

if TYPE_CHECKING:
    from headgate.gateway.app import Gateway

_NO_DASHBOARD = "The gateway runs. It has no dashboard here; the admin API is at /admin/api/v1/."


def build(
    gateway: Gateway, *, pages: Callable[[Control], Pages] | None = None, passwords: Passwords | None = None
) -> ASGIApp:
    """The app. It imports FastAPI: call it in a thread.

    Args:
        gateway: the running one.
        pages: makes the dashboard; None: `/` says that there is none.
        passwords: hashes them; with other costs than the default's for tests.
    """
    control = Control(gateway, passwords=passwords)
    if pages is not None:
        control.pages = pages(control)
    api = Mount("/admin/api", app=make(control))
    routes: list[BaseRoute] = [api, *login_routes(control), *control.pages.routes]
    if pages is None:
        routes.append(Route("/", lambda _request: plain_page("running", _NO_DASHBOARD)))
    app = Starlette(routes=routes, exception_handlers=_handlers(control))
    return Entry(app, control)


def _handlers(control: Control) -> dict[type[Exception] | int, Callable[[Request, Exception], Response]]:
    def say(request: Request, status: int, code: str, detail: str, wait: float | None = None) -> Response:
        if request.url.path.startswith(API):
            return problem_response(status, code, detail, retry_after=wait)
        return control.refused_page(request, status, code, detail)

    def raised(request: Request, error: Exception) -> Response:
        status, code, detail, wait = told(error)
        return say(request, status, code, detail, wait)

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        said = "There is no such page here." if error.status_code == 404 else str(error.detail)
        response = say(request, error.status_code, code, said)
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    from headgate.core.errors import HeadgateError

    return {HeadgateError: raised, HTTPException: http, Exception: raised}
