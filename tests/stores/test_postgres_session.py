"""What one transaction of a ledger in PostgreSQL does, and who of many processes is taken for dead."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import test_session
from ledger_maker import Maker
from postgres_server import Server, database_of, own_server, server
from test_session import intended, rows, settle, still_open

from headgate.core.caller import Caller
from headgate.core.money import MOST_CHARGE
from headgate.stores import shapes as shapes_module
from headgate.stores.postgres_database import postgres_place, unfit
from headgate.stores.postgres_session import WELL_BEATS, PostgresSession
from headgate.stores.postgres_statements import INTENTS
from headgate.stores.rows import attempt_row, exchange_row, intent_row

__all__ = ["own_server", "server"]

Open = Callable[..., PostgresSession]

# The same as of SQLite's session, by the same tests.
test_the_intents_of_a_commit_go = test_session.test_the_intents_of_a_commit_go_with_the_last_of_them_that_is_settled
test_many_commits_of_intents_go_at_once = test_session.test_many_commits_of_intents_go_at_once
test_exchanges_that_are_alike_share_a_shape = test_session.test_exchanges_that_are_alike_share_a_shape


@pytest.fixture
def url(server: Server) -> str:
    """A database of this test's own, on a server that seems to have been up for long."""
    return server.seem_long_up(server.url())


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    """Opens sessions of several owners on one database."""
    made: list[PostgresSession] = []

    def open_one(owner: str = "one") -> PostgresSession:
        made.append(PostgresSession(postgres_place(url), owner=owner))
        return made[-1]

    yield open_one
    for session in made:
        session.close()


@pytest.fixture
def session(opened: Open) -> PostgresSession:
    return opened()


@pytest.fixture
def silent(server: Server, url: str) -> Callable[[str, float], None]:
    """Lets an owner's heartbeat be some seconds older."""

    def age(owner: str, seconds: float) -> None:
        server.run(f"UPDATE owners SET heartbeat = heartbeat - {seconds} WHERE id = '{owner}'", database_of(url))

    return age


def syncs(session: PostgresSession, work: Callable[[], Any]) -> int:
    """How many round trips `work` takes: each ends with one Sync to the server."""
    with tempfile.TemporaryFile() as log:
        pgconn = session._driver.pgconn
        pgconn.trace(log.fileno())
        work()
        pgconn.untrace()
        log.seek(0)
        lines = log.read().decode().splitlines()
    return sum(line.split("\t")[3] == "Sync" or line.split("\t")[3] == "Query" for line in lines if "\tF\t" in line)


@pytest.mark.parametrize("size", [1, 7, 300])
def test_a_batch_of_any_size_is_one_round_trip(session: PostgresSession, make: Maker, size: int) -> None:
    earlier = intended(session, make, size)
    made = [make.exchange() for _ in range(size)]
    intents = [intent_row(each, make.attempt(each)) for each in made]
    failed = make.exchange()
    attempts = [attempt_row(failed, make.failed(make.attempt(failed)), "failed", "one") for _ in range(size)]
    exchanges = [exchange_row(make.answered(each)) for each in earlier]
    assert syncs(session, lambda: session.commit(intents, attempts, exchanges)) == 1
    assert rows(session, "SELECT count(*) FROM exchange_rows") == [(size,)]


def test_a_row_that_comes_twice_in_a_batch_is_written_as_told_last(session: PostgresSession, make: Maker) -> None:
    (exchange,) = intended(session, make, 1)
    first = exchange_row(make.answered(exchange, cost=1))
    session.commit([], [], [first, exchange_row(make.answered(exchange, cost=2))])
    assert rows(session, "SELECT cost_nano FROM exchanges") == [(2,)]


def test_a_settle_that_is_written_again_changes_nothing(session: PostgresSession, make: Maker) -> None:
    (exchange,) = intended(session, make, 1)
    for _ in range(2):
        settle(session, make, exchange)
    assert rows(session, "SELECT count(*), sum(cost_nano) FROM exchanges") == [(1, 7)]


def test_the_newest_call_began_later_than_a_clock_set_back_says_that_it_was_killed(opened: Open, make: Maker) -> None:
    first = opened("one")
    (killed,) = intended(first, make, 1)  # in 2027, by the clock of the test
    first.close()
    assert (opened("two").swept, opened("three").newest) == (1, killed.started)


