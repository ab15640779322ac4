"""The admin API: FastAPI below `/admin/api`, its document at `/admin/api/openapi.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from headgate._version import __version__
from headgate.control.api import logs, money, who, work
from headgate.control.api.base import Routes
from headgate.control.api.models import Problem
from headgate.control.context import Control
from headgate.control.problems import as_problem, problem_response
from headgate.core.errors import HeadgateError

_TITLE = "Headgate admin API"
_ABOUT = (
    "Keys, budgets, approvals, jobs, people and everything else that the dashboard shows. Send an API token "
    "(`headgate people token`) as `Authorization: Bearer hga-…`. Every change is in the audit log."
)
_MOST_ERRORS = 20


def make(control: Control) -> FastAPI:
    """The API's app."""
    app = FastAPI(title=_TITLE, version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    routes = Routes()
    for part in (money, work, logs, who):
        part.add(routes, control)
    app.include_router(routes.router)
    app.add_exception_handler(HeadgateError, as_problem)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, lambda request, error: _http(request, error, routes.router.routes))
    app.add_exception_handler(Exception, as_problem)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title=_TITLE, version=app.version, description=_ABOUT, routes=app.routes)
        parts = made.setdefault("components", {})
        schemas = parts.setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        parts["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "An API token, hga-…"},
        }
        made["security"] = [{"token": []}]
        made["servers"] = [{"url": "/admin/api"}]
        app.openapi_schema = made
    return app.openapi_schema


def _unfit(_request: Request, error: Exception) -> Response:
    """What does not fit the schema: where and why, never what was sent."""
    assert isinstance(error, RequestValidationError)
    found = [
        {"where": [str(part) for part in each["loc"]], "why": str(each["msg"])}
        for each in error.errors()[:_MOST_ERRORS]
    ]
    first = found[0] if found else {"where": [], "why": "it does not fit"}
    return problem_response(422, "invalid_request", f"{'.'.join(first['where'])}: {first['why']}.", errors=found)


def _http(request: Request, error: Exception, routes: Sequence[BaseRoute]) -> Response:
    assert isinstance(error, HTTPException)
    codes = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}
    said = {404: "The admin API has no such path.", 405: "The path does not take this method."}
    response = problem_response(
        error.status_code, codes.get(error.status_code, "http_error"), said.get(error.status_code, str(error.detail))
    )
    response.headers.update(error.headers or {})
    if error.status_code == 405:  # Starlette names the methods of the first route of this path only
        response.headers["allow"] = ", ".join(_methods(request, routes))
    return response


def _methods(request: Request, routes: Sequence[BaseRoute]) -> list[str]:
    """What the path of a request takes."""
    found: set[str] = set()
    for route in routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)
