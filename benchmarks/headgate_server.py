"""The gateway under test: `python -m benchmarks.headgate_server UPSTREAM_URL [PROFILE_FILE]`, in an empty directory.

Governed as decisions 24 means it: a key is checked, its limits are asked, ledger and log are on; guards and bodies are
off. Prints its URL. Not `headgate serve`, so that nobody's headgate.yaml, banner or environment is part of a
measurement; the parts are the same.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import secrets
import sys
from pathlib import Path

from headgate.build import Built, build
from headgate.core.secret import Secret
from headgate.gateway import app, server
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.settings import load

CALLERS_KEY = "bench-" + "callers-key"
_ENV = {"BENCH_PROVIDER_KEY": "bench-" + "providers-key"}


def made(upstream: str) -> Built:
    """The parts, with a ledger and a log in the working directory."""
    settings = load(
        env={},
        overrides={
            "providers": {"anthropic": {"base_url": upstream, "api_key": "env:BENCH_PROVIDER_KEY"}},
            "storage": "sqlite:///bench.db",
            "log": {"bodies": "off"},
            "guards": {"profile": "off"},
            "cache": os.environ.get("BENCH_CACHE", "off"),
            # Asked by every call, and never reached.
            "limits": [{"per": "key", "requests_per_minute": 10**9, "tokens_per_minute": 10**12}],
        },
    )
    return build(settings, env=_ENV)


def serve(built: Built) -> int:
    """Serve until SIGTERM; the exit code."""
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


def without_proxies() -> None:
    """Loopback only."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]


def main() -> int:
    """See the module."""
    if Path("headgate.yaml").exists() or len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    without_proxies()
    if len(sys.argv) == 2:
        return serve(made(sys.argv[1]))
    profile = cProfile.Profile()
    code = profile.runcall(lambda: serve(made(sys.argv[1])))
    profile.dump_stats(sys.argv[2])
    return code


if __name__ == "__main__":
    sys.exit(main())
