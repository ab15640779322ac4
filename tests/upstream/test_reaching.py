"""A name with several addresses, of which some are dead, in both colours."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import uvloop

from headgate.upstream import reaching

Reach = Callable[[list[Any]], socket.socket]
V4, V6 = socket.AF_INET, socket.AF_INET6
LOOPS: Any = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Resolving:
    """The running loop, and what it finds for any name."""

    def __init__(self, found: list[Any]) -> None:
        loop = asyncio.get_running_loop()
        self.create_task, self.create_future = loop.create_task, loop.create_future
        self.add_writer, self.remove_writer = loop.add_writer, loop.remove_writer
        self.found = found

    async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
        return self.found


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
            return await reaching.reach(Resolving(found), "llm.example", 443)  # type: ignore[arg-type]

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
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


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("count", [1, 2])
def test_whoever_leaves_leaves_no_socket_behind(
    name: str, count: int, silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "STAGGER_SECONDS", 0.01)
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    async def go() -> None:
        monkeypatch.setattr(socket, "socket", Noted)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reaching.reach(Resolving([silent] * count), "llm.example", 443)  # type: ignore[arg-type]
        monkeypatch.undo()
        for _ in range(3):
            await asyncio.sleep(0)
        assert [each.fileno() for each in made] == [-1] * count

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(go())


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts this process's threads, libuv's too")
@pytest.mark.parametrize("name", LOOPS)
def test_no_thread_is_needed_for_an_address_by_number(name: str) -> None:
    program = f"""
import asyncio, os, socket, {name}
from headgate.upstream.reaching import reach

async def go():
    loop = asyncio.get_running_loop()
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            server = socket.create_server((host, 0), family=family)
        except OSError:
            continue  # the system has no such family
        with server, await reach(loop, host, server.getsockname()[1]) as sock:
            assert sock.getpeername() == server.getsockname()
    print(len(os.listdir("/proc/self/task")))

with asyncio.Runner(loop_factory={name}.new_event_loop) as runner:
    runner.run(go())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "1\n"


def test_the_families_take_turns_beginning_with_the_systems_first() -> None:
    found = [(V6, 1), (V6, 2), (V4, 3), (V6, 4), (V4, 5)]
    assert list(reaching.in_turn(found)) == [(V6, 1), (V4, 3), (V6, 2), (V4, 5), (V6, 4)]
