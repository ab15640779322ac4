"""Erasing in the log store's PostgreSQL tables. The server's own write-ahead log and backups are its keeper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from headgate.stores.logs.erasing import Erased, Names, Subject, erase_events, pseudonym, rename_sums, summed_names
from headgate.stores.logs.filters import filter_of, keys_of_more, keys_of_row
from headgate.stores.logs.postgres_erasures import others, record
from headgate.stores.logs.postgres_link import Link
from headgate.stores.logs.postgres_rows import PostgresFinder
from headgate.stores.logs.query import LogQuery
from headgate.stores.logs.rows import COLUMNS, Shapes

if TYPE_CHECKING:
    from headgate.stores.logs.postgres_store import PostgresStore

_AT_ONCE = 2000


def erase(store: PostgresStore, subject: Subject, spool: str, now: float) -> Erased:
    """Take a subject's words and name out. Begun anew after a failure, it does what is left.

    Args:
        spool: of whoever asks; others hear of it (`postgres_erasures`).
    """
    said = Names(subject, pseudonym())
    with store.transaction() as link:
        left = others(link, spool, record(link, subject, said.pseudonym, now))
        store.fold(link)
        numbers = _numbers(link, subject)
        names = summed_names(link, subject)
    for name in names:
        said.user(name)
    bodies = events = 0
    for start in range(0, len(numbers), _AT_ONCE):
        with store.transaction() as link:
            bodies += _erase_rows(link, said, numbers[start : start + _AT_ONCE])
            events += erase_events(link, said)
    with store.transaction() as link:
        rename_sums(link, said)
        events += erase_events(link, said)
        link.execute("DELETE FROM log_bad")
    told = said.pseudonym if numbers or names or events else ""
    return Erased(len(numbers), bodies, events, told, spools_left=left)


def _numbers(link: Link, subject: Subject) -> list[int]:
    if subject.kind == "tenant":
        wanted = filter_of(LogQuery(tenant=subject.value))
    else:
        wanted = filter_of(LogQuery(fields={subject.kind: subject.value}, tenant=subject.tenant))
    shapes = Shapes()
    shapes.refresh(link)
    finder = PostgresFinder(link, shapes, wanted, newest_first=False, start=None, more_time=lambda: True)
    return [row[0] for row in finder.rows()]


def _erase_rows(link: Link, said: Names, numbers: Sequence[int]) -> int:
    some = list(numbers)
    gone: set[int] = set()
    for table in ("log_bodies", "log_requests"):
        gone |= {n for (n,) in link.execute(f"DELETE FROM {table} WHERE n = ANY(?) RETURNING n", (some,)).fetchall()}
    changed = []
    for row in link.execute(f"SELECT {COLUMNS} FROM log_rows WHERE n = ANY(?)", (some,)).fetchall():
        user, session, told = said.user(row[7]), said.session(row[6]), msgspec.json.decode(row[16]) if row[16] else {}
        if "tags" in told:
            told["tags"] = said.tags(told["tags"])
        keys = [row[2], *keys_of_row(session, user, row[4], row[5], row[14], row[12]), *keys_of_more(told)]
        more = msgspec.json.encode(told).decode() if told else ""
        changed.append((user, session, more, keys, row[0]))
    link.executemany('UPDATE log_rows SET "user" = ?, session = ?, more = ?, keys = ? WHERE n = ?', changed)
    return len(gone)
