"""The control API's alerts: what is on, what was, and who looks after it.

GET  /admin/api/alerts?ended=true&limit=100     (each of them optional: those that have ended, too)
POST /admin/api/alerts/al_7f.../acknowledge     {"by": "ada"}     (optional)
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from headgate.alerting.board import Board
from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.gateway.admin_query import parameters
from headgate.settings.units import Unfit, switch, whole
from headgate.stores.alerts import alert_json

_MOST_NAME = 100


class AlertsApi:
    """Answers for the path `alerts`. The ledger is asked in threads, so the event loop never waits."""

    __slots__ = ("_board",)

    def __init__(self, board: Board) -> None:
        self._board = board

    async def answer(self, method: str, rest: str, query: bytes, body: bytes) -> dict[str, Any]:
        """One request. Args: `rest`: of the path, behind `alerts`.

        Raises:
            BadRequest: a parameter or the body cannot be used.
            NotServed: an unknown method or alert.
            Unavailable: the ledger cannot be read or written.
        """
        board = self._board
        if method == "GET" and not rest:
            told = parameters(query, ("ended", "limit"))
            try:
                ended, limit = switch(told.get("ended", "false")), whole(1, 1_000)(told.get("limit", "100"))
            except Unfit as error:
                raise BadRequest(f"ended or limit: {error}") from None
            found = await asyncio.to_thread(board.history, limit) if ended else await asyncio.to_thread(board.active)
            return {"alerts": [alert_json(each) for each in found[:limit]]}
        alert, _, action = rest.removeprefix("/").partition("/")
        if method == "POST" and alert and action == "acknowledge":
            by = _by(body)
            try:
                return alert_json(await asyncio.to_thread(board.acknowledge, alert, by))
            except ConfigError as error:
                raise NotServed(error.message) from None
        raise NotServed("The control API has no such path or method.")


def _by(body: bytes) -> str:
    try:
        fields = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(fields, dict) or not set(fields) <= {"by"}:
        raise BadRequest('The body has to be a JSON object like {"by": "ada"}, or empty.')
    by = fields.get("by", "api")
    if not isinstance(by, str) or not 0 < len(by) <= _MOST_NAME or not by.isprintable():
        raise BadRequest(f"by has to be a string of 1 to {_MOST_NAME} printable characters.")
    return by
