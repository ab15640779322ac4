"""The simulator behind a real loopback port, in a thread of its own, for tests and demonstrations."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from headgate.testing.simulator import Price, Scenario, Simulator

if TYPE_CHECKING:
    import uvicorn

    from headgate.core.ports import Clock

    class _Server(uvicorn.Server):
        """What `_serving` makes."""

        def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None: ...

        def end(self) -> None: ...


_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LEAVE_STEP = 0.001  # seconds
_LEAVE_STEPS = 100  # how many of them an answer in flight has when the server ends
_TURNS = 8


def simulator_config(simulator: Simulator, **options: Any) -> uvicorn.Config:
    """How uvicorn serves a simulator: with the protocol that lets faults break connections.

    Needs the `gateway` extra. `options` go to `uvicorn.Config`.
    """
    import uvicorn

    from headgate.testing.simulator.protocol import LendingProtocol

    told: dict[str, Any] = {
        "http": LendingProtocol,
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "log_level": "critical",  # a broken connection is the point here, not news
        "server_header": False,
        "timeout_keep_alive": 60,
        **options,
    }
    return uvicorn.Config(simulator, **told)


@cache
def _serving() -> type[_Server]:
    """uvicorn's server for a thread: told to end, it does so at once. uvicorn itself looks ten times a second, and then
    waits another tenth, which in a suite with a thousand simulators is minutes."""
    import uvicorn

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
            super().__init__(config)
            self._ready = ready
            self._told = asyncio.Event()
            self._loop: asyncio.AbstractEventLoop | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self._loop = asyncio.get_running_loop()
            await super().startup(sockets=sockets)
            self._ready.set()

        async def main_loop(self) -> None:
            while not await self.on_tick(0):  # renews the date
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._told.wait()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for _ in range(_TURNS):  # what was accepted this moment needs its server: without, it stays open for ever
                await asyncio.sleep(0)
            for each in (*self.servers, *(sockets or ())):
                each.close()
            told: set[Any] = set()
            # Idle ones are gone at once; a stalled stream must not hold up the end of a test for longer.
            for _ in range(_LEAVE_STEPS):
                for connection in self.server_state.connections - told:
                    told.add(connection)
                    connection.shutdown()
                await asyncio.sleep(_LEAVE_STEP)
                if not self.server_state.connections:
                    break

        def end(self) -> None:
            self.should_exit = self.force_exit = True
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop has closed
                    self._loop.call_soon_threadsafe(self._told.set)

    return cast("type[_Server]", Server)


class SimulatorServer:
    """A simulator on ``http://127.0.0.1:<ephemeral port>``, as a context manager.

    Args: as :class:`Simulator`; `port` 0 picks a free one; `tls` serves https with certificates made for the occasion
    (needs `cryptography`), and lets the scenario's `tls` faults happen.

    Attributes:
        url: the base URL as the Anthropic SDK takes it, without a trailing slash.
        ca_file: the authority to trust, where it serves TLS.
        openai_url: the base URL as the OpenAI SDK takes it.
        simulator: the application itself.
    """

    def __init__(
        self,
        scenario: Scenario | Mapping[str, Any] | str | Path | None = None,
        *,
        seed: int = 0,
        prices: Mapping[str, Price] | None = None,
        clock: Clock | None = None,
        port: int = 0,
        tls: bool = False,
    ) -> None:
        self.simulator = Simulator(seed, scenario, prices=prices, clock=clock)
        self._port = port
        self._tls = tls
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.ca_file: Path | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.url = ""

    @property
    def openai_url(self) -> str:
        """``url`` + ``/v1``."""
        return f"{self.url}/v1"

    def start(self) -> SimulatorServer:
        """Bind and serve; returns when requests are answered.

        Raises:
            OSError: the port is taken.
            RuntimeError: the server did not start.
        """

        options = self._encrypted() if self._tls else {}
        listening = socket.create_server(("127.0.0.1", self._port), backlog=2048)
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        started = threading.Event()

        config = simulator_config(self.simulator, timeout_graceful_shutdown=1, **options)
        server = self._server = _serving()(config, started)

        def serve() -> None:
            try:
                server.run(sockets=[listening])
            finally:
                started.set()
                listening.close()

        self._thread = threading.Thread(target=serve, name="headgate-simulator", daemon=True)
        self._thread.start()
        if not started.wait(_START_SECONDS) or not server.started:
            raise RuntimeError("the simulator did not start")
        return self

    def _encrypted(self) -> dict[str, Any]:
        """Make certificates; the options that let uvicorn accept connections through TLS and its faults."""
        from headgate.testing.simulator.certificates import make
        from headgate.testing.simulator.protocol import LendingProtocol, TlsFront

        self._folder = tempfile.TemporaryDirectory(prefix="headgate-simulator-")
        made = make(Path(self._folder.name))
        self.ca_file = made.ca_file

        def front(**told: Any) -> TlsFront:
            connections = told["server_state"].connections
            return TlsFront(self.simulator.connect, made.contexts, connections, lambda: LendingProtocol(**told))

        # uvloop reads from a connection that was paused when it was made, and the client's hello would be lost.
        return {"http": front, "loop": "asyncio"}

    def client_context(self) -> ssl.SSLContext:
        """For a client's `verify`: it trusts this server's authority, and nothing else.

        Raises:
            RuntimeError: the server has not started, or serves no TLS.
        """
        if self.ca_file is None:
            raise RuntimeError("SimulatorServer(tls=True) has an authority once it has started")
        return ssl.create_default_context(cafile=str(self.ca_file))

    def stop(self) -> None:
        """Close every connection and stop. Idempotent."""
        if self._server is None or self._thread is None:
            return
        self._server.end()
        self._thread.join(_STOP_SECONDS)
        self._server = self._thread = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> SimulatorServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def invoice(self, wait: float = 5.0) -> dict[str, Any]:
        """What it would bill, once no request is open (or `wait` seconds have passed)."""
        return self.simulator.invoice(wait)

    def requests(self, wait: float = 5.0) -> list[dict[str, Any]]:
        """Everything received, once no request is open (or `wait` seconds have passed)."""
        return self.simulator.requests(wait)

    def reset(self) -> None:
        """Empty books and caches; the scenario from its beginning."""
        self.simulator.reset()

    def load(self, scenario: Scenario | Mapping[str, Any] | str | Path | None) -> None:
        """Play another scenario.

        Raises:
            ConfigError: it is not one.
        """
        self.simulator.load(scenario)
