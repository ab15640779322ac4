"""Tool calls that wait for a person: parked while an answer goes by, and handed out once they are approved.

The caller sends the same request again, with the token of its answer. Nothing is sent to a provider for it, and it
costs nothing: the answer that the call was part of is given again, with the call in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

from headgate.core.approvals import Parked, State
from headgate.core.caller import Caller
from headgate.core.errors import BadRequest, ConfigError, ContentBlocked, Unavailable
from headgate.core.exchange import Ending, Exchange, Request
from headgate.core.guards import Finding, ToolCall, Verdict
from headgate.core.ports import Approvals, Ports, Substitute
from headgate.engine.books import Books
from headgate.engine.degrading import StandIn
from headgate.engine.plan import Plan, Policies
from headgate.engine.relay import Reply
from headgate.policy.guards.rules import GuardRules
from headgate.policy.guards.tokens import is_id
from headgate.policy.guards.tools import shown_name
from headgate.policy.guards.toolwatch import MAX_PARKED, Parking, ToolWatch, waits
from headgate.wire.calls import Part, can_call, say_parts

_FORGED = (
    "x-headgate-approval: this is no approval for this call. It holds for the very same request and caller, and is "
    "used once. Send the request exactly as it was, with the token that came with its answer"
)
_DENIED = "Headgate: the call of {tool} was denied by a person ({approval}){note}. Do not ask for it again."
_EXPIRED = "Headgate: the approval of this call of {tool} has expired ({approval}). Nothing was done."
_SEPARATOR = re.compile(r"[,\s]+")


class Approving:
    """Shared by all exchanges of an engine."""

    __slots__ = ("_books", "_policies", "_ports")

    def __init__(self, ports: Ports, policies: Policies, books: Books) -> None:
        self._ports = ports
        self._policies = policies
        self._books = books

    def watch(self, exchange: Exchange, plan: Plan, rules: GuardRules, *, tainted: bool) -> ToolWatch | None:
        """What watches the tool calls of an attempt's answer; None where neither rules nor loops ask for it.

        Args:
            tainted: documents or tool results are in the conversation.
        """
        exchange.parked = ()  # those of an attempt before, whose answer is not the caller's
        if not (rules.watches_calls and can_call(exchange.request.endpoint)):
            return None
        caller, approvals = exchange.request.caller, self._ports.approvals
        if not rules.judges_calls and not (caller.session or caller.key or caller.user):
            return None  # a row of calls is somebody's
        parking = None
        if approvals is not None and rules.tool_rules is not None and rules.tool_rules.approves:
            parking = self._parking(exchange, plan, approvals)
        return ToolWatch(rules, tainted=tainted, caller=caller, loops=self._policies.loops, parking=parking)

    def _parking(self, exchange: Exchange, plan: Plan, approvals: Approvals) -> Parking:
        request, digest = exchange.request, ""

        def make(call: ToolCall, expires: float) -> Parked | None:
            nonlocal digest
            digest = digest or request_digest(request, plan.came.body)
            now = self._books.now()
            parked = Parked(approvals.new_id(), now, now + expires, _plain(request.caller), call, exchange.id, digest)
            try:
                return replace(parked, token=approvals.token(parked))
            except ConfigError as error:
                self._ports.log.event("approval_lost", exchange=exchange.id, error=error.code)
                return None

        def keep(parked: Parked) -> None:
            approvals.keep(parked)
            others = tuple(each for each in exchange.parked if each.id != parked.id)
            exchange.parked = (*others, parked)

        return Parking(make, keep)

    async def answer(self, exchange: Exchange, plan: Plan) -> Reply:
        """What has become of the calls whose tokens a request brings: the answer again, with those that were approved.

        Raises:
            BadRequest: a token is forged, was made for another caller or request, or was used already.
            ContentBlocked: what is to be said has no place in an answer of this kind.
            Unavailable: it cannot be read now.
        """
        request = exchange.request
        found = await self._found(request, request_digest(request, plan.came.body))
        now = self._books.now()
        states = {parked.id: parked.state_at(now) for parked in found}
        if State.USED in states.values():
            raise BadRequest(_FORGED, code="approval_used")
        ready = [parked for parked in found if states[parked.id] is State.APPROVED]
        waiting = State.PENDING in states.values()
        if ready and not waiting and not await self._approvals.take([parked.id for parked in ready], now):
            raise BadRequest(_FORGED, code="approval_used")  # another was faster
        if waiting:
            exchange.parked = tuple(self._again(parked) for parked in found if states[parked.id] is State.PENDING)
        parts = _said(found, states) if waiting or not ready else _replayed(found, states)
        reasons = tuple(f"{states[parked.id]}:{parked.id}" for parked in found)
        exchange.findings += (Finding("tools", Verdict.FLAG, reasons, channel="tool_call"),)
        return await self._reply(exchange, request, parts)

    @property
    def _approvals(self) -> Approvals:
        found = self._ports.approvals
        if found is None:
            raise BadRequest(_FORGED, code="approval_invalid")
        return found

    async def _found(self, request: Request, digest: str) -> Sequence[Parked]:
        """The parked calls that a request's tokens are for, in the order of their answer."""
        if not can_call(request.endpoint):
            raise BadRequest(_FORGED, code="approval_invalid")
        ids = {self._id_of(token, request.caller, digest) for token in _tokens(request.approval)}
        found = await self._approvals.find(sorted(ids))
        if len(found) < len(ids) or any(not _belongs(parked, request.caller, digest) for parked in found):
            raise BadRequest(_FORGED, code="approval_invalid")
        if len({parked.exchange_id for parked in found}) > 1:
            raise BadRequest("x-headgate-approval: the approvals are of several answers: send those of one")
        return sorted(found, key=lambda parked: parked.number)

    def _id_of(self, token: str, caller: Caller, digest: str) -> str:
        # An SDK does not show a stream's comments, so that the id of its text has to do; it is as hard to guess.
        found = token if is_id(token) else self._approvals.genuine(token, caller, digest)
        if found is None:
            raise BadRequest(_FORGED, code="approval_invalid")
        return found

    def _again(self, parked: Parked) -> Parked:
        return replace(parked, token=self._approvals.token(parked))

    async def _reply(self, exchange: Exchange, request: Request, parts: Sequence[Part]) -> Reply:
        now = self._books.now()
        if request.facts.background or not can_call(request.endpoint):
            raise ContentBlocked("the answer cannot be told in this way of asking", guard="tools")
        kind, body = say_parts(request.endpoint, request.facts, parts, exchange_id=exchange.id, now=now)
        exchange.status, exchange.stood_in = 200, True
        self._books.settle(exchange, Ending.COMPLETE)
        with contextlib.suppress(Unavailable):  # no intent row stands for it (as `Engine.open`)
            await self._ports.ledger.flush()
        return StandIn(exchange, Substitute(200, [(b"content-type", kind)], body), self._books.now())


