"""Alerts on record: one for all processes; and their notices: claimed once, in order, given up in the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from postgres_server import Server, server

from headgate.alerting.board import Board
from headgate.core.errors import ConfigError
from headgate.policy.alert_rules import RULES
from headgate.policy.alert_states import Change, Reading
from headgate.stores import alert_outbox
from headgate.stores.alert_outbox import GIVE_UP_SECONDS, claim, done, failed
from headgate.stores.alerts import STALE_SECONDS, Recording, Told, record
from headgate.stores.ledger import WrittenLedger
from headgate.stores.postgres import PostgresLedger
from headgate.stores.sqlite import SqliteLedger

__all__ = ["server"]

NOW = 1_800_000_000.0
RULE = RULES["exchange_errors"]
PLACES = (("webhook-a", "warning"), ("email-b", "critical"))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger(f"sqlite:///{tmp_path / 'headgate.db'}")
    yield made
    made.close()


def change(what: Any, *, severity: Any = "critical", times: int = 1, until: float = 0.0, scope: str = "p") -> Change:
    reading = Reading(RULE.name, scope, 0.5, 100, "half of them", "/ui/exchanges", until=until)
    return Change(what, replace(RULE, severity=severity), reading, NOW - 60, times)


def put(ledger: WrittenLedger, *changes: Change, at: float = 0.0, owner: str = "one", **more: Any) -> list[Told]:
    how = Recording(owner, PLACES, remind=3_600.0, url="https://llm.example.com", **more)
    return ledger.call(lambda sql: record(sql, changes, how, NOW + at))


def outbox(ledger: WrittenLedger, place: str, at: float = 0.0, owner: str = "one", **more: Any) -> Any:
    return ledger.call(lambda sql: claim(sql, place, owner, NOW + at, **{"alone": True, **more}))


def drain(ledger: WrittenLedger, place: str, at: float = 0.0) -> list[dict[str, Any]]:
    found = []
    while (notice := outbox(ledger, place, at).notice) is not None:
        found.append(notice.body)
        ledger.call(lambda sql, notice=notice: done(sql, notice, NOW))
    return found


def test_an_alert_is_told_when_it_opens_now_and_then_while_it_goes_on_and_when_it_ends(ledger: SqliteLedger) -> None:
    told = [put(ledger, change("opened"))]
    for at in range(60, 7_260, 60):
        told.append(put(ledger, change("seen"), at=at))
    told.append(put(ledger, change("resolved"), at=7_300))
    assert [each.what for found in told for each in found] == ["opened", "reminder", "reminder", "resolved"]
    bodies = drain(ledger, "webhook-a", 7_400)
    assert [body["type"] for body in bodies] == [
        "alert.opened",
        "alert.reminder",
        "alert.reminder",
        "alert.resolved",
    ]
    first, last = bodies[0], bodies[-1]
    assert (first["evidence_url"], first["runbook"]) == (
        "https://llm.example.com/ui/exchanges",
        "docs/runbooks/exchange_errors.md",
    )
    assert (first["state"], last["state"], last["resolved"]) == ("firing", "resolved", NOW + 7_300)


def test_whoever_wants_only_what_is_critical_is_told_of_nothing_else(ledger: SqliteLedger) -> None:
    put(ledger, change("opened", severity="warning"))
    assert (len(drain(ledger, "webhook-a")), len(drain(ledger, "email-b"))) == (1, 0)
    put(ledger, change("seen"), at=60)  # it has become critical: that is news at once
    assert (len(drain(ledger, "webhook-a", 60)), len(drain(ledger, "email-b", 60))) == (1, 1)


def test_an_acknowledged_alert_is_not_told_again_until_it_ends(ledger: SqliteLedger) -> None:
    put(ledger, change("opened"))
    events: list[Any] = []
    board = Board(ledger, now=lambda: NOW + 10, tell=lambda name, **fields: events.append((name, fields["by"])))
    (alert,) = board.active()
    assert board.acknowledge(alert.id, "ada").state == "acknowledged"
    assert events == [("alert_acknowledged", "ada")]
    assert put(ledger, change("seen"), at=9_000) == []
    assert [each.what for each in put(ledger, change("resolved"), at=9_060)] == ["resolved"]
    assert board.active() == ()
    assert [each.state for each in board.history()] == ["resolved"]
    with pytest.raises(ConfigError, match="no alert"):
        board.acknowledge(alert.id, "ada")


def test_of_several_processes_one_tells_and_it_ends_when_the_last_of_them_sees_it_no_longer(
    ledger: SqliteLedger,
) -> None:
    assert [each.what for each in put(ledger, change("opened"))] == ["opened"]
    assert put(ledger, change("opened"), at=5, owner="two") == []
    assert put(ledger, change("resolved"), at=10) == []
    assert [each.what for each in put(ledger, change("resolved"), at=15, owner="two")] == ["resolved"]


def test_what_a_dead_process_saw_ends_after_a_while_but_what_has_happened_counts_on(ledger: SqliteLedger) -> None:
    put(ledger, change("opened"), change("opened", until=NOW + 5_000, scope="budget"))
    assert put(ledger, at=STALE_SECONDS - 1, owner="two") == []
    assert [each.alert.scope for each in put(ledger, at=STALE_SECONDS + 1, owner="two")] == ["p"]
    assert [each.alert.scope for each in put(ledger, at=5_001, owner="two")] == ["budget"]


def test_nobodys_alerts_stay_while_others_may_have_been_kept_from_saying_that_they_see_them(
    ledger: SqliteLedger,
) -> None:
    put(ledger, change("opened"))
    assert put(ledger, at=STALE_SECONDS + 100, owner="two", buries=False) == []
    assert put(ledger, change("seen"), at=STALE_SECONDS + 105) == []
    assert put(ledger, at=STALE_SECONDS + 160, owner="two") == []


def test_one_told_before_it_could_be_recorded_has_another_id_where_the_one_it_had_has_ended(
    ledger: SqliteLedger,
) -> None:
    (ended,) = put(ledger, change("opened"), owner="two")
    put(ledger, change("resolved"), at=10, owner="two")
    (opened,) = put(ledger, change("opened")._replace(id=ended.alert.id), at=20)
    (fresh,) = put(ledger, change("opened", scope="q")._replace(id="al_told"), at=20)
    assert opened.alert.id != ended.alert.id
    assert fresh.alert.id == "al_told"


def test_what_has_happened_once_is_not_told_twice_but_once_more_is(ledger: SqliteLedger) -> None:
    put(ledger, change("opened", until=NOW + 90_000))
    assert put(ledger, change("seen", until=NOW + 90_000), at=8_000) == []
    found = put(ledger, change("seen", until=NOW + 90_000, times=2), at=8_060)
    assert [each.what for each in found] == ["reminder"]


def test_a_notice_is_tried_again_later_and_later_and_given_up_after_a_day(ledger: SqliteLedger) -> None:
    put(ledger, change("opened"))
    waits, at, goes_on = [], 0.0, True
    while goes_on:
        due = outbox(ledger, "webhook-a", at)
        if due.notice is None:
            waits.append(due.after)
            at += due.after
            continue
        goes_on = ledger.call(lambda sql, due=due, at=at: failed(sql, due.notice, "answered 500", NOW + at))
    assert waits[:6] == [5.0, 20.0, 80.0, 320.0, 900.0, 900.0]
    assert GIVE_UP_SECONDS <= at < GIVE_UP_SECONDS + 1_000
    assert outbox(ledger, "webhook-a", at + 1e6) == (None, None)


def test_a_clock_that_was_set_back_or_forward_holds_up_no_notice(ledger: SqliteLedger) -> None:
    put(ledger, change("opened"))
    first = outbox(ledger, "webhook-a", 0).notice
    ledger.call(lambda sql: failed(sql, first, "answered 500", NOW))
    assert outbox(ledger, "webhook-a", 1) == (None, 4.0)
    for off in (-86_400 * 30, 86_400 * 30):  # of a later process: within one, time never goes back
        again = outbox(ledger, "webhook-a", off).notice
        assert (again.id, again.tries) == (first.id, 1)


def test_those_of_one_alert_stay_in_order_and_hold_up_no_other_alert(ledger: SqliteLedger) -> None:
    put(ledger, change("opened"))
    put(ledger, change("resolved"), at=1)
    put(ledger, change("opened", scope="q"), at=2)
    first = outbox(ledger, "webhook-a", 3).notice
    ledger.call(lambda sql: failed(sql, first, "answered 500", NOW + 3))
    second = outbox(ledger, "webhook-a", 4).notice
    assert [each.body["scope"] for each in (first, second)] == ["p", "q"]
    ledger.call(lambda sql: done(sql, second, NOW + 4))
    assert outbox(ledger, "webhook-a", 4) == (None, 4.0)
    assert [body["type"] for body in drain(ledger, "webhook-a", 8)] == ["alert.opened", "alert.resolved"]


def test_what_waits_for_one_place_is_bounded(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_outbox, "MOST_WAITING", 10)
    put(ledger, *(change("opened", scope=f"p{number}") for number in range(15)))
    assert len(drain(ledger, "webhook-a")) == 10


def test_on_postgresql_two_processes_open_one_alert_and_each_notice_is_claimed_by_one(server: Server) -> None:
    url = server.url()
    ledgers = [PostgresLedger(url), PostgresLedger(url + ("&" if "?" in url else "?") + "application_name=other")]
    told: list[str] = []
    claimed: list[str] = []
    try:
        for each in ledgers:
            each.open()
        both = threading.Barrier(2)

        def see(place: int) -> None:
            both.wait()
            owner = str(place)
            changes = [change("opened", scope=f"p{number}") for number in range(20)]
            told.extend(each.alert.scope for each in put(ledgers[place], *changes, owner=owner))
            both.wait()
            while (due := outbox(ledgers[place], "webhook-a", 1, owner, alone=False)).notice is not None:
                claimed.append(due.notice.id)

        threads = [threading.Thread(target=see, args=(place,)) for place in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(told) == sorted(f"p{number}" for number in range(20))
        assert (len(claimed), len(set(claimed))) == (20, 20)
        assert outbox(ledgers[0], "webhook-a", 130, "0", alone=False).notice is not None  # whoever had it is dead
    finally:
        for each in ledgers:
            each.close()


def test_nothing_but_plain_facts_goes_out(ledger: SqliteLedger) -> None:
    put(ledger, change("opened"))
    (body,) = drain(ledger, "webhook-a")
    known = (
        "type alert at id rule scope severity since last value threshold summary evidence count resolved acknowledged"
    )
    assert set(body) == {*known.split(), "acknowledged_by", "state", "runbook", "evidence_url", "runbook_url"}
    assert json.loads(json.dumps(body)) == body
