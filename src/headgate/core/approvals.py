"""Tool calls that wait for a person: what is kept of one, and what can become of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headgate.core.caller import Caller
from headgate.core.guards import ToolCall

PREFIX = "ap_"
"""Of an approval's id; 26 characters of base 32 follow, 130 random bits."""


class State(StrEnum):
    """Of a parked call. `expired` is what the first two become by time alone."""

    PENDING = "pending"
    APPROVED = "approved"  # as it was asked for, or edited
    DENIED = "denied"
    USED = "used"  # approved, and handed to its caller, once
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Parked:
    """A tool call that waits for a person. Times are seconds since the epoch.

    Attributes:
        id: ``ap_...``; who knows it can ask about the call, as the same caller and with the same request.
        caller: who asked; without tags.
        call: as the model wrote it.
        number: its place among the calls of the answer that it was part of, from 0.
        beside: the calls of that answer that went out, by their places. Others that wait are not in it: each of them is
            approved for itself.
        exchange_id: of that answer.
        digest: of the request, see `engine.approving.request_digest`.
        edited: arguments that the person has put in place of the model's, as JSON text; None = the model's.
        decided_by: "cli", "api", "webhook", "python", or the name of whoever used the dashboard or the admin API;
            "" = nobody has decided.
        note: why, in the person's words.
        token: signed, for the caller to send along; never stored.
    """

    id: str
    created: float
    expires: float
    caller: Caller
    call: ToolCall
    exchange_id: str
    digest: str
    number: int = 0
    beside: tuple[tuple[int, ToolCall], ...] = ()
    state: State = State.PENDING
    edited: str | None = None
    decided_by: str = ""
    decided_at: float | None = None
    note: str = ""
    token: str = ""

    def state_at(self, now: float) -> State:
        """Its state, by then."""
        if self.state in (State.PENDING, State.APPROVED) and now >= self.expires:
            return State.EXPIRED
        return self.state

    @property
    def arguments(self) -> str:
        """As they were approved: JSON text."""
        return self.call.arguments if self.edited is None else self.edited


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person has said of a parked call.

    Attributes:
        approve: else it is denied.
        edited: arguments in place of the model's, JSON text; only with `approve`.
        by: as `Parked.decided_by`.
        note: why, in words.
    """

    approve: bool
    edited: str | None = None
    by: str = ""
    note: str = ""
