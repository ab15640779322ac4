"""The rules, looked at every few seconds in a thread of their own, with what has been counted anyhow."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from headgate.alerting.board import Board
from headgate.alerting.budgets import BUDGET_RULES, BudgetEvents, holding
from headgate.alerting.counting import BOUNDS, counted
from headgate.alerting.delivering import Delivery
from headgate.alerting.events import Happened
from headgate.alerting.metrics import families
from headgate.alerting.places import places_of
from headgate.alerting.standing import Standing
from headgate.core.alerts import Alert
from headgate.core.errors import HeadgateError
from headgate.core.exchange import Exchange
from headgate.policy.alert_readings import readings
from headgate.policy.alert_states import Change, Reading, States
from headgate.policy.alert_windows import Counted, Windows
from headgate.stores.accounts_reader import AccountsReader
from headgate.stores.alerts import Recording, Told, active, new_id, notice, record, revoke
from headgate.telemetry.families import Family

if TYPE_CHECKING:
    from headgate.build import Built

EVERY_SECONDS = 5.0
SEEN_SECONDS = 60.0
"""That an alert goes on is put on record so often."""
REMIND_SECONDS = 4 * 3_600.0
"""An alert that goes on, and that nobody has acknowledged, is told again so often."""
MOST_UNSAVED = 200
GRACE_SECONDS = 60.0
"""After the ledger could not be written, nobody's alerts stay for so long: others could not say that they see them."""
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
        self._budgets = BudgetEvents(settings.alert_rules, self._now, built.ledger.peek)
        built.ledger.on_alert(self._budgets.reached)
        self._tries: Mapping[tuple[str, str], int] = {}
        built.metrics.sources.append(self.families)
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
            self._tries = self._delivery.tries
            self._states, self._windows = States(settings.alert_rules), Windows()
            self._seen: dict[tuple[str, str], float] = {}
            self._unsaved: list[Change] = []
            self._known: dict[tuple[str, str], Alert] = {}  # what is on, by rule and scope, as last recorded or told
            self._lost = -GRACE_SECONDS  # when something could not be recorded
            self._swept = 0.0
            self._inherited = not self._built.ledger.others_write
            if first:
                self._built.log.listeners.append(self._happened.event)
                self._built.log.watchers.append(self._budgets.settled)
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

    def families(self) -> Iterable[Family]:
        """How alerts stand, as metrics: those on record when this was last looked at, up to a minute ago."""
        return families(self._built.settings.alert_rules, self.board.on, self._tries)

    def look(self) -> list[Told]:
        """Look once. What is news to people."""
        now = self._now()
        if self._inherited:
            self._review(now)
        return self._record(self._states.step(self._readings(now), now), now)

    def _review(self, now: float) -> None:
        """What earlier processes have told of budgets ends where it no longer holds: a cap of the configuration was
        raised meanwhile. Where others write, too, it is theirs to end."""
        ledger, budgets = self._built.ledger, self._built.engine.policies.budgets.all
        try:
            if any(alert.rule in BUDGET_RULES for alert in ledger.call(active)):
                found = AccountsReader(ledger.reader()).accounts(budgets, now)
                still = set(holding([row.balance for row in found.rows if row.current]))
                self._say(ledger.call(lambda sql: revoke(sql, BUDGET_RULES, still, self._recording(), now)))
        except HeadgateError:
            return  # at the next look
        self._inherited = False
        self._delivery.wake()

    def _recorded(self, sql: Connection, missed: Sequence[Change], due: Sequence[Change], now: float) -> list[Told]:
        how = self._recording()._replace(buries=now - self._lost >= GRACE_SECONDS)
        for change in missed:  # one by one: what has begun has to be on record before it can end
            record(sql, (change,), how._replace(quiet=True, buries=False), now)
        told = record(sql, due, how, now)
        self._known = {(alert.rule, alert.scope): alert for alert in self.board.recount(sql)}
        return told

    def _recording(self) -> Recording:
        places = [(place.key, place.least) for place in self._places]
        return Recording(self._built.ledger.owner(), places, REMIND_SECONDS, self._built.settings.server.public_url)

    def _say(self, told: Sequence[Told]) -> None:
        for each in told:
            self._tell("alert", **_facts(each))

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
        yield from self._budgets.readings(now)

    def _record(self, changes: Sequence[Change], now: float) -> list[Told]:
        """On record first, then told. Where nothing can be recorded, it is told all the same."""
        due = [change for change in changes if change.what != "seen" or self._is_due(change, now)]
        if not (due or self._unsaved) and now - self._swept < SEEN_SECONDS:
            return []
        missed = self._unsaved
        try:
            told: list[Told] = self._built.ledger.call(lambda sql: self._recorded(sql, missed, due, now))
        except HeadgateError:
            self._lost = now
            told = self._unrecorded([change for change in due if change.what != "seen"], now)
        else:
            self._unsaved, self._swept = [], now
            self._mark(due, now)
            self._delivery.wake()
        self._say(told)
        return told

    def _unrecorded(self, changes: Sequence[Change], now: float) -> list[Told]:
        """Tell what cannot be put on record, from memory; it is recorded later, under the same id."""
        told: list[Told] = []
        for change in changes:
            key = change.rule.name, change.reading.scope
            known = self._known.get(key)
            alert = _as_alert(change, new_id() if known is None else known.id, now)
            if change.what == "opened":
                self._known[key] = alert
                self.board.on[alert.rule, "firing"] += 1
            else:
                self._known.pop(key, None)
                alert = replace(alert, resolved=now)
            told.append(Told(change.what, alert))
            self._unsaved = [*self._unsaved, change._replace(id=alert.id)][-MOST_UNSAVED:]
            body = notice(told[-1], self._built.settings.server.public_url, now)
            self._delivery.directly(f"nt_{secrets.token_hex(12)}", body, alert.severity)
        return told

    def _is_due(self, change: Change, now: float) -> bool:
        return now - self._seen.get((change.rule.name, change.reading.scope), 0.0) >= SEEN_SECONDS

    def _mark(self, recorded: Sequence[Change], now: float) -> None:
        """These are on record as seen now: only what is on record counts."""
        if len(self._seen) > 1_000:
            self._seen.clear()
        self._seen.update({(change.rule.name, change.reading.scope): now for change in recorded})


def _as_alert(change: Change, alert_id: str, now: float) -> Alert:
    """Of what could not be put on record."""
    rule, reading = change.rule, change.reading
    return Alert(
        alert_id,
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


def _facts(told: Told) -> dict[str, Any]:
    """For a line of the log."""
    alert = told.alert
    found: dict[str, Any] = {"alert": alert.id, "what": told.what, "rule": alert.rule, "scope": alert.scope}
    found |= {"severity": alert.severity, "summary": alert.summary, "value": round(alert.value, 6)}
    return {**found, "threshold": alert.threshold}
