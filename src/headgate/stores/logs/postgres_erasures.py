"""What each gateway on PostgreSQL hears of erasures by others: its file of lines may have the subject's words, too.

An erasure is on record before it begins. Lines that are taken in later, and were written before it, are taken in
without the subject's words and under its new name; until the file that they come from has been emptied once.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from headgate.stores.logs.erasing import Names, Subject, renamed_event
from headgate.stores.logs.lines import EventLine, Line, Lines
from headgate.stores.logs.sql import Sql

SKEW_SECONDS = 60.0
"""By how much the clocks of two gateways may differ."""
TABLE = (
    "CREATE TABLE log_erasures (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at float8 NOT NULL, "
    "kind text NOT NULL, value text NOT NULL, tenant text, pseudonym text NOT NULL)",
    "ALTER TABLE log_spools ADD COLUMN heard bigint NOT NULL DEFAULT 0",
)
"""`heard`: the last erasure that a spool was emptied for."""
_UNSET = msgspec.UNSET


def record(sql: Sql, subject: Subject, said: str, now: float) -> int:
    """Put an erasure on record, in the transaction that looks for its rows; its number."""
    asked = "INSERT INTO log_erasures (at, kind, value, tenant, pseudonym) VALUES (?, ?, ?, ?, ?) RETURNING n"
    return int(sql.execute(asked, (now, subject.kind, subject.value, subject.tenant, said)).fetchone()[0])


def others(sql: Sql, spool: str, number: int) -> int:
    """How many spools but this one have not been emptied for an erasure."""
    asked = "SELECT count(*) FROM log_spools WHERE spool <> ? AND heard < ?"
    return int(sql.execute(asked, (spool, number)).fetchone()[0])


def heard(sql: Sql, spool: str, number: int) -> None:
    """A spool was emptied for every erasure up to this one."""
    sql.execute(
        "INSERT INTO log_spools (spool, position, head, bad, heard) VALUES (?, 0, ?, 0, ?) "
        "ON CONFLICT (spool) DO UPDATE SET heard = excluded.heard",
        (spool, b"", number),
    )


class Unheard:
    """The erasures that a spool has not been emptied for. Not for several threads.

    Attributes:
        last: the number of the newest; 0 = there is none.
    """

    def __init__(self) -> None:
        self.last = 0
        self._each: dict[int, _Erasure] = {}

    def read(self, sql: Sql, spool: str) -> None:
        """What is on record now."""
        asked = (
            "SELECT n, at, kind, value, tenant, pseudonym FROM log_erasures "
            "WHERE n > coalesce((SELECT heard FROM log_spools WHERE spool = ?), 0) ORDER BY n"
        )
        rows = sql.execute(asked, (spool,)).fetchall()
        self._each = {row[0]: self._each.get(row[0]) or _Erasure(*row[1:]) for row in rows}
        self.last = rows[-1][0] if rows else 0

    def apply(self, lines: Lines) -> None:
        """Take the subjects' words and names out of lines of before. Of lines that cannot be read nobody can tell
        whose they are: they are counted, and not kept."""
        if not self._each:
            return
        for each in self._each.values():
            lines.exchanges = [each.without(line) for line in lines.exchanges]
            lines.events = [each.renamed(event) for event in lines.events]
        lines.bad = [bad._replace(raw=b"") for bad in lines.bad]


class _Erasure:
    def __init__(self, at: float, kind: Any, value: str, tenant: str | None, said: str) -> None:
        self._until = at + SKEW_SECONDS
        self._subject = subject = Subject(kind, value, tenant)
        self._names = Names(subject, said, apart=secrets.token_hex(3))

    def without(self, line: Line) -> Line:
        """An exchange's line without the subject, if it is about it."""
        own, subject = line.own, self._subject
        value = {"user": own.user_id, "session": own.session_id, "tenant": line.shape.tenant}[subject.kind]
        if line.at > self._until or value != subject.value or subject.tenant not in (None, line.shape.tenant):
            return line
        names = self._names
        told = msgspec.json.decode(line.more) if line.more else {}
        if "tags" in told:
            told["tags"] = names.tags(told["tags"])
        own = msgspec.structs.replace(
            own,
            user_id=names.user(own.user_id),
            session_id=names.session(own.session_id),
            user_message=_UNSET,
            response_text=_UNSET,
            discarded_texts=_UNSET,
            request_body=_UNSET,
        )
        return line._replace(own=own, more=msgspec.json.encode(told).decode() if told else "")

    def renamed(self, event: EventLine) -> EventLine:
        """Another line, with the new names in place of the old."""
        if event.at > self._until:
            return event
        told = msgspec.json.decode(event.fields)
        for old, new in self._names.all().items():
            told = renamed_event(told, self._names.tenant, old, new)
        return event._replace(fields=msgspec.json.encode(told).decode())
