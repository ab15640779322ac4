"""How the admin API's routes are declared: each with the right that it needs, and the errors that it may answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request

from headgate.control.people import Principal, Right
from headgate.control.problems import MEDIA
from headgate.core.errors import BadRequest

F = TypeVar("F", bound=Callable[..., Any])

RIGHT = "x-headgate-right"
"""The field of an operation in the OpenAPI document that names the right it needs."""

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_WORDS = {
    400: "What is asked cannot be done",
    401: "No valid credential",
    403: "The role may not do this",
    404: "There is none, or it is not yours to see",
    409: "It cannot be done as things are now",
    413: "The body is too large",
    422: "A parameter or the body does not fit the schema",
    429: "Too many tries: wait",
    503: "The ledger or the log cannot be read or written now",
}


async def _who(request: Request) -> Principal:
    who: Principal = request.state.who
    return who


Who = Annotated[Principal, Depends(_who)]
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}$")]
Text = Annotated[str, Query(max_length=300, pattern=_PRINTABLE)]
Limit = Annotated[int, Query(ge=1, le=1_000)]


class Routes:
    """Routes below `/v1`."""

    def __init__(self) -> None:
        self.router = APIRouter(prefix="/v1")

    def get(self, path: str, right: Right, tag: str) -> Callable[[F], F]:
        """A route that reads."""
        return self._route("GET", path, right, tag, 200)

    def post(self, path: str, right: Right, tag: str, *, status: int = 200) -> Callable[[F], F]:
        """A route that makes or does something."""
        return self._route("POST", path, right, tag, status)

    def put(self, path: str, right: Right, tag: str) -> Callable[[F], F]:
        """A route that sets something."""
        return self._route("PUT", path, right, tag, 200)

    def delete(self, path: str, right: Right, tag: str) -> Callable[[F], F]:
        """A route that ends or takes back something."""
        return self._route("DELETE", path, right, tag, 200)

    def _route(self, method: str, path: str, right: Right, tag: str, status: int) -> Callable[[F], F]:
        async def checked(who: Who) -> None:
            who.need(right)

        def declare(endpoint: F) -> F:
            self.router.add_api_route(
                path,
                endpoint,
                methods=[method],
                status_code=status,
                tags=[tag],
                operation_id=endpoint.__name__,
                summary=(endpoint.__doc__ or "").strip().partition("\n")[0].rstrip("."),
                dependencies=[Depends(checked)],
                responses=_problems(),
                openapi_extra={RIGHT: str(right)},
            )
            return endpoint

        return declare


def _problems() -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {status: {"description": words, "content": {MEDIA: {"schema": schema}}} for status, words in _WORDS.items()}


def named_values(where: list[str]) -> dict[str, str]:
    """``name=value`` texts by name.

    Raises:
        BadRequest: one is none, or a name is there twice.
    """
    found: dict[str, str] = {}
    for each in where:
        name, sign, value = each.partition("=")
        if not sign or name in found or "\0" in each:
            raise BadRequest("where is name=value, as in tenant=acme, each name once.")
        found[name] = value
    return found
