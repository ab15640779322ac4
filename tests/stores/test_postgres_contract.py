"""What holds of a ledger in SQLite holds of one in PostgreSQL: the very same tests, and what its schema is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import test_keys_store
import test_reader
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from postgres_server import Server, database_of, server, url
from sqlalchemy import inspect

from headgate.core.errors import ConfigError
from headgate.stores.postgres import PostgresLedger, PostgresReader
from headgate.stores.postgres_database import postgres_place, writer_engine
from headgate.stores.schema import REVISION, metadata, views

__all__ = ["server", "url"]

Open = Callable[..., PostgresLedger]

ABOUT_FILES = {
    "test_a_span_of_time_reads_its_part_of_the_table_only",
    "test_reading_where_there_is_no_ledger_says_so",
    "test_a_reader_cannot_write",
    "test_the_secret_is_not_on_disk_and_does_not_print",
}
"""Tests that speak of SQLite's files and plans; what stands for them here is below."""


def contract(*modules: ModuleType) -> dict[str, Any]:
    return {
        name: test
        for module in modules
        for name, test in vars(module).items()
        if name.startswith("test_") and name not in ABOUT_FILES and "ledgers" in test.__code__.co_varnames
    }


globals().update(contract(test_reader, test_keys_store))


@pytest.fixture
def ledgers(server: Server) -> Iterator[Open]:
    """Opens ledgers on a database of this test's own (or others, by name) and closes them afterwards."""
    opened: list[PostgresLedger] = []
    places: dict[str, str] = {}

    def open_ledger(name: str = "headgate", **options: Any) -> PostgresLedger:
        ledger = PostgresLedger(places.setdefault(name, server.url()), **options)
        opened.append(ledger)
        return ledger

    yield open_ledger
    for ledger in opened:
        ledger.close()


def test_the_contract_is_not_empty() -> None:
    assert len(contract(test_reader, test_keys_store)) > 20


def test_the_migrations_make_what_the_schema_describes(ledgers: Open) -> None:
    def differences(connection: Any) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert ledgers().call(differences) == []


def test_the_views_have_the_columns_of_the_schema_in_order(ledgers: Open) -> None:
    def columns(connection: Any) -> dict[str, list[str]]:
        return {view: [c["name"] for c in inspect(connection).get_columns(view)] for view in views.tables}

    assert ledgers().call(columns) == {view: list(table.columns.keys()) for view, table in views.tables.items()}


def test_ids_are_compared_byte_by_byte_whatever_the_databases_language(ledgers: Open) -> None:
    def sorted_ids(connection: Any) -> list[str]:
        connection.exec_driver_sql(
            "INSERT INTO exchange_rows (id, shape, started) VALUES ('b', 1, 0), ('B', 1, 0), ('_', 1, 0), ('a', 1, 0)"
        )
        return [id_ for (id_,) in connection.exec_driver_sql("SELECT id FROM exchange_rows ORDER BY id")]

    assert ledgers().call(sorted_ids) == sorted("bB_a")


def test_a_downgrade_leaves_nothing_behind(ledgers: Open, server: Server) -> None:
    def undo(connection: Any) -> None:
        from alembic import command
        from alembic.config import Config

        from headgate.stores.migrate import SCRIPTS

        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    ledger = ledgers()
    ledger.call(undo)
    left = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')"
    assert server.run(left, database_of(ledger._key)) == [("alembic_version",)]


def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    place, errors = postgres_place(url), []
    start = threading.Barrier(4)

    def open_one() -> None:
        from headgate.stores.migrate import upgrade

        start.wait()
        try:
            with writer_engine(place).connect() as connection:
                upgrade(connection, place.name)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert PostgresReader(place)._ask(lambda c: c.exec_driver_sql("SELECT * FROM alembic_version").all()) == [
        (REVISION,)
    ]


def test_a_newer_schema_is_refused_with_what_to_do(ledgers: Open, server: Server, url: str) -> None:
    PostgresLedger(url).open()
    server.run("UPDATE alembic_version SET version_num = '9999'", database_of(url))
    with pytest.raises(ConfigError, match=r"schema 9999.*Upgrade Headgate"):
        PostgresLedger(f"{url}?application_name=another").open()


def test_a_database_that_another_application_uses_is_left_as_it_is(server: Server, url: str) -> None:
    server.run("CREATE TABLE keys (door text)", database_of(url))
    with pytest.raises(ConfigError, match=r"cannot be set up: relation .keys. already exists.*of its own"):
        PostgresLedger(url).open()
    left = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert server.run(left, database_of(url)) == [("keys",)]


def test_a_schema_of_its_own_is_enough(server: Server, url: str) -> None:
    server.run("CREATE TABLE keys (door text)", database_of(url))
    server.run("CREATE SCHEMA headgate", database_of(url))
    ledger = PostgresLedger(f"{url}?options=-csearch_path%3Dheadgate")
    ledger.keys.create("dev")
    stored = ledger.reader().keys()
    assert [key.name for key in stored] == ["dev"]
    ledger.close()


@pytest.mark.parametrize("right", ["CREATE", "ALL"])
def test_a_role_that_may_not_create_tables_is_told_so(server: Server, right: str) -> None:
    made = server.url(user="onlooker")
    server.run("DO $$ BEGIN CREATE ROLE onlooker LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    server.run(f"REVOKE {right} ON SCHEMA public FROM PUBLIC", database_of(made))
    with pytest.raises(ConfigError, match="role that may create tables"):
        PostgresLedger(made).open()


def test_a_database_that_cannot_hold_every_text_is_refused(server: Server, url: str) -> None:
    server.run("CREATE DATABASE narrow TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    narrow = url.replace(database_of(url), "narrow")
    with pytest.raises(ConfigError, match="stores text as SQL_ASCII; the ledger needs UTF8"):
        PostgresLedger(narrow).open()


def test_reading_where_there_is_no_ledger_says_so(url: str) -> None:
    with pytest.raises(ConfigError, match=rf"there is no ledger in postgresql://127\.0\.0\.1:\d+/{database_of(url)}"):
        PostgresReader(url).usage()


def test_a_reader_cannot_write(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.open()
    with pytest.raises(ConfigError, match="read-only transaction"):
        ledger.reader()._ask(lambda connection: connection.exec_driver_sql("DELETE FROM meta"))


def test_the_secret_is_nowhere_in_the_database(ledgers: Open) -> None:
    ledger = ledgers()
    secret = ledger.keys.create("dev").secret.reveal().split("-", 2)[2]
    stored = ledger.reader()._ask(lambda connection: connection.exec_driver_sql("SELECT keys::text FROM keys").all())
    assert secret not in str(stored)


def test_one_name_goes_to_one_key_whoever_asks_at_the_same_time(url: str) -> None:
    replicas = [PostgresLedger(f"{url}?application_name=replica{n}") for n in range(3)]
    for replica in replicas:
        replica.open()
    start, made = threading.Barrier(3), []

    def create(ledger: PostgresLedger) -> None:
        start.wait()
        try:
            made.append(ledger.keys.create("dev"))
        except ConfigError as error:
            made.append(str(error))

    threads = [threading.Thread(target=create, args=(replica,)) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(each, str) and "named 'dev' already" in each for each in made) == 2
    for replica in replicas:
        replica.close()
