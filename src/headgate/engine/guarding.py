"""Input guards at admission: what a request may not hold, and what is taken out of it before it is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from headgate.core.errors import ContentBlocked
from headgate.core.exchange import Exchange, Request
from headgate.core.guards import Finding, Verdict
from headgate.core.ports import Ports
from headgate.engine.approving import Approving
from headgate.engine.isolating import isolated
from headgate.engine.looping import looping
from headgate.engine.plan import UNREAD, Plan, Policies
from headgate.policy.guards.floods import floods
from headgate.policy.guards.incoming import Incoming
from headgate.policy.guards.input_limits import NO_LIMITS, over
from headgate.policy.guards.placeholders import Redactor
from headgate.policy.guards.querying import Features
from headgate.policy.guards.rules import BLOCK, OFF, GuardRules
from headgate.policy.guards.watch import Watching
from headgate.wire.measuring import measure
from headgate.wire.segments import SIGNED, Segment, segments, splice, tainted

AT_ONCE = 3072
"""Bytes of a body that are looked at in place: handing over to a thread costs as much."""
GUARDED = frozenset({"messages", "count_tokens", "chat", "responses", "embeddings", "moderations"})

_NOT_READ = (
    "guards do not read what is sent here, and none of it may pass unread (`unread: block`, as under the strict "
    "profile; `guards: {unread: flag}` lets it pass). The request was not sent to the AI service"
)
_LOGPROBS = re.compile(rb'"logprobs"\s*:\s*true|"top_logprobs"\s*:\s*[1-9]')


class Guarding:
    """Looks at requests. Shared by all exchanges of an engine."""

    __slots__ = ("_approving", "_clock", "_offload", "_policies")

    def __init__(self, ports: Ports, policies: Policies, approving: Approving) -> None:
        self._policies = policies
        self._approving = approving
        self._clock = ports.clock
        self._offload = ports.offload

    async def admit(self, exchange: Exchange, plan: Plan) -> None:
        """Look at everything that the request says. Where guards are off, one check.

        Redactions and isolation change `exchange.request`; `plan.inspects` watches the answer.

        Raises:
            ContentBlocked: a guard says no. Nothing was sent, and nothing is set aside.
        """
        request, of = exchange.request, self._policies.guards
        if of is None or request.of_guard:
            return
        if request.endpoint == "stored":  # an answer of before may be fetched
            self._watch(exchange, plan, of(request.caller), [], None)
        if request.endpoint in UNREAD:
            self._note(exchange, _unread(request, of(request.caller)))
        if request.endpoint not in GUARDED or not request.body:
            return
        rules = of(request.caller)
        if not rules.active:
            return
        exchange.guarded = True
        steps = self._steps(exchange, plan, rules)
        if self._offload is None or len(request.body) <= AT_ONCE:
            for _ in steps:
                pass
        else:
            await self._offload.run(steps)

    def _steps(self, exchange: Exchange, plan: Plan, rules: GuardRules) -> Iterator[None]:
        """All of it, a few milliseconds at a time: of a megabyte, finding its texts and making ready what watches its
        answer take as long as an event loop must not be held up. Raises as `admit`.

        While another thread goes through it, nobody else touches the exchange but one that gives it up.
        """
        request = exchange.request
        found = segments(request.dialect, request.endpoint, request.body)
        yield
        self._note(exchange, self._of_the_whole(request, rules, found))
        yield
        look = Incoming(rules, found, self._policies.known_texts)
        yield from look.slices()
        self._note(exchange, look.findings)
        redactor = None
        if look.redactions:
            redactor = Redactor(each.plain for each in found)
            request = replace(request, body=redacted(request.body, found, look, redactor))
            found = segments(request.dialect, request.endpoint, request.body)
            exchange.request = request
            yield
        self._watch(exchange, plan, rules, found, redactor)
        if rules.isolate != OFF:
            exchange.request = isolated(request, rules.isolate, self._policies.isolation_key(), found)

    def _watch(
        self, exchange: Exchange, plan: Plan, rules: GuardRules, found: list[Segment], redactor: Redactor | None
    ) -> None:
        """What watches the answers of the attempts."""
        calls = None
        facts = exchange.request.facts
        # What the provider keeps (a prompt, an earlier answer) may bring tools that the request does not show. And
        # where calls are judged, they are whether or not somebody has offered a tool.
        offered = facts.has_tools or facts.state or facts.server_side
        if rules.judges_calls or (rules.watches_calls and offered):
            calls = partial(self._approving.watch, exchange, plan, rules, tainted=bool(tainted(found)))
        watching = Watching(rules, found, restorer=redactor, calls=calls)
        if watching.needed:
            plan.inspects = watching

    def _of_the_whole(self, request: Request, rules: GuardRules, found: list[Segment]) -> Iterator[Finding]:
        """What is to be said before any text is read: the cheapest refusals first."""
        if rules.limits != NO_LIMITS:
            too_much = over(rules.limits, measure(rules.limits, request.body, found))
            if too_much is not None:
                yield too_much
        loop = looping(request, rules)
        if loop is not None:
            yield loop
        if rules.floods != OFF:
            yield from floods(found, block=rules.floods == BLOCK)
        if rules.extraction != OFF:
            noted = self._policies.queries.note(
                "\0".join((request.caller.key, request.caller.tenant, request.caller.user)),
                next((each.plain for each in reversed(found) if each.channel == "user"), ""),
                self._clock.now(),
                Features(_LOGPROBS.search(request.body) is not None, 0, request.facts.choices, request.batch),
            )
            if noted is not None:
                yield noted

    @staticmethod
    def _note(exchange: Exchange, findings: Iterator[Finding] | list[Finding]) -> None:
        """Note them, up to the first that blocks: what would have been found behind it is not looked for."""
        for finding in findings:
            exchange.findings += (finding,)
            if finding.verdict is Verdict.BLOCK:
                raise blocked(finding)


def _unread(request: Request, rules: GuardRules) -> Iterator[Finding]:
    """What is to be said of a body that goes through unread: a way around all guards, if nobody says anything."""
    brings = request.body or request.upload is not None
    if rules.unread != OFF and brings and request.method not in ("GET", "HEAD", "DELETE"):
        yield Finding("unread", Verdict.BLOCK if rules.unread == BLOCK else Verdict.FLAG, ("body",))


def redacted(body: bytes, texts: list[Segment], look: Incoming, redactor: Redactor) -> bytes:
    """The body with placeholders in place of what was found."""
    changes = []
    for number, spans in look.redactions:
        segment = texts[number]
        if segment.form != SIGNED:  # it was the model's own, and the provider would refuse another one
            changes.append((segment.start, segment.end, segment.written(redactor.redact(segment.plain, spans))))
    return splice(body, changes)


def blocked(finding: Finding) -> ContentBlocked:
    """The refusal that a finding leads to. It names no text."""
    if finding.guard == "unread":
        return ContentBlocked(_NOT_READ, guard=finding.guard, reasons=finding.reasons)
    why = ", ".join(finding.reasons[:5]) or finding.guard
    where = f" in {finding.place}" if finding.place else ""
    return ContentBlocked(
        f"the {finding.guard} guard blocked this call: {why}{where}. The request was not sent to the AI service",
        guard=finding.guard,
        reasons=finding.reasons,
    )
