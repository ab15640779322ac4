"""The ledger where it is no file: whether PostgreSQL answers and will do; what `memory` means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headgate.cli.doctor_report import NOTE, OK, PROBLEM, WARNING, Finding
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.stores.postgres_look import Look

_ITS_OWN = "CREATE ROLE headgate LOGIN; CREATE DATABASE headgate OWNER headgate ENCODING 'UTF8' TEMPLATE template0"


def check_memory() -> Iterator[Finding]:
    """It keeps nothing."""
    what = "storage is memory: what was spent, keys and caps are gone when the process ends"
    yield Finding("ledger", NOTE, what, "for more than tests and trials: storage: sqlite:///headgate.db")


def check_postgres(storage: str) -> Iterator[Finding]:
    """Whether it answers, is new enough, holds a ledger or will take one, and who writes it."""
    from headgate.stores.postgres_look import look

    try:
        seen = look(storage)
    except ConfigError as error:
        yield Finding("ledger", PROBLEM, error.message, "is it up, is the URL right, may this machine connect?")
        return
    yield from _server(seen)
    if not seen.ledger:
        yield _to_be_made(seen)
        return
    writers = f"{seen.owners} process{'es write' if seen.owners != 1 else ' writes'} it now"
    yield Finding("ledger", OK, writers if seen.owners else "nobody writes it now")
    if seen.silent:
        what = f"{seen.silent} that wrote it died without a word: what they left open is charged by the next sweep"
        yield Finding("ledger", NOTE, what)


def _server(seen: Look) -> Iterator[Finding]:
    from headgate.stores.postgres_database import OLDEST

    what = f"{seen.name} answers: PostgreSQL {seen.version // 10000}.{seen.version % 10000}, {_size(seen.size)}"
    yield Finding("ledger", OK, what)
    if seen.version < OLDEST:
        yield Finding("ledger", PROBLEM, f"the ledger needs PostgreSQL {OLDEST // 10000} or newer")
    if seen.encoding != "UTF8":
        yield Finding("ledger", PROBLEM, f"it stores text as {seen.encoding}; the ledger needs UTF8", _ITS_OWN)
    if not (seen.encrypted or seen.local):
        what = "the connection is not encrypted: whoever is in between reads who spends what, and the password's proof"
        yield Finding("ledger", WARNING, what, "add ?sslmode=verify-full to the URL")


def _to_be_made(seen: Look) -> Finding:
    if seen.may_create:
        return Finding("ledger", OK, "there is no ledger in it yet: the first process makes its tables")
    what = "there is no ledger in it yet, and this role may not make tables"
    return Finding("ledger", PROBLEM, what, _ITS_OWN)


def _size(size: int) -> str:
    return f"{size / 1024**2:,.1f} MiB"
