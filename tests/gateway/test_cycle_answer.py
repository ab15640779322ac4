"""A whole answer in one write: the same bytes and the same end as the two ASGI messages it stands for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.gateway.cycle import Cycle


class Line:
    """What a cycle needs of its connection."""

    date = b"date: now\r\n"

    def __init__(self) -> None:
        self.transport: Any = self
        self.state: Any = self
        self.write_paused = False
        self.paused_at: float | None = None
        self.known: Any = None
        self.written: list[bytes] = []
        self.done = 0

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.written.append(b"".join(parts))

    async def drain(self) -> None: ...

    def resume_body(self) -> None: ...

    def response_done(self, cycle: Cycle) -> None:
        self.done += 1

    def close(self) -> None: ...


def make(
    method: str = "POST", keep_alive: bool = True, expects: bool = False, version: str = "1.1"
) -> tuple[Line, Cycle]:
    line = Line()
    cycle = Cycle(line, keep_alive)
    cycle.offer({"http_version": version, "method": method}, expects)
    return line, cycle


FIELD = st.tuples(
    st.sampled_from([b"a", b"content-type", b"connection", b"transfer-encoding", b"content-length"]),
    st.sampled_from([b"", b"1", b"close", b"keep-alive", b"a: b", b"a\r\nx: y", b"\r", b"\n", b"\0"]),
)


@settings(deadline=None)
@given(
    st.sampled_from([200, 204, 304, 404, 529]),
    st.lists(FIELD.filter(lambda f: f[0] != b"content-length"), max_size=4),
    st.sampled_from([b"", b"{}", b"x" * 40_000]),
    st.sampled_from(["POST", "HEAD"]),
    st.booleans(),
    st.booleans(),
)
def test_an_answer_in_one_write_is_what_two_messages_would_have_been(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, method: str, keep_alive: bool, expects: bool
) -> None:
    def one() -> Any:
        line, cycle = make(method, keep_alive, expects)
        try:
            assert cycle.answer(status, list(headers), body)
        except RuntimeError as error:
            return str(error), line.written
        return b"".join(line.written), line.done, cycle.complete, cycle.wrote, cycle.keep_alive

    async def two() -> Any:
        line, cycle = make(method, keep_alive, expects)
        length = (b"content-length", b"%d" % len(body))
        try:
            await cycle.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
            await cycle.send({"type": "http.response.body", "body": body})
        except RuntimeError as error:
            return str(error), line.written
        return b"".join(line.written), line.done, cycle.complete, cycle.wrote, cycle.keep_alive

    assert one() == asyncio.run(two())


@settings(deadline=None)
@given(
    st.sampled_from([200, 204, 404, 529]),
    st.lists(FIELD.filter(lambda f: f[0] != b"content-length"), max_size=4),
    st.lists(st.sampled_from([b"{}", b"data: 1\n\n", b"x" * 40_000]), max_size=3),
    st.sampled_from(["POST", "HEAD"]),
    st.sampled_from(["1.1", "1.0"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 4),
)
def test_a_stream_that_need_not_wait_is_what_messages_would_have_been(
    status: int,
    headers: list[tuple[bytes, bytes]],
    pieces: list[bytes],
    method: str,
    version: str,
    keep_alive: bool,
    expects: bool,
    leaves: int,
) -> None:
    async def play(at_once: bool) -> Any:
        line, cycle = make(method, keep_alive, expects, version)
        try:
            if not (at_once and cycle.open(status, list(headers))):
                await cycle.send({"type": "http.response.start", "status": status, "headers": list(headers)})
            for place, piece in enumerate(pieces):
                if place == leaves:
                    cycle.leave("left")
                if not (at_once and cycle.pass_on(piece)):
                    await cycle.send({"type": "http.response.body", "body": piece, "more_body": True})
            if not (at_once and cycle.end()):
                await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})
        except RuntimeError as error:
            return str(error), line.written
        return b"".join(line.written), line.done, cycle.complete, cycle.wrote, cycle.keep_alive

    assert asyncio.run(play(True)) == asyncio.run(play(False))


def test_a_stream_is_left_to_send_where_it_would_have_to_wait() -> None:
    line, cycle = make()
    assert cycle.open(200, [(b"a", b"b")])
    assert not cycle.open(200, [(b"a", b"b")])
    line.write_paused = True
    assert not cycle.pass_on(b"x")
    line.write_paused = False
    assert cycle.pass_on(b"x")
    line.write_paused = True
    assert not cycle.end()
    line.write_paused = False
    assert cycle.end()
    assert (len(line.written), line.done, cycle.complete) == (2, 1, True)


def test_an_answer_is_left_to_send_where_it_would_have_to_wait_or_one_has_begun() -> None:
    line, cycle = make()
    line.write_paused = True
    assert not cycle.answer(200, [(b"a", b"b")], b"x")
    line.write_paused = False
    assert cycle.answer(200, [(b"a", b"b")], b"x")
    assert not cycle.answer(200, [(b"a", b"b")], b"x")
    with pytest.raises(RuntimeError):
        asyncio.run(cycle.send({"type": "http.response.body", "body": b"x"}))
    assert len(line.written) == line.done == 1


def test_an_answer_to_a_caller_that_left_writes_nothing_and_forgets_no_hook() -> None:
    line, cycle = make()
    called: list[str] = []
    cycle.on_disconnect = lambda: called.append("gone")
    cycle.leave("left")
    assert cycle.answer(200, [(b"a", b"b")], b"x")
    assert (line.written, line.done, called) == ([], 0, ["gone"])


def test_the_hook_is_not_called_once_the_answer_is_written() -> None:
    _, cycle = make()
    called: list[str] = []
    cycle.on_disconnect = lambda: called.append("gone")
    assert cycle.answer(200, [(b"a", b"b")], b"x")
    cycle.leave("left")
    assert called == []
