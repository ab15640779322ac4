"""What only the pool of threads can get wrong: turns between threads, and forks."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from headgate.core.errors import UpstreamBroken, UpstreamBusy
from headgate.core.ports import Timeouts
from headgate.engine.blocking import run_blocking
from headgate.upstream.blocking import BlockingPool

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def always_ok(line: Any) -> None:
    while line.request()[0]:
        line.send(OK)


def call(pool: BlockingPool, out: Any) -> bytes:
    async def scenario() -> bytes:
        answer = await pool.send(out)
        return await answer.read()

    return run_blocking(scenario())


def counts(pool: BlockingPool) -> tuple[int, int, int]:
    (only,) = pool.counts().values()
    return only


def test_the_limit_holds_under_a_crowd_of_threads(provide: Any, outgoing: Any) -> None:
    provider = provide(always_ok)
    pool = BlockingPool(max_connections=3)
    got: list[bytes] = []

    def work() -> None:
        for _ in range(25):
            got.append(call(pool, outgoing(provider.url)))

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [b"ok"] * 300
    assert counts(pool) == (3, 3, 0)
    assert len(provider.lines) == 3


def test_threads_wait_their_turn_and_one_that_gave_up_is_passed_over(provide: Any, outgoing: Any) -> None:
    provider = provide(lambda line: (line.request(), line.send(STREAM), line.gone()))
    pool = BlockingPool(max_connections=1)
    held = run_blocking(pool.send(outgoing(provider.url)))
    outcomes: list[str] = []

    def work(name: str, patience: float) -> None:
        try:
            answer = run_blocking(pool.send(outgoing(provider.url, timeouts=Timeouts(pool=patience))))
        except UpstreamBusy:
            outcomes.append(f"{name} gave up")
        else:
            outcomes.append(name)
            answer.close()

    threads = []
    for number, (name, patience) in enumerate([("first", 60), ("second", 0.05), ("third", 60)], start=1):
        threads.append(threading.Thread(target=work, args=(name, patience)))
        threads[-1].start()
        while len(threads) == number and counts(pool)[2] < number and not outcomes:
            time.sleep(0.001)
    threads[1].join(60)
    held.close()
    for thread in threads:
        thread.join(60)
    assert outcomes == ["second gave up", "first", "third"]
    assert counts(pool) == (0, 0, 0)


def test_closing_drops_the_idle_and_leaves_the_pool_usable(provide: Any, outgoing: Any) -> None:
    provider = provide(always_ok)
    pool = BlockingPool()
    call(pool, outgoing(provider.url))
    pool.close()
    assert counts(pool) == (0, 0, 0)
    assert call(pool, outgoing(provider.url)) == b"ok"


def in_child(work: Any) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_uses_its_own_connections_and_leaves_the_parents_alone(provide: Any, outgoing: Any) -> None:
    provider = provide(always_ok)
    pool = BlockingPool()
    call(pool, outgoing(provider.url))
    pool._buckets[next(iter(pool._buckets))]._lock.acquire()  # as another thread might at the moment of the fork
    try:
        assert in_child(lambda: [call(pool, outgoing(provider.url)) for _ in range(2)] == [b"ok", b"ok"])
    finally:
        pool._buckets[next(iter(pool._buckets))]._lock.release()
    assert call(pool, outgoing(provider.url)) == b"ok"
    assert len(provider.lines) == 2  # one for each process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_answer_of_the_parent_cannot_be_read_or_spoiled_by_a_child(provide: Any, outgoing: Any) -> None:
    go = threading.Event()
    provider = provide(
        lambda line: (line.request(), line.send(STREAM), go.wait(60), line.send(b"2\r\nok\r\n0\r\n\r\n"), line.gone())
    )
    pool = BlockingPool()
    answer = run_blocking(pool.send(outgoing(provider.url)))

    def meddle() -> bool:
        with pytest.raises(UpstreamBroken, match="parent"):
            run_blocking(answer.read())
        answer.close()
        return True

    assert in_child(meddle)
    go.set()
    assert run_blocking(answer.read()) == b"ok"


def test_an_interrupt_while_reading_drops_the_connection(provide: Any, outgoing: Any) -> None:
    import signal

    provider = provide(lambda line: (line.request(), line.send(STREAM), line.gone()))
    pool = BlockingPool()
    answer = run_blocking(pool.send(outgoing(provider.url)))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_blocking(answer.read())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert counts(pool) == (0, 0, 0)
