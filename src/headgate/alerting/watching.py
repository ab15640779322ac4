"""The rules, looked at every few seconds in a thread of their own, with what has been counted anyhow."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headgate.alerting.board import Board
from headgate.alerting.counting import BOUNDS, counted
from headgate.alerting.delivering import Delivery
from headgate.alerting.events import Happened
from headgate.alerting.places import places_of
from headgate.alerting.standing import Standing
from headgate.core.alerts import Alert
from headgate.core.errors import HeadgateError
from headgate.core.exchange import Exchange
from headgate.policy.alert_readings import readings
from headgate.policy.alert_states import Change, Reading, States
from headgate.policy.alert_windows import Counted, Windows
from headgate.stores.alerts import Recording, Told, notice, record

if TYPE_CHECKING:
    from headgate.build import Built

EVERY_SECONDS = 5.0
SEEN_SECONDS = 60.0
"""That an alert goes on is put on record so often."""
REMIND_SECONDS = 4 * 3_600.0
"""An alert that goes on, and that nobody has acknowledged, is told again so often."""
MOST_UNSAVED = 200
_STOP_SECONDS = 2.0


class Alerting:
    """One process's alerts. Nothing runs before `start`: the gateway calls it, and the first call of a process in which
    somebody is to be told.

    Attributes:
        board: what is on.
    """

    def __init__(self, built: Built, env: Mapping[str, str]) -> None:
        """Args: `env`: where `env:` references are read."""
        settings, self._built = built.settings, built
        self._now: Callable[[], float] = built.engine.ports.clock.now
        self._tell = built.log.event
        self.board = Board(built.ledger, now=self._now, tell=self._tell)
        self._env = env
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._happened = Happened(settings.alert_rules, self._now)
        built.ledger.on_alert(self._happened.budget)
        if settings.alerts:
            built.log.watchers.append(self._begin)

    def start(self) -> None:
        """Look from now on. Idempotent."""
        with self._starting:
            if self._stopping.is_set() or (self._thread is not None and self._pid == os.getpid()):
                return
            first = self._thread is None
            self._pid = os.getpid()
            settings = self._built.settings
            self._places = places_of(settings, self._env)
            self._delivery = Delivery(self._built.ledger, self._places, now=self._now, tell=self._tell)
            self._states, self._windows = States(settings.alert_rules), Windows()
            self._seen: dict[tuple[str, str], float] = {}
            self._unsaved: list[Change] = []
            self._swept = 0.0
            if first:
                self._built.log.listeners.append(self._happened.event)
                self._built.log.watchers.append(self._happened.settled)
            # Where metrics are off and nobody is told, calls are not counted for alerts' sake alone.
            self._counts = self._built.metrics.start() if settings.metrics.enabled or settings.alerts else None
            self._standing = Standing(self._built, self._counts)
            self._thread = threading.Thread(target=self._run, name="headgate-alerts", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop looking and telling. Idempotent."""
        self._stopping.set()
        with self._starting:
            thread = self._thread
        if thread is not None and self._pid == os.getpid():
            self._delivery.close()
            thread.join(_STOP_SECONDS)

    def look(self) -> list[Told]:
        """Look once. What is news to people."""
        now = self._now()
        return self._record(self._states.step(self._readings(now), now), now)

    def _begin(self, _: Sequence[Exchange]) -> tuple[()]:
        """A `stores.log.Watcher`: in process, alerts begin with the first call."""
        if self._thread is None or self._pid != os.getpid():
            self.start()
        return ()

    def _run(self) -> None:
        self._delivery.start()
        while True:
            try:
                self.look()
            except HeadgateError:
                pass  # the ledger is closed: this is the end
            except Exception as error:  # a mistake of ours must not end all looking for good
                self._tell("alerts_failed", error=type(error).__name__)
            if self._stopping.wait(EVERY_SECONDS):
                return

    def _readings(self, now: float) -> Iterator[Reading]:
        built = self._built
        dropped = built.log.health()["dropped"]
        found = Counted(dropped=dropped) if self._counts is None else counted(self._counts.families(), dropped)
        self._windows.add(now, found)
        yield from readings(built.settings.alert_rules, self._windows, found, now, BOUNDS)
        yield from self._standing.readings(now)
        yield from self._happened.readings(now)

    def _record(self, changes: Sequence[Change], now: float) -> list[Told]:
        """On record first, then told. Where nothing can be recorded, it is told all the same."""
        due = [change for change in changes if change.what != "seen" or self._is_due(change, now)]
        if not (due or self._unsaved) and now - self._swept < SEEN_SECONDS:
            return []
        settings = self._built.settings
        try:
            places = [(place.key, place.least) for place in self._places]
            how = Recording(self._built.ledger.owner(), places, REMIND_SECONDS, settings.server.public_url)
            if self._unsaved:
                missed, quiet = self._unsaved, how._replace(quiet=True)
                self._built.ledger.call(lambda sql: record(sql, missed, quiet, now))
                self._unsaved = []
            told: list[Told] = self._built.ledger.call(lambda sql: record(sql, due, how, now))
        except HeadgateError:
            told = [_as_told(change, now) for change in due if change.what != "seen"]
            self._unsaved = [*self._unsaved, *(change for change in due if change.what != "seen")][-MOST_UNSAVED:]
            for each in told:
                body = notice(each, settings.server.public_url, now)
                self._delivery.directly(f"nt_{secrets.token_hex(12)}", body, each.alert.severity)
        else:
            self._swept = now
            self._delivery.wake()
        for each in told:
            self._tell("alert", **_facts(each))
        return told

    def _is_due(self, change: Change, now: float) -> bool:
        key = change.rule.name, change.reading.scope
        if now - self._seen.get(key, 0.0) < SEEN_SECONDS:
            return False
        if len(self._seen) > 1_000:
            self._seen.clear()
        self._seen[key] = now
        return True


def _as_told(change: Change, now: float) -> Told:
    """Of what could not be put on record."""
    rule, reading = change.rule, change.reading
    alert = Alert(
        f"al_{secrets.token_hex(5)}",
        rule.name,
        reading.scope,
        rule.severity,
        change.since,
        now,
        reading.value,
        rule.over if reading.threshold is None else reading.threshold,
        reading.summary,
        reading.evidence,
    )
    return Told(change.what, replace(alert, resolved=now) if change.what == "resolved" else alert)


def _facts(told: Told) -> dict[str, Any]:
    """For a line of the log."""
    alert = told.alert
    found: dict[str, Any] = {"alert": alert.id, "what": told.what, "rule": alert.rule, "scope": alert.scope}
    found |= {"severity": alert.severity, "summary": alert.summary, "value": round(alert.value, 6)}
    return {**found, "threshold": alert.threshold}
