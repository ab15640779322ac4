"""What has come and nobody read, asked for without waiting."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headgate.core.ports import Outgoing, Timeouts
from headgate.engine.blocking import run_blocking
from headgate.upstream.blocking import BlockingPool
from headgate.upstream.pool import AsyncPool

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def framed(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@contextmanager
def provider() -> Iterator[tuple[str, Callable[[bytes], None]]]:
    """(its URL, what sends more of its only answer); the answer's beginning comes by itself."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []
    ready = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(HEAD + framed(b"one"))
        taken.append(connection)
        ready.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def more(data: bytes) -> None:
        assert ready.wait(10)
        taken[0].sendall(data)

    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", more
    finally:
        thread.join(10)
        for each in (listener, *taken):
            each.close()


def asked(url: str) -> Outgoing:
    return Outgoing("GET", url, (), b"", Timeouts())


def test_a_blocking_answer_tells_what_the_system_has_taken_and_never_waits() -> None:
    with provider() as (url, more):
        pool = BlockingPool()
        answer = run_blocking(pool.send(asked(url)))
        assert run_blocking(answer.read()) == b"one"
        assert answer.arrived() == b""
        more(framed(b"two") + framed(b"three"))
        got, until = b"", time.monotonic() + 60
        while got != b"twothree" and time.monotonic() < until:
            got += answer.arrived()
        assert got == b"twothree"
        answer.close()
        assert answer.arrived() == b""
        pool.close()


def test_an_answers_end_may_have_arrived_as_well() -> None:
    with provider() as (url, more):
        pool = BlockingPool()
        answer = run_blocking(pool.send(asked(url)))
        assert run_blocking(answer.read()) == b"one"
        more(framed(b"two") + b"0\r\n\r\n")
        got, until = b"", time.monotonic() + 60
        while not got and time.monotonic() < until:
            got += answer.arrived()
        assert got == b"two"
        answer.close()
        pool.close()


def test_an_asynchronous_answer_tells_what_its_loop_has_taken() -> None:
    async def main() -> None:
        with provider() as (url, more):
            pool = AsyncPool()
            answer = await pool.send(asked(url))
            assert await answer.read() == b"one"
            assert answer.arrived() == b""
            more(framed(b"two") + framed(b"three"))
            got, until = b"", time.monotonic() + 60
            while got != b"twothree" and time.monotonic() < until:
                await asyncio.sleep(0)
                got += answer.arrived()
            assert got == b"twothree"
            answer.close()
            assert answer.arrived() == b""
            await pool.aclose()

    asyncio.run(main())


def test_a_blocking_answer_whose_end_is_here_is_had_at_once() -> None:
    with provider() as (url, more):
        pool = BlockingPool()
        answer = run_blocking(pool.send(asked(url)))
        assert answer.whole() is None
        more(framed(b"two") + b"0\r\n\r\n")
        got = b""
        while not got.endswith(b"two"):
            got += run_blocking(answer.read())
        while (rest := answer.whole()) is None:  # the end may come behind the last piece
            assert run_blocking(answer.read()) == b""
        assert rest == b""
        assert run_blocking(answer.read()) == b""
        assert next(iter(pool.counts().values()))[1] == 1
        pool.close()


def test_an_answer_whose_end_is_here_is_had_at_once() -> None:
    async def scenario() -> None:
        with provider() as (url, more):
            pool = AsyncPool()
            answer = await pool.send(asked(url))
            assert answer.whole() is None
            more(framed(b"two"))
            while answer.pieces != [b"one", b"two"]:
                await asyncio.sleep(0.001)
            assert answer.whole() is None
            more(b"0\r\n\r\n")
            while (whole := answer.whole()) is None:
                await asyncio.sleep(0.001)
            assert whole == b"onetwo"
            assert answer.whole() == b""
            assert await answer.read() == b""
            assert next(iter(pool.counts().values()))[1] == 1
            await pool.aclose()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_answer_that_has_failed_or_was_closed_is_never_whole() -> None:
    async def scenario() -> None:
        with provider() as (url, more):
            pool = AsyncPool()
            answer = await pool.send(asked(url))
            more(b"no chunk")
            while answer.fault is None:
                await asyncio.sleep(0.001)
            assert answer.whole() is None
        with provider() as (url, _):
            answer = await pool.send(asked(url))
            answer.close()
            assert answer.whole() is None
            await pool.aclose()

    asyncio.run(asyncio.wait_for(scenario(), 60))
