"""A gateway in a thread with the dashboard beside it, over a ledger and a log that tell a story."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headgate.build import Built, build
from headgate.control.app import build as build_control
from headgate.core.exchange import Exchange
from headgate.core.secret import Secret
from headgate.engine.blocking import run_blocking
from headgate.gateway.app import Gateway, create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.pages import pages
from headgate.policy.budgets import Budgets
from headgate.settings import load

BUDGETS = [
    {"per": "user", "usd": 10, "every": "day"},
    {"per": "tenant", "usd": 60, "every": "month", "alert_at": ["80%", "95%"]},
    {"usd": 3, "every": "day", "then": "degrade fast"},
]
MODELS = {"fast": ["anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-5-5"]}
TOLD: Mapping[str, object] = {"budgets": BUDGETS, "models": MODELS, "log": {"bodies": "full"}}


class World:
    """What a test needs of it."""

    def __init__(self, url: str, gateway: Gateway, built: Built, folder: Path) -> None:
        self.url = url
        self.gateway = gateway
        self.built = built
        self.folder = folder

    def record(self, exchanges: Sequence[Exchange], *, budgeted: float = float("inf")) -> None:
        """Put exchanges into the ledger and the log, as the engine does when they end.

        Args:
            budgeted: those that began from then on are held on their budgets first, which costs a commit each.
        """
        budgets: Budgets = self.built.engine.policies.budgets
        ledger = self.built.ledger.blocking()
        for each in exchanges:
            for attempt in each.attempts:
                if each.started >= budgeted and attempt.usage is not None:
                    attempt.claims = budgets.claims(
                        each.request.caller, attempt.route, each.request.facts.model, each.started
                    )
                    run_blocking(ledger.intend(each, attempt))
            ledger.settle(each)
            self.built.log.write(each)
        self.built.ledger.flush()
        self.built.log.flush()

    def summed(self) -> None:
        """Bring the log store's sums up to date, as its keeper does every ten seconds."""
        keeper = self.built.logs.place.keeper()
        keeper.catch_up()
        store = keeper._store
        with store.transaction() as connection:  # type: ignore[attr-defined]
            store.fold(connection)  # type: ignore[attr-defined]
        keeper.close()


@contextmanager
def world(
    folder: Path, told: Mapping[str, object] | None = None, *, loopback: bool = True, port: int = 0, env: Any = None
) -> Iterator[World]:
    """A gateway on a free port. `told`: top-level keys of headgate.yaml."""
    overrides = {"storage": f"sqlite:///{folder / 'headgate.db'}", **TOLD, **(told or {})}
    settings = load(env={}, overrides=overrides)
    built = build(settings, env=env or {})
    built.ledger.open()
    ring = KeyRing(loopback=loopback)
    gateway = create(
        built, ring=ring, admin_token=Secret("control-" + "t" * 40), aside=lambda made: build_control(made, pages=pages)
    )
    options = ServerOptions(port=port, drain_seconds=1.0, lifespan="off", tune_gc=False)
    try:
        with BackgroundServer(gateway, options) as server:
            yield World(server.url, gateway, built, folder)
    finally:
        built.close()


def helpers_on_the_path() -> None:
    """For scripts: the helpers that lie beside these tests."""
    sys.path.insert(0, str(Path(__file__).parent))
