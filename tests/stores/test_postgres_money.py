"""Budgets that several processes share: never over the cap, nothing held for ever."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from ledger_maker import ROUTE, Maker
from postgres_server import Server, database_of, server
from test_postgres_session import lose_the_answer, syncs

from headgate.core.budget import Budget, Claim
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, Unavailable
from headgate.core.exchange import Exchange
from headgate.engine.blocking import run_blocking
from headgate.policy.budgets import Budgets
from headgate.stores.postgres import PostgresLedger
from headgate.stores.postgres_accounts import writable

__all__ = ["server"]

Open = Callable[[], PostgresLedger]
START, END = 0.0, 4_000_000_000.0
SOON = 1e12  # waiting ends with the period


@pytest.fixture
def url(server: Server) -> str:
    return server.seem_long_up(server.url())


@pytest.fixture
def replica(url: str) -> Iterator[Open]:
    """Ledgers on one database, each with a writer of its own."""
    opened: list[PostgresLedger] = []

    def open_one() -> PostgresLedger:
        opened.append(PostgresLedger(f"{url}?application_name=replica{len(opened)}"))
        opened[-1].open()
        return opened[-1]

    yield open_one
    for ledger in opened:
        ledger.close()


def claim(scope: str = "ada", *, cap: int = 10_000, name: str = "b") -> Claim:
    budget = Budget(name, per=("user",), cap_nano=cap, every="day")
    return Claim(budget, scope, START, END, (name, scope, START))


def hold(ledger: PostgresLedger, make: Maker, bound: int, *claims: Claim, wait: bool = False) -> Exchange:
    exchange = make.exchange()
    attempt = make.attempt(exchange, bound=bound)
    attempt.claims = claims or (claim(),)
    run_blocking(ledger.blocking().intend(exchange, attempt, until=SOON, may_wait=wait))
    return exchange


def settle(ledger: PostgresLedger, make: Maker, exchange: Exchange, cost: int) -> None:
    ledger.blocking().settle(make.answered(exchange, cost=cost))
    ledger.flush()


def maker(number: int) -> Maker:
    """One for each thread, whose ids no other makes."""
    made = Maker()
    made.made = number * 100_000
    return made


def figures(ledger: PostgresLedger, *claims: Claim) -> list[tuple[int, int]]:
    """(spent, held) of each account."""
    return [(found.spent_nano, found.held_nano) for found in ledger.balances(claims or (claim(),))]


def test_what_one_process_holds_another_cannot(replica: Open, make: Maker) -> None:
    one, two = replica(), replica()
    exchange = hold(one, make, 6_000)
    assert figures(two) == [(0, 6_000)]
    with pytest.raises(BudgetExceeded):
        hold(two, make, 6_000)
    settle(one, make, exchange, 3_000)
    assert figures(two) == [(3_000, 0)]
    settle(two, make, hold(two, make, 6_000), 500)
    assert figures(one) == [(3_500, 0)]


def test_all_accounts_or_none(replica: Open, make: Maker) -> None:
    ledger = replica()
    wide, narrow = claim(name="a"), claim(cap=5_000)
    with pytest.raises(BudgetExceeded):
        hold(ledger, make, 6_000, wide, narrow)
    assert figures(ledger, wide, narrow) == [(0, 0), (0, 0)]


def test_a_call_waits_until_another_process_settles(replica: Open, make: Maker) -> None:
    one, two = replica(), replica()
    first = hold(one, make, 6_000)
    let_in: list[Exchange] = []
    waiting = threading.Thread(target=lambda: let_in.append(hold(two, make, 6_000, wait=True)))
    waiting.start()
    while not two.health()["waiting_for_money"]:
        two.flush()
    settle(one, make, first, 1_000)
    waiting.join(20)
    assert figures(one) == [(1_000, 6_000)]
    settle(two, make, let_in[0], 1_000)
    assert figures(two) == [(2_000, 0)]


def test_many_callers_of_many_processes_spend_to_the_cap_and_not_beyond(replica: Open) -> None:
    ledgers, everybody = [replica() for _ in range(3)], claim("", cap=100_000, name="all")
    users = [claim(user, cap=60_000) for user in "ab"]
    let_in, refused = [0], [0]

    async def caller(ledger: PostgresLedger, make: Maker, chance: random.Random) -> None:
        port = ledger.asynchronous()
        for _ in range(6):
            exchange = make.exchange()
            attempt = make.attempt(exchange, bound=2_000)
            attempt.claims = (everybody, chance.choice(users))
            try:
                await port.intend(exchange, attempt, until=SOON)
            except BudgetExceeded:
                refused[0] += 1
                continue
            let_in[0] += 1
            await asyncio.sleep(0)
            port.settle(make.answered(exchange, cost=chance.randrange(1_000, 2_001)))

    def callers(ledger: PostgresLedger, seed: int) -> None:
        make = maker(seed)

        async def run() -> None:
            await asyncio.gather(*(caller(ledger, make, random.Random(seed * 100 + n)) for n in range(12)))

        asyncio.run(run())
        ledger.flush()

    threads = [threading.Thread(target=callers, args=each) for each in zip(ledgers, range(3), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (spent, held), *rest = figures(ledgers[0], everybody, *users)
    assert held == 0
    assert 98_000 < spent <= 100_000  # less than one call's bound is left
    assert let_in[0] + refused[0] == 3 * 12 * 6
    assert sum(each[0] for each in rest) == spent == ledgers[1].reader().usage().total.cost_nano
    assert [each[1] for each in rest] == [0, 0]


def test_a_sweep_charges_what_was_held_and_a_later_settle_corrects_it(
    server: Server, url: str, replica: Open, make: Maker
) -> None:
    one, two = replica(), replica()
    first, second = hold(one, make, 2_000), hold(one, make, 3_000)
    server.run(f"UPDATE owners SET heartbeat = heartbeat - 61 WHERE id = '{one.owner()}'", database_of(url))
    two._call(lambda session: session.tick(sweep=True))
    assert figures(two) == [(5_000, 0)]
    settle(one, make, first, 700)
    assert figures(two) == [(3_700, 0)]
    settle(one, make, second, 300)
    settle(one, make, second, 300)
    assert figures(two) == [(1_000, 0)]
    assert two.reader().usage().total.cost_nano == 1_000
    settle(one, make, hold(one, make, 2_000), 1_000)
    assert figures(two) == [(2_000, 0)]


def test_a_commit_of_which_the_end_is_not_known_holds_and_charges_nothing_twice(
    replica: Open, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = replica()
    first = hold(ledger, make, 4_000)
    session: Any = ledger.writer()._session
    lose_the_answer(session, monkeypatch)
    with pytest.raises(Unavailable, match="cannot be written"):
        hold(ledger, make, 3_000)
    assert figures(ledger) == [(0, 4_000)]
    lose_the_answer(session, monkeypatch)
    ledger.blocking().settle(make.answered(first, cost=1_500))
    with suppress(Unavailable):
        ledger.flush()  # writes what is settled first, and is told of the loss
    ledger.flush()
    assert figures(ledger) == [(1_500, 0)]
    settle(ledger, make, hold(ledger, make, 3_000), 500)
    assert figures(ledger) == [(2_000, 0)]


def test_an_override_counts_in_every_process(replica: Open, make: Maker) -> None:
    one, two = replica(), replica()
    one.set_cap("b", "ada", (20_000, None))
    exchange = hold(two, make, 15_000)
    assert [(found.cap_nano, found.overridden) for found in one.balances([claim()])] == [(20_000, True)]
    settle(two, make, exchange, 15_000)
    one.set_cap("b", "ada", None)
    with pytest.raises(BudgetExceeded):
        hold(two, make, 1)


def test_an_override_lets_those_in_who_wait_in_another_process(replica: Open, make: Maker) -> None:
    one, two = replica(), replica()
    hold(one, make, 9_000)
    let_in: list[Exchange] = []
    waiting = threading.Thread(target=lambda: let_in.append(hold(two, make, 6_000, wait=True)))
    waiting.start()
    while not two.health()["waiting_for_money"]:
        two.flush()
    one.set_cap("b", "ada", (15_000, None))
    waiting.join(20)
    assert len(let_in) == 1
    assert figures(one) == [(0, 15_000)]


def test_names_that_a_database_cannot_hold_have_accounts_of_their_own(replica: Open, make: Maker) -> None:
    ledger = replica()
    odd = [claim(scope) for scope in ("a", "a\x00", "a\x01", "a\x010000", "a\ud800", "a?")]
    for each, bound in zip(odd, range(1_000, 7_000, 1_000), strict=True):
        hold(ledger, make, bound, each)
    assert figures(ledger, *odd) == [(0, bound) for bound in range(1_000, 7_000, 1_000)]
    assert len({writable(each.scope) for each in odd}) == len(odd)


def test_a_value_that_is_too_long_for_a_key_has_an_account_all_the_same(replica: Open, make: Maker) -> None:
    ledger, budget = replica(), Budget("tag:a+tag:b+user/total", ("tag:a", "tag:b", "user"), cap_nano=10_000)
    values = [
        "".join(chr(random.Random(n).randrange(0x10000, 0x20000)) for n in range(m, m + 256)) for m in (0, 300, 600)
    ]
    caller = Caller(user=values[0], tags={"a": values[1], "b": values[2]})
    (found,) = Budgets((budget,)).claims(caller, ROUTE, "", 1.0)
    hold(ledger, make, 500, found)
    assert figures(ledger, found) == [(0, 500)]


@pytest.mark.parametrize("size", [1, 100])
def test_a_batch_under_budgets_is_two_round_trips(replica: Open, make: Maker, size: int) -> None:
    ledger = replica()
    session: Any = ledger.writer()._session
    users = [claim(str(n)) for n in range(size)]
    held = [hold(ledger, make, 10, user) for user in users]
    for exchange in held:
        ledger.blocking().settle(make.answered(exchange, cost=5))

    async def ask() -> None:
        port = ledger.asynchronous()
        made = [make.exchange() for _ in users]
        for exchange, user in zip(made, users, strict=True):
            make.attempt(exchange, bound=10).claims = (user,)
        await asyncio.gather(*(port.intend(each, each.attempts[-1], until=SOON) for each in made))

    commits = ledger.health()["commits"]
    trips = syncs(session, lambda: (asyncio.run(ask()), ledger.flush()))
    commits = ledger.health()["commits"] - commits
    assert 0 < trips <= 2 * commits


def test_accounts_of_one_call_are_locked_in_one_order(replica: Open, url: str) -> None:
    """Whoever names two accounts in the other order does not wait in a circle."""
    ledgers = [replica(), replica()]
    a, b = claim("a", cap=10**9), claim("b", cap=10**9)

    def callers(ledger: PostgresLedger, number: int, claims: tuple[Claim, ...]) -> None:
        make = maker(number)
        for _ in range(40):
            settle(ledger, make, hold(ledger, make, 10, *claims), 1)

    threads = [
        threading.Thread(target=callers, args=each) for each in zip(ledgers, (1, 2), ((a, b), (b, a)), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert figures(ledgers[0], a, b) == [(80, 0), (80, 0)]
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert found.fetchone() == (0,)


def test_a_decision_that_stumbles_leaves_no_account_locked(
    replica: Open, make: Maker, server: Server, url: str
) -> None:
    one, two = replica(), replica()
    session: Any = one.writer()._session
    one._call(lambda _: session.prepare(one.writer().desk._accounts, [claim()], ()))
    settle(one, make, hold(one, make, 1_000), 400)
    settle(two, make, hold(two, make, 1_000), 400)
    one._call(lambda _: session.prepare(one.writer().desk._accounts, [claim()], ()))
    name = database_of(url)
    server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert one.keys.list() == []
    assert figures(one) == [(800, 0)]


def test_who_stands_behind_the_first_in_a_queue_is_judged_by_what_the_database_says_now(
    replica: Open, make: Maker
) -> None:
    one, two = replica(), replica()
    everybody, a, b = claim("", name="all"), claim("a"), claim("b", cap=3_000)
    in_the_way = hold(one, make, 9_000, everybody)
    asked = [(everybody, a), (everybody, b)]
    outcomes: list[Any] = [None, None]

    def ask(place: int) -> None:
        try:
            outcomes[place] = hold(two, maker(place + 1), 3_000, *asked[place], wait=True)
        except BudgetExceeded as error:
            outcomes[place] = error.why

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(2)]
    for waiting, thread in enumerate(threads, 1):
        thread.start()
        while two.health()["waiting_for_money"] < waiting:
            two.flush()
    settle(one, make, hold(one, make, 2_000, b), 2_000)
    settle(one, make, in_the_way, 0)
    for thread in threads:
        thread.join(20)
    assert outcomes[1] == "spent"
    assert figures(one, everybody, a, b) == [(0, 3_000), (0, 3_000), (2_000, 0)]
