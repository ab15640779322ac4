"""Bring a ledger's schema up to date when it is opened."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from headgate.core.errors import ConfigError
from headgate.stores.dialects import is_postgres, take_turns_migrating
from headgate.stores.schema import REVISION

SCRIPTS = Path(__file__).with_name("migrations")

_alembic = threading.Lock()
"""Alembic keeps its context in a module, so two ledgers opened at once must take turns."""

FRESH = SCRIPTS / "fresh.sql"
"""What the scripts make of an empty SQLite database, statement by statement; `scripts/fresh_ledger.py` writes it."""
BETWEEN = "\n--\n"
"""Between two statements: triggers have semicolons of their own."""


def upgrade(connection: Connection, where: str) -> None:
    """Run the missing migrations in one transaction; nothing to do is one SELECT. Processes take turns.

    Args:
        connection: outside a transaction.
        where: the ledger's place, for the message.

    Raises:
        ConfigError: the ledger was written by a newer Headgate, or the file is not a ledger of ours.
    """
    found = revision(connection)
    connection.rollback()
    if found != REVISION:
        with _alembic, connection.begin():
            take_turns_migrating(connection)
            if not laid_out(connection):
                _migrate(connection, where)


def laid_out(connection: Connection) -> bool:
    """Make an empty SQLite database at once, without Alembic: a process's first call waits for it.

    Returns:
        Whether it is up to date now. If not, the scripts go on from the revision that is there.
    """
    if is_postgres(connection) or connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar():
        return False
    for statement in FRESH.read_text(encoding="utf-8").split(BETWEEN):
        connection.exec_driver_sql(statement)
    return revision(connection) == REVISION


def _migrate(connection: Connection, where: str) -> None:
    # Alembic takes a fifth of a second to import; a ledger that is up to date never needs it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    found = revision(connection)  # by now another process may have done it
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ConfigError(
            f"the ledger {where} has schema {found}, which this Headgate does not know (it knows up to {REVISION}): "
            "it was written by a newer version. Upgrade Headgate, or point `storage` at another file."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revision(connection: Connection) -> str | None:
    """The schema's revision, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
