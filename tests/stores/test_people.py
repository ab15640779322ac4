"""People, their sessions and API tokens, as the ledger keeps them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from postgres_server import Server, server

from headgate.core.actors import Actor, acting
from headgate.core.errors import ConfigError
from headgate.stores import api_tokens, people
from headgate.stores.keys import key_hash
from headgate.stores.memory import MemoryLedger
from headgate.stores.postgres import PostgresLedger
from headgate.stores.sessions import ABSOLUTE_SECONDS, IDLE_SECONDS

__all__ = ["server"]

DAY = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Iterator[Any]:
    made = MemoryLedger(now=clock)
    made.people.add("ada", "admin", password="h1")
    yield made
    made.close()


def test_the_first_person_has_to_be_an_admin(clock: Clock) -> None:
    ledger = MemoryLedger(now=clock)
    with pytest.raises(ConfigError, match="first person has to be an admin"):
        ledger.people.add("bob", "viewer", password="-")
    ledger.close()


@pytest.mark.parametrize(
    ("name", "role", "tenant"),
    [
        ("Ada", "admin", ""),
        ("", "admin", ""),
        ("a b", "admin", ""),
        ("-a", "viewer", ""),
        ("a" * 65, "viewer", ""),
        ("bob", "root", ""),
        ("bob", "viewer", "acme"),
        ("bob", "tenant-admin", ""),
        ("bob", "tenant-admin", "a\x1b[0m"),
        ("ada", "admin", ""),
    ],
)
def test_a_name_or_role_that_is_none_or_taken_is_refused(ledger: Any, name: str, role: str, tenant: str) -> None:
    with pytest.raises(ConfigError):
        ledger.people.add(name, role, tenant=tenant, password="-")


def test_the_last_admin_stays_while_there_are_others(ledger: Any) -> None:
    ledger.people.add("bob", "viewer", password="-")
    for change in (lambda: ledger.people.remove("ada"), lambda: ledger.people.change("ada", role="viewer")):
        with pytest.raises(ConfigError, match="last admin"):
            change()
    ledger.people.change("bob", role="admin")
    ledger.people.remove("ada")
    ledger.people.remove("bob")
    assert ledger.people.list() == []


def visited(ledger: Any, cookie: str) -> bool:
    return ledger.sessions.visit(key_hash(cookie)) is not None


def test_a_session_ends_when_it_is_idle_and_when_it_is_old(ledger: Any, clock: Clock) -> None:
    idle = ledger.sessions.begin("ada", "192.0.2.1").reveal()
    used = ledger.sessions.begin("ada", "192.0.2.1").reveal()
    steps = int(ABSOLUTE_SECONDS // (IDLE_SECONDS - 1))
    for _ in range(steps):
        clock.at += IDLE_SECONDS - 1
        assert visited(ledger, used)
    assert not visited(ledger, idle)
    clock.at += IDLE_SECONDS - 1
    assert not visited(ledger, used)


@pytest.mark.parametrize(
    "end",
    [
        lambda ledger, cookie: ledger.sessions.end(key_hash(cookie)),
        lambda ledger, _: ledger.sessions.end_all("ada"),
        lambda ledger, _: ledger.people.set_password("ada", "h2"),
        lambda ledger, _: ledger.people.remove("ada"),
        lambda ledger, cookie: ledger.sessions.begin("ada", "", ends=key_hash(cookie)),
    ],
    ids=["logout", "logout everywhere", "another password", "removed", "logged in again"],
)
def test_a_session_is_over_after(ledger: Any, clock: Clock, end: Callable[[Any, str], object]) -> None:
    cookie = ledger.sessions.begin("ada", "").reveal()
    assert visited(ledger, cookie)
    clock.at += 1
    end(ledger, cookie)
    assert not visited(ledger, cookie)


def test_what_is_stored_of_a_session_is_not_its_cookie(ledger: Any) -> None:
    cookie = ledger.sessions.begin("ada", "").reveal()
    (session,) = ledger.sessions.of("ada")
    assert cookie not in repr(session)
    assert ledger.sessions.visit(cookie) is None


def test_a_token_works_until_it_expires_or_is_revoked(ledger: Any, clock: Clock) -> None:
    short, _ = ledger.api_tokens.make("short", "viewer", expires=clock.at + DAY)
    long, whole = ledger.api_tokens.make("long", "tenant-admin", tenant="acme")
    assert whole.reveal().startswith(f"hga-{long.id}-")
    assert ledger.api_tokens.find(short.id).name == "short"
    clock.at += DAY
    assert ledger.api_tokens.find(short.id) is None
    assert ledger.api_tokens.find(long.id).tenant == "acme"
    ledger.api_tokens.revoke(long.id)
    assert ledger.api_tokens.find(long.id) is None
    with pytest.raises(ConfigError):
        ledger.api_tokens.revoke(long.id)


def test_everything_is_on_record_without_a_hash(ledger: Any) -> None:
    ledger.people.add("bob", "viewer", password="canary-hash")
    ledger.people.change("bob", role="operator")
    ledger.people.set_password("bob", "canary-hash-2")
    cookie = ledger.sessions.begin("bob", "192.0.2.1").reveal()
    ledger.sessions.end(key_hash(cookie))
    _, whole = ledger.api_tokens.make("ci", "viewer")
    ledger.people.remove("bob")
    rows = ledger.audit.rows()
    assert [row.action for row in reversed(rows)] == [
        *("person.add", "person.add", "person.change", "person.password"),
        *("session.begin", "session.end", "token.create", "person.remove"),
    ]
    written = repr(rows)
    assert not any(secret in written for secret in ("canary-hash", cookie, whole.reveal()))
    assert ledger.audit.verify().broken is None


def revoked(ledger: PostgresLedger) -> object:
    return ledger.api_tokens.revoke(ledger.api_tokens.list()[0].id)


def given_another_password(ledger: PostgresLedger) -> object:
    return ledger.people.set_password("ada", "h2")


@pytest.mark.parametrize(
    ("end", "module", "second_step"),
    [(revoked, api_tokens, "append"), (given_another_password, people, "end_sessions")],
)
def test_who_removes_a_person_waits_for_another_gateway_without_holding_it_up(
    end: Callable[[PostgresLedger], object],
    module: Any,
    second_step: str,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = server.url()
    one, two = PostgresLedger(url), PostgresLedger(f"{url}{'&' if '?' in url else '?'}application_name=two")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name <> 'two' AND wait_event_type = 'Lock'"
    at_it = threading.Event()
    really = getattr(module, second_step)

    def once_the_other_waits(*args: Any, **more: Any) -> Any:
        if threading.current_thread() is not remover and not at_it.is_set():
            at_it.set()
            deadline = time.monotonic() + 20
            while server.run(waiting) == [(0,)] and time.monotonic() < deadline:
                time.sleep(0.02)
        return really(*args, **more)

    remover = threading.Thread(target=lambda: at_it.wait(20) and one.people.remove("ada"))
    try:
        for name in ("root", "ada"):
            one.people.add(name, "admin", password="h1")
        with acting(Actor("ada", "admin", "dashboard")):
            one.api_tokens.make("ci", "viewer")
        one.sessions.begin("ada", "192.0.2.1")
        two.open()
        monkeypatch.setattr(module, second_step, once_the_other_waits)
        remover.start()
        end(two)
        remover.join(20)
        assert [each.name for each in two.people.list()] == ["root"]
        assert [each.health()["failures"] for each in (one, two)] == [0, 0]
    finally:
        for each in (one, two):
            each.close()
