"""Move a ledger into an empty one: ``python -m headgate.stores.moving sqlite:///headgate.db env:DATABASE_URL``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text

from headgate.core.errors import ConfigError, HeadgateError
from headgate.stores.audit_log import last, note_head
from headgate.stores.dialects import is_postgres
from headgate.stores.opening import open_beside, open_reader
from headgate.stores.postgres_accounts import writable
from headgate.stores.rows import clean
from headgate.stores.schema import (
    accounts,
    api_tokens,
    approvals,
    attempt_rows,
    audit_log,
    caps,
    exchange_rows,
    homes,
    intents,
    keys,
    people,
    shapes,
)

MOVED = (
    *(shapes, exchange_rows, attempt_rows, accounts, caps, keys, homes, approvals),
    *(people, api_tokens, audit_log),
)
"""Not who writes it, not who is logged in, and not what is open: nothing is, once nobody writes it."""

_AT_ONCE = 1_000


def move(old: str, new: str) -> dict[str, int]:
    """Copy a ledger that nobody writes, in one transaction.

    Args:
        old, new: storage URLs. `new` is an empty ledger, or a place for one.

    Returns:
        How many rows of each table were copied.

    Raises:
        ConfigError: somebody writes the old one, the new one is not empty, or one of them is none.
        Unavailable: the new one cannot be written.
    """
    source = open_beside(old)
    try:
        source.open()  # charges what a killed process left open, and keeps others out
    finally:
        source.close()
    target = open_beside(new)
    try:
        return open_reader(old)._ask(lambda reading: target.call(lambda writing: _copy(reading, writing)))
    finally:
        target.close()


def _copy(reading: Connection, writing: Connection) -> dict[str, int]:
    if reading.execute(select(intents.c.id).limit(1)).first() is not None:
        raise ConfigError("the old ledger is being written: stop every process that uses it, and try again")
    filled = [each.name for each in MOVED if writing.execute(select(each).limit(1)).first()]
    if filled:
        raise ConfigError(f"the new ledger is not empty ({', '.join(filled)}): move into a new database")
    counts = {table.name: _copied(table, reading, writing) for table in MOVED}
    note_head(writing, *last(writing))
    if is_postgres(writing):
        highest = writing.execute(select(func.coalesce(func.max(accounts.c.id), 0))).scalar_one()
        writing.execute(text("SELECT setval('row_numbers', :highest)"), {"highest": highest + 1})
    return counts


def _copied(table: Table, reading: Connection, writing: Connection) -> int:
    count = 0
    for rows in _batches(table, reading):
        writing.execute(insert(table), rows)
        count += len(rows)
    return count


def _batches(table: Table, reading: Connection) -> Iterator[Sequence[Mapping[str, Any]]]:
    names = table.columns.keys()
    found = reading.execution_options(yield_per=_AT_ONCE).execute(select(table))
    for part in found.partitions(_AT_ONCE):
        yield [_row(names, row) for row in part]


def _row(names: Sequence[str], row: Sequence[Any]) -> Mapping[str, Any]:
    told = dict(zip(names, row, strict=True))
    scope = {"scope": writable(told["scope"])} if "scope" in told else {}
    return dict(zip(names, clean(tuple(row)), strict=True)) | scope


def main(arguments: Sequence[str]) -> int:
    """`OLD NEW`; ``env:NAME`` stands for what that variable holds. Exit codes as the command line's."""
    if len(arguments) != 2:
        sys.stderr.write(
            "usage: python -m headgate.stores.moving OLD NEW, as in sqlite:///headgate.db env:DATABASE_URL\n"
        )
        return 2
    try:
        counts = move(*map(_told, arguments))
    except HeadgateError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    sys.stdout.write("".join(f"{count:>12,}  {name}\n" for name, count in counts.items()))
    return 0


def _told(argument: str) -> str:
    if not argument.startswith("env:"):
        return argument
    value = os.environ.get(argument.removeprefix("env:"), "")
    if not value:
        raise ConfigError(f"the environment variable {argument.removeprefix('env:')} is not set")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
