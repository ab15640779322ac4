"""Sums by user as they are stored, and many counts in one number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_world import LogWorld, log_exchange

from headgate.stores.logs import user_sums
from headgate.stores.logs.histogram import LAST
from headgate.stores.logs.rollups import COUNTS
from headgate.stores.logs.sqlite_schema import _USER_SUMS
from headgate.stores.logs.wide import amounts_of, times_of, wide, wide_times

DAY = 86_400
_amounts = st.lists(st.integers(-(2**62), 2**62), min_size=3, max_size=3)
_times = st.dictionaries(st.integers(0, LAST), st.integers(1, 1000), max_size=5)


def _counts(*first: int) -> list[int]:
    return [*first, *([0] * (len(COUNTS) - len(first)))]


@pytest.fixture
def sql() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute(_USER_SUMS)
    yield connection
    connection.close()


@given(st.lists(_amounts, max_size=5))
@settings(max_examples=40, deadline=None)
def test_amounts_side_by_side_add_up_as_they_do_one_by_one(rows: list[list[int]]) -> None:
    found = amounts_of(sum(map(wide, rows)), 3)
    assert found == [sum(column) for column in zip(*rows, strict=True)] or (not rows and found == [0, 0, 0])


@given(_times, _times, _times)
@settings(max_examples=40, deadline=None)
def test_histograms_side_by_side_add_up_as_they_do_one_by_one(
    one: dict[int, int], two: dict[int, int], three: dict[int, int]
) -> None:
    latency, ttft = times_of(wide_times(one, two) + wide_times(three, {}))
    assert latency == {bucket: one.get(bucket, 0) + three.get(bucket, 0) for bucket in one.keys() | three.keys()}
    assert ttft == two


@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=4),
            st.tuples(st.integers(0, 2**40), st.integers(-5, 300), st.integers(0, 2**62)),
            min_size=1,
            max_size=4,
        ),
        max_size=4,
    )
)
@settings(max_examples=40, deadline=None)
def test_what_is_folded_in_by_and_by_is_read_as_its_sum(turns: list[dict[str, tuple[int, int, int]]]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute(_USER_SUMS)
    wanted: dict[str, list[int]] = {}
    for turn in turns:
        user_sums.fold(connection, {(DAY, 0, "acme"): {user: _counts(*told) for user, told in turn.items()}})
        for user, told in turn.items():
            mine = wanted.setdefault(user, [0, 0, 0])
            wanted[user] = [min(2**63 - 1, one + two) for one, two in zip(mine, told, strict=True)]
    found = {cell.value: sums.counts[:3] for cell, sums in user_sums.stored(connection, DAY, "acme", 0, DAY)}
    assert found == wanted
    assert user_sums.amounts(connection, DAY, "acme", 0, DAY, COUNTS[2]) == {u: told[2] for u, told in wanted.items()}
    connection.close()


def test_one_tenants_user_takes_its_part_of_everybodys_sums_along_and_no_more(sql: sqlite3.Connection) -> None:
    both = {"ada": _counts(3, 3), "bob": _counts(1, 1)}
    user_sums.fold(sql, {(DAY, 0, ""): both, (DAY, 0, "acme"): {"ada": _counts(2, 2), "bob": _counts(1, 1)}})
    user_sums.rename(sql, {"ada": "x", "bob": "y"}, "acme")

    def counts(tenant: str) -> dict[str, list[int]]:
        return {cell.value: sums.counts[:2] for cell, sums in user_sums.stored(sql, DAY, tenant, 0, DAY)}

    assert counts("acme") == {"x": [2, 2], "y": [1, 1]}
    assert counts("") == {"ada": [1, 1], "x": [2, 2], "y": [1, 1]}
    assert user_sums.names_of(sql, "ada", "acme") == []
    assert user_sums.names_of(sql, "ada") == ["ada"]


def test_nobodys_user_is_what_the_tenants_leave_of_everybodys_sums(sql: sqlite3.Connection) -> None:
    of_day = {("", 0): 9, ("acme", 0): 3, ("globex", 0): 2, ("", DAY): 1, ("acme", DAY): 1, ("", 2 * DAY): 4}
    user_sums.fold(sql, {(DAY, start, tenant): {"ada": _counts(n, n)} for (tenant, start), n in of_day.items()})
    assert user_sums.names_of(sql, "ada", "") == ["ada"]
    user_sums.rename(sql, {"ada": "x"}, "")
    found = [(cell.start, cell.value, sums.counts[:2]) for cell, sums in user_sums.stored(sql, DAY, "", 0, 3 * DAY)]
    assert found == [(0, "ada", [5, 5]), (0, "x", [4, 4]), (DAY, "ada", [1, 1]), (2 * DAY, "x", [4, 4])]
    assert [sums.counts[0] for _, sums in user_sums.stored(sql, DAY, "acme", 0, DAY, ["ada"])] == [3]
    assert user_sums.names_of(sql, "ada", "") == []


def test_a_store_of_the_first_version_keeps_its_sums_by_user(log_world: LogWorld) -> None:
    log_world.stored(*(log_exchange(n, user=f"u{n % 2}") for n in range(6)))
    log_world.now += 1_000.0
    log_world.ingest()
    log_world.keeper.close()
    sql = sqlite3.connect(log_world.store)
    marks = ",".join("?" * (len(COUNTS) + 7))
    rows = user_sums.stored(sql, DAY, "acme", 0, 1e18)
    for cell, sums in rows:
        sql.execute(
            f"INSERT INTO log_rollups VALUES ({marks})", (cell[0], cell[1], cell[2], cell[3], cell[4], *sums.columns())
        )
    sql.execute("DROP TABLE log_user_sums")
    sql.execute("PRAGMA user_version=1")
    sql.commit()
    sql.close()
    log_world.stored(log_exchange(7, user="u1"))
    (top,) = log_world.reader.top(rows[0][0].start, 1e10, "user", "acme", limit=1, order="exchanges")
    assert (top.value, top.exchanges) == ("u1", 4)
