"""What SQLite and PostgreSQL do differently when the ledger is written; for reading it see `dimensions.py`."""

from __future__ import annotations

from sqlalchemy import Connection, text

POSTGRES = "postgresql"

SESSION_BITS = 40
"""A session gives out the numbers from ``session << 40`` on, so that no two sessions give out the same. There is room
for 8 million sessions, and in each for a thousand numbers a second for 34 years."""

_MIGRATION_LOCK = 0x68656164_67617401
"""Of PostgreSQL's advisory locks, which are numbers that everybody chooses: "headgat", 1."""
_AUDIT_LOCK = _MIGRATION_LOCK + 1


def is_postgres(connection: Connection) -> bool:
    """True on PostgreSQL, False on SQLite."""
    return connection.dialect.name == POSTGRES


def take_turns_migrating(connection: Connection) -> None:
    """Wait for other processes that bring this database's schema up to date, until the transaction's end.

    A SQLite file needs no such turn: its one writer has the lock file.
    """
    if is_postgres(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


def take_turns_with_keys(connection: Connection) -> None:
    """Wait for other processes that change keys, until the transaction's end: a name is looked for, then taken."""
    if is_postgres(connection):
        connection.execute(text("LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE"))


def take_turns_with_alerts(connection: Connection) -> None:
    """Wait for other processes that change alerts, until the transaction's end: one is looked for, then opened."""
    if is_postgres(connection):
        connection.execute(text("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE"))


def take_turns_auditing(connection: Connection) -> None:
    """Wait for other processes that add to the audit log, until the transaction's end: a row needs the one before it.

    A lock by number, not of the table: whoever may only add rows may take it.
    """
    if is_postgres(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _AUDIT_LOCK})


def next_number(connection: Connection, table: str) -> int:
    """A number for a new row of `table`, a name of ours, that nobody else gives out.

    Where there is one writer it is the highest and one more. In PostgreSQL it is negative, which no session's are.
    """
    if is_postgres(connection):
        return int(connection.execute(text("SELECT -nextval('row_numbers')")).scalar_one())
    return int(connection.execute(text(f"SELECT coalesce(max(id), 0) FROM {table}")).scalar_one()) + 1  # noqa: S608
