"""The control API's incidents: what is stopped, slowed or degraded while the gateway runs.

GET    /admin/api/incidents?ended=true     (optional: those that have ended, too)
POST   /admin/api/incidents     {"kind": "stop", "scope": "provider", "value": "anthropic", "seconds": 3600, ...}
DELETE /admin/api/incidents/inc_7f...?by=ada
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.gateway.admin_query import parameters
from headgate.settings.units import Unfit, switch
from headgate.stores.incident_json import incident_json
from headgate.stores.incidents import IncidentStore

_TEXTS = ("kind", "scope", "value", "to", "why", "by")
_MOST_NAME = 100


class IncidentsApi:
    """Answers for the path `incidents`. The ledger is asked in threads, so the event loop never waits."""

    __slots__ = ("_now", "_store")

    def __init__(self, store: IncidentStore, *, now: Callable[[], float]) -> None:
        """`now`: seconds since the epoch."""
        self._store = store
        self._now = now

    async def answer(self, method: str, rest: str, query: bytes, body: bytes) -> tuple[int, dict[str, Any]]:
        """One request: its status, and what is said.

        Args:
            rest: of the path, behind `incidents`.

        Raises:
            BadRequest: a parameter or the body cannot be used.
            NotServed: an unknown method or incident.
            Unavailable: the ledger cannot be read or written.
        """
        store, now = self._store, self._now
        if method == "GET" and not rest:
            told = parameters(query, ("ended",))
            try:
                ended = switch(told.get("ended", "false"))
            except Unfit as error:
                raise BadRequest(f"ended: {error}") from None
            found = await asyncio.to_thread(store.all, ended=ended)
            return 200, {"incidents": [incident_json(each, now()) for each in found]}
        if method == "POST" and not rest:
            fields = _fields(body)
            try:
                made = await asyncio.to_thread(lambda: store.set(**fields))
            except ConfigError as error:
                raise BadRequest("; ".join(error.mistakes)) from None
            return 201, incident_json(made, now())
        if method == "DELETE" and rest.startswith("/"):
            by = parameters(query, ("by",)).get("by", "api")
            if not by.isprintable() or len(by) > _MOST_NAME:
                raise BadRequest(f"by has to be at most {_MOST_NAME} printable characters.")
            try:
                lifted = await asyncio.to_thread(store.lift, rest[1:], by=by)
            except ConfigError as error:
                raise NotServed(error.message) from None
            return 200, incident_json(lifted, now())
        raise NotServed("The control API has no such path or method.")


def _fields(body: bytes) -> dict[str, Any]:
    """The arguments of `IncidentStore.set`.

    Raises:
        BadRequest: not a JSON object, an unknown or missing field, or one of another type.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(fields, dict) or not set(fields) <= {*_TEXTS, "rate", "seconds"}:
        raise BadRequest(f"The body has to be a JSON object with {', '.join(_TEXTS)}, rate and seconds.")
    if not {"kind", "scope", "value"} <= set(fields):
        raise BadRequest("An incident needs its kind, scope and value.")
    fields = {name: value for name, value in fields.items() if value is not None}
    for name, value in fields.items():
        if name in _TEXTS and not isinstance(value, str):
            raise BadRequest(f"{name} has to be a string.")
        if name == "rate" and (not isinstance(value, int) or isinstance(value, bool)):
            raise BadRequest("rate has to be a whole number of requests per minute.")
        if name == "seconds" and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise BadRequest("seconds has to be a number.")
    return {"by": "api", **fields}
