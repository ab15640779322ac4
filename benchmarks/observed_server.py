"""The gateway under test: `python -m benchmarks.observed_server UPSTREAM_URL off|log|all [COLLECTOR_URL]`, in an empty
directory. `off` writes no line and counts nothing, `log` writes lines, `all` also counts, and sends every tenth trace.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.headgate_server import serve, without_proxies
from headgate.build import Built, build
from headgate.core.exchange import Exchange
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
    without_proxies()
    return serve(made(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "", "sqlite:///bench.db"))


if __name__ == "__main__":
    sys.exit(main())
