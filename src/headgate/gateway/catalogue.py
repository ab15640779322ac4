"""Which models each provider has: asked with its own credential, kept for minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from headgate._version import __version__
from headgate.core.errors import UpstreamError
from headgate.core.exchange import Route
from headgate.core.ports import Incoming, Outgoing, Timeouts, Upstream
from headgate.engine.answer import SIMULATED

Entry = Mapping[str, Any]
"""A model as its provider describes it; `id` is a string."""

FRESH_SECONDS = 300.0
FAILED_SECONDS = 15.0
"""How long a failure is remembered, so that a provider that is down holds up nobody but the first to ask."""
PATIENCE_SECONDS = 10.0
"""A provider has this long for all its pages."""
MAX_BYTES = 8 * 1024 * 1024
MAX_PAGES = 20

_TIMEOUTS = Timeouts(first_byte=PATIENCE_SECONDS, idle=PATIENCE_SECONDS, total=PATIENCE_SECONDS)
_ANTHROPIC_VERSION = b"2023-06-01"  # understood by every imitator


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What one provider said.

    Attributes:
        entries: its models by id, in its order.
        failed: one word or a short phrase if it could not be asked, else "".
        until: when to ask again, seconds since the epoch.
        simulated: the simulator answered.
    """

    entries: Mapping[str, Entry]
    failed: str
    until: float
    simulated: bool = False


class Catalogues:
    """Every provider's catalogue. For one event loop.

    Args:
        upstream: sends the requests.
        now: seconds since the epoch.
        tell: writes a line to the log: an event's name and its fields.
    """

    def __init__(self, upstream: Upstream, now: Callable[[], float], tell: Callable[..., None]) -> None:
        self._upstream = upstream
        self._now = now
        self._tell = tell
        self._known: dict[str, Catalogue] = {}
        self._asking: dict[str, asyncio.Task[Catalogue]] = {}

    async def of(self, route: Route) -> Catalogue:
        """The models of a route's provider. Never raises an `UpstreamError`."""
        known = self._known.get(route.provider)
        if known is not None and self._now() < known.until:
            return known
        asking = self._asking.get(route.provider)
        if asking is None:
            asking = asyncio.ensure_future(self._ask(route))
            self._asking[route.provider] = asking
            asking.add_done_callback(lambda _: self._asking.pop(route.provider, None))
        # A caller that leaves does not take the answer from those who wait for it too.
        return await asyncio.shield(asking)

    async def _ask(self, route: Route) -> Catalogue:
        entries: dict[str, Entry] = {}
        simulated, failed = False, ""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                simulated = await self._collect(route, entries)
        except UpstreamError as error:
            failed = f"{error.kind} {error.status}" if error.status else error.kind
        except TimeoutError:
            failed = "timeout"
        except ValueError:
            failed = "unreadable"
        if failed:
            entries = {}
            self._tell("models_left_out", provider=route.provider, error_type=failed)
        lasts = FAILED_SECONDS if failed else FRESH_SECONDS
        found = Catalogue(entries, failed, self._now() + lasts, simulated)
        self._known[route.provider] = found
        return found

    async def _collect(self, route: Route, entries: dict[str, Entry]) -> bool:
        """All pages into `entries`; whether the simulator answered. ValueError: they cannot be read."""
        path = "/v1/models?limit=1000" if route.dialect == "anthropic" else "/models"
        simulated, more = False, ""
        for _ in range(MAX_PAGES):
            page, by_simulator = await self._page(route, path + more)
            simulated = simulated or by_simulator
            listed = page.get("data") if isinstance(page, dict) else page  # a bare array: Together
            if not isinstance(listed, list):
                raise ValueError("no list of models")
            for entry in listed:
                if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                    entries[entry["id"]] = entry
            last = page.get("last_id") if isinstance(page, dict) and page.get("has_more") is True else None
            if route.dialect != "anthropic" or not isinstance(last, str) or not listed:
                break
            more = f"&after_id={last}"
        return simulated

    async def _page(self, route: Route, path: str) -> tuple[Any, bool]:
        incoming = await self._upstream.send(Outgoing("GET", route.base_url + path, _headers(route), b"", _TIMEOUTS))
        try:
            if incoming.status != 200:
                raise UpstreamError("no list of models", kind="answered", status=incoming.status)
            body = await _read(incoming)
        finally:
            incoming.close()
        return msgspec.json.decode(body), any(name == SIMULATED for name, _ in incoming.headers)


def _headers(route: Route) -> list[tuple[bytes, bytes]]:
    headers = [(b"accept", b"application/json"), (b"user-agent", b"headgate/" + __version__.encode())]
    key = route.credential.reveal().encode() if route.credential is not None else b""
    if route.dialect == "anthropic":
        headers.append((b"anthropic-version", _ANTHROPIC_VERSION))
        if key:
            headers.append((b"x-api-key", key))
    elif key:
        headers.append((b"authorization", b"Bearer " + key))
    return headers


async def _read(incoming: Incoming) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := await incoming.read():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise ValueError("the list of models is too large")
    return b"".join(pieces)
