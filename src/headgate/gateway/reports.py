"""What a gateway tells of itself: `/health/...` for whoever starts and stops it, `/metrics` for Prometheus."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from headgate.build import Built
from headgate.core.errors import ConfigError, Denied, NotServed, Refusal
from headgate.gateway.admin_query import parameters
from headgate.gateway.auth import LOCAL, KeyRing
from headgate.gateway.cycle import Scope, Send
from headgate.gateway.probing import Probes, with_probes
from headgate.traffic_report import providers_report

_LATE_SECONDS = 5.0
"""Behind the log; less is how it works."""
METRICS = "/metrics"
PROVIDERS = "/health/providers"

_ALL_TRAFFIC = (
    "This page shows the traffic of everybody, and several tenants or keys share this gateway. Use a key that may "
    "speak for tenants."
)
_TOKEN = "Send the token of `metrics.token` as `Authorization: Bearer …`, or a key that may see everything."  # noqa: S105
_BEARER = b"Bearer "

Deny = Callable[[Refusal, Scope, Send], Awaitable[None]]


class Reports:
    """An ASGI app for those paths.

    Args:
        draining: whether the gateway takes no new calls any more.
        deny: answers a refusal, and puts it on record.

    Raises:
        ConfigError: the token of `metrics.token` cannot be read.
    """

    def __init__(self, built: Built, ring: KeyRing, *, draining: Callable[[], bool], deny: Deny) -> None:
        self._built = built
        self._ring = ring
        self._draining = draining
        self._deny = deny
        ports = built.engine.ports
        self._probes = Probes(built.router, ports.upstream, ports.clock.now)
        self._metrics = built.metrics if built.settings.metrics.enabled else None
        self._token = b""
        self._scraping = asyncio.Lock()
        if self._metrics is not None:
            self._metrics.start()
            token = self._metrics.token()
            self._token = _BEARER + token.reveal().encode() if token is not None else b""

    async def __call__(self, scope: Scope, send: Send) -> None:
        """One request."""
        path = scope["path"]
        try:
            if path == METRICS:
                await self._page(scope, send)
            elif path == PROVIDERS:
                self._admit(scope, "health_not_allowed")
                await _answer(send, 200, await self._providers(scope), private=True)
            else:
                await _answer(send, *self._health(path))
        except Refusal as refusal:
            await self._deny(refusal, scope, send)

    def _health(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/health/live":
            return 200, {"status": "live"}
        if path != "/health/ready":
            return 404, {"status": "unknown"}
        draining = self._draining()
        ready = not draining and bool(self._built.ledger.health().get("ok"))
        said = {"status": "ready" if ready else "draining" if draining else "ledger cannot be written"}
        secrets = self._built.secrets.health()
        if not secrets["ok"]:  # how many, not which: anybody may ask
            missing, stale = len(secrets["missing"]), len(secrets["stale"])
            said["secrets"] = f"{missing} missing and {stale} perhaps out of date, of {secrets['secrets']}"
        shared = self._built.sharing.health()
        if not shared["ok"]:  # it goes on with its share, so it is ready
            said["shared"] = f"lost ({shared['last_error']}): this process goes on with 1/{shared['replicas']}"
        log_store = self._built.logs.health()
        if log_store is not None and (not log_store["ok"] or log_store["lag_seconds"] > _LATE_SECONDS):
            said["log_store"] = f"{log_store['lag_seconds']:.0f} s behind the log, which goes on"
        return 200 if ready else 503, said

    async def _providers(self, scope: Scope) -> dict[str, Any]:
        """How traffic stands with providers; and whether they answer now, but for `?probe=false`."""
        said = providers_report(self._built, told=False)
        if parameters(scope.get("query_string", b""), ("probe",)).get("probe") in ("false", "off", "0", "no"):
            return said
        return with_probes(said, await self._probes.all(), self._built.engine.ports.clock.now())

    async def _page(self, scope: Scope, send: Send) -> None:
        if self._metrics is None:
            raise NotServed("Metrics are off here (metrics: off).")
        self._admit_reader(scope)
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"").decode("latin-1")
        try:
            async with self._scraping:  # whoever asks twice at once does not get two threads
                body, kind = await asyncio.to_thread(self._metrics.page, accept)
        except ConfigError as error:
            raise NotServed(error.message) from None
        await _send(send, 200, kind.encode(), body, private=True)

    def _admit_reader(self, scope: Scope) -> None:
        """The token where there is one; else whoever may see all traffic."""
        if self._token:
            sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if hmac.compare_digest(sent, self._token):
                return
            if self._ring.admit(scope["headers"]) is LOCAL:
                raise Denied(_TOKEN)
        self._admit(scope, "metrics_not_allowed")

    def _admit(self, scope: Scope, code: str) -> None:
        """Whoever may see the traffic of all tenants together.

        Raises:
            Denied: others.
        """
        record = self._ring.admit(scope["headers"])
        if self._ring.shared and not record.may_speak_for_tenants:
            raise Denied(_ALL_TRAFFIC, code=code, status_hint=403)


async def _answer(send: Send, status: int, said: dict[str, Any], *, private: bool = False) -> None:
    await _send(send, status, b"application/json", json.dumps(said).encode(), private=private)


async def _send(send: Send, status: int, kind: bytes, body: bytes, *, private: bool) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    if private:
        headers.append((b"cache-control", b"no-store"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
