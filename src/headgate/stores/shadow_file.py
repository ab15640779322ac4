"""What came of comparing models, in an SQLite file of its own beside the ledger. Several processes may write it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from headgate.core.errors import ConfigError
from headgate.policy.shadowing import BACK, DIFFERENT, FAILED, SAME, WATCHING, Counted
from headgate.stores.forks import work_lock

KEEP = 100_000
"""Comparisons of a task and model that are kept: the latest."""
_PATIENCE = 5.0  # seconds for another process's commit
_APPLICATION = 0x68675368  # "hgSh": https://www.sqlite.org/pragma.html#pragma_application_id
_SCHEMA = """
CREATE TABLE IF NOT EXISTS outcomes (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, task TEXT NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL,
    result TEXT NOT NULL, why TEXT NOT NULL, exchange TEXT NOT NULL, live_nano INTEGER NOT NULL,
    other_nano INTEGER NOT NULL, judge_nano INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS outcomes_of ON outcomes (task, model, state, id);
CREATE INDEX IF NOT EXISTS outcomes_at ON outcomes (task, at);
CREATE TABLE IF NOT EXISTS states (
    task TEXT NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL, at REAL NOT NULL, first INTEGER NOT NULL,
    PRIMARY KEY (task, model));
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One comparison. Money is nano-dollars, `at` seconds since the epoch.

    Attributes:
        model: the cheaper one of the rules.
        state: of the task, when the call was answered.
        result: SAME, DIFFERENT or FAILED.
        why: a word, where it failed.
        exchange: the caller's.
        live_nano, other_nano, judge_nano: what the caller's answer, the other model's and the judge's cost.
    """

    at: float
    task: str
    model: str
    state: str
    result: str
    why: str = ""
    exchange: str = ""
    live_nano: int = 0
    other_nano: int = 0
    judge_nano: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What the comparisons of one state have come to."""

    counted: Counted
    live_nano: int
    other_nano: int
    judge_nano: int


class ShadowFile:
    """Safe to share between threads. Every method blocks for the disk; a connection lives for one call, so that forks
    need nothing.

    Args:
        path: made with mode 0600 if it is missing; None: everything is in memory.

    Raises, every method:
        ConfigError: it is another program's file, or it cannot be opened, read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._memory = None if path is not None else _made(sqlite3.connect(":memory:", check_same_thread=False))
        self._ready = path is None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if self._memory is not None:
            with self._lock, self._memory:
                yield self._memory
            return
        assert self.path is not None
        try:
            if not self._ready:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            with work_lock(), closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as connection, connection:
                if not self._ready:
                    _made(connection)
                    self._ready = True
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{self.path}: what shadows have found cannot be read or written: {error}") from None

    def note(self, outcome: Outcome) -> None:
        """Write one down."""
        with self._open() as sql:
            sql.execute(
                "INSERT INTO outcomes (at, task, model, state, result, why, exchange,"
                " live_nano, other_nano, judge_nano) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (outcome.at, outcome.task, outcome.model, outcome.state, outcome.result, outcome.why, outcome.exchange,
                 outcome.live_nano, outcome.other_nano, outcome.judge_nano),
            )  # fmt: skip
            sql.execute(
                "DELETE FROM outcomes WHERE task = ? AND model = ? AND id <= (SELECT max(id) - ? FROM outcomes)",
                (outcome.task, outcome.model, KEEP),
            )

    def tally(self, task: str, model: str, state: str) -> Tally:
        """Of the comparisons since this state last began."""
        with self._open() as sql:
            rows = sql.execute(
                "SELECT result, count(*), sum(live_nano), sum(other_nano), sum(judge_nano) FROM outcomes"
                " WHERE task = ? AND model = ? AND state = ? AND id > ? GROUP BY result",
                (task, model, state, _first(sql, task, model)),
            ).fetchall()
        by = {row[0]: row for row in rows}
        counted = Counted(*(by[each][1] if each in by else 0 for each in (SAME, DIFFERENT, FAILED)))
        compared = [by[each] for each in (SAME, DIFFERENT) if each in by]
        return Tally(counted, sum(r[2] for r in compared), sum(r[3] for r in compared), sum(r[4] for r in rows))

    def latest(self, task: str, model: str, state: str, most: int) -> list[bool]:
        """Whether the last comparisons since this state began agreed, the newest first."""
        with self._open() as sql:
            rows = sql.execute(
                "SELECT result FROM outcomes WHERE task = ? AND model = ? AND state = ? AND id > ? AND result != ?"
                " ORDER BY id DESC LIMIT ?",
                (task, model, state, _first(sql, task, model), FAILED, most),
            ).fetchall()
        return [row[0] == SAME for row in rows]

    def spent(self, task: str, since: float) -> int:
        """Nano-dollars that comparing has cost the task: everything beside what its callers asked for."""
        with self._open() as sql:
            row = sql.execute(
                "SELECT coalesce(sum(other_nano + judge_nano), 0) FROM outcomes WHERE task = ? AND at >= ?",
                (task, since),
            ).fetchone()
        return int(row[0])

    def state(self, task: str, model: str) -> tuple[str, float]:
        """(State, since when); (WATCHING, 0.0) where nobody has decided anything."""
        with self._open() as sql:
            row = sql.execute("SELECT state, at FROM states WHERE task = ? AND model = ?", (task, model)).fetchone()
        return (WATCHING, 0.0) if row is None else (row[0], row[1])

    def change(self, task: str, model: str, old: str, new: str, at: float) -> bool:
        """From one state to another. False where it was in another one, as when another process was first. What was
        compared before no longer counts, but for who comes BACK: that is to be looked at."""
        with self._open() as sql:
            sql.execute(
                "INSERT OR IGNORE INTO states (task, model, state, at, first) VALUES (?, ?, ?, 0, 0)",
                (task, model, WATCHING),
            )
            begins = "first" if new == BACK else "(SELECT coalesce(max(id), 0) FROM outcomes)"
            done = sql.execute(
                f"UPDATE states SET state = ?, at = ?, first = {begins}"  # noqa: S608 -- one of two texts of ours
                " WHERE task = ? AND model = ? AND state = ?",
                (new, at, task, model, old),
            )
            return done.rowcount == 1

    def names(self) -> list[tuple[str, str]]:
        """(Task, model) of everything that there is something about."""
        with self._open() as sql:
            rows = sql.execute("SELECT task, model FROM outcomes UNION SELECT task, model FROM states ORDER BY 1, 2")
            return [(row[0], row[1]) for row in rows.fetchall()]


def _first(sql: sqlite3.Connection, task: str, model: str) -> int:
    row = sql.execute("SELECT first FROM states WHERE task = ? AND model = ?", (task, model)).fetchone()
    return 0 if row is None else int(row[0])


def _made(connection: sqlite3.Connection) -> sqlite3.Connection:
    whose = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if whose != _APPLICATION and tables:
        raise sqlite3.DatabaseError("it is another program's database")
    connection.executescript(f"PRAGMA application_id = {_APPLICATION}; {_SCHEMA}")
    return connection
