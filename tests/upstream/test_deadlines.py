"""The end of the whole exchange is above every other timer; and a wait that is no fault. Two colours, real sockets."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from headgate.core.errors import UpstreamTimeout
from headgate.core.ports import Timeouts

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
PIECE = b"2\r\nok\r\n"
# Whatever is not kept hangs for so long that the test's own limit ends it.
LONG = {"connect": 600.0, "pool": 600.0, "write": 600.0, "first_byte": 600.0, "idle": 600.0}


def silent(line: Any) -> None:
    line.request()
    line.gone()


def silent_after_a_piece(line: Any) -> None:
    line.request()
    line.send(HEAD + PIECE)
    line.gone()


def dripping(line: Any) -> None:
    line.request()
    line.send(HEAD)
    while True:  # until the client hangs up
        line.send(PIECE)
        if threading.Event().wait(0.02):
            return


@pytest.mark.parametrize("play", [silent, silent_after_a_piece])
def test_all_timers_together_stay_below_the_end_of_the_exchange(
    colour: Any, provide: Any, outgoing: Any, whole: Any, play: Any
) -> None:
    provider = provide(play)

    async def scenario() -> None:
        answer = await colour.pool().send(outgoing(provider.url, timeouts=Timeouts(**LONG, total=0.2)))
        await whole(answer)

    with pytest.raises(UpstreamTimeout, match=r"timeouts\.total") as caught:
        colour.run(scenario())
    assert (caught.value.kind, caught.value.maybe_billed) == ("timeout", True)


def test_a_body_too_large_to_be_taken_ends_with_the_exchange(colour: Any, provide: Any, outgoing: Any) -> None:
    hold = threading.Event()

    def deaf(line: Any) -> None:
        hold.wait(30)

    provider = provide(deaf)

    async def scenario() -> None:
        await colour.pool().send(outgoing(provider.url, b"x" * (64 << 20), timeouts=Timeouts(**LONG, total=0.3)))

    try:
        with pytest.raises(UpstreamTimeout, match=r"timeouts\.total"):
            colour.run(scenario())
    finally:
        hold.set()


def test_waiting_for_a_connection_counts_too(colour: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(silent_after_a_piece)

    async def scenario() -> None:
        pool = colour.pool(max_connections=1)
        first = await pool.send(outgoing(provider.url, timeouts=Timeouts(**LONG)))
        try:
            await pool.send(outgoing(provider.url, timeouts=Timeouts(**LONG, total=0.2)))
        finally:
            first.close()

    with pytest.raises(Exception, match="were in use"):
        colour.run(scenario())


def test_a_connection_used_before_has_the_new_exchanges_end(
    colour: Any, provide: Any, outgoing: Any, whole: Any
) -> None:
    def play(line: Any) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        line.request()
        line.gone()

    provider = provide(play)

    async def scenario() -> None:
        pool = colour.pool()
        assert await whole(await pool.send(outgoing(provider.url, timeouts=Timeouts(**LONG, total=30)))) == b"ok"
        await pool.send(outgoing(provider.url, timeouts=Timeouts(**LONG, total=0.2)))

    with pytest.raises(UpstreamTimeout, match=r"timeouts\.total"):
        colour.run(scenario())
    assert len(provider.lines) == 1


def test_a_wait_that_ends_without_a_piece_leaves_the_answer_as_it_was(
    colour: Any, provide: Any, outgoing: Any, whole: Any
) -> None:
    go_on = threading.Event()

    def play(line: Any) -> None:
        line.request()
        line.send(HEAD + PIECE)
        go_on.wait(30)
        line.send(PIECE + b"0\r\n\r\n")

    provider = provide(play)

    async def scenario() -> None:
        answer = await colour.pool().send(outgoing(provider.url, timeouts=Timeouts(**LONG)))
        assert await answer.read() == b"ok"
        assert await answer.wait(0.02) is False
        assert await answer.wait(0.02) is False
        go_on.set()
        assert await answer.wait(30) is True
        assert await whole(answer) == b"ok"
        assert await answer.wait(30) is True  # the end is known

    colour.run(scenario())


def test_waits_and_reads_together_are_no_more_silence_than_is_allowed(colour: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(silent_after_a_piece)

    async def scenario() -> None:
        answer = await colour.pool().send(outgoing(provider.url, timeouts=Timeouts(**{**LONG, "idle": 0.2})))
        assert await answer.read() == b"ok"
        assert await answer.wait(0.15) is False
        assert await answer.wait(600) is True  # reading tells sooner: of the silence that is over
        await answer.read()

    with pytest.raises(UpstreamTimeout, match=r"timeouts\.idle"):
        colour.run(scenario())


def test_the_end_of_the_exchange_ends_a_wait(colour: Any, provide: Any, outgoing: Any) -> None:
    provider = provide(silent_after_a_piece)

    async def scenario() -> None:
        answer = await colour.pool().send(outgoing(provider.url, timeouts=Timeouts(**LONG, total=0.2)))
        assert await answer.read() == b"ok"
        assert await answer.wait(300) is True
        await answer.read()

    with pytest.raises(UpstreamTimeout, match=r"timeouts\.total"):
        colour.run(scenario())


def test_bytes_that_drip_do_not_prolong_the_exchange(colour: Any, provide: Any, outgoing: Any, whole: Any) -> None:
    provider = provide(dripping)

    async def scenario() -> None:
        answer = await colour.pool().send(outgoing(provider.url, timeouts=Timeouts(**LONG, total=0.3)))
        while True:
            await answer.read()

    with pytest.raises(UpstreamTimeout, match=r"timeouts\.total"):
        colour.run(scenario())
