"""Usage from PostgreSQL: the same buckets, tags and attempts as from SQLite."""

from __future__ import annotations

from types import MappingProxyType
from zoneinfo import ZoneInfo

import pytest
from ledger_maker import EPOCH, Maker
from postgres_server import Server, server, url
from sqlalchemy import Float, literal, select

from headgate.core.caller import Caller
from headgate.engine.blocking import run_blocking
from headgate.stores.dimensions import BUCKETS, bucket, label, offsets_of
from headgate.stores.postgres import PostgresLedger, PostgresReader

__all__ = ["Server", "server", "url"]

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
MOMENTS = (0.0, 1_774_745_999.9999, 1_774_746_000.0, 1_793_061_000.5, 1_793_064_600.0, EPOCH, 4e9)
"""Around both changes of Berlin's clocks in 2026, among others."""


@pytest.mark.parametrize("zone", ZONES)
def test_the_database_and_the_calendar_name_the_same_bucket(url: str, zone: str) -> None:
    where = ZoneInfo(zone)
    asked = [(every, at) for every in BUCKETS for at in MOMENTS]
    offsets = {at: offsets_of(where, at - 1e7, at + 1e7) for at in MOMENTS}
    columns = [bucket("postgresql", every, literal(at, Float), offsets[at]) for every, at in asked]
    named = [column.label(f"c{place}") for place, column in enumerate(columns)]
    found = PostgresReader(url)._ask(lambda connection: tuple(connection.execute(select(*named)).one()))
    assert found == tuple(label(every, at, where) for every, at in asked)


def test_sums_by_bucket_and_tag_and_the_attempts_behind_them(url: str, make: Maker) -> None:
    ledger = PostgresLedger(url)
    try:
        for cost, team in ((1, "search"), (2, "o'brien"), (4, "")):
            exchange = make.exchange(caller=Caller(user="ada", tags=MappingProxyType({"team": team} if team else {})))
            run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange)))
            ledger.blocking().settle(make.answered(exchange, cost=cost))
        ledger.flush()
        reader = PostgresReader(url)
        berlin = ZoneInfo("Europe/Berlin")
        by = ["tag:team", "hour", "week", "month", "user"]
        rows = reader.usage(by=by, zone=berlin).rows
        assert {tuple(row.by.values()): row.amounts.cost_nano for row in rows} == {
            (team, "2027-01-15T09:00+01:00", "2027-01-11", "2027-01", "ada"): cost
            for team, cost in (("search", 1), ("o'brien", 2), ("", 4))
        }
        assert reader.usage(**{"tag:team": "o'brien"}).total.cost_nano == 2
        found = reader.charged(by=["tag:team", "day"], zone=berlin, filters={"user": "ada"}, take=list)
        assert sorted((key, row["cost_nano"]) for key, row in found) == [
            (("", "2027-01-15"), 4),
            (("o'brien", "2027-01-15"), 2),
            (("search", "2027-01-15"), 1),
        ]
        for name in ("claude-haiku-4-5", "anthropic/claude-haiku-4-5", "claude-haiku-4-5-20251001"):
            assert reader.sent_as(name, EPOCH) == ("anthropic", "claude-haiku-4-5")
        assert [reader.sent_as(*each) for each in (("openai/claude-haiku-4-5", EPOCH), (name, 2 * EPOCH))] == [None] * 2
    finally:
        ledger.close()
