"""Both pools against real sockets: one set of scenarios, three colours."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.errors import UpstreamBroken, UpstreamBusy, UpstreamRejected, UpstreamTimeout
from headgate.core.ports import Timeouts

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def answering(data: bytes, *, after: Callable[[Any], None] | None = None) -> Callable[[Any], None]:
    """Answer every request with `data`; `after` then plays on."""

    def play(line: Any) -> None:
        while line.request()[0]:
            line.send(data)
            if after is not None:
                after(line)
                return

    return play


def close(line: Any) -> None:
    line.sock.close()


def linger(line: Any) -> None:
    line.gone()


def once(colour: Any, outgoing: Any, whole: Any, provider: Any, **options: Any) -> tuple[int, Any, bytes]:
    async def scenario() -> tuple[int, Any, bytes]:
        answer = await colour.pool().send(outgoing(provider.url, **options))
        return answer.status, answer.headers, await whole(answer)

    result: tuple[int, Any, bytes] = colour.run(scenario())
    return result


def test_one_connection_serves_many_requests_and_the_request_arrives_as_sent(
    colour: Any, provide: Any, outgoing: Any, whole: Any
) -> None:
    def play(line: Any) -> None:
        while True:
            head, body = line.request()
            if not head:
                return
            line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    provider = provide(play)

    async def scenario() -> dict[str, Any]:
        pool = colour.pool()
        for body in (b"one", b"", b"x" * 70_000):
            answer = await pool.send(outgoing(provider.url + "/v1/x", body, headers=[(b"x-api-key", b"k")]))
            assert await whole(answer) == body
            assert await answer.read() == b""
            answer.close()
        counts: dict[str, Any] = pool.counts()
        return counts

    assert colour.run(scenario()) == {f"127.0.0.1:{provider.port}": (1, 1, 0)}
    assert len(provider.lines) == 1


@pytest.mark.parametrize(
    ("method", "data", "body", "reused"),
    [
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"ok", True),
        ("GET", STREAM + b'2;x="y"\r\nok\r\n0\r\nx-trailer: 1\r\n\r\n', b"ok", True),
        ("HEAD", OK[:-2], b"", True),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", b"", True),
        ("GET", OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), b"ok", False),
        ("GET", OK + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nspoil", b"ok", False),
        ("GET", OK + b"garbage", b"ok", False),
    ],
    ids=["interim", "chunked", "head", "204", "304", "close", "pipelined", "garbage"],
)
def test_each_kind_of_answer_ends_rightly_and_leaves_the_connection_fit_or_dropped(
    colour: Any, provide: Any, outgoing: Any, whole: Any, method: str, data: bytes, body: bytes, reused: bool
) -> None:
    provider = provide(answering(data))

    async def scenario() -> None:
        pool = colour.pool()
        for _ in range(2):
            assert await whole(await pool.send(outgoing(provider.url, method=method))) == body

    colour.run(scenario())
    assert len(provider.lines) == (1 if reused else 2)


def test_a_body_without_length_ends_when_the_connection_does(
    colour: Any, provide: Any, outgoing: Any, whole: Any
) -> None:
    provider = provide(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it", after=close))
    assert once(colour, outgoing, whole, provider)[2] == b"all of it"


async def into(got: list[bytes], pool: Any, out: Any) -> None:
    answer = await pool.send(out)
    while piece := await answer.read():
        got.append(piece)


LONG = b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 6\r\n\r\nabcdef"
CHUNKS = STREAM + b"3\r\nabc\r\n3;e\r\ndef\r\n0\r\nt: 1\r\n\r\n"


@pytest.mark.parametrize("data", [LONG, CHUNKS], ids=["length", "chunked"])
def test_a_cut_at_every_byte_is_broken_in_the_head_and_truncated_in_the_body(
    colour: Any, provide: Any, outgoing: Any, data: bytes
) -> None:
    def play(line: Any) -> None:
        _, body = line.request()
        line.send(data[: int(body)])

    provider = provide(play)
    head = data.index(b"\r\n\r\n") + 4

    async def scenario() -> None:
        pool = colour.pool()
        for end in range(len(data)):
            got: list[bytes] = []
            with pytest.raises(UpstreamBroken) as caught:
                await into(got, pool, outgoing(provider.url, b"%d" % end))
            assert caught.value.kind == ("broken" if end < head else "truncated")
            assert caught.value.maybe_billed
            assert caught.value.retryable
            assert b"abcdef".startswith(b"".join(got))
            assert list(pool.counts().values()) == [(0, 0, 0)]

    colour.run(scenario())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.lists(st.integers(1, len(CHUNKS) - 1), max_size=8, unique=True))
def test_any_segmentation_on_the_wire_gives_the_same_answer(
    colour: Any, provide: Any, outgoing: Any, whole: Any, at: list[int]
) -> None:
    def play(line: Any) -> None:
        line.request()
        bounds = [0, *sorted(at), len(CHUNKS)]
        for start, end in pairwise(bounds):
            line.send(CHUNKS[start:end])
            time.sleep(0.0005)

    assert once(colour, outgoing, whole, provide(play)) == (200, [], b"abcdef")


def test_pieces_come_as_they_were_sent(colour: Any, provide: Any, outgoing: Any) -> None:
    import threading

    go = threading.Event()

    def play(line: Any) -> None:
        line.request()
        line.send(STREAM)
        for n in range(3):
            go.wait(60)
            go.clear()
            line.send(b"6\r\nevent%d\r\n" % n)
        go.wait(60)
        line.send(b"0\r\n\r\n")

    provider = provide(play)

    async def scenario() -> list[bytes]:
        answer = await colour.pool().send(outgoing(provider.url))
        got = []
        while True:
            go.set()
            piece = await answer.read()
            got.append(piece)
            if not piece:
                return got

    assert colour.run(scenario()) == [b"event0", b"event1", b"event2", b""]


@pytest.mark.parametrize(
    ("play", "message"),
    [
        (answering(b"SSH-2.0-x\r\n\r\n", after=linger), "not HTTP/1.1"),
        (answering(b"HTTP/1.1 200 OK\r\na: " + b"b" * 80_000, after=linger), "above 64 KiB"),
        (lambda line: (line.request(), line.reset()), "reset"),
        (lambda line: line.request(), "closed by the other side"),
    ],
    ids=["garbage", "huge head", "reset", "end"],
)
def test_no_answer_is_broken_and_perhaps_billed(
    colour: Any, provide: Any, outgoing: Any, whole: Any, play: Any, message: str
) -> None:
    provider = provide(play)
    with pytest.raises(UpstreamBroken, match=message) as caught:
        once(colour, outgoing, whole, provider, headers=[(b"authorization", b"Bearer canary")], body=b"canary")
    assert (caught.value.kind, caught.value.retryable, caught.value.maybe_billed) == ("broken", True, True)
    assert f"127.0.0.1:{provider.port}" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_garbage_inside_a_body_is_broken_after_the_good_part(colour: Any, provide: Any, outgoing: Any) -> None:
    gone = []
    provider = provide(answering(STREAM + b"2\r\nok\r\nzz\r\n", after=lambda line: gone.append(line.gone())))

    async def scenario() -> None:
        answer = await colour.pool().send(outgoing(provider.url))
        assert await answer.read() == b"ok"
        for _ in range(2):
            with pytest.raises(UpstreamBroken, match=r"not HTTP/1\.1"):
                await answer.read()

    colour.run(scenario())
    wait_for(lambda: gone == [True])


def test_a_refused_connection_and_an_unknown_name_are_retryable_and_unbilled(
    colour: Any, provide: Any, outgoing: Any
) -> None:
    provider = provide(answering(OK))
    provider.close()
    for url, message in (
        (provider.url, "refused"),
        ("http://nowhere.invalid/", "cannot connect to nowhere.invalid:80"),
    ):
        with pytest.raises(UpstreamBroken, match=message) as caught:
            colour.run(colour.pool().send(outgoing(url)))
        assert (caught.value.kind, caught.value.retryable, caught.value.maybe_billed) == ("connect", True, False)


def test_a_planted_header_is_refused_before_anything_is_sent(colour: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(answering(OK))
    with pytest.raises(UpstreamRejected) as caught:
        colour.run(colour.pool().send(outgoing(provider.url, headers=[(b"a", b"b\r\nx: y")])))
    assert (caught.value.kind, caught.value.retryable, caught.value.maybe_billed) == ("config", False, False)
    assert provider.lines == []


# Timers.


def test_a_silent_provider_times_out_at_first_byte_also_when_its_head_trickles(
    colour: Any, provide: Any, outgoing: Any
) -> None:
    def trickle(line: Any) -> None:
        line.request()
        for n in range(40):
            line.send(b"HTTP/1.1 200 OK\r\n"[n : n + 1] or b"x")
            time.sleep(0.01)

    for play in (lambda line: (line.request(), line.gone()), trickle):
        provider = provide(play)
        with pytest.raises(UpstreamTimeout, match=r"first_byte") as caught:
            colour.run(colour.pool().send(outgoing(provider.url, timeouts=Timeouts(first_byte=0.1))))
        assert (caught.value.kind, caught.value.maybe_billed) == ("timeout", True)


def test_a_stalled_body_times_out_as_idle_after_what_came(colour: Any, provide: Any, outgoing: Any) -> None:
    gone = []
    provider = provide(answering(STREAM + b"2\r\nok\r\n", after=lambda line: gone.append(line.gone())))

    async def scenario() -> None:
        answer = await colour.pool().send(outgoing(provider.url, timeouts=Timeouts(idle=0.08)))
        assert await answer.read() == b"ok"
        with pytest.raises(UpstreamTimeout, match=r"idle"):
            await answer.read()

    colour.run(scenario())
    wait_for(lambda: gone == [True])


def test_a_short_timer_works_beside_a_long_one(colour: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(answering(OK))
    silent = provide(lambda line: (line.request(), line.gone()))

    async def scenario() -> None:
        pool = colour.pool()
        for _ in range(2):
            (await pool.send(outgoing(provider.url, timeouts=Timeouts(first_byte=60)))).close()
            with pytest.raises(UpstreamTimeout):
                await pool.send(outgoing(silent.url, timeouts=Timeouts(first_byte=0.05)))

    colour.run(scenario())


def test_a_connection_that_is_not_accepted_times_out_unbilled(colour: Any, outgoing: Any) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with pytest.raises(UpstreamTimeout, match="connect") as caught:
            colour.run(colour.pool().send(outgoing(f"http://127.0.0.1:{port}", timeouts=Timeouts(connect=0.1))))
        for filler in fillers:
            filler.close()
    assert (caught.value.kind, caught.value.retryable, caught.value.maybe_billed) == ("connect", True, False)


def test_a_provider_that_does_not_read_times_out_at_write(colour: Any, provide: Any, outgoing: Any) -> None:
    import threading

    over = threading.Event()
    provider = provide(lambda line: over.wait(60))
    try:
        with pytest.raises(UpstreamTimeout, match="write") as caught:
            colour.run(colour.pool().send(outgoing(provider.url, b"x" * 20_000_000, timeouts=Timeouts(write=0.1))))
    finally:
        over.set()
    assert (caught.value.kind, caught.value.maybe_billed) == ("timeout", True)


def test_a_slow_but_moving_upload_outlives_the_write_timer(
    colour: Any, provide: Any, outgoing: Any, whole: Any
) -> None:
    body = b"x" * 6_000_000
    for seconds in (0.15, 1.5, 15.0):
        moved: list[float] = []  # when the provider took some of it

        def play(line: Any, seconds: float = seconds, moved: list[float] = moved) -> None:
            left = len(body)
            while left > 0 and (data := line.sock.recv(500_000)):
                moved.append(time.monotonic())
                left -= len(data)
                time.sleep(seconds / 6)
            line.send(OK)

        try:
            assert once(colour, outgoing, whole, provide(play), body=body, timeouts=Timeouts(write=seconds))[2] == b"ok"
        except UpstreamTimeout:
            stops = [after - before for before, after in pairwise([*moved, time.monotonic()])]
            if max(stops) < seconds / 2:
                raise  # and else this busy machine has stopped the provider for so long: once more, all of it slower
        else:
            assert moved[-1] - moved[0] > seconds
            return
    raise AssertionError("the provider was stopped each time")


# Full pools, dead connections, abandoned answers.


def test_a_full_pool_is_our_saturation_and_recovers(colour: Any, provide: Any, outgoing: Any, whole: Any) -> None:
    provider = provide(answering(OK))

    async def scenario() -> None:
        pool = colour.pool(max_connections=1)
        held = provide(answering(STREAM + b"2\r\nok\r\n", after=linger))
        answer = await pool.send(outgoing(held.url))
        with pytest.raises(UpstreamBusy, match="pool") as caught:
            await pool.send(outgoing(held.url, timeouts=Timeouts(pool=0.05)))
        error = caught.value
        assert (error.kind, error.retryable, error.maybe_billed) == ("saturated", False, False)
        assert await whole(await pool.send(outgoing(provider.url))) == b"ok"  # another origin has its own places
        answer.close()
        again = await pool.send(outgoing(held.url))
        again.close()
        assert pool.counts()[f"127.0.0.1:{held.port}"] == (0, 0, 0)

    colour.run(scenario())


@pytest.mark.parametrize("how", [close, lambda line: line.send(b"HTTP/1.1 408 Timeout\r\n\r\n")], ids=["end", "bytes"])
def test_a_stale_connection_is_not_used_again(
    colour: Any, provide: Any, outgoing: Any, whole: Any, how: Callable[[Any], None]
) -> None:
    import asyncio
    import threading

    stale, over = threading.Semaphore(0), threading.Event()
    provider = provide(answering(OK, after=lambda line: (how(line), stale.release(), over.wait(60))))

    async def scenario() -> None:
        pool = colour.pool()
        for _ in range(2):
            assert await whole(await pool.send(outgoing(provider.url))) == b"ok"
            assert stale.acquire(timeout=60)
            if colour.name != "blocking":
                await asyncio.sleep(0.05)  # the loop may see it

    try:
        colour.run(scenario())
    finally:
        over.set()
    assert len(provider.lines) == 2


def test_an_idle_connection_expires_at_reuse(colour: Any, provide: Any, outgoing: Any, whole: Any) -> None:
    provider = provide(answering(OK))

    async def scenario() -> None:
        pool = colour.pool(idle_expiry=0.02)
        await whole(await pool.send(outgoing(provider.url)))
        time.sleep(0.05)  # the event loop is held up too, so that only the check at reuse can tell
        await whole(await pool.send(outgoing(provider.url)))

    colour.run(scenario())
    assert len(provider.lines) == 2


def test_closing_an_unfinished_answer_is_seen_by_the_provider_at_once(colour: Any, provide: Any, outgoing: Any) -> None:
    gone = []
    provider = provide(answering(STREAM + b"2\r\nok\r\n", after=lambda line: gone.append(line.gone())))

    async def scenario() -> None:
        import asyncio

        pool = colour.pool()
        answer = await pool.send(outgoing(provider.url))
        assert await answer.read() == b"ok"
        answer.close()
        answer.close()
        with pytest.raises(UpstreamBroken):
            await answer.read()
        for _ in range(3000):
            if gone:
                break
            await asyncio.sleep(0.01) if colour.name != "blocking" else time.sleep(0.01)
        assert gone == [True]
        assert list(pool.counts().values()) == [(0, 0, 0)]

    colour.run(scenario())


def test_closing_a_finished_answer_keeps_the_connection(colour: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(answering(OK))

    async def scenario() -> None:
        pool = colour.pool()
        for _ in range(3):
            (await pool.send(outgoing(provider.url))).close()

    colour.run(scenario())
    assert len(provider.lines) == 1


# Large bodies.


def test_five_megabytes_go_and_come_whole(colour: Any, provide: Any, outgoing: Any, whole: Any) -> None:
    body = bytes(range(256)) * 20_000

    def play(line: Any) -> None:
        for _ in range(2):
            _, got = line.request()
            line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(got) + got)

    provider = provide(play)

    async def scenario() -> None:
        pool = colour.pool()
        for _ in range(2):
            assert await whole(await pool.send(outgoing(provider.url, body))) == body

    colour.run(scenario())
    assert len(provider.lines) == 1


def test_a_slow_reader_holds_the_provider_back(colour: Any, provide: Any, outgoing: Any, whole: Any) -> None:
    import asyncio
    import socket

    sent = [0]

    def play(line: Any) -> None:
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n")
        for _ in range(400):
            line.send(b"x" * 100_000)
            sent[0] += 100_000

    provider = provide(play)

    async def scenario() -> None:
        answer = await colour.pool().send(outgoing(provider.url))
        before = -1
        while before != sent[0]:  # until the provider is stuck
            before = sent[0]
            await asyncio.sleep(0.1) if colour.name != "blocking" else time.sleep(0.1)
        assert before < 20_000_000
        assert len(await whole(answer)) == 40_000_000

    colour.run(scenario())


@pytest.mark.parametrize("after", [linger, close], ids=["stays", "closes"])
def test_an_early_413_is_handed_on_and_the_rest_not_sent(
    colour: Any, provide: Any, outgoing: Any, whole: Any, after: Any
) -> None:
    refused = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig"
    got = [0]

    def play(line: Any) -> None:
        line.sock.recv(1000)
        line.send(refused)
        if after is close:
            line.sock.shutdown(1)
        while data := line.sock.recv(1 << 20):  # until the client leaves
            got[0] += len(data)
            time.sleep(0.01)

    status, _, body = once(colour, outgoing, whole, provide(play), body=b"x" * 30_000_000)
    assert (status, body) == (413, b"big")
    assert got[0] < 30_000_000


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass within 30 s")
