"""Incidents on record: durable, one for a scope's value, seen by every process that shares the ledger."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from postgres_server import Server, server

from headgate.core.errors import ConfigError
from headgate.engine.blocking import run_blocking
from headgate.policy.incidents import UNREAD, Incidents
from headgate.stores import incidents as stores_incidents
from headgate.stores.incidents import IncidentStore, read_incidents
from headgate.stores.postgres import PostgresLedger
from headgate.stores.sqlite import SqliteLedger

__all__ = ["server"]

NOW = 1_800_000_000.0
Open = Callable[..., SqliteLedger]


class Kept:
    """A store, its board, what it told, and the time."""

    def __init__(self, ledger: Any, now: float = NOW) -> None:
        self.now = now
        self.board = Incidents(unread=True)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.store = IncidentStore(
            ledger,
            self.board,
            now=lambda: self.now,
            providers={"anthropic"},
            models={"fast"},
            tell=lambda name, **fields: self.told.append((name, fields)),
        )

    def on(self) -> list[str]:
        return [f"{each.kind} {each.value}" for each in self.board.all(self.now)]


def test_what_was_set_is_on_at_once_told_in_the_log_and_on_again_after_a_restart(ledgers: Open) -> None:
    first = Kept(ledgers())
    made = first.store.set("stop", "provider", "anthropic", why="wrong answers", by="ada", seconds=60)
    assert first.on() == ["stop anthropic"]
    fields = {"kind": "stop", "scope": "provider", "value": "anthropic", "by": "ada", "why": "wrong answers"}
    assert first.told == [("incident_set", {"incident": made.id, **fields, "expires": NOW + 60})]
    first.store._ledger.close()
    second = Kept(ledgers())
    assert second.board.live is UNREAD
    run_blocking(second.store.blocking().known())
    assert second.on() == ["stop anthropic"]
    second.now += 60
    assert second.on() == []


def test_a_second_one_for_the_same_takes_the_place_of_the_first(ledgers: Open) -> None:
    kept = Kept(ledgers())
    first = kept.store.set("stop", "tenant", "acme")
    second = kept.store.set("slow", "tenant", "acme", rate=5)
    assert kept.on() == ["slow acme"]
    ended = {each.id: each.lifted_by for each in kept.store.all(ended=True)}
    assert ended == {second.id: "", first.id: f"replaced by {second.id}"}


def test_one_is_lifted_once(ledgers: Open) -> None:
    kept = Kept(ledgers())
    made = kept.store.set("stop", "tenant", "acme")
    assert kept.store.lift(made.id, by="ada").id == made.id
    assert (kept.on(), kept.told[-1][0]) == ([], "incident_lifted")
    with pytest.raises(ConfigError, match="no incident"):
        kept.store.lift(made.id)


def test_those_long_ended_are_forgotten(ledgers: Open) -> None:
    kept = Kept(ledgers())
    kept.store.set("stop", "tenant", "acme", seconds=60)
    kept.now += 31 * 86_400
    kept.store.set("stop", "tenant", "other")
    assert [each.value for each in kept.store.all(ended=True)] == ["other"]


def test_another_process_reads_them_beside_the_writer(ledgers: Open) -> None:
    ledger = ledgers()
    Kept(ledger).store.set("degrade", "model", "anthropic:claude-opus-4-8", to="fast")
    (found,) = read_incidents(ledger.reader(), NOW)
    assert (found.value, found.to) == ("anthropic/claude-opus-4-8", "fast")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_looks_them_up_anew(ledgers: Open) -> None:
    kept = Kept(ledgers())
    kept.store.set("stop", "tenant", "acme")
    child = os.fork()
    if child == 0:
        os._exit(0 if kept.board.live is UNREAD else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_on_postgresql_another_process_sees_them_within_its_next_look_and_shares_rates(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores_incidents, "LOOK_SECONDS", 0.05)
    url = server.url()
    ledgers = [PostgresLedger(url), PostgresLedger(url + ("&" if "?" in url else "?") + "application_name=other")]
    one, other = (Kept(ledger, time.time()) for ledger in ledgers)
    try:
        other.store.load()
        made = one.store.set("slow", "tenant", "acme", rate=60)
        _until(lambda: other.on() == ["slow acme"])
        assert other.board.live is not None
        assert other.board.live.pace(made).interval == 2.0  # half of the rate for each of two processes
        one.store.lift(made.id)
        _until(lambda: other.board.live is None)
    finally:
        for kept, ledger in zip((one, other), ledgers, strict=True):
            kept.store.close()
            ledger.close()


def _until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
