"""The watch: shows settled exchanges to the detectors, and tells what they find.

It runs in the log's thread, batch by batch, so that no call waits for it. The days before come from the ledger, read
once, in a thread of its own; until then exchanges wait to be looked at, without their bodies.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from headgate.core.errors import HeadgateError
from headgate.core.exchange import Exchange, Facts
from headgate.policy.anomalies import MOST_CALLERS, Anomalies, Anomaly, Past, Rules
from headgate.policy.usual import DAY, DAYS_BACK

if TYPE_CHECKING:
    from headgate.settings.model import AnomalySettings
    from headgate.stores.ledger import WrittenLedger
    from headgate.stores.log import LineLog
    from headgate.stores.reader import UsageReport, UsageRow

MOST_WAITING = 10_000
"""Exchanges that wait for the days before. Of more the oldest are not looked at."""
MOST_PER_HOUR = 100
"""Anomalies told in an hour; the others are counted, and one `anomalies_muted` says so."""
MOST_ROWS = 3 * MOST_CALLERS
"""Of one day, the dearest first."""
BRIEF_SECONDS = 0.05
REST = 3.0
REST_SECONDS = 5.0
"""A day that takes longer than brief to read is followed by a rest of three times as long, at most so many seconds:
the calls need the machine more."""
CLOSE_SECONDS = 2.0

Event = tuple[str, dict[str, Any]]


class History(Protocol):
    """What is asked of the ledger: `stores.reader.Reader`."""

    def usage(self, *, by: Sequence[str] = (), since: float | None = None, until: float | None = None) -> UsageReport:
        """See `stores.reader.Reader.usage`."""
        ...


class Watch:
    """Looks at exchanges for anomalies. Its methods may be called from any thread.

    Attributes:
        callbacks: called with every anomaly that is told, in the log's thread; they must be quick. What they raise is
            kept for `health` and stops nothing.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        began: float,
        history: Callable[[], History] | None = None,
        tell: Callable[..., None] | None = None,
    ) -> None:
        """
        Args:
            began: seconds since the epoch; no exchange to come has started before it.
            history: opens the ledger for reading, in a thread of its own; None: there are no days before.
            tell: writes an event, as `LineLog.event`; for what was found while nobody looked.
        """
        self.callbacks: list[Callable[[Anomaly], None]] = []
        self._detectors = Anomalies(rules)
        self._began = began
        self._history = history
        self._tell = tell
        self._counts: Counter[str] = Counter()
        self._muted = 0
        self._hour = -1
        self._told = 0  # in this hour
        self._error = ""
        self._stopping = threading.Event()
        self._waiting: deque[Exchange] = deque(maxlen=MOST_WAITING)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting.clear()  # after a fork they are the parent's
        self._ready = self._history is None
        if self._ready:
            self._done.set()

    def look(self, exchanges: Sequence[Exchange]) -> Sequence[Event]:
        """Look at settled exchanges, in order, and return what is to be told. Never raises."""
        if self._pid != os.getpid():
            self._after_fork()
        try:
            with self._lock:
                if not self._ready:
                    # Once one has been sent there is a ledger: its intent is in there.
                    self._waiting.extend(_light(each) for each in exchanges if each.attempts)
                    if self._waiting:
                        self._start()
                    return ()
                found = self._detectors.look_at(exchanges)
            return self._events(found) if found else ()
        except Exception as error:  # a mistake in here must cost no line of the log
            self._wrong(error)
            return ()

    def counts(self) -> dict[str, int]:
        """Anomalies told since the start, by kind, and those that were not told because they were too many, as
        "muted"."""
        with self._lock:
            return {**self._counts, "muted": self._muted}

    def health(self) -> dict[str, Any]:
        """Whether the days before are known, how much is remembered, and the last error in words ("" = none)."""
        with self._lock:
            return {"ready": self._ready, "remembered": len(self._detectors), "last_error": self._error}

    def wait(self, seconds: float) -> bool:
        """Block until the days before are known and what waited for them was looked at; whether that is so."""
        return self._done.wait(seconds)

    def close(self) -> None:
        """Stop reading; what still waits is not looked at. Idempotent."""
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and self._pid == os.getpid():
            thread.join(CLOSE_SECONDS)

    def _after_fork(self) -> None:
        # The thread that read is the parent's, and so is whoever held the lock. What was learnt stays.
        ready = self._ready
        self._begin()
        if ready:
            self._ready = True
            self._done.set()

    def _start(self) -> None:
        if self._thread is not None or self._stopping.is_set():
            return
        thread = threading.Thread(target=self._read, name="headgate-watch", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter is shutting down and takes no new threads
            self._wrong(error)
            return
        self._thread = thread  # only now: whoever closes may join it

    def _read(self) -> None:
        days: list[list[Past]] = []
        try:
            assert self._history is not None
            days.extend(days_before(self._history(), self._began, self._rest))
        except HeadgateError as error:  # no ledger, or an unreadable one: then these are the first days
            self._error = f"the days before could not be read: {error}"
        except Exception as error:
            self._wrong(error)
        try:
            with self._lock:
                for day in reversed(days):
                    for past in day:
                        self._detectors.remember(past)
                self._ready = True
                found = self._detectors.look_at(self._waiting)
                self._waiting.clear()
            for name, fields in self._events(found):
                if self._tell is not None:
                    self._tell(name, **fields)
        except Exception as error:
            self._wrong(error)
        finally:
            self._done.set()

    def _rest(self, took: float) -> bool:
        """Between two days; whether to go on."""
        return not self._stopping.wait(min(took * REST, REST_SECONDS) if took > BRIEF_SECONDS else 0.0)

    def _events(self, found: Sequence[Anomaly]) -> list[Event]:
        events: list[Event] = []
        told: list[Anomaly] = []
        with self._lock:
            for anomaly in found:
                hour = int(anomaly.at // 3600)
                if hour > self._hour:
                    self._hour, self._told = hour, 0
                self._told += 1
                if self._told > MOST_PER_HOUR:
                    self._muted += 1
                    if self._told == MOST_PER_HOUR + 1:
                        events.append(("anomalies_muted", {"told_per_hour": MOST_PER_HOUR}))
                    continue
                self._counts[anomaly.kind] += 1
                events.append(("anomaly", anomaly.fields()))
                told.append(anomaly)
        for anomaly in told:
            for callback in tuple(self.callbacks):
                try:
                    callback(anomaly)
                except Exception as error:
                    self._wrong(error)
        return events

    def _wrong(self, error: Exception) -> None:
        self._error = f"{type(error).__name__}: {error}"


def watch_of(settings: AnomalySettings, ledger: WrittenLedger, log: LineLog, began: float) -> Watch | None:
    """Sees what the log sees; None where it is off."""
    if not settings.enabled:
        return None
    rules = Rules(
        settings.tokens_ratio,
        settings.spend_ratio,
        settings.session_nano,
        settings.session_window_seconds,
        settings.new_model,
    )
    watch = Watch(rules, began=began, history=ledger.reader, tell=log.event)
    log.watchers.append(watch.look)
    return watch


def _light(exchange: Exchange) -> Exchange:
    """What the detectors look at: waiting for them, an exchange must not keep its bodies in memory."""
    request = exchange.request
    light = replace(request, body=b"", headers=(), facts=Facts(model=request.facts.model), upload=None, prepared=None)
    return replace(exchange, request=light, response_text="", error=None)


def days_before(
    history: History, began: float, rest: Callable[[float], bool] = lambda took: True
) -> Iterator[list[Past]]:
    """The days that are compared with, from the ledger, the newest first: that of `began` up to it, and those before.

    One question per day, so that a large ledger is never read from for long.

    Args:
        began: seconds since the epoch.
        rest: called after each day with the seconds it took; False ends the reading.

    Raises:
        ConfigError: there is no ledger, or it cannot be read.
    """
    today = int(began // DAY)
    for day in range(today, today - DAYS_BACK - 1, -1):
        start = time.monotonic()
        until = began if day == today else (day + 1) * DAY
        report = history.usage(by=("tenant", "provider", "model"), since=day * DAY, until=until)
        yield [_past(day, row) for row in report.rows[:MOST_ROWS]]
        if not rest(time.monotonic() - start):
            return


def _past(day: int, row: UsageRow) -> Past:
    amounts, by = row.amounts, row.by
    served = amounts.input_tokens or amounts.cache_read_tokens or amounts.cache_write_tokens or amounts.output_tokens
    model = by["model"] if served else ""
    return Past(by["tenant"] or "", by["provider"] or "", model or "", day, amounts.cost_nano, amounts.exchanges)
