"""What one transaction of the ledger does to intents and shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledger_maker import Maker

from headgate.core.caller import Caller
from headgate.core.exchange import Exchange
from headgate.stores import shapes as shapes_module
from headgate.stores.intents import open_intents, read_intents
from headgate.stores.log import LineLog
from headgate.stores.logs.place import LogPlace, Logs
from headgate.stores.logs.query import LogQuery
from headgate.stores.opening import open_ledger
from headgate.stores.rows import EXCHANGE_COLUMNS, exchange_row, intent_row
from headgate.stores.session import SqliteSession


def opened(path: Path, owner: str = "one", now: float = 2_000_000_000.0) -> SqliteSession:
    return SqliteSession(path / "headgate.db", owner=owner, durability="process", now=lambda: now)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[SqliteSession]:
    made = opened(tmp_path)
    yield made
    made.close()


def intended(session: SqliteSession, make: Maker, count: int, **options: Any) -> list[Exchange]:
    """Exchanges whose intents are one commit."""
    exchanges = [make.exchange(**options) for _ in range(count)]
    session.commit([intent_row(each, make.attempt(each, bound=1_000)) for each in exchanges], [], [])
    return exchanges


def settle(session: SqliteSession, make: Maker, *exchanges: Exchange) -> None:
    session.commit([], [], [exchange_row(make.answered(each, cost=7)) for each in exchanges])


def rows(session: SqliteSession, query: str) -> list[tuple[Any, ...]]:
    return session.call(lambda connection: [tuple(row) for row in connection.exec_driver_sql(query)])


def still_open(session: SqliteSession) -> list[str]:
    return session.call(lambda c: [intent.exchange_id for intent in open_intents(c, read_intents(c))])


def test_the_intents_of_a_commit_go_with_the_last_of_them_that_is_settled(session: SqliteSession, make: Maker) -> None:
    first, second = intended(session, make, 2)
    settle(session, make, first)
    assert still_open(session) == [second.id]
    settle(session, make, second)
    assert rows(session, "SELECT count(*) FROM intents") == [(0,)]


def test_many_commits_of_intents_go_at_once(session: SqliteSession, make: Maker) -> None:
    exchanges = [each for _ in range(40) for each in intended(session, make, 2)]
    settle(session, make, *exchanges, *exchanges)
    assert rows(session, "SELECT count(*) FROM intents") == [(0,)]


def test_a_kill_charges_only_those_of_a_commit_that_were_open(
    session: SqliteSession, make: Maker, tmp_path: Path
) -> None:
    first, second = intended(session, make, 2)
    settle(session, make, first)
    session.close()
    again = opened(tmp_path, "two")
    assert again.swept == 1
    assert rows(again, "SELECT id, ending, cost_nano FROM exchanges ORDER BY id") == [
        (first.id, "complete", 7),
        (second.id, "killed", 1_000),
    ]
    assert rows(again, "SELECT count(*) FROM intents") == [(0,)]
    again.close()


def test_a_clock_set_back_after_a_kill_is_seen_though_the_killed_call_has_ended_by_it(
    session: SqliteSession, make: Maker, tmp_path: Path
) -> None:
    (killed,) = intended(session, make, 1)
    session.close()
    for owner in ("two", "three"):
        again = opened(tmp_path, owner, now=killed.started - 7_200)
        assert again.newest == killed.started
        again.close()


def test_an_exchange_that_was_killed_is_found_in_the_log_with_what_the_ledger_knows_of_it(
    session: SqliteSession, make: Maker, tmp_path: Path
) -> None:
    caller = Caller("k1", "acme", "ada", "s-1", "chat", tags={"team": "search"})
    first, second = intended(session, make, 2, caller=caller)
    settle(session, make, first)
    session.close()
    log = LineLog(tmp_path / "headgate.db.log.jsonl", key_file=tmp_path / "key")
    ledger = open_ledger(f"sqlite:///{tmp_path / 'headgate.db'}")
    ledger.on_killed(log.killed)
    ledger.open()
    ledger.close()
    logs = Logs(LogPlace(f"sqlite:///{tmp_path / 'headgate.db'}", tmp_path / "headgate.db.log.jsonl"), log.flush)
    (row,) = logs.fresh().search(LogQuery(fields={"ending": "killed", "user": "ada", "tag:team": "search"})).rows
    logs.close()
    log.close()
    assert (row.exchange_id, row.cost_nano, row.attempts, row.estimated) == (second.id, 1_000, 1, True)
    assert (row.tenant, row.session, row.task, row.error_type) == ("acme", "s-1", "chat", "killed")
    assert (row.model_asked, row.latency_ms) == (second.request.facts.model, None)


def test_intents_stay_open_where_the_commit_that_settles_them_fails(session: SqliteSession, make: Maker) -> None:
    first, second = intended(session, make, 2)
    good = exchange_row(make.answered(first))
    bad = tuple(
        "one\ud800" if name == "request_id" else value for name, value in zip(EXCHANGE_COLUMNS, good, strict=True)
    )
    with pytest.raises(UnicodeEncodeError):
        session.commit([], [], [bad])
    assert still_open(session) == [first.id, second.id]
    settle(session, make, first, second)
    assert rows(session, "SELECT count(*) FROM intents") == [(0,)]
    assert rows(session, "SELECT sum(cost_nano) FROM exchanges") == [(14,)]


def test_exchanges_that_are_alike_share_a_shape(session: SqliteSession, make: Maker) -> None:
    for _ in range(3):
        settle(session, make, *intended(session, make, 5))
    assert rows(session, "SELECT count(*) FROM shapes") == [(1,)]


def test_a_forgotten_shape_changes_no_row(session: SqliteSession, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes_module, "REMEMBERED_SHAPES", 1)
    tenants = ["a", "b", "a", "b", "a"]
    for tenant in tenants:
        settle(session, make, *intended(session, make, 1, caller=Caller(tenant=tenant)))
    assert rows(session, "SELECT tenant FROM exchanges ORDER BY id") == [(tenant,) for tenant in tenants]


def test_shapes_of_an_earlier_process_keep_their_numbers(session: SqliteSession, make: Maker, tmp_path: Path) -> None:
    settle(session, make, *intended(session, make, 1, caller=Caller(tenant="a")))
    session.close()
    again = opened(tmp_path, "two")
    settle(again, make, *intended(again, make, 1, caller=Caller(tenant="b")))
    assert rows(again, "SELECT tenant FROM exchanges ORDER BY id") == [("a",), ("b",)]
    again.close()


@pytest.mark.parametrize("bad", ["a\ud800b", "nul\x00"])
def test_a_text_that_no_database_takes_does_not_keep_the_next_start_from_sweeping(
    session: SqliteSession, make: Maker, tmp_path: Path, bad: str
) -> None:
    (lost,) = intended(session, make, 1, caller=Caller(user=bad, tenant=bad, tags={"t": bad}))
    session.close()
    again = opened(tmp_path, "two")
    assert rows(again, "SELECT id, cost_nano FROM exchanges") == [(lost.id, 1_000)]
    again.close()


def test_an_intent_that_came_after_its_exchange_was_settled_is_charged_by_the_sweep(
    session: SqliteSession, make: Maker, tmp_path: Path
) -> None:
    (exchange,) = intended(session, make, 1)
    settle(session, make, exchange)
    session.commit([intent_row(exchange, make.attempt(exchange, bound=30))], [], [])
    session.close()
    again = opened(tmp_path, "two")
    assert rows(again, "SELECT attempts, cost_nano, estimated_nano, ending, tenant FROM exchanges") == [
        (2, 37, 30, "complete", "acme")
    ]
    assert rows(again, "SELECT number, outcome, cost_nano FROM attempts ORDER BY number") == [
        (1, "complete", 7),
        (2, "killed", 30),
    ]
    again.close()
