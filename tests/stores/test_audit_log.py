"""The audit log: rows that are added and never changed, and a chain that shows where somebody did."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import Server, server
from sqlalchemy.exc import OperationalError

from headgate.core.actors import Actor, acting
from headgate.core.approvals import Decision, Parked
from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError, HeadgateError, Unavailable
from headgate.core.guards import ToolCall
from headgate.policy.budget_scopes import claim_on
from headgate.stores import audit_log
from headgate.stores.approvals import ApprovalStore
from headgate.stores.audit_log import FIRST, AuditRow, verify
from headgate.stores.cap_change import change_cap, restore_cap
from headgate.stores.keys import key_hash
from headgate.stores.memory import MemoryLedger
from headgate.stores.moving import move
from headgate.stores.opening import open_ledger

__all__ = ["server"]

Open = Callable[..., Any]
ADA = Actor("ada", "admin", "dashboard", "192.0.2.7")


def test_each_change_of_a_key_is_one_row_with_who_what_and_no_secret(ledgers: Open) -> None:
    ledger = ledgers()
    with acting(ADA):
        made = ledger.keys.create("ci", tenant="acme")
        again = ledger.keys.rotate("ci")
        ledger.keys.revoke("ci")
    rows = ledger.audit.rows()
    assert [row.action for row in rows] == ["key.revoke", "key.rotate", "key.create"]
    assert {(row.actor, row.role, row.way, row.address) for row in rows} == {("ada", "admin", "dashboard", "192.0.2.7")}
    assert {(row.subject, row.tenant) for row in rows} == {(made.key.id, "acme")}
    written = repr([row.as_json() for row in rows])
    for secret in (made.secret.reveal(), made.key.hash, again.secret.reveal(), again.key.hash):
        assert secret not in written
    assert ledger.audit.verify().rows == 3


def test_a_change_that_fails_leaves_no_row(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.keys.create("ci")
    with pytest.raises(ConfigError):
        ledger.keys.create("ci")
    assert len(ledger.audit.rows()) == 1


def test_a_cap_is_on_record_before_and_after_and_only_where_it_changes(ledgers: Open) -> None:
    ledger = ledgers()
    budget = Budget("tenant/day", per=("tenant",), cap_nano=5_000_000_000, every="day")
    change_cap(ledger, budget, "acme", 1_800_000_000.0, nano=20_000_000_000, tokens=None)
    change_cap(ledger, budget, "acme", 1_800_000_000.0, nano=20_000_000_000, tokens=None)
    restore_cap(ledger, budget, "acme", 1_800_000_000.0)
    after, before = (row.as_json() for row in ledger.audit.rows())
    assert (before["subject"], before["tenant"], before["way"]) == ("tenant/day acme", "acme", "python")
    assert (before["before"]["usd"], before["after"]["usd"], after["after"]["overridden"]) == ("5", "20", False)


def test_a_cap_that_cannot_be_put_on_record_stays_as_it_is(ledgers: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, at = ledgers(), 1_800_000_000.0
    budget = Budget("tenant/day", per=("tenant",), cap_nano=5_000_000_000, every="day")

    def full(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", None, sqlite3.OperationalError("database or disk is full"))

    for made in (False, True):
        if made:
            change_cap(ledger, budget, "acme", at, nano=7, tokens=None)
        with monkeypatch.context() as broken:
            broken.setattr(audit_log, "append", full)
            with pytest.raises(Unavailable):
                change_cap(ledger, budget, "acme", at, nano=9, tokens=None)
            if made:
                with pytest.raises(Unavailable):
                    restore_cap(ledger, budget, "acme", at)
        (after,) = ledger.balances([claim_on(budget, "acme", at)])
        assert (after.cap_nano, after.overridden) == ((7, True) if made else (5_000_000_000, False))
    assert len(ledger.audit.rows()) == 1


def test_a_change_outside_the_ledger_has_a_row_before_it_and_another_with_what_came_of_it(ledgers: Open) -> None:
    audit = ledgers().audit
    with audit.around("cache.forget", "tenant=acme", tenant="acme") as came:
        (row,) = audit.rows()
        assert (row.action, row.subject, row.after) == ("cache.forget", "tenant=acme", '{"begun":true}')
        came.after = {"forgotten": 3}
    assert [row.after for row in audit.rows()] == ['{"forgotten":3}', '{"begun":true}']
    with pytest.raises(RuntimeError), audit.around("cache.forget", "everything"):
        raise RuntimeError("the place is away")
    assert [row.subject for row in audit.rows()] == ["everything", "tenant=acme", "tenant=acme"]


def test_a_decision_is_on_record_with_the_way_it_came(ledgers: Open) -> None:
    ledger = ledgers()
    store = ApprovalStore(ledger, bytes, now=lambda: 1_800_000_000.0)
    call = ToolCall("t1", "send_email", '{"to": "canary-body"}', "messages")
    caller = Caller(tenant="acme", user="bob")
    parked = Parked("ap_" + "a" * 26, 1_799_999_000.0, 1_900_000_000.0, caller, call, "x1", "d")
    store.keep(parked)
    ledger.flush()
    store.decide(parked.id, Decision(True, None, "webhook", ""))
    store.decide(parked.id, Decision(False, None, "webhook", ""))
    (row,) = ledger.audit.rows()
    assert (row.action, row.subject, row.tenant, row.way) == ("approval.decide", parked.id, "acme", "webhook")
    assert "canary-body" not in row.before + row.after


def test_the_database_refuses_to_change_or_remove_a_row(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.audit.record("a", "b")
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as connection:
        for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


def tampered(ledgers: Open, statement: str) -> Any:
    ledger = ledgers()
    for number in range(5):
        ledger.audit.record("key.create", f"key-{number}", after={"name": f"n{number}"})
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.executescript("DROP TRIGGER audit_log_no_update; DROP TRIGGER audit_log_no_delete;" + statement)
    return ledgers().audit.verify()


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit_log SET actor = 'mallory' WHERE number = 3", 3),
        ("UPDATE audit_log SET at = at + 1 WHERE number = 1", 1),
        ("DELETE FROM audit_log WHERE number = 2", 2),
        ("DELETE FROM audit_log WHERE number = 5", 5),
        ("DELETE FROM audit_log", 1),
        ("UPDATE audit_log SET number = 9 WHERE number = 5", 5),
        ("UPDATE audit_log SET previous = hash WHERE number = 4", 4),
    ],
)
def test_tampering_is_told_with_the_first_broken_row(ledgers: Open, statement: str, broken: int) -> None:
    found = tampered(ledgers, statement)
    assert (found.broken, found.rows) == (broken, broken - 1)
    assert found.why


def test_an_untouched_chain_is_sound_and_its_head_is_the_last_hash(ledgers: Open) -> None:
    found = tampered(ledgers, "")
    assert (found.broken, found.rows) == (None, 5)
    assert found.head == ledgers().audit.rows(limit=1)[0].hash


def test_a_chain_made_anew_is_seen_by_whoever_noted_a_hash(ledgers: Open) -> None:
    ledger = ledgers()
    noted = [(row.number, row.hash) for row in (ledger.audit.record("a", str(n)) for n in range(3))]
    assert ledger.audit.verify(noted[1]).broken is None
    assert ledger.audit.verify((2, noted[0][1])).broken == 2
    assert ledger.audit.verify((7, noted[0][1])).broken == 4


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["actor", "subject", "tenant", "before"]), st.text(max_size=20), min_size=1))
def test_any_field_that_is_another_makes_another_hash(changed: dict[str, str]) -> None:
    row = AuditRow(1, 2.5, "ada", "admin", "api", "", "key.create", "k", "", "", "{}", FIRST)
    other = replace(row, **changed)
    assert (row.digest() == other.digest()) == (row == other)


def test_text_that_no_database_takes_is_written_so_that_it_still_verifies() -> None:
    ledger = MemoryLedger()
    ledger.audit.record("key.create", "a\0b\ud800", after={"name": "\0\ud800é"})
    assert ledger.audit.verify().broken is None
    ledger.close()


def test_a_page_goes_on_below_the_last_row_of_the_one_before(ledgers: Open) -> None:
    ledger = ledgers()
    for number in range(5):
        ledger.audit.record("a", str(number), tenant="acme" if number % 2 else "")
    first = ledger.audit.rows(limit=2)
    assert [row.number for row in first + ledger.audit.rows(below=first[-1].number)] == [5, 4, 3, 2, 1]
    assert [row.number for row in ledger.audit.rows(tenant="acme")] == [4, 2]
    assert [row.number for row in ledger.audit.rows(subject="3")] == [4]


def test_in_postgresql_two_processes_make_one_chain_that_nobody_can_shorten(server: Server, ledgers: Open) -> None:
    old = ledgers()
    old.people.add("ada", "admin", password="-")
    old.close()
    database = server.url()
    move(f"sqlite:///{old.path}", database)
    one, two = open_ledger(database), open_ledger(database + "?application_name=two")

    def fill(ledger: Any) -> None:
        for number in range(20):
            ledger.audit.record("a", str(number))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fill, (one, two)))
    assert one.call(verify).rows == 41
    for statement in ("UPDATE audit_log SET actor = ''", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(HeadgateError, match="append-only"):
            two.call(lambda sql, statement=statement: sql.exec_driver_sql(statement))  # type: ignore[misc]
    assert two.audit.verify().broken is None
    cookie = key_hash(one.sessions.begin("ada", "192.0.2.1").reveal())
    assert two.sessions.visit(cookie) is not None
    two.people.set_password("ada", "another")
    assert one.sessions.visit(cookie) is None
    token, _ = one.api_tokens.make("ci", "viewer")
    two.api_tokens.revoke(token.id)
    assert one.api_tokens.find(token.id) is None
    one.close()
    two.close()