def test_every_value_of_a_row_comes_back_as_it_was(session: PostgresSession, make: Maker) -> None:
    caller = Caller(user="Zoë \\u0000 'quoted' {\"a\": [1]} \x07", tags={"ü": "n,m"})
    (exchange,) = intended(session, make, 1, caller=caller)
    exchange.started = 1_800_000_000.123456789
    exchange.attempts[0].cost_nano = MOST_CHARGE
    row = exchange_row(make.answered(exchange, cost=MOST_CHARGE))
    session.commit([], [], [row])
    told = rows(session, 'SELECT "user", tags, started, cost_nano, waited_ms, bound_nano FROM exchange_rows')
    assert told == [(caller.user, '{"ü":"n,m"}', exchange.started, MOST_CHARGE, 0.0, 1_000)]


@pytest.mark.parametrize("bad", ["a\ud800b", "nul\x00", "\x00\udfff"])
def test_a_text_that_no_database_takes_is_replaced_without_another_round_trip(
    session: PostgresSession, make: Maker, bad: str
) -> None:
    (exchange,) = intended(session, make, 1, caller=Caller(user=bad, tenant=bad, tags={"t": bad}))
    row = exchange_row(make.answered(exchange))
    assert syncs(session, lambda: session.commit([], [], [row])) == 1
    [(user, tenant)] = rows(session, 'SELECT "user", tenant FROM exchanges')
    assert user == tenant == bad.replace("\x00", "?").replace("\ud800", "?").replace("\udfff", "?")


@pytest.mark.parametrize("bad", ["a\ud800b", "nul\x00"])
def test_such_a_text_does_not_keep_others_from_sweeping(
    opened: Open, silent: Callable[[str, float], None], make: Maker, bad: str
) -> None:
    (lost,) = intended(opened(), make, 1, caller=Caller(user=bad, tenant=bad, tags={"t": bad}))
    silent("one", 61)
    other = opened("two")
    assert other.swept == 1
    assert rows(other, "SELECT id, cost_nano FROM exchanges") == [(lost.id, 1_000)]


def test_a_number_that_does_not_fit_is_the_rows_fault_and_nothing_is_written(
    session: PostgresSession, make: Maker
) -> None:
    first, second = intended(session, make, 2)
    batch = [exchange_row(make.answered(first)), exchange_row(make.answered(second, cost=2**63))]
    with pytest.raises(psycopg.Error) as caught:
        session.commit([], [], batch)
    assert unfit(caught.value)
    assert still_open(session) == [first.id, second.id]
    assert rows(session, "SELECT count(*) FROM shapes") == [(0,)]
    settle(session, make, first, second)
    assert rows(session, "SELECT count(*) FROM intents") == [(0,)]


def test_a_forgotten_shape_changes_no_row(
    session: PostgresSession, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes_module, "REMEMBERED_SHAPES", 1)
    tenants = ["a", "b", "a", "b", "a"]
    for tenant in tenants:
        settle(session, make, *intended(session, make, 1, caller=Caller(tenant=tenant)))
    assert rows(session, "SELECT tenant FROM exchanges ORDER BY id") == [(tenant,) for tenant in tenants]


def test_processes_never_give_out_the_same_number(opened: Open, make: Maker) -> None:
    one, two = opened("one"), opened("two")
    for tenant, session in (("a", one), ("b", two), ("c", one)):
        settle(session, make, *intended(session, make, 1, caller=Caller(tenant=tenant)))
    assert rows(one, "SELECT tenant FROM exchanges ORDER BY id") == [("a",), ("b",), ("c",)]


# -- dead or alive ---------------------------------------------------------------------------------------------------


def test_the_open_attempts_of_a_silent_process_are_charged_in_full_and_marked(
    opened: Open, silent: Callable[[str, float], None], make: Maker
) -> None:
    first = opened("one")
    settled, lost = intended(first, make, 2)
    settle(first, make, settled)
    silent("one", 61)
    two = opened("two")
    assert two.swept == 1
    assert rows(two, "SELECT id, ending, cost_nano, estimated_nano FROM exchanges ORDER BY id") == [
        (settled.id, "complete", 7, 0),
        (lost.id, "killed", 1_000, 1_000),
    ]
    assert rows(two, "SELECT count(*) FROM intents") == [(0,)]
    assert rows(two, "SELECT id FROM owners") == [("two",)]


