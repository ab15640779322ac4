"""The tool calls of one answer: which go out, what stands in the place of the others, and which wait for a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from headgate.core.approvals import Parked
from headgate.core.caller import Caller
from headgate.core.guards import Denied, Finding, ToolCall, Verdict
from headgate.policy.guards.loops import Loop, LoopLimits, LoopWatch
from headgate.policy.guards.rules import BLOCK as BLOCKS
from headgate.policy.guards.rules import FLAG, OFF, GuardRules
from headgate.policy.guards.tools import (
    ALLOW,
    APPROVE,
    BAD_ARGUMENTS,
    WORDS,
    ToolGuard,
    ToolRules,
    read_arguments,
    shown_name,
)

LOOPS = (
    "Headgate did not let this call of {tool} through: {reason}. You are repeating yourself: do something else, or "
    "stop and say what is missing."
)
NO_APPROVALS = "it would have to be approved by a person, and approvals cannot be kept now"
MAX_PARKED = 16
"""Calls of one answer that wait for approval; more are blocked."""
APPROVAL = (
    "Headgate: the call of {tool} waits for a person's approval ({approval}). Nothing was done. Approve it with "
    "`headgate approvals approve {approval}`, then send the same request again with the header x-headgate-approval. "
    "It expires at {expires}."
)
_NO_RULES = ToolRules()


def waits(parked: Parked) -> str:
    """What stands in the place of a call that waits."""
    return APPROVAL.format(tool=shown_name(parked.call.name), approval=parked.id, expires=moment(parked.expires))


def moment(seconds: float) -> str:
    """Seconds since the epoch, for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


@dataclass(slots=True)
class Parking:
    """How a call is set aside: what `engine.approving` gives to a watch.

    Attributes:
        make: a record with an id and a token, of a call of this exchange, that waits for so many seconds; None: it
            cannot be made now.
        keep: puts a record on file, or what is new of it; never waits, never raises.
    """

    make: Callable[[ToolCall, float], Parked | None]
    keep: Callable[[Parked], None]


class ToolWatch:
    """Watches the calls of one answer. One per attempt.

    Args:
        rules: of the caller.
        tainted: documents or tool results are in the conversation.
        caller: who asks.
        loops: what the callers' sessions have called; None: loops are not looked for.
        parking: where calls are set aside; None: they cannot be, and those that would be are blocked.

    Attributes:
        findings: what there is to say of it, for the log.
        parked: the calls that wait, in their order.
    """

    __slots__ = (
        "_beside",
        "_caller",
        "_count",
        "_guard",
        "_loops",
        "_mode",
        "_parking",
        "_rules",
        "_tainted",
        "_tools",
        "findings",
        "parked",
    )

    def __init__(
        self,
        rules: GuardRules,
        *,
        tainted: bool,
        caller: Caller,
        loops: LoopWatch | None = None,
        parking: Parking | None = None,
    ) -> None:
        self._rules = rules
        self._tools = rules.tool_rules or _NO_RULES
        self._guard = ToolGuard(self._tools, strict=rules.strict) if rules.tools != OFF else None
        self._mode = rules.tools
        self._tainted = tainted
        self._caller = caller
        self._loops = loops if rules.loops != OFF else None
        self._parking = parking
        self.findings: list[Finding] = []
        self.parked: list[Parked] = []
        self._count = 0  # calls that went out or wait
        self._beside: list[tuple[int, ToolCall]] = []  # those that went out

    def tool(self, call: ToolCall) -> ToolCall | Denied:
        """What goes out in the place of a complete call: the call itself, or a denial."""
        loop = self._looping(call)
        if loop is not None:
            return loop
        if self._guard is None:
            return self._passed(call)
        judged = self._guard.judge(call, self._tainted)
        if judged.verdict == ALLOW:
            if judged.reason and (self._tools.rules or self._mode == FLAG):
                self._say(call, Verdict.FLAG, judged.reason)
            return self._passed(call)
        if self._mode == FLAG:
            self._say(call, Verdict.FLAG, judged.verdict if judged.reason == "rule" else judged.reason)
            return self._passed(call)
        if judged.verdict == APPROVE:
            return self._park(call)
        self._say(call, Verdict.BLOCK, judged.reason)
        return Denied(self._denial(call, judged.words))

    def _looping(self, call: ToolCall) -> Denied | None:
        if self._loops is None:
            return None
        found = self._note(self._loops, call, self._rules.loop_limits)
        if found is None:
            return None
        self.findings.append(found.finding(self._rules.loops, call.place))
        if not found.over or self._rules.loops != BLOCKS:
            return None
        return Denied(LOOPS.format(tool=shown_name(call.name), reason=found.words))

    def _note(self, loops: LoopWatch, call: ToolCall, limits: LoopLimits) -> Loop | None:
        who = self._caller
        if who.session:
            return loops.note((who.key, who.tenant, who.session), call, limits)
        if who.key or who.user:  # perhaps of several agents at once: only how many says something
            return loops.note((who.key, who.tenant, "", who.user), call, limits, in_a_row=False)
        return None

    def _passed(self, call: ToolCall) -> ToolCall:
        self._beside.append((self._count, call))
        self._count += 1
        if self.parked and self._parking is not None:
            self._renew(self._parking)
        return call

    def _park(self, call: ToolCall) -> Denied:
        parking = self._parking
        if read_arguments(call.arguments) is None:
            self._say(call, Verdict.BLOCK, BAD_ARGUMENTS)  # nobody can approve what nobody can read
            return Denied(self._denial(call, WORDS[BAD_ARGUMENTS]))
        record = parking.make(call, self._tools.expires) if parking and len(self.parked) < MAX_PARKED else None
        if record is None or parking is None:
            self._say(call, Verdict.BLOCK, "no_approvals")
            return Denied(self._denial(call, NO_APPROVALS))
        self.parked.append(replace(record, number=self._count))
        self._count += 1
        self._renew(parking)
        self._say(call, Verdict.BLOCK, "approval", record.id)
        return Denied(waits(record))

    def _renew(self, parking: Parking) -> None:
        """Each record tells of the answer that its call was part of, as far as it is known."""
        beside = tuple(self._beside)
        for place, record in enumerate(self.parked):
            self.parked[place] = renewed = replace(record, beside=beside)
            parking.keep(renewed)

    def _denial(self, call: ToolCall, reason: str) -> str:
        return self._tools.denial.format(tool=shown_name(call.name), reason=reason)

    def _say(self, call: ToolCall, verdict: Verdict, *reasons: str) -> None:
        named = (*reasons, f"tool:{shown_name(call.name)}")
        self.findings.append(Finding("tools", verdict, named, channel="tool_call", place=call.place))
