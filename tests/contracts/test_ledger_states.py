"""Any interleaving of intents, settles, crashes and reopenings: one row per exchange, and the right total."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger_maker import Maker
from ledger_store import STORES, SqliteStore

from headgate.core.exchange import Ending, Exchange
from headgate.engine.blocking import run_blocking


class Ledgers(RuleBasedStateMachine):
    store_class: Any = None

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.store_class(self.folder, run_blocking)
        self.make = Maker()
        self.open: list[Exchange] = []  # in flight
        self.swept: list[Exchange] = []
        self.cost: dict[str, int] = {}  # what each exchange should be charged, once it is settled
        self.bounds: dict[str, int] = {}  # what a crash would charge

    @rule(bound=st.integers(0, 10**12), data=st.data())
    def intend(self, bound: int, data: Any) -> None:
        again = data.draw(st.sampled_from([None, *self.open]))
        exchange = again or self.make.exchange()
        if again is None:
            self.open.append(exchange)
            self.bounds[exchange.id] = 0
        elif exchange.attempts[-1].ended is None:
            self.make.failed(exchange.attempts[-1])
        attempt = self.make.attempt(exchange, bound=bound)
        self.store.intend(exchange, attempt)
        self.bounds[exchange.id] = bound  # the ones before are known to have failed for nothing

    @precondition(lambda self: self.open or self.swept)
    @rule(cost=st.integers(0, 10**12), data=st.data(), ending=st.sampled_from(list(Ending)))
    def settle(self, cost: int, data: Any, ending: Ending) -> None:
        exchange = data.draw(st.sampled_from(self.open + self.swept))
        self.make.answered(exchange, cost=cost)
        exchange.ending = ending
        self.store.settle(exchange)
        if exchange in self.open:
            self.open.remove(exchange)
            self.swept.append(exchange)  # it may be settled again
        self.cost[exchange.id] = cost

    @rule()
    def refuse(self) -> None:
        exchange = self.make.exchange()
        self.store.settle(self.make.ended(exchange, Ending.REFUSED, status=429))
        self.cost[exchange.id] = 0

    @precondition(lambda self: self.store.survives)
    @rule()
    def reopen(self) -> None:
        self.store.reopen()
        self._sweep()

    @precondition(lambda self: self.store.survives)
    @rule()
    def crash(self) -> None:
        self.store.flush()
        self.store.crash()
        self._sweep()

    @precondition(lambda self: not self.store.survives)
    @rule()
    def lose(self) -> None:
        self.store.lose()
        self.open, self.swept, self.cost, self.bounds = [], [], {}, {}

    def _sweep(self) -> None:
        for exchange in self.open:
            self.cost[exchange.id] = self.bounds[exchange.id]
            exchange.attempts[-1].ended = exchange.attempts[-1].started
        self.swept += self.open
        self.open = []

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "store"):
            return
        self.store.flush()
        rows = self.store.rows("SELECT id, cost_nano FROM exchanges")
        assert {row["id"]: row["cost_nano"] for row in rows} == self.cost
        assert len(rows) == len(self.cost)
        report = self.store.ledger.reader().usage()
        assert report.total.cost_nano == sum(self.cost.values())
        assert report.total.held_nano == sum(self.bounds[exchange.id] for exchange in self.open)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.ledger.close()
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("store_class", STORES)
def test_no_interleaving_loses_or_doubles_a_row(store_class: Any) -> None:
    machine = type("Ledgers", (Ledgers,), {"store_class": store_class})
    examples = settings().max_examples * (2 if store_class is SqliteStore else 1) // 10  # 10 and 5, or 200 and 100
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=20, deadline=None))
