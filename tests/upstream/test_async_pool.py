"""What only the pool of event loops can get wrong: cancellation, turns, loops, threads."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from headgate.core.errors import UpstreamBroken, UpstreamBusy
from headgate.core.ports import Timeouts
from headgate.upstream.pool import AsyncPool

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    chosen: Callable[[Any], Any] = request.param
    return chosen


def always_ok(line: Any) -> None:
    while line.request()[0]:
        line.send(OK)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass within 30 s")


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def counts(pool: AsyncPool) -> tuple[int, int, int]:
    (only,) = pool.counts().values()
    return only


@pytest.mark.parametrize("prologue", [b"", b"HTTP/1.1 200 O"], ids=["before", "within"])
def test_cancelling_a_wait_for_the_head_drops_the_connection_at_once(
    run: Any, provide: Any, outgoing: Any, prologue: bytes
) -> None:
    gone = []
    provider = provide(lambda line: (line.request(), line.send(prologue), gone.append(line.gone())))

    async def scenario() -> None:
        pool = AsyncPool()
        task = asyncio.create_task(pool.send(outgoing(provider.url)))
        await until(lambda: len(provider.lines) == 1)
        await asyncio.sleep(0.02)
        await cancelled(task)
        assert counts(pool) == (0, 0, 0)
        await until(lambda: gone == [True])

    run(scenario())


def test_cancelling_a_read_drops_the_connection_at_once(run: Any, provide: Any, outgoing: Any) -> None:
    gone = []
    provider = provide(lambda line: (line.request(), line.send(STREAM), gone.append(line.gone())))

    async def scenario() -> None:
        pool = AsyncPool()
        answer = await pool.send(outgoing(provider.url))
        task = asyncio.create_task(answer.read())
        await asyncio.sleep(0.01)
        await cancelled(task)
        assert counts(pool) == (0, 0, 0)
        await until(lambda: gone == [True])

    run(scenario())


def test_cancelling_a_connect_frees_the_place_for_the_next(run: Any, provide: Any, outgoing: Any) -> None:
    answering = threading.Event()  # an answer that came before the cancel would leave its connection idle, rightly
    provider = provide(lambda line: answering.wait(60) and always_ok(line))

    async def scenario() -> None:
        pool = AsyncPool(max_connections=1)
        for turns in range(1, 7):  # at each of the awaits of connecting
            task = asyncio.create_task(pool.send(outgoing(provider.url)))
            for _ in range(turns):
                await asyncio.sleep(0)
            await cancelled(task)
            assert counts(pool) == (0, 0, 0)
        answering.set()
        answer = await pool.send(outgoing(provider.url))
        assert await answer.read() == b"ok"
        assert counts(pool) == (1, 1, 0)

    run(scenario())


def test_a_cancelled_waiter_passes_on_what_it_was_just_granted(run: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(lambda line: [line.send(STREAM) for _ in iter(lambda: line.request()[0], b"")])

    async def scenario() -> None:
        pool = AsyncPool(max_connections=1)
        first = await pool.send(outgoing(provider.url))
        second = asyncio.create_task(pool.send(outgoing(provider.url)))
        third = asyncio.create_task(pool.send(outgoing(provider.url)))
        await asyncio.sleep(0)
        assert counts(pool) == (1, 0, 2)
        first.close()  # grants the place to the second, which has not woken yet
        await cancelled(second)
        (await third).close()
        assert counts(pool) == (0, 0, 0)

    run(scenario())


def test_waiters_are_served_in_the_order_they_came(run: Any, provide: Any, outgoing: Any) -> None:
    order: list[int] = []

    def play(line: Any) -> None:
        while line.request()[0]:
            line.send(OK)

    provider = provide(play)

    async def one(pool: AsyncPool, n: int) -> None:
        answer = await pool.send(outgoing(provider.url))
        order.append(n)
        assert await answer.read() == b"ok"

    async def scenario() -> None:
        pool = AsyncPool(max_connections=1)
        await asyncio.gather(*(one(pool, n) for n in range(20)))
        assert counts(pool) == (1, 1, 0)

    run(scenario())
    assert order == list(range(20))
    assert len(provider.lines) == 1


def test_the_limit_holds_under_a_crowd(run: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(always_ok)

    async def one(pool: AsyncPool) -> None:
        answer = await pool.send(outgoing(provider.url))
        assert await answer.read() == b"ok"

    async def scenario() -> None:
        pool = AsyncPool(max_connections=4)
        for _ in range(5):
            await asyncio.gather(*(one(pool) for _ in range(50)))
        assert counts(pool) == (4, 4, 0)

    run(scenario())
    assert len(provider.lines) == 4


def test_a_timed_out_waiter_leaves_no_trace(run: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(lambda line: (line.request(), line.send(STREAM), line.gone()))

    async def scenario() -> None:
        pool = AsyncPool(max_connections=1)
        answer = await pool.send(outgoing(provider.url))
        with pytest.raises(UpstreamBusy):
            await pool.send(outgoing(provider.url, timeouts=Timeouts(pool=0.03)))
        assert counts(pool) == (1, 0, 0)
        answer.close()
        assert counts(pool) == (0, 0, 0)

    run(scenario())


def test_idle_connections_expire_by_themselves_and_above_the_maximum(run: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(always_ok)

    async def scenario() -> None:
        pool = AsyncPool(idle_expiry=0.05, max_idle=2)
        for answer in await asyncio.gather(*(pool.send(outgoing(provider.url)) for _ in range(4))):
            answer.close()
        assert counts(pool) == (2, 2, 0)
        await until(lambda: counts(pool) == (0, 0, 0))

    run(scenario())


def test_one_pool_serves_one_loop_after_another_and_leaves_nothing_open(
    run: Any, provide: Any, outgoing: Any, recwarn: Any
) -> None:
    provider = provide(always_ok)
    pool = AsyncPool()

    async def scenario() -> None:
        for _ in range(2):
            assert await (await pool.send(outgoing(provider.url))).read() == b"ok"
        assert counts(pool) == (1, 1, 0)

    for _ in range(3):
        run(scenario())
    gc.collect()
    assert len(provider.lines) == 3
    assert all(line.gone() for line in provider.lines if line.sock.fileno() >= 0)
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning) and "transport" in str(w.message)]


def test_a_loop_that_ends_rudely_does_not_spoil_the_pool(provide: Any, outgoing: Any) -> None:
    provider = provide(always_ok)
    pool = AsyncPool()

    async def scenario() -> None:
        assert await (await pool.send(outgoing(provider.url))).read() == b"ok"

    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(scenario())
        loop.close()  # without shutdown_asyncgens
    assert len(provider.lines) == 3


def test_an_answer_of_a_closed_loop_can_still_be_closed(provide: Any, outgoing: Any) -> None:
    provider = provide(lambda line: (line.request(), line.send(STREAM), line.gone()))
    pool = AsyncPool()
    loop = asyncio.new_event_loop()
    answer = loop.run_until_complete(pool.send(outgoing(provider.url)))
    loop.close()
    answer.close()


def test_loops_in_several_threads_share_a_pool_but_no_connection(run: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(always_ok)
    pool = AsyncPool()
    done: list[int] = []

    async def scenario() -> None:
        for _ in range(20):
            assert await (await pool.send(outgoing(provider.url))).read() == b"ok"
        done.append(counts(pool)[0])

    threads = [threading.Thread(target=run, args=(scenario(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [1, 1, 1, 1]
    assert len(provider.lines) == 4


def test_closing_the_pool_breaks_what_is_unfinished_and_it_can_begin_again(
    run: Any, provide: Any, outgoing: Any
) -> None:
    provider = provide(lambda line: (line.request(), line.send(STREAM), line.gone()))

    async def scenario() -> None:
        pool = AsyncPool()
        answer = await pool.send(outgoing(provider.url))
        reading = asyncio.create_task(answer.read())
        await asyncio.sleep(0)
        await pool.aclose()
        with pytest.raises(UpstreamBroken):
            await reading
        (await pool.send(outgoing(provider.url))).close()

    run(scenario())
