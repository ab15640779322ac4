"""The dashboard's pages over a log store at size: from the request to the last byte, by a gateway in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from benchmarks.logs_lines import DAYS, START
from benchmarks.report import Number, percentile
from headgate.build import build
from headgate.clocks import AsyncClock
from headgate.control.app import build as build_control
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer
from headgate.pages import pages
from headgate.settings import load

_ROUNDS = 10
_SECOND = 1000.0
PAGES = {
    "overview": "/",
    "overview, 7 days": "/?period=7d",
    "overview, 30 days": "/?period=30d",
    "exchanges": "/ui/exchanges",
    "exchanges, by user": "/ui/exchanges?q=user:u7",
    "exchanges, by word": "/ui/exchanges?q=w900",
    "conversations": "/ui/conversations",
    "spend, 30 days, by user": "/ui/spend?period=30d&by=user",
    "guards": "/ui/guards",
    "models": "/ui/models",
}


class _Then(AsyncClock):
    """Stands still where the store ends."""

    __slots__ = ()

    def now(self) -> float:
        return START + DAYS * 86_400


def served(folder: Path) -> Iterator[Number]:
    """Each page several times; the first of all makes the dashboard, and is not counted."""
    settings = load(
        env={},
        overrides={
            "storage": f"sqlite:///{folder / 'h.db'}",
            # The month is not the last one, and nothing of it must go.
            "log": {"keep": "3650d", "keep_size": "900GB", "bodies": "full"},
            "guards": {"profile": "off"},
        },
    )
    built = build(settings, env={})
    object.__setattr__(built.engine.ports, "clock", _Then())
    try:
        built.ledger.open()
        gateway = create(
            built,
            ring=KeyRing(loopback=True),
            admin_token=Secret("bench-" + "t" * 40),
            aside=lambda gateway: build_control(gateway, pages=pages),
        )
        with BackgroundServer(gateway) as server, httpx2.Client(trust_env=False, timeout=120.0) as client:
            client.get(f"{server.url}/ui/audit").raise_for_status()
            for name, path in PAGES.items():
                walls = []
                for _ in range(_ROUNDS):
                    began = time.perf_counter()
                    answer = client.get(server.url + path)
                    walls.append((time.perf_counter() - began) * 1000)
                    assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
                first, rest = walls[0], walls[1:]
                yield Number(
                    "logs", f"page: {name}, p95", percentile(rest, 95), "ms", _SECOND, note=f"first {first:.0f}"
                )
    finally:
        built.close()
