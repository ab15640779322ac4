"""Browsers that have logged in. A session's cookie has 256 random bits, so a plain SHA-256 of it is stored."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from headgate.core.actors import actor
from headgate.core.secret import Secret
from headgate.stores.audit_log import append
from headgate.stores.keys import key_hash
from headgate.stores.people import Person, end_sessions, known_person, person_named
from headgate.stores.schema import people, sessions

T = TypeVar("T")

IDLE_SECONDS = 12 * 3600.0
"""A session ends when nothing was asked with it for so long,"""
ABSOLUTE_SECONDS = 7 * 86_400.0
"""and so long after it began in any case."""
TOUCH_SECONDS = 60.0
"""How exactly is known when a session was last used."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that has logged in. `id` is the SHA-256 of its cookie; times are seconds since the epoch."""

    id: str
    person: str
    began: float
    seen: float
    address: str


class _Run(Protocol):
    def __call__(self, work: Callable[[Connection], T], /) -> T: ...


class SessionStore:
    """The ledger's `sessions`. Every method blocks for a commit.

    Logins and logouts are in the audit log, in the same transaction; who acts is told by `core.actors`.
    """

    def __init__(self, run: _Run, *, now: Callable[[], float]) -> None:
        """
        Args:
            run: runs a function of a connection in the writer thread, in a transaction, and returns its result.
            now: seconds since the epoch.
        """
        self._run = run
        self._now = now

    def begin(self, person: str, address: str, *, ends: str = "") -> Secret:
        """A new session; those that are over are removed.

        Args:
            ends: the id of the browser's session before it: it ends, so that nobody can have planted it.

        Returns:
            The cookie's value; it exists only here.

        Raises:
            ConfigError: there is no such person.
        """
        value, now, who = secrets.token_urlsafe(32), self._now(), actor()

        def work(sql: Connection) -> Secret:
            found = known_person(sql, person)
            c = sessions.c
            if found.sessions_from > now:  # the clock went back since: else nobody could log in until it has caught up
                sql.execute(delete(sessions).where(c.person == person, c.began < found.sessions_from))
                sql.execute(update(people).where(people.c.name == person).values(sessions_from=now))
            sql.execute(delete(sessions).where((c.began < now - ABSOLUTE_SECONDS) | (c.seen < now - IDLE_SECONDS)))
            if ends:
                sql.execute(delete(sessions).where(c.id == ends))
            told = {"id": key_hash(value), "person": person, "began": now, "seen": now, "address": address[:64]}
            sql.execute(insert(sessions).values(told))
            append(sql, now, "session.begin", person, who=who, tenant=found.tenant)
            return Secret(value)

        return self._run(work)

    def visit(self, session_id: str) -> tuple[Session, Person] | None:
        """A session and its person; None where it is over or was none. It is known from now on that it was used."""
        now = self._now()

        def work(sql: Connection) -> tuple[Session, Person] | None:
            found = read_session(sql, session_id, now)
            if found is not None and now >= found[0].seen + TOUCH_SECONDS:
                sql.execute(update(sessions).where(sessions.c.id == session_id).values(seen=now))
            return found

        return self._run(work)

    def end(self, session_id: str) -> None:
        """Log one browser out."""
        now, who = self._now(), actor()

        def work(sql: Connection) -> None:
            person = sql.execute(select(sessions.c.person).where(sessions.c.id == session_id)).scalar()
            if person is not None:
                sql.execute(delete(sessions).where(sessions.c.id == session_id))
                append(sql, now, "session.end", person, who=who)

        self._run(work)

    def end_all(self, person: str) -> int:
        """Log a person out everywhere. Returns how many sessions there were.

        Raises:
            ConfigError: there is no such person.
        """
        now, who = self._now(), actor()

        def work(sql: Connection) -> int:
            found = known_person(sql, person)
            ended = end_sessions(sql, person, now)
            append(sql, now, "session.end_all", person, who=who, tenant=found.tenant, after={"ended": ended})
            return ended

        return self._run(work)

    def of(self, person: str) -> list[Session]:
        """A person's, the newest first, those that are over left out."""
        now, c = self._now(), sessions.c
        live = (c.person == person, c.began > now - ABSOLUTE_SECONDS, c.seen > now - IDLE_SECONDS)
        query = select(sessions).where(*live).order_by(c.began.desc(), c.id)
        return self._run(lambda sql: [Session(**row) for row in sql.execute(query).mappings()])


def read_session(sql: Connection, session_id: str, now: float) -> tuple[Session, Person] | None:
    """A session and its person, on any connection; None where it is over or was none."""
    row = sql.execute(select(sessions).where(sessions.c.id == session_id)).mappings().first()
    session = None if row is None else Session(**row)
    person = None if session is None else person_named(sql, session.person)
    if session is None or person is None or session.began < person.sessions_from:
        return None
    if now >= session.began + ABSOLUTE_SECONDS or now >= session.seen + IDLE_SECONDS:
        return None
    return session, person
