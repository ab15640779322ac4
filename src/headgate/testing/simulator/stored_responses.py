"""OpenAI's stored responses: retrieve, delete, cancel, their input, and token counts beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from headgate.testing.simulator import responses_requests
from headgate.testing.simulator.asked import Event
from headgate.testing.simulator.openai_requests import invalid
from headgate.testing.simulator.pages import page
from headgate.testing.simulator.prices import Counts
from headgate.testing.simulator.provider import typed
from headgate.testing.simulator.responses_store import Job

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call

_encode = msgspec.json.Encoder().encode


async def retrieve(call: Call) -> None:
    """`GET /v1/responses/{id}`; with `stream=true`, the events of one that streams in the background."""
    provider = call.provider
    stored = provider.responses.get(call.record.credential, call.ids[0], provider.clock.now())
    if call.query.get("stream") != "true":
        await call.send(_encode(stored.body))
        return
    if stored.job is None or not stored.job.streamed:
        raise invalid("Only a response made with background and stream can be streamed again.", param="stream")
    delivery = call.delivery(Counts(), provider.scenario.pace)
    after = call.query.get("starting_after", "")
    await delivery.stream(_again(stored.job, int(after) if after.isdecimal() else -1), provider.apis["/v1/responses"])


def _again(job: Job, after: int) -> Iterator[Event]:
    frames = job.replay()
    for sequence, frame in enumerate(frames):
        if sequence > after:
            yield Event(frame, terminal=sequence == len(frames) - 1)


async def delete(call: Call) -> None:
    """`DELETE /v1/responses/{id}`."""
    call.provider.responses.delete(call.record.credential, call.ids[0], call.provider.clock.now())
    await call.send(_encode({"id": call.ids[0], "object": "response", "deleted": True}))


async def cancel(call: Call) -> None:
    """`POST /v1/responses/{id}/cancel`."""
    found = call.provider.responses.cancel(call.record.credential, call.ids[0], call.provider.clock.now())
    await call.send(_encode(found.body))


async def input_items(call: Call) -> None:
    """`GET /v1/responses/{id}/input_items`, newest first."""
    provider = call.provider
    stored = provider.responses.get(call.record.credential, call.ids[0], provider.clock.now())
    items = list(stored.items)
    if call.query.get("order") != "asc":
        items.reverse()
    await call.send(_encode(page(items, call.query, limit=20, most=100)))


async def count_tokens(call: Call) -> None:
    """`POST /v1/responses/input_tokens`."""
    provider = call.provider
    tokens = typed(
        lambda: responses_requests.count_tokens(
            call.json,
            scope=call.record.credential,
            store=provider.responses,
            seed=provider.seed,
            now=provider.clock.now(),
        )
    )
    await call.send(_encode({"object": "response.input_tokens", "input_tokens": tokens}))
