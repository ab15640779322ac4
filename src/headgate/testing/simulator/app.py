"""The simulator: both providers' APIs as one ASGI application, with faults, limits and an invoice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.testing.simulator.book import Book
from headgate.testing.simulator.call import Call
from headgate.testing.simulator.control import control
from headgate.testing.simulator.dialects import ANTHROPIC, CHAT
from headgate.testing.simulator.limits import LimitBook
from headgate.testing.simulator.loading import load_scenario
from headgate.testing.simulator.prices import Price
from headgate.testing.simulator.promptcache import PromptCache
from headgate.testing.simulator.provider import Provider
from headgate.testing.simulator.scenario import Scenario, Script
from headgate.testing.simulator.wire import Broken, Message, Receive, Send, Wire

if TYPE_CHECKING:
    from headgate.core.ports import Clock


class RealClock:
    """Wall-clock time that never runs backwards, and asyncio's sleep."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._offset + time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds`."""
        await asyncio.sleep(seconds)


class Simulator:
    """Both providers, as an ASGI application.

    Args:
        seed: what answers, request ids and the scenario's dice are drawn from.
        scenario: a :class:`Scenario`, a mapping, a shipped name, a file, or YAML text; None is `healthy`.
        prices: USD per million tokens by undated model id, over the built-in table.
        clock: time; the real one by default.
        keep: how many records the invoice and the request list hold; the totals count all.

    Raises:
        ConfigError: the scenario is not one.
    """

    def __init__(
        self,
        seed: int = 0,
        scenario: Scenario | Mapping[str, Any] | str | Path | None = None,
        *,
        prices: Mapping[str, Price] | None = None,
        clock: Clock | None = None,
        keep: int = 10_000,
    ) -> None:
        self._given_seed = seed
        self._prices = prices
        self._keep = keep
        self.clock: Clock = clock or RealClock()
        self.load(scenario)

    def load(self, scenario: Scenario | Mapping[str, Any] | str | Path | None) -> None:
        """Play another scenario from its beginning, with empty books.

        Raises:
            ConfigError: the scenario is not one.
        """
        self.scenario = load_scenario(scenario)
        self.reset()

    def reset(self) -> None:
        """Start over: empty books and caches, full buckets, the scenario from its beginning."""
        told = self.scenario.seed
        seed = self._given_seed if told is None else told
        self._provider = Provider(
            seed=seed,
            clock=self.clock,
            scenario=self.scenario,
            book=Book(self._prices, self._keep),
            script=Script(self.scenario.rules, seed, self.scenario.tls),
            limits=LimitBook(self.scenario.limits),
            cache=PromptCache(),
        )

    def invoice(self, wait: float = 0.0) -> dict[str, Any]:
        """What it would bill. From another thread, wait up to `wait` seconds for open requests to end first."""
        if wait:
            self._provider.book.wait_closed(wait)
        self._provider.advance()
        return self._provider.book.invoice()

    def requests(self, wait: float = 0.0) -> list[dict[str, Any]]:
        """Everything received, oldest first. `wait` as for :meth:`invoice`."""
        if wait:
            self._provider.book.wait_closed(wait)
        return self._provider.book.requests()

    def connect(self) -> str:
        """A connection comes in: the TLS fault that strikes it, "" if none does."""
        return self._provider.script.connect()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the simulator speaks HTTP only, not {scope['type']}")
        wire = Wire(scope, receive, send, self.clock)
        path: str = scope["path"]
        try:
            if path.startswith("/_sim/"):
                await control(self, wire, scope["method"], path)
            else:
                await self._api(wire, scope, path)
        except (Broken, ConnectionError):
            pass  # the fault was the answer, or nobody is left to answer
        finally:
            wire.done()

    async def _api(self, wire: Wire, scope: Message, path: str) -> None:
        provider = self._provider
        headers: dict[bytes, bytes] = dict(scope["headers"])
        anthropic = path.startswith("/v1/messages") or b"anthropic-version" in headers
        dialect = ANTHROPIC if anthropic else CHAT
        record = provider.book.receive(self.clock.now(), provider.new_id("req"), scope["method"], path, headers)
        record.dialect = dialect.name
        try:
            await Call(provider, wire, record, dialect, headers).answer(scope)
        finally:
            if record.ending == "open":
                record.ending = "abandoned"  # cancelled, or the client left before it had asked
            provider.book.close(record)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
