"""The gateway under test: `python -m benchmarks.observed_server UPSTREAM_URL off|log|all [COLLECTOR_URL]`, in an empty
directory. `off` writes no line and counts nothing, `log` writes lines, `all` also counts, and sends every tenth trace.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from typing import Any

from benchmarks.headgate_server import CALLERS_KEY
from headgate.build import Built, build
from headgate.core.exchange import Exchange
from headgate.core.secret import Secret
from headgate.gateway import app, server
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.settings import load

MODES = ("off", "log", "all")
_ENV = {"BENCH_PROVIDER_KEY": "bench-" + "providers-key"}


class NoLog:
    """In place of the log: nothing is written, and nobody sees what settles."""

    def write(self, exchange: Exchange) -> None:
        """See `core.ports.Log`."""

    def event(self, name: str, **fields: Any) -> None:
        """See `core.ports.Log`."""


def made(upstream: str, mode: str, collector: str, storage: str) -> Built:
    """The parts in one of the modes."""
    overrides: dict[str, object] = {
        "providers": {"anthropic": {"base_url": upstream, "api_key": "env:BENCH_PROVIDER_KEY"}},
        "storage": storage,
        "log": {"bodies": "off", "store": "off"},
        "guards": {"profile": "off"},
        "limits": [{"per": "key", "requests_per_minute": 10**9, "tokens_per_minute": 10**12}],
        "metrics": "on" if mode == "all" else "off",
        "anomalies": "off",
    }
    if mode == "all":
        overrides["traces"] = {"to": collector, "sample": "10%"}
    built = build(load(env={}, overrides=overrides), env=_ENV)
    if mode == "off":
        built.tally._log = NoLog()
    elif mode == "all":
        built.metrics.start()
    return built


def main() -> int:
    """See the module."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # loopback only
    built = made(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "", "sqlite:///bench.db")
    ring = KeyRing(loopback=True)
    ring.add(digest(CALLERS_KEY), KeyRecord(id="bench", name="bench", tenant="bench"))

    async def on_stop() -> None:
        await asyncio.to_thread(built.close)

    options = server.ServerOptions(
        port=0,
        keys_configured=True,
        drain_seconds=5.0,
        on_ready=lambda url: print(url, flush=True),
        on_stop=on_stop,
    )
    return server.run(app.create(built, ring=ring, admin_token=Secret(secrets.token_hex(32))), options)


if __name__ == "__main__":
    sys.exit(main())
