"""The endpoints that answer at once: messages, chat completions, responses, embeddings, moderations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from headgate.testing.simulator import responses_answers
from headgate.testing.simulator.asked import Fail
from headgate.testing.simulator.book import Record
from headgate.testing.simulator.delivery import Delivery
from headgate.testing.simulator.provider import Plan
from headgate.testing.simulator.responses_store import Job, Stored
from headgate.testing.simulator.wrongusage import wrong_body, wrong_events

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call


async def generate(call: Call) -> None:
    """Answer a request to one of the APIs that generate."""
    provider, record = call.provider, call.record
    scope = record.credential
    plan = provider.plan(record.path, call.headers, call.json, call.body, scope, call.fault)
    asked = plan.asked
    record.user = asked.user
    _admit(call, plan)
    if asked.model.kind != "moderation":  # moderations cost nothing
        record.model_id, record.model_served = asked.model.id, asked.model.served
        record.counts = asked.counts
    asked.commit_cache(provider.clock.now())
    delivery = call.delivery(asked.counts, provider.scenario.pace)
    if call.fault is not None and call.fault.kind == "drop":
        await delivery.dropped(plan.output, call.fault)
    if asked.request.get("background") is True and asked.model.kind == "chat":
        await _in_background(call, plan, delivery)
        return
    if asked.stream:
        await _stream(call, plan, delivery)
        return
    body = plan.dialect.message(
        asked, plan.answers, answer_id=_answer_id(record), seed=provider.seed, now=provider.clock.now()
    )
    spoilt = call.fault if call.fault is not None and call.fault.kind == "wrong_usage" else None
    await delivery.whole(wrong_body(body, spoilt.usage) if spoilt is not None else body, plan.output)


async def _stream(call: Call, plan: Plan, delivery: Delivery) -> None:
    provider = call.provider
    events = plan.dialect.events(
        plan.asked,
        plan.answers,
        answer_id=_answer_id(call.record),
        seed=provider.seed,
        now=provider.clock.now(),
        per_event=max(1, provider.scenario.pace.tokens_per_event),
    )
    if call.fault is not None and call.fault.kind == "wrong_usage":
        events = wrong_events(events, call.fault.usage)
    await delivery.stream(events, plan.dialect)


def _admit(call: Call, plan: Plan) -> None:
    provider, asked, name = call.provider, plan.asked, call.dialect.name
    now = provider.clock.now()
    buckets = provider.limits.of(name, call.record.credential, asked.model.family, now)
    call.limits = buckets
    counted = asked.counts.prompt
    if name == "anthropic":
        counted -= asked.counts.cache_read  # cache reads do not count against ITPM
    refused = buckets.admit(counted, asked.cap * asked.choices if asked.cap_told else plan.output, now)
    if refused is not None:
        raise limited(call, *refused)


def limited(call: Call, what: str, seconds: float) -> Fail:
    """A bucket is empty for so many seconds."""
    call.record.fault = "limit"
    fail = call.dialect.limited(what)
    fail.headers.append((b"retry-after", b"%d" % max(1, math.ceil(seconds))))
    if call.dialect.name == "openai":
        fail.headers.append((b"retry-after-ms", b"%d" % max(1, math.ceil(seconds * 1000))))
    return fail


async def _in_background(call: Call, plan: Plan, delivery: Delivery) -> None:
    """Responses only: answer at once that it is queued, and bill it when it has ended."""
    provider, record, asked = call.provider, call.record, plan.asked
    record.counts = None
    pace, now, answer_id = provider.scenario.pace, provider.clock.now(), _answer_id(record)
    final_answer = plan.answers[0]
    starts = now + pace.first_token_seconds
    ends = starts + pace.seconds_per_event * -(-plan.output // max(1, pace.tokens_per_event))
    final = responses_answers.ended(asked, final_answer, answer_id=answer_id, seed=provider.seed, now=ends)

    def bill(output: int, ending: str) -> None:
        # A copy: a stream that is still being sent counts in the original.
        counts = replace(asked.counts, output=output)
        provider.book.later(record, counts, asked.model, ending, reported=ending == "complete")

    def replay() -> list[bytes]:
        return [
            event.frame
            for event in responses_answers.events(
                asked,
                final_answer,
                answer_id=answer_id,
                seed=provider.seed,
                now=now,
                per_event=max(1, pace.tokens_per_event),
                final=final,
            )
        ]

    job = Job(asked, plan.answers, final, starts, ends, bill, streamed=asked.stream, replay=replay)
    queued = responses_answers.opening(asked, answer_id, now, "queued")
    provider.responses.keep(Stored(asked.scope, queued, asked.items, asked.context, job))
    if asked.stream:
        await _stream(call, plan, delivery)
        return
    await call.send(responses_answers.encode(queued))


def _answer_id(record: Record) -> str:
    return record.request_id[4:]