def request_digest(request: Request, body: bytes) -> str:
    """The same for the same request: SHA-256 in hex.

    Args:
        body: as the caller sent it, before anything was changed in it.
    """
    told = (request.dialect, request.endpoint, request.method, request.path.partition("?")[0])
    digest = hashlib.sha256("\0".join(told).encode("utf-8", "surrogatepass"))
    digest.update(b"\0" + body)
    return digest.hexdigest()


def _tokens(told: str) -> Sequence[str]:
    tokens = [token for token in _SEPARATOR.split(told) if token]
    if not 0 < len(tokens) <= MAX_PARKED:
        raise BadRequest(f"x-headgate-approval: expected 1 to {MAX_PARKED} tokens with commas between them")
    return tokens


def _belongs(parked: Parked, caller: Caller, digest: str) -> bool:
    asked = parked.caller
    return (asked.key, asked.tenant, parked.digest) == (caller.key, caller.tenant, digest)


def _plain(caller: Caller) -> Caller:
    """Without tags: they are of one call."""
    return replace(caller, tags={})


def _said(found: Sequence[Parked], states: dict[str, State]) -> list[Part]:
    """Where none of them may be had: why."""
    return [_words(parked, states[parked.id]) for parked in found]


def _words(parked: Parked, state: State) -> str:
    tool, note = shown_name(parked.call.name), f": {parked.note}" if parked.note else ""
    if state is State.DENIED:
        return _DENIED.format(tool=tool, approval=parked.id, note=note)
    if state is State.EXPIRED:
        return _EXPIRED.format(tool=tool, approval=parked.id)
    if state is State.APPROVED:
        return f"Headgate: the call of {tool} is approved ({parked.id}), and waits for the others."
    return waits(parked)


def _replayed(found: Sequence[Parked], states: dict[str, State]) -> list[Part]:
    """The answer again: what went out before, what was approved, and in the place of the rest why it is not there."""
    parts: dict[int, Part] = {}
    for parked in found:
        for number, call in parked.beside:
            parts[number] = call
    for parked in found:
        state = states[parked.id]
        approved = replace(parked.call, arguments=parked.arguments)
        parts[parked.number] = approved if state is State.APPROVED else _words(parked, state)
    return [parts[number] for number in sorted(parts)]
