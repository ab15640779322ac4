"""Whether providers answer, asked cheaply: their list of models, which costs no tokens, and of that the head only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.core.errors import UpstreamError
from headgate.core.exchange import Route
from headgate.core.ports import Outgoing, Timeouts, Upstream
from headgate.core.secret import Secret
from headgate.gateway.catalogue import headers_of, key_of
from headgate.policy.routing import Router

PATIENCE_SECONDS = 2.0
FRESH_SECONDS = 30.0
FAILED_SECONDS = 5.0
"""How long a result is told again: whoever looks every second must not become a load."""

OK, BUSY, REFUSED, FAILING, UNREACHABLE = "ok", "busy", "refused", "failing", "unreachable"
_TIMEOUTS = Timeouts(*(PATIENCE_SECONDS,) * 6)


@dataclass(frozen=True, slots=True)
class Probe:
    """What one provider has done.

    Attributes:
        state: `OK`; `BUSY` (429); `REFUSED` (401, 403: the key is not taken); `FAILING` (5xx); `UNREACHABLE`.
        status: of HTTP; 0 = none came.
        seconds: until the head of its answer, or until it failed.
        at: when it was asked, seconds since the epoch.
        error: one word, "" = an answer came.
    """

    state: str
    status: int
    seconds: float
    at: float
    error: str = ""

    @property
    def usable(self) -> bool:
        """Calls may well be answered."""
        return self.state in (OK, BUSY)

    def shown(self, now: float) -> dict[str, Any]:
        """As JSON."""
        return {
            "state": self.state,
            "status": self.status,
            "ms": round(self.seconds * 1000.0, 1),
            "seconds_ago": round(max(0.0, now - self.at), 1),
            "error": self.error,
        }


class Probes:
    """Asks each provider for itself, at most every so often, once for all who want to know. For one event loop.

    Args:
        now: seconds since the epoch.
        patience: seconds for one provider.
    """

    def __init__(
        self, router: Router, upstream: Upstream, now: Callable[[], float], *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._router = router
        self._upstream = upstream
        self._now = now
        self._patience = patience
        self._known: dict[str, Probe] = {}
        self._asking: dict[str, asyncio.Task[Probe]] = {}

    async def all(self) -> dict[str, Probe]:
        """Every provider that has a key, or wants none; each within its own time."""
        routes = [route for name, route in self._router.providers.items() if name not in self._router.unready]
        found = await asyncio.gather(*map(self._of, routes))
        return {route.provider: probe for route, probe in zip(routes, found, strict=True)}

    async def _of(self, route: Route) -> Probe:
        known = self._known.get(route.provider)
        if known is not None and self._now() - known.at < (FRESH_SECONDS if known.usable else FAILED_SECONDS):
            return known
        asking = self._asking.get(route.provider)
        if asking is None:
            asking = asyncio.ensure_future(self._ask(route, self._router.keys))
            self._asking[route.provider] = asking
            asking.add_done_callback(lambda _: self._asking.pop(route.provider, None))
        # Whoever leaves does not take the answer from those who wait for it too.
        return await asyncio.shield(asking)

    async def _ask(self, route: Route, keys: Mapping[str, Sequence[Secret]]) -> Probe:
        at = self._now()
        status, error = 0, ""
        try:
            async with asyncio.timeout(self._patience):
                status = await self._status(route, key_of(route, keys))
        except UpstreamError as failed:
            error = failed.kind
        except TimeoutError:
            error = "timeout"
        probe = Probe(_state(status), status, self._now() - at, at, error)
        self._known[route.provider] = probe
        return probe

    async def _status(self, route: Route, key: bytes) -> int:
        path = "/v1/models?limit=1" if route.dialect == "anthropic" else "/models"
        incoming = await self._upstream.send(
            Outgoing("GET", route.base_url + path, headers_of(route, key), b"", _TIMEOUTS)
        )
        incoming.close()  # the head has told everything
        return incoming.status


def _state(status: int) -> str:
    if status == 0:
        return UNREACHABLE
    if status == 429:
        return BUSY
    if status in (401, 403):
        return REFUSED
    return FAILING if status >= 500 else OK  # whoever has no such list has answered all the same


def with_probes(said: dict[str, Any], probes: Mapping[str, Probe], now: float) -> dict[str, Any]:
    """A report of traffic with what was asked just now. Degraded is not down: that is where no provider is usable."""
    for row in said["providers"]:
        probe = probes.get(row["provider"])
        if probe is not None:
            row["probe"] = probe.shown(now)
    if probes and not any(probe.usable for probe in probes.values()):
        said["status"] = "down"
    elif not all(probe.state == OK for probe in probes.values()):
        said["status"] = "degraded"
    return said
