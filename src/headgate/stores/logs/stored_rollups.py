"""The sums in the log store, of either database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headgate.stores.logs import user_sums
from headgate.stores.logs.rollups import (
    BY_USER,
    COUNTS,
    KEEP_DAYS,
    MOST_VALUES,
    OTHERS,
    WITH_TIMES,
    ByUser,
    Cell,
    Sums,
)
from headgate.stores.logs.sql import Sql

_COLUMNS = ", ".join(COUNTS)
_ALL = f"{_COLUMNS}, latency, ttft"
_MARKS = ",".join("?" * (5 + len(COUNTS) + 2))
_ADDED = ", ".join(f"{name} = log_rollups.{name} + excluded.{name}" for name in COUNTS)
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in (*COUNTS, "latency", "ttft"))
_CELL = "(step, dimension, tenant, start, value)"
_INSERT = f"INSERT INTO log_rollups (step, dimension, start, tenant, value, {_ALL}) VALUES ({_MARKS})"
_REPLACE = f"{_INSERT} ON CONFLICT {_CELL} DO UPDATE SET {_CHANGED}"
_ADD = f"{_INSERT} ON CONFLICT {_CELL} DO UPDATE SET {_ADDED}"
_READ = f"SELECT {_ALL} FROM log_rollups WHERE step=? AND dimension=? AND start=? AND tenant=? AND value=?"

_OVER_A_TIME = "FROM log_rollups WHERE step = ? AND dimension = ? AND tenant = ? AND start >= ? AND start < ?"


def fold(sql: Sql, cells: Mapping[Cell, Sums], users: ByUser) -> None:
    """Add sums to those that are stored."""
    within = _bounded(sql, cells)
    # Where there are no histograms, counts are added where they lie. Of the others what is there is read.
    plain = [(*cell, *sums.columns()) for cell, sums in within.items() if cell.dimension not in WITH_TIMES]
    sql.executemany(_ADD, plain)
    others = []
    for cell, sums in within.items():
        if cell.dimension in WITH_TIMES:
            row = sql.execute(_READ, cell).fetchone()
            if row is not None:
                sums.add(Sums.of_columns(row))
            others.append((*cell, *sums.columns()))
    sql.executemany(_REPLACE, others)
    user_sums.fold(sql, users)


def _bounded(sql: Sql, cells: Mapping[Cell, Sums]) -> dict[Cell, Sums]:
    """With the values of a dimension beyond the most as one."""
    values: dict[tuple[int, str, str, int], set[str]] = {}
    for cell in cells:
        values.setdefault((cell.step, cell.dimension, cell.tenant, cell.start), set()).add(cell.value)
    full: dict[tuple[int, str, str, int], set[str]] = {}
    for place, mine in values.items():
        if len(mine) < 2 and not place[1]:
            continue
        known = _known_if_full(sql, place, len(mine))
        if known is not None:
            full[place] = known
    if not full:
        return dict(cells)
    found: dict[Cell, Sums] = {}
    for cell, sums in cells.items():
        known = full.get((cell.step, cell.dimension, cell.tenant, cell.start))
        if known is not None and cell.value not in known:
            if len(known) < MOST_VALUES:
                known.add(cell.value)
            else:
                cell = cell._replace(value=OTHERS)
        if cell in found:
            found[cell].add(sums)
        else:
            found[cell] = sums
    return found


def _known_if_full(sql: Sql, place: tuple[int, str, str, int], more: int) -> set[str] | None:
    """The values that a dimension has in one step, of one tenant, where so many more might be too many; else None."""
    where = "FROM log_rollups WHERE step=? AND dimension=? AND tenant=? AND start=?"
    (count,) = sql.execute(f"SELECT count(*) {where}", place).fetchone()
    if count + more <= MOST_VALUES:
        return None
    return {value for (value,) in sql.execute(f"SELECT value {where}", place)}


def stored(
    sql: Sql, step: int, dimension: str, tenant: str, since: int, until: float, values: Sequence[str] = ()
) -> list[tuple[Cell, Sums]]:
    """The stored sums of a dimension, from a start on; of these values only, where there are any."""
    if dimension == BY_USER:
        return user_sums.stored(sql, step, tenant, since, until, values)
    some = f" AND value IN ({','.join('?' * len(values))})" if values else ""
    found = sql.execute(
        f"SELECT start, value, {_ALL} {_OVER_A_TIME}{some}", (step, dimension, tenant, since, until, *values)
    )
    return [(Cell(step, dimension, row[0], tenant, row[1]), Sums.of_columns(row[2:])) for row in found.fetchall()]


def amounts(sql: Sql, step: int, dimension: str, tenant: str, since: int, until: float, count: str) -> dict[str, int]:
    """One stored sum of each value of a dimension over a time."""
    if dimension == BY_USER:
        return user_sums.amounts(sql, step, tenant, since, until, count)
    asked = f"SELECT value, sum({count}) {_OVER_A_TIME} GROUP BY value"
    return {value: int(amount) for value, amount in sql.execute(asked, (step, dimension, tenant, since, until))}


def totals(
    sql: Sql, step: int, dimension: str, tenant: str, since: int, until: float, values: Sequence[str]
) -> dict[str, Sums]:
    """All stored sums of some values of a dimension over a time, without histograms."""
    if dimension == BY_USER:
        return user_sums.totals(sql, step, tenant, since, until, values)
    if not values:  # PostgreSQL knows no empty list
        return {}
    summed = ", ".join(f"sum({name})" for name in COUNTS)
    marks = ",".join("?" * len(values))
    asked = f"SELECT value, {summed} {_OVER_A_TIME} AND value IN ({marks}) GROUP BY value"
    found = sql.execute(asked, (step, dimension, tenant, since, until, *values))
    return {row[0]: Sums([int(each) for each in row[1:]]) for row in found.fetchall()}


def prune(sql: Sql, now: float, steps: Iterable[int] = tuple(KEEP_DAYS)) -> None:
    """Forget sums that are older than they are kept."""
    for step in steps:
        before = now - KEEP_DAYS[step] * 86_400
        sql.execute("DELETE FROM log_rollups WHERE step = ? AND start < ?", (step, before))
    user_sums.prune(sql, now)
