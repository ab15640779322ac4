"""A gateway in a thread with the dashboard beside it, over a ledger and a log that tell a story."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from headgate.build import Built, build
from headgate.cli.simulated import answered_by
from headgate.control.app import build as build_control
from headgate.control.passwords import Passwords
from headgate.core.exchange import Exchange
from headgate.core.secret import Secret
from headgate.engine.blocking import run_blocking
from headgate.gateway.app import Gateway, create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.pages import pages
from headgate.policy.budgets import Budgets
from headgate.settings import load
from headgate.testing.server import SimulatorServer

BUDGETS = [
    {"per": "user", "usd": "0.25", "every": "day"},
    {"per": "tenant", "usd": 2, "every": "month", "alert_at": ["80%", "95%"]},
    {"usd": "1.2", "every": "day", "then": "degrade fast"},
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
    folder: Path,
    told: Mapping[str, object] | None = None,
    *,
    simulator: SimulatorServer | None = None,
    port: int = 0,
) -> Iterator[World]:
    """A gateway on a free port.

    Args:
        told: top-level keys of headgate.yaml.
        simulator: answers for every provider.
    """
    overrides = {"storage": f"sqlite:///{folder / 'headgate.db'}", **TOLD, **(told or {})}
    settings = load(env={}, overrides=overrides)
    env: Mapping[str, str] = {}
    if simulator is not None:
        settings, env = answered_by(simulator, settings, env)
    built = build(settings, env=env)
    built.ledger.open()
    ring = KeyRing(loopback=True)
    gateway = create(built, ring=ring, admin_token=Secret("control-" + "t" * 40), aside=_aside)
    options = ServerOptions(port=port, drain_seconds=1.0, lifespan="off", tune_gc=False)
    try:
        with BackgroundServer(gateway, options) as server:
            yield World(server.url, gateway, built, folder)
    finally:
        built.close()


CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
"""Costs next to nothing; how long the real one takes is not what these tests are about."""


def _aside(gateway: Gateway) -> Any:
    return build_control(gateway, pages=pages, passwords=CHEAP)
