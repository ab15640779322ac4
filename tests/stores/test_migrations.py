"""The schema: made, recognised, refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledger_maker import Maker
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from headgate.core.errors import ConfigError
from headgate.engine.blocking import run_blocking
from headgate.stores import migrate
from headgate.stores.migrate import SCRIPTS
from headgate.stores.schema import REVISION, metadata, views
from headgate.stores.sqlite import SqliteLedger

Open = Callable[..., SqliteLedger]


def test_the_migrations_make_what_the_schema_describes(ledgers: Open) -> None:
    def differences(connection: Any) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert ledgers().call(differences) == []


def test_every_column_has_the_type_and_default_of_the_schema(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.open()
    with closing(sqlite3.connect(":memory:")) as fresh, closing(sqlite3.connect(ledger.path)) as migrated:
        from sqlalchemy.dialects import sqlite
        from sqlalchemy.schema import CreateTable

        for table in metadata.sorted_tables:
            fresh.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
            described = f"PRAGMA table_info({table.name})"
            assert migrated.execute(described).fetchall() == fresh.execute(described).fetchall(), table.name


def test_the_views_have_the_columns_of_the_schema_in_order(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.open()
    with closing(sqlite3.connect(ledger.path)) as migrated:
        for table in views.sorted_tables:
            found = [row[1] for row in migrated.execute(f"PRAGMA table_info({table.name})")]
            assert found == list(table.columns.keys()), table.name


def test_the_newest_script_is_the_revision_that_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def _contents(path: Path) -> dict[str, Any]:
    """All that a database has: how each thing was made, and every row."""
    with closing(sqlite3.connect(path)) as database:
        made = database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
        tables = [name for kind, name, _ in made if kind == "table"]
        rows = {name: database.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables if name != "owners"}
    return {"made": [(kind, name, sql and sql.split()) for kind, name, sql in made], "rows": rows}


def test_a_fresh_file_is_what_the_migrations_make(ledgers: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = ledgers("fresh.db")
    fresh.open()
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "laid_out", lambda connection: False)
        migrated = ledgers("migrated.db")
        migrated.open()
    # Another script has come? `python scripts/fresh_ledger.py` writes the file anew.
    assert _contents(fresh.path) == _contents(migrated.path)
    assert f"VALUES ('{REVISION}')" in migrate.FRESH.read_text(encoding="utf-8")


def test_scripts_newer_than_the_fresh_file_run_behind_it(
    ledgers: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "laid_out", lambda connection: False)
        first = ledgers("first.db")
        first.open()
    older = tmp_path / "older.sql"
    older.write_text(_of_the_first_script(), encoding="utf-8")
    monkeypatch.setattr(migrate, "FRESH", older)
    second = ledgers("second.db")
    second.open()
    assert _contents(second.path) == _contents(first.path)


def _of_the_first_script() -> str:
    """What `fresh.sql` was when there was one script."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        engine = create_engine("sqlite://", creator=lambda: database, poolclass=StaticPool)
        with engine.connect() as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
        made = [row[0] for row in database.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY rowid")]
    return migrate.BETWEEN.join([*made, "INSERT INTO alembic_version VALUES ('0001')"])


def test_a_newer_schema_is_refused_with_what_to_do(ledgers: Open) -> None:
    first = ledgers()
    first.open()
    first.close()
    with closing(sqlite3.connect(first.path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(ConfigError, match=r"schema 9999.*Upgrade Headgate, or point `storage`"):
        ledgers().open()


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(ledgers: Open, tmp_path: Path) -> None:
    content = b"this is a diary, not a database. " * 100
    (tmp_path / "headgate.db").write_bytes(content)
    with pytest.raises(ConfigError, match="not a SQLite database"):
        ledgers().open()
    assert (tmp_path / "headgate.db").read_bytes() == content


def test_opening_again_keeps_everything(ledgers: Open, make: Maker) -> None:
    first = ledgers()
    exchange = make.exchange()
    run_blocking(first.blocking().intend(exchange, make.attempt(exchange)))
    first.blocking().settle(make.answered(exchange))
    first.close()
    second = ledgers()
    second.open()
    found = second.reader().exchange(exchange.id)
    assert found is not None
    assert found.exchange["ending"] == "complete"
