"""Lines of a batch through the engine, at the provider's rate limit: what waits, retries and settles is the engine's.

Lines are leased in groups, durably, before they are sent, and written in groups when they have ended: a process that is
killed has at most `LEASED` of them under way, which are sent again and marked, since they may have been paid.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from headgate.core.errors import (
    BudgetExceeded,
    HeadgateError,
    IncidentStopped,
    NoTurn,
    RateExceeded,
    Unavailable,
    UpstreamError,
)
from headgate.core.exchange import Exchange
from headgate.engine.answer import error_answer
from headgate.jobs.holding import BatchHolds
from headgate.jobs.requests import caller_of, facts_of, request_of
from headgate.stores.batch_items import DONE, FAILED, WAITING, Batch, BatchStore, Ended, Item
from headgate.wire import DIALECTS

if TYPE_CHECKING:
    from headgate.build import Built

FIRST, LEAST, MOST = 64, 2, 512
"""Calls under way at once: to begin with, and the ends between which it goes up while calls have no long waits, and
down where they would have to wait for longer than their deadline."""

LEASED = 256
"""Lines leased beyond those under way, at most."""
TOGETHER = 128
"""Ended lines that are written together; fewer, after `LINGER` seconds."""
LINGER = 0.25
TRIES = 3
"""Times that a line is sent anew where its provider fails it beyond the engine's own retries."""
PATIENT = 15.0
"""Seconds waited for a turn, from which more calls at once would only wait for longer."""
PAUSE = 1.0
INCIDENT_PAUSE = 30.0
"""Seconds between two looks at whether an incident that stops the lines is over."""

OnEnded = Callable[[int, int], object]
"""Told (lines, nano-dollars) whenever some have been written."""


