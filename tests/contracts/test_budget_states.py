"""Any interleaving of asking, settling, failing, leaving, crashing, changing caps and days: never over a cap."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
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
from ledger_store import STORES, SqliteStore
from money_store import CAPS, Caller, Money, claims_of

from headgate.core.exchange import Ending
from headgate.engine.blocking import run_blocking

Key = tuple[str, str]


class Budgets(RuleBasedStateMachine):
    store_class: Any = None

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.money = Money(self.store_class(self.folder, run_blocking))
        self.spent: Counter[tuple[Key, int]] = Counter()  # by account and day
        self.caps: dict[Key, int] = {}
        self.lowered: set[Key] = set()
        self.swept: list[Caller] = []  # charged in full by a rival, and still under way

    def _those(self, *states: str) -> list[Caller]:
        return [caller for caller in self.money.callers if caller.state in states]

    def _keys(self, caller: Caller) -> list[tuple[Key, int]]:
        return [((each.key[0], each.key[1]), int(each.start)) for each in caller.attempt.claims]

    def _charge(self, caller: Caller, cost: int) -> None:
        if caller in self.swept:
            self.swept.remove(caller)
            cost -= caller.attempt.bound_nano or 0
        for key in self._keys(caller):
            self.spent[key] += cost

    @rule(user=st.sampled_from("ab"), bound=st.integers(0, 30), wait=st.booleans(), day=st.sampled_from([0, 0, -1]))
    def ask(self, user: str, bound: int, wait: bool, day: int) -> None:
        self.money.ask(user, bound, day=day, may_wait=wait and not day)

    @precondition(lambda self: self._those("in"))
    @rule(data=st.data(), share=st.integers(0, 100), ending=st.sampled_from([Ending.COMPLETE, Ending.CUT]))
    def settle(self, data: Any, share: int, ending: Ending) -> None:
        caller = data.draw(st.sampled_from(self._those("in")))
        cost = caller.attempt.bound_nano * share // 100
        self._charge(caller, cost)
        self.money.settle(caller, cost, ending)

    @precondition(lambda self: self._those("closed"))
    @rule(data=st.data())
    def settle_again(self, data: Any) -> None:
        caller = data.draw(st.sampled_from(self._those("closed")))
        self.money.settle(caller, caller.attempt.cost_nano)

    @precondition(lambda self: self._those("in"))
    @rule(data=st.data(), share=st.integers(0, 100), bound=st.integers(0, 30))
    def fail_and_try_again(self, data: Any, share: int, bound: int) -> None:
        caller = data.draw(st.sampled_from(self._those("in")))
        cost = caller.attempt.bound_nano * share // 100
        self._charge(caller, cost)
        self.money.fail(caller, cost)
        self.money.again(caller, bound)

    @precondition(lambda self: self._those("waits"))
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        caller = data.draw(st.sampled_from(self._those("waits")))
        caller.task.cancel()
        self.money.settle(caller, 0, Ending.CANCELLED)

    @rule(name=st.sampled_from(sorted(CAPS)), user=st.sampled_from("ab"), cap=st.none() | st.integers(0, 80))
    def change_a_cap(self, name: str, user: str, cap: int | None) -> None:
        scope = {"all/day": "", "tenant/day": "acme", "user/day": user}[name]
        self.money.store.ledger.set_cap(name, scope, None if cap is None else (cap, None))
        self.caps[name, scope] = CAPS[name] if cap is None else cap
        self.lowered.add((name, scope))
        self.money.look()

    @precondition(lambda self: self.money.store.survives)
    @rule()
    def reopen(self) -> None:
        self._end(self.money.store.reopen)

    @precondition(lambda self: self.money.store.survives)
    @rule()
    def crash(self) -> None:
        self._end(self.money.store.crash)

    @precondition(lambda self: not self.money.store.survives)
    @rule()
    def lose(self) -> None:
        self._end(self.money.store.lose)
        self.spent.clear()
        self.caps.clear()
        self.swept = []
        for caller in self.money.callers:
            caller.state = "gone"

    def _end(self, how: Any) -> None:
        held = self._those("in")
        how()
        self.money.listen()
        for caller in held:  # nobody settles them any more: they are charged in full
            if caller not in self.swept:
                self._charge(caller, caller.attempt.bound_nano or 0)
            caller.state = "gone"
        self.swept = []
        for caller in self._those("failed"):
            caller.state = "gone"
        self.money.look()
        assert not self._those("waits")

    @precondition(lambda self: self.money.store.has_rivals)
    @rule(lost=st.booleans())
    def stand_still(self, lost: bool) -> None:
        self.money.store.be_taken_for_dead()
        if lost:
            self.money.store.lose_connection()
        for caller in self._those("in"):
            if caller not in self.swept:
                self._charge(caller, caller.attempt.bound_nano or 0)
                self.swept.append(caller)
        self.money.look()

    @invariant()
    def no_account_is_over_its_cap_and_each_says_what_happened(self) -> None:
        if not hasattr(self, "money"):
            return
        held: Counter[tuple[Key, int]] = Counter()
        for caller in self._those("in"):
            if caller in self.swept:
                continue
            for key in self._keys(caller):
                held[key] += caller.attempt.bound_nano
        for user in "ab":
            for day in (0, -1):
                for each in claims_of(user, day):
                    key = (each.key[0], each.key[1])
                    place = (key, int(each.start))
                    assert self.money.balance(*key, day) == (self.spent[place], held[place])
                    cap = self.caps.get(key, CAPS[key[0]])
                    assert self.spent[place] + held[place] <= cap or key in self.lowered

    def teardown(self) -> None:
        if not hasattr(self, "money"):
            return
        for caller in self._those("waits"):
            caller.task.cancel()
            self.money.settle(caller, 0, Ending.CANCELLED)
        while self._those("in"):
            caller = self._those("in")[0]
            self._charge(caller, 0)
            self.money.settle(caller, 0)
        for user in "ab":
            for each in claims_of(user):
                assert self.money.balance(each.key[0], each.key[1])[1] == 0
        self.money.close()
        shutil.rmtree(self.folder)


@pytest.mark.parametrize("store_class", STORES)
def test_no_interleaving_breaks_a_budget(store_class: Any) -> None:
    machine = type("Budgets", (Budgets,), {"store_class": store_class})
    examples = settings().max_examples * (3 if store_class is SqliteStore else 1) // 10  # 15 and 5, or 300 and 100
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None))
