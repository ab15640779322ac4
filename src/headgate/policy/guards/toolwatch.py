"""The tool calls of one answer: which go out, what stands in the place of the others, and which wait for a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from headgate.core.approvals import Parked
from headgate.core.caller import Caller
from headgate.core.guards import Denied, Finding, ToolCall, Verdict
from headgate.policy.guards.loops import Loop, LoopLimits, LoopWatch
from headgate.policy.guards.rules import BLOCK as BLOCKS
from headgate.policy.guards.rules import FLAG, OFF, GuardRules
from headgate.policy.guards.tools import ALLOW, APPROVAL, APPROVE, ToolGuard, ToolRules, shown_name

LOOPS = (
    "Headgate did not let this call of {tool} through: {reason}. You are repeating yourself: do something else, or "
    "stop and say what is missing."
)
NO_APPROVALS = "it would have to be approved by a person, and approvals cannot be kept now"
MAX_PARKED = 16
"""Calls of one answer that wait for approval; more are blocked."""
_NO_RULES = ToolRules()


@dataclass(slots=True)
class Parking:
    """How a call is set aside: what `engine.approving` gives to a watch.

    Attributes:
        make: a record with an id and a token, of a call of this exchange.
        keep: puts a record on file, or replaces it there; never waits, never raises.
        until: a moment, as people read it.
    """

    make: Callable[[ToolCall, float], Parked]
    keep: Callable[[Parked], None]
    until: Callable[[float], str]


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
        "_answer",
        "_caller",
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
        self._answer: list[ToolCall] = []  # what went out and what waits, in order

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
        self._answer.append(call)
        if self.parked and self._parking is not None:
            self._renew(self._parking)
        return call

    def _park(self, call: ToolCall) -> Denied:
        parking = self._parking
        if parking is None or len(self.parked) >= MAX_PARKED:
            self._say(call, Verdict.BLOCK, "no_approvals")
            return Denied(self._denial(call, NO_APPROVALS))
        record = parking.make(call, self._tools.expires)
        self._answer.append(call)
        self.parked.append(record)
        self._renew(parking)
        self._say(call, Verdict.BLOCK, "approval", record.id)
        until = parking.until(record.expires)
        return Denied(APPROVAL.format(tool=shown_name(call.name), approval=record.id, expires=until))

    def _renew(self, parking: Parking) -> None:
        """Each record tells of the answer that its call was part of, as far as it is known."""
        answer = tuple(self._answer)
        for place, record in enumerate(self.parked):
            self.parked[place] = renewed = replace(record, answer=answer)
            parking.keep(renewed)

    def _denial(self, call: ToolCall, reason: str) -> str:
        return self._tools.denial.format(tool=shown_name(call.name), reason=reason)

    def _say(self, call: ToolCall, verdict: Verdict, *reasons: str) -> None:
        named = (*reasons, f"tool:{shown_name(call.name)}")
        self.findings.append(Finding("tools", verdict, named, channel="tool_call", place=call.place))
