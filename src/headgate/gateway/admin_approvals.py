"""The control API's tool calls that wait for a person.

    GET  /admin/api/approvals?state=pending&limit=50      (each of them optional)
    GET  /admin/api/approvals/ap_...
    POST /admin/api/approvals/ap_.../approve     {"arguments": {...}, "reason": "..."}     (each of them optional)
    POST /admin/api/approvals/ap_.../deny        {"reason": "..."}

The last two also take the token that a webhook got with the call, in place of the control token, from any address.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from headgate.core.approvals import Decision, Parked, State
from headgate.core.errors import BadRequest, NotServed
from headgate.gateway.admin_query import parameters
from headgate.policy.guards.decisions import read_decision
from headgate.policy.guards.tokens import is_id, read_decide_token
from headgate.stores.approval_json import approval_json
from headgate.stores.approvals import ApprovalStore

_BEARER = b"Bearer "
_DECIDES = b"Bearer hgd_"
_MOST = 1_000


class ApprovalsApi:
    """Answers for the paths under `approvals`. The ledger is asked in threads, so the event loop never waits."""

    __slots__ = ("_now", "_store")

    def __init__(self, store: ApprovalStore, *, now: Callable[[], float]) -> None:
        """
        Args:
            now: seconds since the epoch.
        """
        self._store = store
        self._now = now

    async def may_decide(self, rest: str, authorization: bytes) -> bool:
        """Whether a request comes with the token that decides the approval which its path names.

        Args:
            rest: of the path, behind ``approvals``.
        """
        approval, _, action = rest.removeprefix("/").partition("/")
        if action not in ("approve", "deny") or not authorization.startswith(_DECIDES):
            return False
        token = authorization.removeprefix(_BEARER).decode("ascii", "replace")
        key = await asyncio.to_thread(lambda: self._store.key)
        return read_decide_token(key, token) == approval

    async def answer(self, method: str, rest: str, query: bytes, body: bytes, *, by: str) -> dict[str, Any]:
        """One request.

        Args:
            rest: of the path, behind ``approvals``.
            by: who decides: "api", "webhook".

        Raises:
            BadRequest: a parameter or the body cannot be used.
            NotServed: an unknown method or approval.
            Unavailable: the ledger cannot be read or written.
        """
        approval, _, action = rest.removeprefix("/").partition("/")
        if method == "GET" and not rest:
            return await self._list(query)
        if method == "GET" and not action:
            return self._shown(_there(await asyncio.to_thread(self._store.get, approval)))
        if method == "POST" and action in ("approve", "deny"):
            return await self._decide(approval, _decision(action, body, by))
        raise NotServed("The control API has no such path or method.")

    async def _list(self, query: bytes) -> dict[str, Any]:
        told = parameters(query, ("state", "limit"))
        try:
            state = State(told["state"]) if "state" in told else None
            limit = int(told.get("limit", "50"))
        except ValueError:
            raise BadRequest(f"state is one of {', '.join(State)}; limit is a whole number.") from None
        if not 1 <= limit <= _MOST:
            raise BadRequest(f"limit has to be from 1 to {_MOST}.")
        found = await asyncio.to_thread(lambda: self._store.list(state=state, limit=limit))
        return {"approvals": [self._shown(parked) for parked in found]}

    async def _decide(self, approval: str, decision: Decision) -> dict[str, Any]:
        decided = await asyncio.to_thread(self._store.decide, approval, decision)
        return {**self._shown(_there(decided.parked)), "made": decided.made}

    def _shown(self, parked: Parked) -> dict[str, Any]:
        return approval_json(parked, self._now())


def _there(parked: Parked | None) -> Parked:
    if parked is None:
        raise NotServed("There is no approval with this id; `headgate approvals list` shows them.", code="no_approval")
    return parked


def _decision(action: str, body: bytes, by: str) -> Decision:
    try:
        told = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(told, dict) or not set(told) <= {"arguments", "reason"}:
        raise BadRequest("The body has to be a JSON object; arguments and reason are known.")
    word = "edit" if action == "approve" and "arguments" in told else action
    try:
        decision = read_decision({**told, "decision": word}, by)
    except ValueError as error:
        raise BadRequest(f"{str(error).capitalize()}.") from None
    assert decision is not None
    return decision


def named(rest: str) -> bool:
    """Whether the rest of a path is of this API: nothing, or an approval's id and an action."""
    return not rest or (rest.startswith("/") and is_id(rest[1:].partition("/")[0]))
