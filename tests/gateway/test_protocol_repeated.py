"""A repeated head is known by its bytes: no stream of bytes, cut anywhere, may show that the parser was not asked."""

from __future__ import annotations

import asyncio
from itertools import accumulate, pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.gateway import protocol
from headgate.gateway.limits import Limits
from headgate.gateway.protocol import GateProtocol
from headgate.gateway.state import GateState

LIMITS = Limits(header_bytes=300, header_count=8, url_bytes=60, body_bytes=3000, upload_bytes=3000, pipelined=2, tick=1)
START = b"POST /v1/x?y=%20 HTTP/1.1\r\nHost: a\r\nX-Api-Key: k\r\n"
BODY = b'{"a":1}'


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.eof = self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def writelines(self, parts: Any) -> None:
        self.written += b"".join(parts)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Caller:
    """One connection. `seen` holds what the app saw, `lists` the headers it saw it in, `lengths` what they say now."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.seen: list[Any] = []
        self.lists: list[Any] = []
        self.hold: asyncio.Event | None = None
        self.reads = True
        self.state = GateState(limits)
        self.state.sweep(100.0)
        self.transport = Wire()
        self.loaded_app = self.app
        self.gate = GateProtocol(self, self.state, {})  # type: ignore[arg-type]
        self.gate.connection_made(self.transport)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        said = {name: value for name, value in scope.items() if name != "extensions"}
        headers = list(scope["headers"])
        self.lists.append(scope["headers"])
        body, more = b"", self.reads
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.seen.append((said | {"headers": headers}, body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[:9]})
        if self.hold is not None:
            await self.hold.wait()

    async def send(self, *reads: bytes, settled: bool = True) -> Caller:
        for data in reads:
            if not self.transport.closed and not self.transport.paused:
                self.gate.data_received(data)
            if settled:
                for _ in range(6):
                    await asyncio.sleep(0)
        return self

    def told(self) -> Any:
        """All that anybody can see of the connection."""
        gate, wire = self.gate, self.transport
        counts = dict(self.state.refused), len(self.state.tasks)
        return self.seen, wire.written, wire.closed, wire.eof, wire.paused, gate.deadline, counts


def post(body: bytes = BODY, start: bytes = START) -> bytes:
    return start + b"Content-Length: %d\r\n\r\n" % len(body) + body


def run(test: Any) -> Any:
    return asyncio.run(test)


LENGTHS = st.sampled_from(
    [b"Content-Length: %d", b"Content-Length:%d", b"content-length: %d", b"Content-Length: 0%d", b"Content-Length: +%d",
     b"Content-Length: %d ", b"Content-Length:  %d", b"Content-Length:\t%d", b"Content-Length: %d, 1",
     b"Content-Length : %d", b"Content-Length: %d\r\nContent-Length: 1", b"Content-Length: %d\r\n 1",
     b"Content-Length: %d\r\nTransfer-Encoding: chunked", b"Content-Length: %d\r\nExpect: 100-continue",
     b"Content-Length: %d\r\nConnection: close", b"Content-Length: %d\r\nConnection: Upgrade\r\nUpgrade: h2c",
     b"Content-Length: %d\r\nx: \r\ncontent-length: 1", b"X: %d"]
)  # fmt: skip
HEAD = post()[: -len(BODY)]
USUAL = st.builds(post, st.sampled_from([BODY, b"{}", b"", b"z" * 99, b"z" * 3000, b"\r\n\r\n", START]))
ODD = st.builds(
    lambda line, size, off, start: start + line % max(0, size + off) + b"\r\n\r\n" + b"b" * size,
    LENGTHS,
    st.sampled_from([1, 7, 10, 3001]),
    st.sampled_from([0, 0, 0, 1, -1, 10**12]),
    st.sampled_from([START, START[:-2] + b" \r\n", START.lower(), b"\r\n" + START, START.replace(b"1.1", b"1.0")]),
)
OTHER = st.sampled_from(
    [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\r\n", b"\r", b"x", b"", b"0\r\n\r\n",
     START + b"transfer-encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
     START + b"X: %b\r\nContent-Length: 1\r\n\r\na" % (b"x" * 215)]
)  # fmt: skip
READS = st.lists(st.one_of(USUAL, USUAL, st.sampled_from([HEAD, BODY]), ODD, OTHER), min_size=1, max_size=7)


def cut(reads: list[bytes], cuts: list[int], joined: bool) -> list[bytes]:
    whole = b"".join(reads)
    ends = [0, len(whole)] if joined else [0, *accumulate(map(len, reads))]
    bounds = sorted({*ends, *(number % (len(whole) + 1) for number in cuts)})
    return [whole[a:b] for a, b in pairwise(bounds)]


@settings(max_examples=400, deadline=None)
@given(READS, st.lists(st.integers(0, 5000), max_size=3), st.booleans(), st.booleans())
@example([post(), post(b"{}"), post(b"z" * 99)], [], False, True)
@example([post(), post()[:-1], b"}", post()], [], False, True)
@example([HEAD, BODY, HEAD, BODY, HEAD, BODY, post()], [], False, True)
@example([HEAD, BODY, HEAD, b'{"a"', b":1}", HEAD, BODY], [], False, True)
@example([HEAD, BODY, HEAD, BODY + post(), HEAD, BODY + b"\r", HEAD, BODY], [], False, True)
@example([HEAD, BODY, HEAD], [], False, True)
@example([HEAD, BODY + b"\r", HEAD, BODY], [], False, True)
@example([HEAD, BODY, HEAD, HEAD, HEAD], [], False, True)
def test_any_bytes_in_any_cut_give_the_same_with_and_without_the_shortcut(
    reads: list[bytes], cuts: list[int], joined: bool, settled: bool
) -> None:
    pieces = cut(reads, cuts, joined)

    async def play() -> Any:
        caller = Caller()
        await caller.send(*pieces, settled=settled)
        await caller.send(b"")
        told = caller.told()
        caller.gate.connection_lost(None)
        await caller.send()
        return told

    fast = run(play())
    with patch.object(protocol, "repeated", lambda *_: None):
        slow = run(play())
    assert fast == slow


async def lists(*reads: bytes, limits: Limits = LIMITS) -> list[Any]:
    return (await Caller(limits).send(*reads)).lists


def test_requests_with_the_same_head_share_one_list_of_headers_whatever_their_length() -> None:
    one, two, three = run(lists(post(), post(b"{}"), post(b"z" * 999)))
    assert one is two is three
    assert dict(one)[b"content-length"] == b"999"


@pytest.mark.parametrize(
    "between",
    [
        post(start=START.replace(b": k", b": l")),
        post(start=START.replace(b"POST", b"PUT")),
        post(start=START.replace(b"/v1/x", b"/v1/z")),
        post(start=START + b"x: y\r\n"),
        post(start=START.replace(b"Host", b"host")),
    ],
    ids=["value", "method", "target", "one more", "case"],
)
def test_another_head_has_another_list_of_headers(between: bytes) -> None:
    one, two, three = run(lists(post(), between, post()))
    assert one is not two
    assert two is not three


def test_a_request_in_two_reads_or_with_bytes_behind_it_goes_to_the_parser() -> None:
    one, two, three = run(lists(post(), post()[:-3], post()[-3:], post()))
    assert one is not two is not three
    one, two, three = run(lists(post(), post() + post()))
    assert one is not two is not three


def test_a_head_that_comes_again_before_its_body_is_known_all_the_same() -> None:
    one, two, three, four = run(lists(HEAD, BODY, HEAD, BODY, post(b"{}"), HEAD, BODY))
    assert one is two is three is four


def test_the_app_hears_of_a_head_that_comes_again_once_its_body_begins() -> None:
    async def play() -> tuple[int, int, int]:
        caller = await Caller().send(HEAD, BODY, HEAD)
        counts = [len(caller.lists)]
        await caller.send(BODY[:3])
        counts.append(len(caller.lists))
        await caller.send(BODY[3:])
        return (*counts, len(caller.seen))  # type: ignore[return-value]

    assert run(play()) == (1, 2, 2)


def test_a_body_that_does_not_come_behind_a_known_head_is_too_slow() -> None:
    async def play() -> Caller:
        caller = await Caller().send(HEAD, BODY, HEAD)
        assert caller.gate.deadline < 100.0 + LIMITS.keep_alive_seconds
        caller.state.sweep(caller.gate.deadline + 1)
        return await caller.send()

    caller = run(play())
    assert caller.transport.written.rpartition(b"HTTP/1.1 ")[2][:3] == b"408"
    assert len(caller.seen) == 1


def test_a_draining_server_waits_for_the_body_behind_a_known_head() -> None:
    async def play() -> Caller:
        caller = await Caller().send(HEAD, BODY, HEAD)
        caller.state.draining = True
        caller.gate.shutdown()
        assert not caller.transport.closed
        return await caller.send(BODY)

    caller = run(play())
    assert [body for _, body in caller.seen] == [BODY, BODY]
    assert caller.transport.closed


def test_a_caller_that_leaves_behind_a_known_head_has_asked_for_nothing() -> None:
    async def play(ending: str) -> Caller:
        caller = await Caller().send(HEAD, BODY, HEAD)
        if ending == "lost":
            caller.gate.connection_lost(None)
        else:
            assert caller.gate.eof_received() is False
        return await caller.send()

    for ending in ("lost", "eof"):
        caller = run(play(ending))
        assert len(caller.seen) == 1
        assert not caller.state.tasks


def test_a_list_of_headers_is_not_renewed_while_the_last_requests_app_still_runs() -> None:
    async def play() -> None:
        caller = Caller()
        caller.hold = asyncio.Event()
        await caller.send(post(), post(b"{}"))
        assert len(caller.seen) == 2  # the first was answered, but its app goes on
        assert caller.lists[0] is not caller.lists[1]
        assert dict(caller.lists[0])[b"content-length"] == b"7"
        caller.hold.set()
        await caller.send(b"")

    run(play())


@pytest.mark.parametrize("inner", [post(), HEAD], ids=["whole", "head"])
def test_a_body_that_looks_like_the_known_head_is_no_request_where_the_answer_came_before_it(inner: bytes) -> None:
    """Or a caller could put requests of its own on a connection that a proxy shares between callers."""

    async def play() -> Caller:
        caller = Caller()
        caller.reads = False  # as where the key is wrong
        outer = START + b"Content-Length: %d\r\n\r\n" % len(inner)
        return await caller.send(outer, inner, HEAD, BODY)

    caller = run(play())
    assert len(caller.seen) == 2
    assert caller.transport.written.count(b"HTTP/1.1 ") == 2


def test_the_limits_of_bodies_and_heads_hold_for_repeated_heads() -> None:
    async def play(limits: Limits, body: bytes) -> bytes:
        caller = await Caller(limits).send(post(), post(), post(body))
        return caller.transport.written.rpartition(b"HTTP/1.1 ")[2][:3]

    assert run(play(LIMITS, b"a" * 3000)) == b"200"
    assert run(play(LIMITS, b"a" * 3001)) == b"413"
    size = len(b"/v1/x?y=%20") + len(START.partition(b"\r\n")[2]) + len(b"content-length: 7\r\n")
    assert run(play(Limits(header_bytes=size), BODY)) == b"200"
    assert run(play(Limits(header_bytes=size), b"a" * 10)) == b"431"


def test_a_draining_server_answers_a_repeated_head_as_the_last_of_its_connection() -> None:
    async def play() -> Caller:
        caller = await Caller().send(post(), post())
        caller.state.draining = True
        return await caller.send(post())

    caller = run(play())
    assert caller.transport.written.count(b"connection: close") == 1
    assert caller.transport.closed


def test_nothing_of_a_head_is_kept_once_its_connection_is_gone() -> None:
    async def play() -> GateProtocol:
        caller = await Caller().send(post(), post())
        assert caller.gate._repeated is not None
        caller.gate.connection_lost(None)
        return caller.gate

    assert run(play())._repeated is None