def test_the_attempts_of_a_living_process_are_left_alone(
    opened: Open, silent: Callable[[str, float], None], make: Maker
) -> None:
    (exchange,) = intended(opened("one"), make, 1)
    silent("one", 55)
    two = opened("two")
    assert two.swept == 0
    assert two.tick(sweep=True) == 0
    assert still_open(two) == [exchange.id]


def test_a_heartbeat_keeps_a_process_alive(opened: Open, silent: Callable[[str, float], None], make: Maker) -> None:
    one = opened("one")
    (exchange,) = intended(one, make, 1)
    silent("one", 61)
    one.tick(sweep=False)
    assert opened("two").swept == 0
    assert still_open(one) == [exchange.id]


def test_a_process_that_only_stood_still_goes_on_and_corrects_what_was_charged(
    opened: Open, silent: Callable[[str, float], None], make: Maker
) -> None:
    one = opened("one")
    (exchange,) = intended(one, make, 1)
    silent("one", 61)
    two = opened("two")
    assert rows(two, "SELECT cost_nano FROM exchanges") == [(1_000,)]
    settle(one, make, exchange)
    assert rows(two, "SELECT cost_nano, ending, attempts FROM exchanges") == [(7, "complete", 1)]
    assert rows(two, "SELECT cost_nano, outcome FROM attempts") == [(7, "complete")]
    (later,) = intended(one, make, 1)
    assert still_open(two) == [later.id]
    assert rows(two, "SELECT id FROM owners ORDER BY id") == [("one",), ("two",)]
    assert two.tick(sweep=True) == 0
    settle(one, make, later)
    assert rows(two, "SELECT count(*) FROM intents") == [(0,)]


def test_a_heartbeat_after_having_been_taken_for_dead_enters_anew(
    opened: Open, silent: Callable[[str, float], None], make: Maker
) -> None:
    one = opened("one")
    silent("one", 61)
    two = opened("two")
    assert rows(two, "SELECT id FROM owners") == [("two",)]
    one.tick(sweep=True)
    assert rows(two, "SELECT id FROM owners ORDER BY id") == [("one",), ("two",)]


def test_what_a_closed_process_left_open_is_charged_by_the_next_sweep(opened: Open, make: Maker) -> None:
    one, two = opened("one"), opened("two")
    (lost,) = intended(one, make, 1)
    one.close()
    assert two.tick(sweep=True) == 1
    assert rows(two, "SELECT id, ending FROM exchanges") == [(lost.id, "killed")]


def test_two_do_not_sweep_at_once(opened: Open, silent: Callable[[str, float], None], make: Maker, url: str) -> None:
    one, two = opened("one"), opened("two")
    intended(one, make, 1)
    silent("one", 61)
    with psycopg.connect(url) as sweeping:
        sweeping.execute("SELECT pg_advisory_xact_lock(%s)", (0x68656164_67617402,))
        assert two.tick(sweep=True) == 0
    assert two.tick(sweep=True) == 1


