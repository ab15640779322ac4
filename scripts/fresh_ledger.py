"""Write src/headgate/stores/migrations/fresh.sql anew, after a new migration: what all of them make of an empty file.

python scripts/fresh_ledger.py
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from headgate.stores import migrate


def statements() -> list[str]:
    """What `sqlite_master` says after all migrations, in order, and the revision."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    engine = create_engine("sqlite://", creator=lambda: database, poolclass=StaticPool)
    with engine.connect() as connection, connection.begin():
        migrate._migrate(connection, "in memory")
    made = [str(row[0]) for row in database.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY rowid")]
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        rows = database.execute(f'SELECT * FROM "{table}"').fetchall()
        if table == "alembic_version":
            made.append(f"INSERT INTO alembic_version VALUES ('{rows[0][0]}')")
        elif rows:
            raise SystemExit(f"a migration writes rows of {table}: let this script write them, too")
    return made


if __name__ == "__main__":
    found = migrate.BETWEEN.join(statements())
    migrate.FRESH.write_text("\n".join(line.rstrip() for line in found.splitlines()) + "\n", encoding="utf-8")
