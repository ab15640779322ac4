"""The simulator behind a real loopback port, in a thread of its own, for tests and demonstrations."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from headgate.testing.simulator import Price, Scenario, Simulator

if TYPE_CHECKING:
    import uvicorn

    from headgate.core.ports import Clock

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


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


class SimulatorServer:
    """A simulator on ``http://127.0.0.1:<ephemeral port>``, as a context manager.

    Args: as :class:`Simulator`; `port` 0 picks a free one.

    Attributes:
        url: the base URL as the Anthropic SDK takes it, without a trailing slash.
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
    ) -> None:
        self.simulator = Simulator(seed, scenario, prices=prices, clock=clock)
        self._port = port
        self._server: uvicorn.Server | None = None
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
        import uvicorn

        listening = socket.create_server(("127.0.0.1", self._port), backlog=2048)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        started = threading.Event()

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets=sockets)
                started.set()

        server = self._server = Server(simulator_config(self.simulator, timeout_graceful_shutdown=1))

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

    def stop(self) -> None:
        """Close every connection and stop. Idempotent."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._server.force_exit = True  # a stalled stream must not hold up the end of a test
        self._thread.join(_STOP_SECONDS)
        self._server = self._thread = None

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
