"""What `headgate usage` and `headgate logs show` are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_maker import EPOCH, Maker
from sqlalchemy import Float, create_engine, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.exchange import Ending, Exchange
from headgate.engine.blocking import run_blocking
from headgate.stores.dimensions import BUCKETS, bucket, in_order, label, offsets_of
from headgate.stores.reader import DIMENSIONS, Reader
from headgate.stores.schema import exchanges
from headgate.stores.selecting import wanted
from headgate.stores.sqlite import SqliteLedger

Open = Callable[..., SqliteLedger]


def spend(ledger: SqliteLedger, make: Maker, user: str, cost: int, **options: Any) -> Exchange:
    tags = MappingProxyType(options.pop("tags", {}))
    exchange = make.exchange(caller=Caller(user=user, tenant=options.pop("tenant", "acme"), tags=tags))
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
            "cache_hits": 0,
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
    query = select(exchanges.c.cost_nano).where(*wanted(EPOCH, EPOCH + 1, {}, "sqlite", narrow=True))
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


# Time buckets and tags

MEMORY = create_engine("sqlite://")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo")


def in_sql(every: str, at: float, zone: str, since: float, until: float) -> object:
    offsets = offsets_of(ZoneInfo(zone), since, until)
    with MEMORY.connect() as connection:
        return connection.execute(select(bucket("sqlite", every, literal(at, Float), offsets))).scalar()


@given(
    at=st.floats(0, 4e9, allow_nan=False),
    zone=st.sampled_from(ZONES),
    every=st.sampled_from(BUCKETS),
    before=st.floats(0, 1e8),
    after=st.floats(0, 1e8),
)
def test_the_database_and_the_calendar_name_the_same_bucket(
    at: float, zone: str, every: str, before: float, after: float
) -> None:
    assert in_sql(every, at, zone, at - before, at + after) == label(every, at, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("every", "found"),
    [("hour", "2027-01-01T00:00+01:00"), ("day", "2027-01-01"), ("week", "2026-12-28"), ("month", "2027-01")],
)
def test_a_bucket_is_named_by_the_clocks_of_its_zone(every: str, found: str) -> None:
    at = datetime(2026, 12, 31, 23, 30, tzinfo=UTC).timestamp()
    assert in_sql(every, at, "Europe/Berlin", at, at) == label(every, at, ZoneInfo("Europe/Berlin")) == found


def test_the_hour_that_comes_twice_is_two_buckets_in_order() -> None:
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()
    names = [in_sql("hour", at, "Europe/Berlin", 1.79e9, 1.8e9) for at in (second - 3600, second)]
    assert names == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    assert sorted(map(str, names), key=lambda text: in_order("hour", text)) == names


def test_the_last_fraction_of_a_day_is_that_days() -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    assert in_sql("day", midnight - 0.0001, "UTC", 0, 4e9) == "2026-11-20"


@pytest.mark.parametrize("every", BUCKETS)
def test_postgresql_is_asked_in_its_own_words(every: str) -> None:
    offsets = offsets_of(ZoneInfo("Europe/Berlin"), EPOCH, EPOCH + 3e7)
    sql = str(bucket("postgresql", every, exchanges.c.started, offsets).compile(dialect=postgresql.dialect()))
    assert sql.startswith("to_char(")
    assert "strftime" not in sql


def test_weeks_begin_on_monday_and_months_on_the_first(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    for days in (0, 2, 3, 17):  # Friday 15 January 2027, Sunday, Monday, 1 February
        spend(ledger, make, "ada", 1, later=days * 86_400.0)
    ledger.flush()
    reader = ledger.reader()
    weeks = [(row.by["week"], row.amounts.exchanges) for row in reader.usage(by=["week"]).rows]
    assert weeks == [("2027-01-11", 2), ("2027-01-18", 1), ("2027-02-01", 1)]
    months = [(row.by["month"], row.amounts.exchanges) for row in reader.usage(by=["month"]).rows]
    assert months == [("2027-01", 3), ("2027-02", 1)]


def test_a_zone_moves_midnight_for_what_is_settled_and_what_is_held(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    spend(ledger, make, "ada", 5, later=16 * 3600.0)  # midnight UTC
    waiting = make.exchange()
    waiting.started += 15.5 * 3600.0
    run_blocking(ledger.blocking().intend(waiting, make.attempt(waiting, bound=40)))
    ledger.flush()
    found = {
        zone: [(row.by["day"], row.amounts.cost_nano, row.amounts.held_nano) for row in rows]
        for zone in ("UTC", "Asia/Tokyo", "America/New_York")
        for rows in [ledger.reader().usage(by=["day"], zone=ZoneInfo(zone)).rows]
    }
    assert found["UTC"] == [("2027-01-15", 0, 40), ("2027-01-16", 5, 0)]
    assert found["Asia/Tokyo"] == [("2027-01-16", 5, 40)]
    assert found["America/New_York"] == [("2027-01-15", 5, 40)]


def test_tags_are_dimensions_and_filters(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    spend(ledger, make, "ada", 1, tags={"team": "search", "a.b": "x"})
    spend(ledger, make, "ada", 2, tags={"team": "o'brien"})
    spend(ledger, make, "ada", 4)
    waiting = make.exchange(caller=Caller(tags=MappingProxyType({"team": "search"})))
    run_blocking(ledger.blocking().intend(waiting, make.attempt(waiting, bound=40)))
    ledger.flush()
    reader = ledger.reader()
    rows = reader.usage(by=["tag:team", "user"]).rows
    assert {(row.by["tag:team"], row.by["user"]): (row.amounts.cost_nano, row.amounts.held_nano) for row in rows} == {
        ("search", "ada"): (1, 0),
        ("search", ""): (0, 40),
        ("o'brien", "ada"): (2, 0),
        ("", "ada"): (4, 0),
    }
    assert reader.usage(**{"tag:team": "o'brien"}).total.cost_nano == 2
    assert reader.usage(**{"tag:a.b": "x"}).total.cost_nano == 1
    assert reader.usage(**{"tag:team": ""}).total.cost_nano == 4
    assert reader.usage(**{"tag:none": "x"}).total.exchanges == 0


@pytest.mark.parametrize("name", ["tag:", 'tag:a"b', "tag:a\\b", "tag:" + "x" * 65, "tag:a\nb"])
def test_a_tag_that_could_not_be_asked_for_safely_is_refused(ledgers: Open, name: str) -> None:
    with pytest.raises(ConfigError, match="not a dimension of usage"):
        ledgers().reader().usage(by=[name])


def test_the_attempts_behind_a_sum_are_handed_out_one_by_one(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = make.exchange(caller=Caller(user="ada"))
    make.failed(make.attempt(exchange))
    make.attempt(exchange)
    ledger.blocking().settle(make.answered(exchange, cost=7))
    spend(ledger, make, "bob", 2)
    ledger.flush()
    found = ledger.reader().charged(by=["user", "day"], filters={}, take=list)
    assert sorted((by, row["number"], row["cost_nano"]) for by, row in found) == [
        (("ada", "2027-01-15"), 1, 0),
        (("ada", "2027-01-15"), 2, 7),
        (("bob", "2027-01-15"), 1, 2),
    ]
    assert ledger.reader().charged(filters={"user": "bob"}, take=lambda rows: len(list(rows))) == 1