class Paced:
    """One run over what is left of a batch.

    Args:
        most: calls under way at once.
        on_ended: see `OnEnded`.
    """

    def __init__(
        self,
        built: Built,
        store: BatchStore,
        batch: Batch,
        holds: BatchHolds,
        *,
        most: int = MOST,
        on_ended: OnEnded | None = None,
    ) -> None:
        self._built = built
        self._engine = built.engine
        self._store = store
        self._batch = batch
        self._holds = holds
        self._most = most
        self._limit = min(FIRST, most)
        self._on_ended = on_ended
        self._ready: deque[Item] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[Ended] = []
        self._left: dict[int, int] = {}  # by hold: lines that are not over
        self._tries: dict[int, int] = {}  # by place: of lines that their provider has failed
        self._answered = 0  # since the limit went up
        self._pause_until = 0.0
        self._at_the_store = asyncio.Lock()
        self._wake: asyncio.Event
        self._keep_text = built.settings.log.bodies != "off"
        self.stop = False
        """Begin nothing more; what is under way ends."""

    async def run(self) -> None:
        """Return when nothing is left, or `stop` was set and what was under way has ended.

        Raises:
            Unavailable: the store cannot be written; what is under way is waited for.
        """
        self._wake = asyncio.Event()
        left = await asyncio.to_thread(self._store.drawn, self._batch.id)
        self._left = {number: each.left for number, each in left.items()}
        writer = asyncio.create_task(self._writing())
        try:
            await self._sending()
        finally:
            await self._drain()
            async with self._at_the_store:  # not in the middle of what it has taken to write
                writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await self._write()
            if not self._ended:  # else they stay marked as under way: whoever goes on finds out what was paid
                await asyncio.to_thread(self._store.give_back, self._batch.id)

    async def _sending(self) -> None:
        everything_leased = False
        while not self.stop:
            if len(self._ready) < self._limit and not everything_leased:
                found = await asyncio.to_thread(self._store.lease, self._batch.id, LEASED)
                self._ready += found
                everything_leased = not found
            pause = self._pause_until - self._now()
            while self._ready and len(self._tasks) < self._limit and pause <= 0:
                task = asyncio.create_task(self._one(self._ready.popleft()))
                self._tasks.add(task)
                task.add_done_callback(self._done)
            if not self._tasks and not self._ready:
                if everything_leased:
                    await self._write()  # some may have been put back
                    everything_leased = False
                    self._ready += await asyncio.to_thread(self._store.lease, self._batch.id, LEASED)
                    if not self._ready:
                        return
                continue
            if self._is_late():
                self.stop = True
                continue
            self._wake.clear()
            await self._waiting(pause)

    async def _waiting(self, pause: float) -> None:
        # Not `asyncio.wait_for`, which swallows a cancellation that comes with the news (Python 3.11).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(pause, 0.05) if pause > 0 else 5.0):
                await self._wake.wait()

    def _is_late(self) -> bool:
        return self._batch.deadline is not None and self._now() >= self._batch.deadline

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled():
            task.exception()  # what came of a line is in its row; here, a line whose task was torn down

    async def _one(self, item: Item) -> None:
        batch, engine = self._batch, self._engine
        facts = facts_of(batch.dialect, item.url, item.body, keep_text=self._keep_text)
        caller = caller_of(batch.caller, batch.id, facts.user)
        prepaid = (item.bound_nano or 0) if item.hold in self._holds.open else 0
        request = request_of(batch.id, batch.dialect, item.line, item.url, item.body, caller, facts, prepaid)
        exchange = engine.begin(request)
        try:
            reply = await engine.open(exchange)
            body = bytearray()
            while piece := await reply.read():
                body += piece
        except HeadgateError as error:
            self._failed(item, exchange, error)
            return
        last = exchange.last
        request_id = last.request_id if last is not None else ""
        self._end(item, exchange, Ended(item.place, DONE, reply.status, bytes(body), request_id))
        self._calmer(exchange)

    def _failed(self, item: Item, exchange: Exchange, error: HeadgateError) -> None:
        if self._comes_again(item, error):
            self._end(item, exchange, Ended(item.place, WAITING))
            return
        now, dialect = self._now(), DIALECTS[self._batch.dialect]
        owns = self._engine.owns_retries(exchange)
        answer = error_answer(dialect, exchange, error, owns_retries=owns, now=now)
        last = exchange.last
        request_id = last.request_id if last is not None else ""
        ended = Ended(item.place, FAILED, answer.status, answer.body, request_id, f"{error.code}: {error.message}")
        self._end(item, exchange, ended)

    def _comes_again(self, item: Item, error: HeadgateError) -> bool:
        """It waits for its turn once more: nothing is wrong with it."""
        if isinstance(error, NoTurn):
            self._crowded(error.retry_after or PAUSE)
            return True
        if isinstance(error, IncidentStopped):  # somebody has stopped it for now, and not for good
            self._crowded(INCIDENT_PAUSE)
            return True
        if isinstance(error, RateExceeded) and error.retry_after is not None:
            self._crowded(error.retry_after)
            return True
        if isinstance(error, BudgetExceeded) and error.why in ("held", "waited", "period"):
            self._crowded(PAUSE)
            return True
        passing = isinstance(error, Unavailable) or (isinstance(error, UpstreamError) and error.retryable)
        if not passing:
            return False
        tried = self._tries[item.place] = self._tries.get(item.place, 0) + 1
        self._crowded(error.retry_after or PAUSE if isinstance(error, UpstreamError) else PAUSE)
        return tried < TRIES

    def _crowded(self, seconds: float) -> None:
        """Too many at once, or too soon."""
        now = self._now()
        if now >= self._pause_until:  # once for all that are told the same
            self._limit = max(LEAST, self._limit // 2)
        self._pause_until = max(self._pause_until, now + min(seconds, 60.0))
        self._answered = 0

    def _calmer(self, exchange: Exchange) -> None:
        waited = max((attempt.waited for attempt in exchange.attempts), default=0.0)
        if waited > PATIENT or len(self._tasks) < self._limit // 2:
            return
        self._answered += 1
        if self._answered >= self._limit and self._limit < self._most:
            self._limit = min(self._most, self._limit + max(1, self._limit // 2))
            self._answered = 0

    def _end(self, item: Item, exchange: Exchange, ended: Ended) -> None:
        ended.exchange = exchange.id
        ended.cost_nano = exchange.cost_nano
        if item.hold in self._holds.open:
            prepaid = [attempt for attempt in exchange.attempts if not attempt.claims]
            ended.drawn_nano = sum(attempt.cost_nano for attempt in prepaid)
            ended.drawn_tokens = sum(attempt.used_tokens for attempt in prepaid)
        if ended.state != WAITING:
            self._tries.pop(item.place, None)
            if item.hold is not None:
                self._left[item.hold] = self._left.get(item.hold, 0) - 1
        self._ended.append(ended)

    async def _writing(self) -> None:
        while True:
            await asyncio.sleep(LINGER if len(self._ended) < TOGETHER else 0)
            await self._write()

    async def _write(self) -> None:
        # One at a time: when it returns, what had ended is in the store, whoever was about to write it.
        async with self._at_the_store:
            await self._write_ended()

    async def _write_ended(self) -> None:
        ended, self._ended = self._ended, []
        if not ended:
            return
        over = [number for number in self._holds.open if self._left.get(number, 0) <= 0]
        try:
            # What is said to be over has its cost on record: else a sweep would charge its bound, and nobody know.
            await self._engine.ports.ledger.flush()
            await asyncio.to_thread(self._store.finish, self._batch.id, ended)
        except Unavailable:
            self._ended = ended + self._ended  # kept, and tried again; nothing more is begun meanwhile
            self._pause_until = self._now() + PAUSE
            return
        for number in over:
            await asyncio.to_thread(self._holds.settle, number)
        if self._on_ended is not None:
            self._on_ended(sum(each.state != WAITING for each in ended), sum(each.cost_nano for each in ended))

    def _now(self) -> float:
        return self._engine.ports.clock.now()
