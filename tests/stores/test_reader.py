"""What `headgate usage` and `headgate logs show` are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledger_maker import EPOCH, Maker
from sqlalchemy import select
from sqlalchemy.dialects import sqlite

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.exchange import Ending, Exchange
from headgate.engine.blocking import run_blocking
from headgate.stores.reader import DIMENSIONS, Reader, _wanted
from headgate.stores.schema import exchanges
from headgate.stores.sqlite import SqliteLedger

Open = Callable[..., SqliteLedger]


def spend(ledger: SqliteLedger, make: Maker, user: str, cost: int, **options: Any) -> Exchange:
    exchange = make.exchange(caller=Caller(user=user, tenant=options.pop("tenant", "acme")))
    exchange.started += options.pop("later", 0.0)
    run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange)))
    ledger.blocking().settle(make.answered(exchange, cost=cost, **options))
    return exchange


def test_totals_have_the_fields_of_usage_json(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    spend(ledger, make, "ada", 1_500_000)
    spend(ledger, make, "bob", 500_000, estimated=True)
    ledger.blocking().settle(make.ended(make.exchange(), Ending.REFUSED, status=429))
    ledger.flush()
    assert ledger.reader().usage().as_json() == {
        "total": {
            "exchanges": 3,
            "attempts": 2,
            "cost_usd": "0.002",
            "estimated_usd": "0.0005",
            "held_usd": "0",
            "input_tokens": 20,
            "output_tokens": 100,
            "cache_read_tokens": 40,
            "cache_write_tokens": 140,
            "cache_write_long_tokens": 80,
            "reasoning_tokens": 10,
            "web_searches": 4,
        },
        "rows": [],
    }


def test_an_empty_ledger_adds_up_to_zero(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.open()
    report = ledger.reader().usage(by=["user"])
    assert report.total.exchanges == 0
    assert report.rows == []


def test_rows_are_broken_down_and_sorted_dearest_first(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    for user, cost in (("ada", 1), ("bob", 10), ("ada", 2), ("eve", 5)):
        spend(ledger, make, user, cost)
    ledger.flush()
    rows = ledger.reader().usage(by=["user", "model"]).rows
    assert [(row.by["user"], row.amounts.cost_nano, row.amounts.exchanges) for row in rows] == [
        ("bob", 10, 1),
        ("eve", 5, 1),
        ("ada", 3, 2),
    ]
    assert {row.by["model"] for row in rows} == {"claude-haiku-4-5-20251001"}


def test_days_and_hours_are_utc_and_in_order(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    spend(ledger, make, "ada", 1, later=86_400)
    spend(ledger, make, "ada", 9)
    spend(ledger, make, "ada", 2, later=3_600)
    ledger.flush()
    reader = ledger.reader()
    assert [(row.by["day"], row.amounts.cost_nano) for row in reader.usage(by=["day"]).rows] == [
        ("2027-01-15", 11),
        ("2027-01-16", 1),
    ]
    assert [row.by["hour"] for row in reader.usage(by=["hour"]).rows] == [
        "2027-01-15T08:00Z",
        "2027-01-15T09:00Z",
        "2027-01-16T08:00Z",
    ]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_dimension_adds_up_to_the_total(ledgers: Open, make: Maker, dimension: str) -> None:
    ledger = ledgers()
    for user in ("ada", "bob", ""):
        spend(ledger, make, user, 7)
    waiting = make.exchange()
    run_blocking(ledger.blocking().intend(waiting, make.attempt(waiting, bound=40)))
    ledger.flush()
    report = ledger.reader().usage(by=[dimension])
    assert sum(row.amounts.cost_nano for row in report.rows) == report.total.cost_nano == 21
    assert sum(row.amounts.held_nano for row in report.rows) == report.total.held_nano == 40


def test_money_held_is_shown_until_it_is_settled(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = make.exchange()
    run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange, bound=123)))
    reader = ledger.reader()
    assert reader.usage().total.held_nano == 123
    assert reader.usage(user="ada").total.held_nano == 123
    assert reader.usage(user="bob").total.held_nano == 0
    assert reader.usage(since=EPOCH + 100).total.held_nano == 0
    ledger.blocking().settle(make.answered(exchange))
    ledger.flush()
    assert reader.usage().total.held_nano == 0


def test_since_is_included_and_until_is_not(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = spend(ledger, make, "ada", 1)
    ledger.flush()
    reader = ledger.reader()
    assert reader.usage(since=exchange.started).total.exchanges == 1
    assert reader.usage(until=exchange.started).total.exchanges == 0
    assert reader.usage(since=exchange.started, until=exchange.started).total.exchanges == 0


@pytest.mark.parametrize("since", [-1e18, 0.0, 1e18])
def test_any_moment_can_be_asked_for(ledgers: Open, make: Maker, since: float) -> None:
    ledger = ledgers()
    spend(ledger, make, "ada", 1)
    ledger.flush()
    assert ledger.reader().usage(since=since).total.exchanges == (1 if since < EPOCH else 0)


def test_a_span_of_time_reads_its_part_of_the_table_only(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.open()
    query = select(exchanges.c.cost_nano).where(*_wanted(EPOCH, EPOCH + 1, {}, narrow=True))
    sql = str(query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    plan = ledger.call(lambda connection: connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}").fetchall())
    assert "SEARCH exchange_rows USING PRIMARY KEY (id>? AND id<?)" in str(plan)


def test_ids_that_tell_no_time_change_no_answer(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    for name, started in (("ex_b", EPOCH), ("ex_a", EPOCH + 10)):
        exchange = make.ended(make.exchange(), Ending.REFUSED, status=429)
        exchange.id, exchange.started = name, started
        ledger.blocking().settle(exchange)
    ledger.flush()
    reader = ledger.reader()
    assert reader.usage(since=EPOCH + 5).total.exchanges == 1
    assert reader.usage(until=EPOCH + 5).total.exchanges == 1
    assert [row["id"] for row in reader.recent()] == ["ex_a", "ex_b"]


def test_filters_narrow_and_are_data_not_sql(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    spend(ledger, make, "ada", 1)
    spend(ledger, make, "o'brien", 2, tenant="zeta")
    ledger.flush()
    reader = ledger.reader()
    assert reader.usage(user="o'brien").total.cost_nano == 2
    assert reader.usage(tenant="acme", user="o'brien").total.exchanges == 0
    assert reader.usage(user="' OR 1=1 --").total.exchanges == 0
    assert reader.usage(model="claude-haiku-4-5-20251001").total.exchanges == 2


def test_an_unknown_dimension_or_filter_names_the_known_ones(ledgers: Open) -> None:
    reader = ledgers().reader()
    with pytest.raises(ConfigError, match="colour: not a dimension of usage; choose from key, tenant"):
        reader.usage(by=["colour"])
    with pytest.raises(ConfigError, match="filter id"):
        reader.usage(id="x")


def test_one_exchange_comes_with_its_attempts(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = spend(ledger, make, "ada", 5)
    ledger.flush()
    reader = ledger.reader()
    found = reader.exchange(exchange.id)
    assert found is not None
    assert found.exchange["user"] == "ada"
    assert [attempt["number"] for attempt in found.attempts] == [1]
    assert reader.exchange("ex_none") is None


def test_exchanges_are_found_by_the_beginning_of_their_id(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    ids = [spend(ledger, make, "ada", 1).id for _ in range(3)]
    ledger.flush()
    reader = ledger.reader()
    assert [row["id"] for row in reader.find(ids[1][:15])] == [ids[1]]
    assert [row["id"] for row in reader.find("ex_")] == ids
    assert reader.find("ex_%") == []
    assert [row["id"] for row in reader.recent(limit=2, user="ada")] == [ids[2], ids[1]]


def test_reading_where_there_is_no_ledger_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no ledger at .*nothing\.db"):
        Reader(tmp_path / "nothing.db").usage()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_cannot_write(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.open()
    reader = ledger.reader()
    with pytest.raises(ConfigError, match="readonly"):
        reader._ask(lambda connection: connection.exec_driver_sql("DELETE FROM meta"))
