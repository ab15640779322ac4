"""One connection with a fake transport and a clock that only the test moves: timeouts, back-pressure, any cut."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.gateway.limits import Limits
from headgate.gateway.protocol import GateProtocol
from headgate.gateway.state import GateState

LIMITS = Limits(
    header_seconds=10,
    body_idle_seconds=20,
    body_grace_seconds=30,
    body_bytes_per_second=1000,
    write_seconds=40,
    keep_alive_seconds=60,
    linger_seconds=5,
    header_bytes=4096,
    body_bytes=1_000_000,
    pipelined=4,
    tick=1,
)
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n"


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0  # what get_write_buffer_size tells
        self.closed = self.aborted = self.eof = self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.closed
        assert not self.eof
        self.written += data

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


class Config:
    def __init__(self, app: Any) -> None:
        self.loaded_app = app


class Line:
    """A connection, its transport and its clock."""

    def __init__(self, app: Any, limits: Limits = LIMITS) -> None:
        self.state = GateState(limits)
        self.now = 100.0
        self.state.sweep(self.now)
        self.transport = FakeTransport()
        self.gate = GateProtocol(Config(app), self.state, {})  # type: ignore[arg-type]
        self.gate.connection_made(self.transport)

    def after(self, seconds: float) -> FakeTransport:
        """Move the clock in ticks, as the sweeper does."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 1, end)
            self.state.sweep(self.now)
        return self.transport


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def on_loop(test: Any) -> Any:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@on_loop
async def test_a_connection_without_a_request_is_closed_in_silence() -> None:
    line = Line(echo)
    assert not line.after(10).closed
    assert line.after(3).closed
    assert line.transport.written == b""


@on_loop
async def test_a_head_sent_byte_by_byte_is_answered_408_and_closed_after_its_time() -> None:
    line = Line(echo)
    for byte in b"GET / HTT":
        line.gate.data_received(bytes([byte]))
        assert line.after(1).written == b""
    line.after(4)
    assert line.transport.written.startswith(b"HTTP/1.1 408 ")
    assert line.transport.eof
    assert not line.transport.closed  # it lingers, so that the answer arrives
    assert line.after(8).aborted


@on_loop
async def test_empty_lines_do_not_keep_a_connection_open() -> None:
    line = Line(echo)
    for _ in range(13):
        line.gate.data_received(b"\r\n")
        line.after(1)
    assert line.transport.closed


@on_loop
async def test_a_body_that_stops_coming_is_answered_408() -> None:
    line = Line(echo)
    line.gate.data_received(HEAD + b"a" * 1000)
    await settle()
    assert line.after(20).written == b""
    assert line.after(3).written.startswith(b"HTTP/1.1 408 ")


@on_loop
async def test_a_body_that_trickles_is_answered_408_though_it_never_pauses() -> None:
    line = Line(echo)
    line.gate.data_received(HEAD)
    await settle()
    for _ in range(40):
        line.gate.data_received(b"a" * 100)
        await settle()
        line.after(1)
        if line.transport.written:
            break
    assert line.transport.written.startswith(b"HTTP/1.1 408 ")
    assert 30 <= line.now - 100 <= 38


@on_loop
async def test_a_body_at_the_minimum_rate_is_read_to_its_end() -> None:
    line = Line(echo)
    line.gate.data_received(HEAD)
    for _ in range(500):
        line.gate.data_received(b"a" * 1000)
        await settle()
        line.after(1)
    await settle()
    assert line.transport.written.startswith(b"HTTP/1.1 200 ")


@on_loop
async def test_time_in_which_the_app_does_not_read_is_not_held_against_the_caller() -> None:
    ready = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await ready.wait()
        await echo(scope, receive, send)

    line = Line(slow)
    line.gate.data_received(HEAD + b"a" * 300_000)
    await settle()
    assert line.transport.paused
    line.after(1000)
    assert line.transport.written == b""
    ready.set()
    await settle()
    assert not line.transport.paused
    line.after(19)
    line.gate.data_received(b"a" * 200_000)
    await settle()
    assert line.transport.written.startswith(b"HTTP/1.1 200 ")


@on_loop
async def test_no_deadline_of_the_connection_runs_while_the_app_works() -> None:
    line = Line(lambda scope, receive, send: asyncio.sleep(3600))
    line.gate.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await settle()
    line.after(5000)
    assert not line.transport.closed


@on_loop
async def test_an_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    line = Line(echo)
    line.gate.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await settle()
    assert not line.after(60).closed
    assert line.after(3).closed


