"""What `headgate doctor` is told of a database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import Server, database_of, server, url

from headgate.cli.doctor_ledger import check_postgres
from headgate.cli.doctor_report import NOTE, OK, PROBLEM, WARNING
from headgate.core.errors import ConfigError
from headgate.stores import postgres_look
from headgate.stores.postgres import PostgresLedger
from headgate.stores.postgres_look import Look, look

__all__ = ["server", "url"]

GOOD = Look("postgresql://db/headgate", 150004, "UTF8", True, False, True, True, 10 * 1024**2, 2, 0)


@pytest.fixture
def ledger(url: str) -> Iterator[PostgresLedger]:
    found = PostgresLedger(url)
    found.open()
    yield found
    found.close()


def test_an_empty_database_can_take_a_ledger(url: str) -> None:
    seen = look(url)
    assert (seen.ledger, seen.may_create, seen.owners, seen.encoding, seen.local) == (False, True, 0, "UTF8", True)
    assert seen.size > 1024**2


def test_those_who_write_are_counted_and_those_who_died_without_a_word(
    server: Server, url: str, ledger: PostgresLedger
) -> None:
    seen = look(url)
    assert (seen.ledger, seen.owners, seen.silent) == (True, 1, 0)
    server.run("UPDATE owners SET heartbeat = heartbeat - 61", database_of(url))
    seen = look(url)
    assert (seen.owners, seen.silent) == (0, 1)


def test_looking_changes_nothing(server: Server, url: str) -> None:
    look(url)
    left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert server.run(left, database_of(url)) == [(0,)]


def test_a_database_that_is_not_there_is_one_sentence(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"postgresql://127\.0\.0\.1:\d+/nothing does not answer: .*does not exist"):
        look(f"postgresql://headgate@127.0.0.1:{server.port}/nothing")


@pytest.mark.parametrize(
    ("seen", "level", "said"),
    [
        (GOOD, OK, "2 processes write it now"),
        (GOOD._replace(owners=1), OK, "1 process writes it now"),
        (GOOD._replace(owners=0), OK, "nobody writes it now"),
        (GOOD._replace(silent=1), NOTE, "died without a word"),
        (GOOD._replace(ledger=False), OK, "the first process makes its tables"),
        (GOOD._replace(ledger=False, may_create=False), PROBLEM, "this role may not make tables"),
        (GOOD._replace(version=130009), PROBLEM, "needs PostgreSQL 14 or newer"),
        (GOOD._replace(encoding="SQL_ASCII"), PROBLEM, "stores text as SQL_ASCII"),
        (GOOD._replace(encrypted=False), WARNING, "not encrypted"),
    ],
)
def test_each_fault_is_told_with_its_weight(seen: Look, level: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_look, "look", lambda _: seen)
    (found,) = [each for each in check_postgres("postgresql://db/headgate") if said in each.what]
    assert found.level == level


def test_a_connection_on_this_machine_needs_no_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_look, "look", lambda _: GOOD._replace(encrypted=False, local=True))
    assert {each.level for each in check_postgres("postgresql://localhost/headgate")} == {OK}
