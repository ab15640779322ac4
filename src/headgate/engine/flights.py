"""One upstream call, and all who wait for its answer: single flight.

Whoever asks first leads: what it asked for runs beside everybody (`core.ports.Beside`), so that its leaving ends
nothing while another is there. The answer is read into the flight, and each takes it from there, from the beginning and
at its own pace, in whatever thread or event loop.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from headgate.core.cache import Stored
from headgate.core.exchange import Headers
from headgate.core.ports import Beside, News
from headgate.engine.relay import Reply

LARGEST = 8 * 1024 * 1024
"""Bytes of an answer that is kept, and of one that a caller may still join from its beginning."""


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins.

    Attributes:
        headers: as its leader gets them.
        shared: those who asked for the same may have it; else it is the leader's alone: another model's, say.
    """

    status: int
    headers: Headers
    shared: bool = True


class Flight:
    """Written by what runs it, under the lock of `Flights`; read by those who wait.

    Attributes:
        head: of a stream that has begun; None before, and of a whole answer.
        pieces: of a stream, without our trailing comment.
        rest: what only the leader gets behind them: the comment, or how its stream ends that has no proper end.
        over: nothing follows.
        error: why there is no answer, or no end to it; None: all is well.
        stored: the answer, when it is over, and where others may have it.
        crew: how many wait for it.
        reply: what is read into it; None before the first content.
    """

    __slots__ = (
        "_changes",
        "_waiting",
        "batch",
        "beside",
        "cancel",
        "crew",
        "dropped",
        "error",
        "head",
        "key",
        "over",
        "pieces",
        "reply",
        "rest",
        "size",
        "stored",
    )

    def __init__(self, key: str, beside: Beside, *, batch: bool) -> None:
        self.key = key
        self.beside = beside
        self.batch = batch
        self.crew = 1
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        self.rest = b""
        self.over = False
        self.error: BaseException | None = None
        self.stored: Stored | None = None
        self.reply: Reply | None = None
        self.cancel: Callable[[], None] | None = None
        self.dropped = False  # everybody has left
        self._changes = 0
        self._waiting: list[News] = []


class Flights:
    """The flights of one gate, of both colours. Thread-safe; safe after a fork, where none goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[str, Flight] = {}
        self._pid = os.getpid()
        self.landed = 0
        """How many have ended. Between two looks at the same number no answer has been put away."""

    def join(self, key: str, beside: Beside, *, batch: bool) -> tuple[Flight, bool]:
        """The flight of a key, and whether it is a new one, which the caller leads.

        Args:
            batch: the caller has priority "batch"; who has not, does not wait for one that has.
        """
        if self._pid != os.getpid():  # a child's parent goes on with what it has begun; nobody does here
            self.__init__()  # type: ignore[misc]  # the lock may be held by a thread that is not here
        with self._lock:
            found = self._by_key.get(key)
            if found is not None and found.size <= LARGEST and (batch or not found.batch):
                found.crew += 1
                return found, False
            flight = self._by_key[key] = Flight(key, beside, batch=batch)
            return flight, True

    def leave(self, flight: Flight) -> None:
        """One of its crew needs it no more. With the last one it ends, unless its provider is set to drain."""
        with self._lock:
            flight.crew -= 1
            if flight.crew or flight.over:
                return
            flight.dropped = True
            self._forget(flight)
            reply, cancel = flight.reply, flight.cancel
        if reply is not None and reply.drains:
            reply.leave()
            return
        if reply is not None and not flight.beside.shares_thread:
            reply.leave()
            reply.stop()  # another thread reads; that one settles
            return
        if cancel is not None:
            cancel()

    def started(self, flight: Flight, cancel: Callable[[], None]) -> None:
        """It runs now."""
        with self._lock:
            flight.cancel = cancel

    def answered(self, flight: Flight, reply: Reply) -> bool:
        """There is content. False: nobody is there for it any more."""
        with self._lock:
            flight.reply = reply
            return not flight.dropped

    def begin(self, flight: Flight, head: Head) -> None:
        """Its stream begins."""
        with self._lock:
            flight.head = head
            if not head.shared:
                self._forget(flight)
            told = self._changed(flight)
        flight.beside.wake(told)

    def add(self, flight: Flight, piece: bytes) -> None:
        """Another piece of the stream."""
        with self._lock:
            flight.pieces.append(piece)
            flight.size += len(piece)
            told = self._changed(flight)
        if told:
            flight.beside.wake(told)

    def end(
        self, flight: Flight, *, stored: Stored | None = None, error: BaseException | None = None, rest: bytes = b""
    ) -> None:
        """Nothing follows. Only the first call counts."""
        with self._lock:
            if flight.over:
                return
            flight.over, flight.stored, flight.error, flight.rest = True, stored, error, rest
            self.landed += 1
            self._forget(flight)
            told = self._changed(flight)
        flight.beside.wake(told)

    async def news(self, flight: Flight, place: int, beside: Beside, seconds: float) -> None:
        """Return when there are more than `place` pieces, or the end; or after so many seconds.

        Args:
            place: -1 = a head, in place of pieces.
        """
        with self._lock:
            changes = flight._changes
            if flight.over or (len(flight.pieces) > place if place >= 0 else flight.head is not None):
                return
            news = beside.news()
            flight._waiting.append(news)
        try:
            await news.wait(seconds)
        finally:
            with self._lock:
                if flight._changes == changes and news in flight._waiting:
                    flight._waiting.remove(news)

    def __len__(self) -> int:
        return len(self._by_key)

    def _forget(self, flight: Flight) -> None:
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]

    @staticmethod
    def _changed(flight: Flight) -> list[News]:
        flight._changes += 1
        told, flight._waiting = flight._waiting, []
        return told