@on_loop
async def test_a_caller_that_takes_nothing_is_dropped_and_one_that_takes_a_little_is_not() -> None:
    gone: list[str] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        presence = scope["extensions"]["headgate"]
        presence.on_disconnect = lambda: gone.append(presence.gone)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        gone.append("sent")

    line = Line(stream)
    line.transport.unsent = 100_000
    line.gate.pause_writing()
    line.gate.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await settle()
    line.after(39)
    line.transport.unsent = 90_000
    line.after(39)
    assert gone == []
    line.after(45)
    assert gone == ["slow"]
    assert line.transport.aborted
    line.gate.connection_lost(None)
    await settle()
    assert gone == ["slow", "sent"]  # what the app sends afterwards goes nowhere, and does not wait


@on_loop
async def test_an_answer_that_is_never_taken_does_not_keep_a_closed_connection() -> None:
    line = Line(echo)
    line.gate.data_received(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    line.transport.unsent = 10
    await settle()
    assert line.transport.closed
    assert not line.after(40).aborted
    assert line.after(3).aborted


@on_loop
async def test_a_short_answer_is_one_write() -> None:
    line = Line(echo)
    writes: list[bytes] = []
    line.transport.write = writes.append  # type: ignore[method-assign]
    line.gate.data_received(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok")
    await settle()
    assert len(writes) == 1


@on_loop
async def test_an_early_answer_drains_the_rest_of_the_body_and_keeps_the_connection() -> None:
    async def deny(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    line = Line(deny)
    line.gate.data_received(HEAD + b"a" * 250_000)
    await settle()
    assert line.transport.written.count(b"HTTP/1.1 401 ") == 1
    line.gate.data_received(b"a" * 250_000 + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await settle()
    assert line.transport.written.count(b"HTTP/1.1 401 ") == 2


@on_loop
async def test_a_drain_closes_idle_connections_and_lets_begun_requests_end() -> None:
    idle, reading = Line(echo), Line(echo)
    reading.gate.data_received(b"GET / HTTP/1.1\r\nho")
    for line in (idle, reading):
        line.state.draining = True
        line.gate.shutdown()
    assert idle.transport.closed
    assert not reading.transport.closed
    reading.gate.data_received(b"st: a\r\n\r\n")
    await settle()
    assert b"connection: close\r\n" in reading.transport.written
    assert reading.transport.closed


def conversation(pieces: list[bytes], limits: Limits = LIMITS) -> tuple[bytes, bool, list[object]]:
    """What a connection answers to these reads, whether it is finished, and what the loop had to report."""
    troubles: list[object] = []

    async def talk() -> tuple[bytes, bool]:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: troubles.append(context))
        line = Line(echo, limits)
        for piece in pieces:
            if line.transport.closed:
                break
            line.gate.data_received(piece)
            await settle()
        line.after(200)
        await settle()
        finished = line.transport.closed
        line.gate.connection_lost(None)
        await settle()
        return line.transport.written, finished

    written, finished = asyncio.run(talk())
    return written, finished, troubles


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


REQUESTS = [
    b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /b?c HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    b"POST /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\nA;e=f\r\n0123456789\r\n0\r\nt: u\r\n\r\n",
    b"POST /g HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nhi",
    b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 4100 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nhi",
    b"nonsense\r\n\r\n",
]


@settings(max_examples=150, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4),
    places=st.lists(st.integers(0, 10_000), max_size=12),
)
def test_any_cut_of_the_bytes_gives_the_same_answers(chosen: list[bytes], places: list[int]) -> None:
    data = b"".join(chosen)
    whole, _, _ = conversation([data])
    in_pieces, _, troubles = conversation(cut(data, places))
    assert in_pieces == whole
    assert troubles == []


@settings(max_examples=300, deadline=None)
@given(
    base=st.sampled_from(REQUESTS),
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 5), st.binary(max_size=6)), max_size=4),
    tail=st.binary(max_size=60),
    places=st.lists(st.integers(0, 500), max_size=4),
)
@example(base=b"", edits=[], tail=b"\r\n", places=[])
def test_no_bytes_make_the_server_fail_or_hang(
    base: bytes, edits: list[tuple[int, int, bytes]], tail: bytes, places: list[int]
) -> None:
    data = base
    for at, drop, put in edits:
        data = data[:at] + put + data[at + drop :]
    written, finished, troubles = conversation(cut(data + tail, places))
    assert finished  # no connection outlives its deadlines
    assert troubles == []
    assert b"HTTP/1.1 500" not in written
    assert written == b"" or written.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("name", ["header_bytes", "tick", "write_seconds"])
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
