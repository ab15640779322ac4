"""A name with several addresses, of which some are dead, in both colours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
import uvloop

from headgate.upstream import reaching

Reach = Callable[[list[Any]], socket.socket]
V4, V6 = socket.AF_INET, socket.AF_INET6


def info(port: int, host: str = "127.0.0.1") -> Any:
    return (V4, socket.SOCK_STREAM, 6, "", (host, port))


@pytest.fixture
def silent() -> Iterator[Any]:
    """Takes no connection and refuses none: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        fillers = [socket.socket() for _ in range(8)]
        for each in fillers:
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        yield info(server.getsockname()[1])
        for each in fillers:
            each.close()


@pytest.fixture
def good() -> Iterator[Any]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield info(server.getsockname()[1])


@pytest.fixture
def refused() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return info(server.getsockname()[1])


@pytest.fixture(params=["asyncio", "uvloop", "blocking"])
def reach(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Reach:
    monkeypatch.setattr(reaching, "STAGGER_SECONDS", 0.01)

    def blocking(found: list[Any]) -> socket.socket:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        return reaching.reach_blocking("llm.example", 443, monotonic() + 20)

    def on_a_loop(found: list[Any]) -> socket.socket:
        async def go() -> socket.socket:
            loop = asyncio.get_running_loop()

            class Resolving:
                create_task, sock_connect = loop.create_task, loop.sock_connect

                async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
                    return found

            return await reaching.reach(Resolving(), "llm.example", 443)  # type: ignore[arg-type]

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(go())

    return blocking if request.param == "blocking" else on_a_loop


def test_an_address_that_does_not_answer_hides_no_other(reach: Reach, silent: Any, good: Any) -> None:
    with reach([silent, good]) as sock:
        assert sock.getpeername() == good[4]


def test_nor_do_those_that_refuse_and_families_that_the_system_lacks(reach: Reach, refused: Any, good: Any) -> None:
    strange = (9999, socket.SOCK_STREAM, 6, "", ("::1", 1))
    with reach([refused, strange, refused, good]) as sock:
        assert sock.getpeername() == good[4]


def test_where_none_can_be_reached_the_last_failure_is_told(reach: Reach, refused: Any) -> None:
    with pytest.raises(ConnectionRefusedError):
        reach([refused, refused])
    with pytest.raises(ConnectionRefusedError):
        reach([refused])


def test_a_silent_address_alone_is_waited_for_until_the_deadline(silent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [silent])
    with pytest.raises(TimeoutError):
        reaching.reach_blocking("llm.example", 443, monotonic() + 0.01)


def test_the_families_take_turns_beginning_with_the_systems_first() -> None:
    found = [(V6, 1), (V6, 2), (V4, 3), (V6, 4), (V4, 5)]
    assert list(reaching.in_turn(found)) == [(V6, 1), (V4, 3), (V6, 2), (V4, 5), (V6, 4)]
