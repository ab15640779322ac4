"""Answers that have to be of some kind (`tasks.<name>.answer`, docs/guards-answers.md): checked, gone on with where
they were cut off, repaired once, and refused where that has not helped.

Each follow-up is an attempt of the same exchange like any other: it needs a turn and a hold, is charged, and begins
before the deadline or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from headgate.core.errors import AnswerInvalid, Refusal, UpstreamError
from headgate.core.exchange import Exchange
from headgate.core.guards import Verdict
from headgate.core.ports import Ports
from headgate.engine.books import Books
from headgate.engine.checking import Checking
from headgate.engine.coded import legible
from headgate.engine.draft import Draft
from headgate.engine.looking import MOST_REASONS, invalid, look, note, reasons_of
from headgate.engine.plan import Plan
from headgate.engine.relay import Reply
from headgate.policy.guards.answers import ANYTHING, AnswerRules, Ending, Problem, next_step, repair_note
from headgate.wire.endings import endings
from headgate.wire.following import can_follow, going_on, repairing, with_text

Attempts = Callable[[Exchange, Plan], Awaitable[Reply]]

HEADER = b"x-headgate-answer"
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_AT_ONCE = 8_000
"""Characters of an answer that are looked at in place."""


@dataclass(slots=True)
class _Work:
    """What has been done about an answer so far."""

    draft: Draft
    said: str = ""  # before the last cut
    continued: int = 0
    repaired: bool = False
    failed: str = ""  # the follow-up that could not be had

    def words(self) -> list[str]:
        done = [f"continued {self.continued}"] if self.continued else []
        return [*done, *(["repaired"] if self.repaired else []), *([self.failed] if self.failed else [])]


class Structuring:
    """Looks at answers. Shared by all exchanges of an engine."""

    __slots__ = ("_books", "_checking", "_ports")

    def __init__(self, ports: Ports, books: Books, checking: Checking) -> None:
        self._ports = ports
        self._books = books
        self._checking = checking

    async def finish(self, exchange: Exchange, plan: Plan, draft: Draft, attempts: Attempts) -> Reply:
        """The answer that goes to the caller.

        Raises:
            AnswerInvalid: there is none that would do.
            ContentBlocked: a guard that was asked about it says no.
        """
        rules, request = plan.answer or ANYTHING, exchange.request
        can = request.facts.choices == 1 and can_follow(request.endpoint, request.body)
        work = _Work(draft)
        while True:
            plain = _plain(work.draft)
            choices = endings(request.endpoint, plain)
            if work.said and choices:
                # Put together as it came: what looks like a repetition at the seam may be one that the text has.
                choices = [replace(choices[0], text=work.said + choices[0].text)]
            found = () if plan.answer is None else await self._problems(exchange, rules, choices)
            goes = can and not work.failed and self._books.now() < plan.first_content_by
            step = next_step(rules, found, continued=work.continued, repaired=work.repaired, can=goes)
            kind = step.kind
            text = choices[0].text if choices else ""
            if kind == "continue" and text.strip():
                body = going_on(request.endpoint, request.body, text)
                after = await self._follow(exchange, plan, work, body, attempts, "continuation")
                if after is not None:
                    work.draft, work.said, work.continued = after, text, work.continued + 1
                continue
            if kind == "repair":
                body = repairing(request.endpoint, request.body, text, repair_note(found))
                after = await self._follow(exchange, plan, work, body, attempts, "repair")
                if after is not None:
                    work.draft, work.said, work.repaired = after, "", True
                continue
            if kind in ("deliver", "flag") or rules.flags:
                if plan.checks:
                    await self._ask(exchange, plan, work, choices)
                if kind == "deliver" and not work.continued and not work.repaired:
                    return work.draft.deliver()
                return self._deliver(exchange, work, plain, text, found)
            raise self._refusal(exchange, work, found)

    async def _problems(self, exchange: Exchange, rules: AnswerRules, choices: Sequence[Ending]) -> tuple[Problem, ...]:
        if not choices:
            return (Problem("empty"),)
        if self._ports.offload is None or sum(len(each.text) for each in choices) < _AT_ONCE:
            return look(exchange, rules, choices)
        found: list[Problem] = []

        def slices() -> Iterator[None]:
            for each in choices:
                found.extend(look(exchange, rules, [each]))
                yield

        await self._ports.offload.run(slices())
        return tuple(found)

    async def _ask(self, exchange: Exchange, plan: Plan, work: _Work, choices: Sequence[Ending]) -> None:
        self._books.close(exchange, work.draft.attempt)  # its turn must not wait for others
        exchange.attempts.sort(key=lambda attempt: attempt is work.draft.attempt)
        await self._checking.answer(exchange, plan, [each.text for each in choices])

    async def _follow(
        self, exchange: Exchange, plan: Plan, work: _Work, body: bytes, attempts: Attempts, what: str
    ) -> Draft | None:
        """The answer to a request that follows a draft, at the route that has written that; None where there is none:
        then the draft is all there is."""
        request = exchange.request
        self._books.close(exchange, work.draft.attempt)
        facts = plan.dialect.read_request(request.endpoint, body)
        facts.max_output_tokens = request.facts.max_output_tokens  # the task's own cap is in it by now
        plan.follows = replace(request, body=body, facts=facts)
        plan.direct, plan.crossed = None, None
        here = work.draft.attempt.route
        plan.routes = [here, *(route for route in plan.routes if route is not here)]
        most = max(plan.recovery.attempts, len(exchange.attempts) + 1)
        plan.recovery = replace(plan.recovery, attempts=most)
        try:
            reply = await attempts(exchange, plan)
        except (UpstreamError, Refusal) as error:
            work.failed = f"{what} failed: {error.code}"
            return None
        if isinstance(reply, Draft):
            return reply
        reply.close()
        work.failed = f"{what} failed: no answer"
        return None

    def _deliver(self, exchange: Exchange, work: _Work, plain: bytes, text: str, found: Sequence[Problem]) -> Reply:
        wrong = [f"invalid: {each.word}" for each in found[:MOST_REASONS]]
        note(exchange, Verdict.FLAG, (*work.words(), *(each.word for each in found[:MOST_REASONS])))
        if exchange.response_text:
            exchange.response_text = text
        told = (HEADER, _header("; ".join([*work.words(), *wrong])))
        if not work.said or not text:
            return work.draft.deliver(told)
        return work.draft.deliver(told, body=with_text(exchange.request.endpoint, plain, text))

    def _refusal(self, exchange: Exchange, work: _Work, found: Sequence[Problem]) -> AnswerInvalid:
        reasons = reasons_of(found)
        self._books.close(exchange, work.draft.attempt)
        exchange.attempts.sort(key=lambda attempt: attempt is work.draft.attempt)
        note(exchange, Verdict.BLOCK, (*work.words(), *reasons))
        return invalid(exchange, reasons, work.words())


def _plain(draft: Draft) -> bytes:
    coding = next((value.strip().lower() for name, value in draft.headers if name == b"content-encoding"), b"")
    return legible(draft.body, b"" if coding == b"identity" else coding, _MAX_ANSWER_BYTES)


def _header(words: str) -> bytes:
    return "".join(c if " " <= c <= "~" else "?" for c in words[:256]).encode()
