"""A limited provider for one experiment: the simulator behind a real loopback port, in the experiment's own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headgate.cli.lab_time import LabClock

if TYPE_CHECKING:
    from headgate.testing.simulator import Simulator

CALL = "x-lab-call"
"""The request header that names the call, so that the provider's books tell whose attempts are whose."""

_Message = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """The one account, and the way to it.

    Attributes:
        requests_per_minute: its limit: a token bucket that is full at first, and refilled continuously.
        latency: seconds from the provider's admission to its answer. A refusal comes at once.
        network: seconds of the way there, and of the way back.
    """

    dialect: str
    requests_per_minute: int
    latency: float
    network: float
    seed: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request as the provider saw it. `at`: seconds since the experiment began."""

    call: int
    at: float
    refused: bool


class Provider:
    """What the strategies call.

    Attributes:
        url: the base URL as the dialect's SDK takes it.
        path: of the request, behind it.
    """

    def __init__(self, account: Account, simulator: Simulator, began: float, url: str) -> None:
        self.account = account
        self._simulator = simulator
        self._began = began
        openai = account.dialect == "openai"
        self.url = f"{url}/v1" if openai else url
        self.path = "/chat/completions" if openai else "/v1/messages"

    def arrived(self) -> list[Arrived]:
        """Everything that came, in its order.

        Raises:
            RuntimeError: something was answered otherwise than with success or a 429; no experiment asks for that.
        """
        found = []
        for request in self._simulator.requests():
            status = request["status"]
            if status not in (200, 429):
                raise RuntimeError(f"the simulator answered {status}, which is not part of the experiment")
            found.append(Arrived(int(request["headers"][CALL]), request["at"] - self._began, status == 429))
        return found


@asynccontextmanager
async def provider(account: Account, most_requests: int) -> AsyncIterator[Provider]:
    """Serve one on a free loopback port, in the running loop.

    Args:
        most_requests: so many are kept in its books.
    """
    from uvicorn.server import ServerState

    from headgate.testing.server import simulator_config
    from headgate.testing.simulator import Limits, Pace, Scenario, Simulator
    from headgate.testing.simulator.protocol import LendingProtocol

    loop = asyncio.get_running_loop()
    clock = LabClock(loop)
    scenario = Scenario(
        name="lab",
        limits=Limits(requests_per_minute=account.requests_per_minute),
        pace=Pace(first_token_seconds=account.latency),
    )
    simulator = Simulator(account.seed, scenario, clock=clock, keep=most_requests)
    # Without a `Date`: it would be the machine's, which this time has nothing to do with.
    config = simulator_config(simulator, proxy_headers=False, date_header=False, timeout_keep_alive=86_400)
    config.app = _far(simulator, account.network)
    config.load()
    state = ServerState()

    def protocol() -> LendingProtocol:
        return LendingProtocol(config=config, server_state=state, app_state={}, _loop=loop)

    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=2048)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Provider(account, simulator, clock.now(), f"http://127.0.0.1:{port}")
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await asyncio.sleep(0)


def _far(simulator: Simulator, network: float) -> Callable[..., Awaitable[None]]:
    """The simulator, so many seconds away."""

    async def app(scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[..., Any]) -> None:
        async def back(message: _Message) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(network)
            await send(message)

        await asyncio.sleep(network)
        await simulator(scope, receive, back)

    return app
