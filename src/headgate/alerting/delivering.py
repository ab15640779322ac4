"""Tells places what is on record to be told: a thread for each, so that one that hangs holds up no other."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from headgate.alerting.metrics import RESULTS
from headgate.alerting.places import Place
from headgate.core.errors import HeadgateError
from headgate.stores.alert_outbox import Due, Notice, claim, done, failed, wait
from headgate.stores.ledger import WrittenLedger
from headgate.upstream.alert_places import NotTold

LOOK_SECONDS = 15.0
"""Where other processes write: how long what a dead one has left may lie."""
AGAIN_SECONDS = 5.0
"""While the ledger cannot be read."""
MOST_DIRECT = 50
DIRECT_TRIES = 4
"""Of notices that could not be put on record: they are lost with the process."""
_STOP_SECONDS = 2.0


class Delivery:
    """One configuration's places. Threads start with `start`.

    Attributes:
        tries: how often places were told, or not, by kind of place and what became of it.
    """

    def __init__(
        self, ledger: WrittenLedger, places: Sequence[Place], *, now: Callable[[], float], tell: Callable[..., None]
    ) -> None:
        """
        Args:
            now: seconds since the epoch.
            tell: the log's `event`.
        """
        self._ledger = ledger
        self._places = {place.key: place for place in places}
        self._now = now
        self._tell = tell
        self._stopping = threading.Event()
        self._news = {key: threading.Event() for key in self._places}
        self._direct: dict[str, deque[Notice]] = {key: deque(maxlen=MOST_DIRECT) for key in self._places}
        self._threads: list[threading.Thread] = []
        kinds = sorted({place.kind for place in places})
        self.tries = {(kind, result): 0 for kind in kinds for result in RESULTS}
        self._counting = threading.Lock()

    def start(self) -> None:
        """Tell what waits, and what comes."""
        for key in self._places:
            thread = threading.Thread(target=self._run, args=(key,), name="headgate-alerts-tell", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """There is something new on record."""
        for each in self._news.values():
            each.set()

    def directly(self, notice_id: str, body: dict[str, Any], severity: str) -> None:
        """Tell what could not be put on record."""
        now = self._now()
        for key, place in self._places.items():
            if place.least != "critical" or severity == "critical":
                self._direct[key].append(Notice(notice_id, key, body["alert"], body, now, 0))
        self.wake()

    def close(self) -> None:
        """Stop, within 2 s however many hang. What is under way is told again at the next start, with the same id.
        Idempotent."""
        self._stopping.set()
        self.wake()
        end = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self, key: str) -> None:
        while not self._stopping.is_set():
            self._news[key].clear()
            try:
                pause = self._turn(key)
            except HeadgateError:
                pause = AGAIN_SECONDS
            except Exception as error:  # a mistake of ours must not end all telling for good
                self._tell("alerts_failed", error=type(error).__name__)
                pause = AGAIN_SECONDS
            if pause is None or pause > 0:
                self._news[key].wait(pause)

    def _turn(self, key: str) -> float | None:
        """Tell one notice. Seconds to wait then; None = until there is news."""
        if self._direct[key]:
            self._tell_direct(key)
            return 0.0
        others = self._ledger.others_write
        owner = self._ledger.owner()
        due: Due = self._ledger.call(lambda sql: claim(sql, key, owner, self._now(), alone=not others))
        if due.notice is None:
            if others:
                return LOOK_SECONDS if due.after is None else min(due.after, LOOK_SECONDS)
            return due.after
        notice, place = due.notice, self._places[key]
        wrong = self._tried(place, notice)
        if wrong:
            self._not_told(place, notice, wrong)
        else:
            self._count(place, "told")
            self._ledger.call(lambda sql: done(sql, notice, self._now()))
        return 0.0

    def _tried(self, place: Place, notice: Notice) -> str:
        """Tell it once. Why that did not work, in a few words; "" = it is told."""
        try:
            place.teller.tell(notice.id, notice.body, self._now())
        except NotTold as error:
            return str(error)
        except Exception as error:  # a mistake of ours is a failed try, too: else this notice would hold up all others
            self._tell("alerts_failed", error=type(error).__name__)
            return type(error).__name__
        return ""

    def _count(self, place: Place, result: str) -> None:
        with self._counting:
            self.tries[place.kind, result] += 1

    def _not_told(self, place: Place, notice: Notice, said: str) -> None:
        self._count(place, "failed")
        goes_on = self._ledger.call(lambda sql: failed(sql, notice, said, self._now()))
        if not goes_on:
            self._count(place, "given_up")
        if notice.tries == 0 or not goes_on:
            self._tell("alert_untold", alert=notice.alert, place=place.name, error=said, given_up=not goes_on)

    def _tell_direct(self, key: str) -> None:
        notice, place = self._direct[key].popleft(), self._places[key]
        wrong = self._tried(place, notice)
        if wrong:
            self._count(place, "failed")
            if notice.tries + 1 >= DIRECT_TRIES:
                self._count(place, "given_up")
                self._tell("alert_untold", alert=notice.alert, place=place.name, error=wrong, given_up=True)
                return
            self._direct[key].appendleft(notice._replace(tries=notice.tries + 1))
            self._stopping.wait(wait(notice))
        else:
            self._count(place, "told")
