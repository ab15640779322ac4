"""Bodies that the engine passes unread, as the client library sees them."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from headgate.core.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from headgate.core.exchange import Ending
from headgate.draining import Drains
from headgate.engine.blocking import run_blocking
from headgate.engine.relay import Reply
from headgate.stats import Tally
from headgate.testing import FakeLog, World
from headgate.testing.canned import message
from headgate.transport.httpx2 import _AsyncStream, _Stream

ASKED = httpx2.Request("GET", "https://provider.test/v1/files/f/content")


def world_that_fails(error: UpstreamError) -> World:
    return World([b"one", error])


async def opened(world: World) -> Reply:
    return await world.open(world.request(b"", method="GET", path="/v1/files/f/content"))


TROUBLE = [
    (UpstreamBroken("lost", kind="broken", maybe_billed=True), httpx2.RemoteProtocolError),
    (UpstreamTimeout("idle", kind="timeout", maybe_billed=True), httpx2.ReadTimeout),
]


@pytest.mark.parametrize(("error", "expected"), TROUBLE)
def test_a_raw_body_that_breaks_raises_what_the_sdk_knows(error: UpstreamError, expected: type[Exception]) -> None:
    world = world_that_fails(error)
    response = httpx2.Response(200, stream=_Stream(run_blocking(opened(world)), ASKED, Drains()), request=ASKED)
    got = []
    with pytest.raises(expected):
        got.extend(response.iter_raw())
    assert world.exchange.ending is Ending.CUT


@pytest.mark.parametrize(("error", "expected"), TROUBLE)
def test_an_asynchronous_raw_body_that_breaks_does_so_too(error: UpstreamError, expected: type[Exception]) -> None:
    async def main() -> World:
        world = world_that_fails(error)
        response = httpx2.Response(200, stream=_AsyncStream(await opened(world), ASKED, Drains()), request=ASKED)
        with pytest.raises(expected):
            await response.aread()
        return world

    assert asyncio.run(main()).exchange.ending is Ending.CUT


def test_a_raw_body_that_is_left_is_settled_when_it_is_collected() -> None:
    world = World([b"one", b"two"])
    body = _Stream(run_blocking(opened(world)), ASKED, Drains())
    assert next(iter(body)) == b"one"
    del body
    assert world.exchange.ending is Ending.ABANDONED
    assert world.upstream.answers[0].closed


def test_a_stream_that_is_collected_while_figures_are_being_read_does_not_lock_them() -> None:
    world = World(message())
    exchange = run_blocking(world.call()).exchange
    tally = Tally(FakeLog())
    with tally._lock:  # the collector runs here, in the same thread
        assert tally._lock.acquire(blocking=False)
        tally._lock.release()
        tally.write(exchange)
    assert tally.stats().total_calls == 1
