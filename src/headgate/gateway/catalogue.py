"""Which models each provider has: asked with its own credential, kept for minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from headgate._version import __version__
from headgate.core.errors import UpstreamError
from headgate.core.exchange import Route
from headgate.core.ports import Incoming, Outgoing, Timeouts, Upstream
from headgate.core.secret import Secret
from headgate.engine.answer import SIMULATED
from headgate.engine.coded import legible
from headgate.wire.lenient import text

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
        keys: of providers that have several, see `Router.keys`.
        patience: seconds for all of a provider's pages.
    """

    def __init__(
        self,
        upstream: Upstream,
        now: Callable[[], float],
        tell: Callable[..., None],
        *,
        keys: Mapping[str, Sequence[Secret]] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._upstream = upstream
        self._now = now
        self._tell = tell
        self._keys = keys or {}
        self._patience = patience
        self._mentioned: dict[str, float] = {}  # until when it is not said again that a provider has no credential
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

    async def unlisted(self, route: Route, model: str) -> Entry | None:
        """A model under a name that its provider does not list and may know all the same, such as an undated id."""
        path = "/v1/models/" if route.dialect == "anthropic" else "/models/"
        try:
            async with asyncio.timeout(self._patience):
                told, _ = await self._page(route, path + quote(model, safe=""))
        except (UpstreamError, TimeoutError, ValueError, RecursionError):
            return None
        return told if isinstance(told, dict) and text(told.get("id")) else None

    def not_asked(self, provider: str, why: str) -> None:
        """Say in the log, once in a while, that a provider is left out for want of a credential."""
        if self._mentioned.get(provider, 0.0) <= self._now():
            self._mentioned[provider] = self._now() + FRESH_SECONDS
            self._tell("models_left_out", provider=provider, error_type="no_credential", reason=why)

    async def _ask(self, route: Route) -> Catalogue:
        entries: dict[str, Entry] = {}
        simulated, failed = False, ""
        try:
            async with asyncio.timeout(self._patience):
                simulated = await self._collect(route, entries)
        except UpstreamError as error:
            failed = f"{error.kind} {error.status}" if error.status else error.kind
        except TimeoutError:
            failed = "timeout"
        except (ValueError, RecursionError):
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
                if isinstance(entry, dict) and text(entry.get("id")):
                    entries[entry["id"]] = entry
            last = page.get("last_id") if isinstance(page, dict) and page.get("has_more") is True else None
            if route.dialect != "anthropic" or not isinstance(last, str) or not listed:
                break
            more = f"&after_id={quote(last, safe='')}"
        return simulated

    async def _page(self, route: Route, path: str) -> tuple[Any, bool]:
        headers = headers_of(route, key_of(route, self._keys))
        incoming = await self._upstream.send(Outgoing("GET", route.base_url + path, headers, b"", _TIMEOUTS))
        try:
            if incoming.status != 200:
                raise UpstreamError("no list of models", kind="answered", status=incoming.status)
            body = await _read(incoming)
        finally:
            incoming.close()
        coding = next((v.strip().lower() for n, v in incoming.headers if n == b"content-encoding"), b"identity")
        plain = body if coding == b"identity" else legible(body, coding, MAX_BYTES)
        return msgspec.json.decode(plain), any(name == SIMULATED for name, _ in incoming.headers)


def key_of(route: Route, keys: Mapping[str, Sequence[Secret]]) -> bytes:
    """A provider's key; of several the first that is there, and rather one that was not refused just now."""
    usable = [key for key in keys.get(route.provider) or (route.credential,) if key]
    usable.sort(key=lambda key: key.rejected)
    return usable[0].reveal().encode() if usable else b""


def headers_of(route: Route, key: bytes) -> list[tuple[bytes, bytes]]:
    """What we ask a provider with, for a purpose of our own."""
    headers = [
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"user-agent", b"headgate/" + __version__.encode()),
    ]
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