def test_after_the_database_was_away_nobody_is_called_dead_too_soon(
    own_server: Server, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = postgres_place(own_server.url())
    one, two = (PostgresSession(place, owner=owner) for owner in ("one", "two"))
    (exchange,) = intended(one, make, 1)
    own_server.run("UPDATE owners SET heartbeat = heartbeat - 61", str(place.options["dbname"]))
    own_server.stop()
    own_server.start()
    # By its restart: a new process sees that nobody could have told that he lives.
    three = PostgresSession(place, owner="three")
    assert three.swept == 0
    # By its own connection, which was lost: those of others may have been, too.
    with pytest.raises(psycopg.Error):
        two._alone(lambda driver: driver.execute("SELECT 1"))
    swept: list[int] = []
    monkeypatch.setattr("headgate.stores.postgres_session.sweep_dead", lambda connection, tell: swept.append(1) or 0)
    for _ in range(WELL_BEATS):
        assert not swept
        two.tick(sweep=True)
    assert swept
    assert still_open(three) == [exchange.id]
    for each in (one, two, three):
        each.close()


# -- connections that are lost ---------------------------------------------------------------------------------------


def cut(server: Server, url: str) -> None:
    """End all connections to a database, as a failover does."""
    name = database_of(url)
    server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def test_a_connection_that_was_lost_meanwhile_is_opened_anew_without_a_word(
    session: PostgresSession, make: Maker, server: Server, url: str
) -> None:
    (first,) = intended(session, make, 1)
    cut(server, url)
    (second,) = intended(session, make, 1)
    assert still_open(session) == [first.id, second.id]
    cut(server, url)
    settle(session, make, first, second)
    assert rows(session, "SELECT count(*), sum(cost_nano) FROM exchanges") == [(2, 14)]
    assert rows(session, "SELECT count(*) FROM intents") == [(0,)]


def lose_the_answer(session: PostgresSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next commit is taken, and its connection lost before that is told."""
    transaction = session._transaction

    def lost(*told: Any) -> bool:
        transaction(*told)
        monkeypatch.setattr(session, "_transaction", transaction)
        session._driver.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(session, "_transaction", lost)


def test_a_commit_of_which_the_end_is_not_known_is_not_written_twice(
    session: PostgresSession, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = intended(session, make, 1)
    lose_the_answer(session, monkeypatch)
    second = make.exchange()
    intent = intent_row(second, make.attempt(second))
    session.commit([intent], [], [exchange_row(make.answered(first))])
    assert rows(session, "SELECT count(*) FROM exchanges") == [(1,)]
    assert rows(session, "SELECT count(*) FROM intents") == [(1,)]
    settle(session, make, second)
    assert rows(session, "SELECT count(*) FROM intents") == [(0,)]


def test_intents_nobody_was_let_through_on_are_not_held_for_ever(
    own_server: Server, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = PostgresSession(postgres_place(own_server.url()), owner="one")
    lose_the_answer(session, monkeypatch)
    original = session._engine.connect
    monkeypatch.setattr(session._engine, "connect", lambda: (_ for _ in ()).throw(psycopg.OperationalError("refused")))
    with pytest.raises(psycopg.OperationalError, match="refused"):
        intended(session, make, 1)
    monkeypatch.setattr(session._engine, "connect", original)
    assert rows(session, "SELECT count(*) FROM intents") == [(0,)]
    session.close()


def test_an_earlier_connection_of_ours_can_write_no_more_intents(
    session: PostgresSession, make: Maker, server: Server, url: str
) -> None:
    before = session._session
    cut(server, url)
    intended(session, make, 1)
    with psycopg.connect(url, autocommit=True) as late:
        assert late.execute(INTENTS, (1, "[]", "one", before)).rowcount == 0
        assert late.execute(INTENTS, (2, "[]", "one", session._session)).rowcount == 1


def test_a_deadlock_or_a_lock_that_takes_too_long_costs_no_connection(
    session: PostgresSession, make: Maker, url: str
) -> None:
    pid = session._driver.info.backend_pid
    session._driver.execute("SET lock_timeout = '50ms'")
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE intents")
        with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
            intended(session, make, 1)
    assert not unfit(caught.value)
    (exchange,) = intended(session, make, 1)
    assert session._driver.info.backend_pid == pid
    assert exchange.id in still_open(session)


def test_closing_is_said_once_and_leaves_no_owner(session: PostgresSession, server: Server, url: str) -> None:
    session.close()
    session.close()
    assert server.run("SELECT count(*) FROM owners", database_of(url)) == [(0,)]


def test_closing_without_a_database_is_quiet(own_server: Server) -> None:
    session = PostgresSession(postgres_place(own_server.url()), owner="one")
    own_server.stop()
    session.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_end_its_parents_connection(session: PostgresSession, make: Maker) -> None:
    pid = os.fork()
    if not pid:
        session.forget()
        del session
        os._exit(0)
    os.waitpid(pid, 0)
    before = session._driver.info.backend_pid
    intended(session, make, 1)
    assert session._driver.info.backend_pid == before
