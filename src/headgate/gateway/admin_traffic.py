"""The control API's traffic: how it stands with each provider, and breakers that are lifted while the gateway runs.

GET  /admin/api/providers?provider=anthropic&family=claude-haiku-4     (each of them optional)
POST /admin/api/breakers/lift     {"provider": "anthropic"}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.gateway.admin_query import parameters
from headgate.traffic_report import lift, providers_report

if TYPE_CHECKING:
    from headgate.build import Built

_MAX_NAME = 200


class TrafficApi:
    """Answers for the paths `providers` and `breakers/lift`. Nothing of it waits."""

    __slots__ = ("_built",)

    def __init__(self, built: Built) -> None:
        self._built = built

    def answer(self, method: str, path: str, query: bytes, body: bytes) -> dict[str, Any]:
        """One request.

        Raises:
            BadRequest: a parameter or the body cannot be used.
            NotServed: an unknown method or provider.
        """
        if path.endswith("/providers") and method == "GET":
            told = parameters(query, ("provider", "family"))
            return providers_report(
                self._built, told=True, provider=told.get("provider", ""), family=told.get("family")
            )
        if path.endswith("/lift") and method == "POST":
            return self._lift(_provider(body))
        raise NotServed("The control API has no such path or method.")

    def _lift(self, provider: str) -> dict[str, Any]:
        try:
            return {"provider": provider, "lifted": lift(self._built, provider, by="gateway")}
        except ConfigError as error:
            raise NotServed(error.message, code="no_provider") from None


def _provider(body: bytes) -> str:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    name = fields.get("provider") if isinstance(fields, dict) and len(fields) == 1 else None
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise BadRequest('The body has to be a JSON object with the provider\'s name: {"provider": "anthropic"}.')
    return name
