"""One thread that writes: commands come in, groups of them become one commit.

Intents wait for their commit; settled exchanges do not, and linger a little so that they share one. A settled row
stays until it is durable, whatever the disk says meanwhile; an intent that cannot be written is refused, so nothing is
sent that is not on record.

Money is set aside here, too (`stores.desk`): intents that claim budgets are let in, refused, or wait for others to
settle.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from headgate.core.errors import ConfigError, HeadgateError, Unavailable
from headgate.core.exchange import Exchange, Kept
from headgate.stores.commands import Call, Closed, Command, Intent, Stop
from headgate.stores.desk import Desk, Told
from headgate.stores.forks import work_lock
from headgate.stores.homes import write_kept
from headgate.stores.inbox import Inbox
from headgate.stores.rows import attempt_row, exchange_row, fitting
from headgate.stores.schema import SHAPE_COLUMNS
from headgate.stores.session import Session, reason, unfit
from headgate.stores.shape import PLAIN, outcome
from headgate.stores.statements import Row
from headgate.stores.waiters import BlockingWaiter, holding, let_go, wake

LINGER_SECONDS = 0.1
"""How long a settled exchange may wait for company. A crash within it charges the bound instead (see `sweep`)."""
COMPANY = 256
"""Settled exchanges that are company enough. Fewer, and younger, do not go along with intents, whose callers wait."""
GATHER_SECONDS = 0.003
"""Least time between two commits while several intents arrive at once; a lone caller never waits for it. Each commit
takes the interpreter from the event loop and gives it back, mostly to another core: fewer ones serve more calls, and
sooner, than prompter ones."""
BACKOFF_SECONDS = (0.05, 2.0)
"""After a failed commit: the first wait and the longest."""
CLOSE_SECONDS = 5.0
"""How long closing tries to write what is left."""
ADVICE = "Check the disk's free space and the file's rights"

_ATTEMPTS = SHAPE_COLUMNS.index("attempts") - 1  # in a shape, which has no owner
_ask, _row, _waiter = attrgetter("ask"), attrgetter("row"), attrgetter("waiter")
_BEHIND = "Nothing is sent until it catches up"
_NOT_WRITTEN = "the ledger cannot be written now, so nothing is sent; it recovers by itself"
_report = logging.getLogger("headgate.ledger")


class Writer:
    """The thread and its queue. It opens the ledger on the first command and closes it on :meth:`close`."""

    def __init__(
        self,
        connect: Callable[[], Session],
        *,
        name: str,
        owner: str,
        max_queued: int,
        now: Callable[[], float] = time.time,
        advice: str = ADVICE,
    ) -> None:
        """
        Args:
            connect: opens the ledger; called in the writer thread, again after a failure.
            name: the ledger's place, for messages.
            owner: this process's id in the intent rows.
            max_queued: settled exchanges not yet written above which new intents are refused.
            now: seconds since the epoch, by which waiting ends.
            advice: what to check where it cannot be written.
        """
        self.desk = Desk(now)
        self._asks = self.desk.asks
        self.on_killed: list[Callable[[Sequence[dict[str, Any]]], None]] = []
        self._now = now
        self._kept: list[Kept] = []  # what providers keep, not yet durable
        self._connect = connect
        self._name = name
        self._advice = advice
        self._owner = owner
        self._max_queued = max_queued
        self._room = max_queued  # for what is in the inbox, beside what is settled and not yet written
        self._inbox: Inbox[Command] = Inbox(begun=False)
        self._session: Session | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._at_work = work_lock()
        self._written_here = False
        self._closed = False
        self._finished = False
        self._waiting: list[Exchange] = []  # settled, not yet rows
        self._since = 0.0  # when the first of them came
        self._kept_attempts: list[Row] = []  # settled, not yet durable
        self._kept_exchanges: list[Row] = []
        self._backoff = 0.0  # 0 = the last commit went well
        self._tried = 0.0
        self._crowded = False
        self._error = ""
        self._counts = dict.fromkeys(("commits", "failures", "rejected", "dropped", "swept"), 0)

    def intend(self, intent: Intent) -> None:
        """Queue an intent.

        Raises:
            Unavailable: the ledger is closed, or too much is waiting to be written already.
        """
        inbox = self._inbox
        if len(inbox.items) >= self._room:
            self._refuse()
        inbox.items.append(intent)
        inbox.hurry = True
        if inbox.resting:
            self._wake()
        if self._finished:
            raise ledger_closed(self._name)

    def intend_here(self, row: Row) -> bool:
        """Put a call's first intent, which claims nothing, on record in the calling thread, if no other thread is
        about to write: to wake the writer and be woken by it costs several times what the row does.

        Returns:
            Whether it is durable; else it is for `intend`, which also tells what is wrong.
        """
        inbox = self._inbox
        # Several at once are better off in one commit; what waits for money, or for a disk, is the thread's.
        if (
            self._written_here
            or self._thread is None
            or not inbox.resting
            or inbox.hurry
            or self._asks
            or self._backoff
        ):
            return False
        session, queued = self._session, len(inbox.items)
        if session is None or not session.remembers or queued >= self._room or queued + len(self._waiting) >= COMPANY:
            return False
        here, done = threading.get_ident(), False
        try:
            self._written_here = True
            with self._at_work:
                holding[here] = self._at_work
                if not self._finished:
                    done = session.intend(row)
        finally:
            holding.pop(here, None)
            self._written_here = False
        return done

    def _refuse(self) -> None:
        if self._closed:
            raise ledger_closed(self._name)
        raise Unavailable(
            f"the ledger {self._name} is behind by {self._max_queued} exchanges"
            f"{': ' + self._error if self._error else ''}. {_BEHIND}",
            told=f"the ledger is behind. {_BEHIND}",
        )

    def settle(self, exchange: Exchange) -> None:
        """Queue a settled exchange, which nobody changes any more. Never waits, never raises."""
        if self._closed:
            self._counts["dropped"] += 1  # its intents stay open: the next sweep charges them in full
            return
        # With attempts there is an intent on record, so a crash loses nothing; without, the row is all there is, but of
        # a kept answer, which has cost nothing. Where somebody waits for money, this may be what he waits for.
        if (exchange.attempts or exchange.recalled is not None) and not self._asks:
            inbox = self._inbox
            inbox.items.append(exchange)
            if inbox.asleep:
                self._wake()
        else:
            self._hurry(exchange)

    def end(self, closed: Closed) -> None:
        """Queue the end of an attempt. Never waits, never raises."""
        if self._closed:
            return  # as in `settle`
        inbox = self._inbox
        if self._asks:
            self._hurry(closed)
        else:
            inbox.items.append(closed)
            if inbox.asleep:
                self._wake()

    def call(self, call: Call) -> None:
        """Queue work, behind everything queued before."""
        if self._closed:
            raise ledger_closed(self._name)
        self._hurry(call)

    def close(self) -> None:
        """Write what is left, for at most a few seconds, and close the ledger. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._room = 0
        self._inbox.put_hurried(Stop(None, BlockingWaiter()))
        with self._starting:  # one that is being started is not there yet
            thread = self._thread
        if thread is not None:
            with let_go():
                thread.join(CLOSE_SECONDS + 10.0)
        if not self._finished and not (thread is not None and thread.is_alive()):
            self._run()  # nobody has taken the stop; a thread that has may be gone by now

    def swept(self, session: Session, count: int) -> None:
        """A sweep has closed `count` exchanges of dead processes. In the writer thread."""
        self._counts["swept"] += count
        killed, session.killed = session.killed, []
        for listen in self.on_killed[:1] if killed else ():  # of several gates in one process one has it logged
            listen(killed)

    def forget(self) -> None:
        """In a forked child: the thread is not here, and its connection must not be touched."""
        self._closed = True
        self._room = 0
        if self._session is not None:
            self._session.forget()

    def health(self) -> dict[str, Any]:
        """Counts since the start, what is queued, and the last error in words ("" = the last commit went well)."""
        return {
            "ok": not self._error,
            "ledger": self._name,
            "queued": self._queued(),
            "waiting_for_money": self.desk.waiting,
            "last_error": self._error,
            **self._counts,
        }

    def _hurry(self, item: Command) -> None:
        inbox = self._inbox
        inbox.items.append(item)
        inbox.hurry = True
        if inbox.resting:
            self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            self._start()
        if self._thread is not None:  # else there are no new threads any more, and the next one has to come here, too
            self._inbox.ring()

    def _queued(self) -> int:
        return len(self._inbox.items) + len(self._waiting) + len(self._kept_exchanges)

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="headgate-ledger", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The interpreter is shutting down and takes no new threads: do the work here.
                with self._at_work:
                    self._turn(self._inbox.take())
                return
            self._thread = thread

    def _run(self) -> None:
        stop = False
        self._inbox.begin()
        while not stop:
            self._rest()
            items = self._inbox.take()
            stop = self._closed and any(isinstance(item, Stop) for item in items)
            self._tried = time.monotonic()
            try:
                with self._at_work:
                    self._turn(items)
            except Exception as error:
                # A mistake of ours must not leave anybody waiting for ever, nor end the thread.
                self._reject("the writer stumbled", exc_info=True)
                self._make_room()
                wake((item.waiter for item in items if isinstance(item, Intent | Call)), self._failed(error))
        self._finish()

    def _rest(self) -> None:
        """Sleep until there is something to do, and a little longer where company is worth waiting for."""
        inbox = self._inbox
        if self._backoff:
            inbox.linger(self._backoff)
            pause = self._tried + BACKOFF_SECONDS[0] - time.monotonic()
        else:
            patience = self.desk.patience(self._session) if self._asks else None
            if not (inbox.items or self._unwritten) and patience is None:
                inbox.wait()
            if not inbox.hurry:
                young = self._since + LINGER_SECONDS - time.monotonic() if self._unwritten else LINGER_SECONDS
                inbox.linger(max(min(young, LINGER_SECONDS if patience is None else patience), 0.0))
            pause = self._tried + GATHER_SECONDS - time.monotonic() if self._crowded else 0.0
        if pause > 0.0 and not self._closed:
            time.sleep(pause)

    @property
    def _unwritten(self) -> bool:
        return bool(self._waiting or self._kept_attempts)

    def _turn(self, items: Sequence[Command]) -> None:
        if len(items) == 1 and self._alone(items[0]):
            return
        intents: list[Intent] = []
        urgent = self._closed or bool(self._backoff) or bool(self._asks)
        waiting = self._waiting
        for item in items:
            if isinstance(item, Intent):
                intents.append(item)
                if item.row[1] > 1:
                    urgent = True  # the attempt before it goes on record with it
            elif isinstance(item, Exchange):
                if not waiting and not self._kept_attempts:
                    self._since = time.monotonic()
                waiting.append(item)
                tried = item.attempts
                if not tried:
                    urgent = urgent or item.recalled is None
                elif intents and not tried[-1].sent:
                    # Its caller left before its intent was looked at: nobody would close what is held for it now.
                    intents = [each for each in intents if each.row[0] != item.id]
            elif isinstance(item, Closed):
                if not self._unwritten:
                    self._since = time.monotonic()
                self._kept_attempts.append(item.row)
                self.desk.ended(item.closing)
            else:
                self._commit(intents)
                intents = []
                if not isinstance(item, Stop):
                    self._answer(item)
        self._crowded = len(intents) > 1
        self._make_room()  # before the commit, which may take long
        if urgent or self._due():
            self._commit(intents)
        elif intents:
            self._commit(intents, alone=True)
        self._make_room()

    def _alone(self, item: Command) -> bool:
        """Do what the turn is for where that is a call's first intent, which claims nothing, and nothing else is due:
        so it is for whoever calls one after the other. Returns whether it was that."""
        if not isinstance(item, Intent) or item.ask is not None or item.row[1] > 1:
            return False
        session = self._session
        if session is None or self._backoff or self._closed or self._due() or not self.desk.idle(()):
            return False
        if not session.intend(item.row):
            return False
        self._crowded = False
        self._error = ""
        self._counts["commits"] += 1
        wake((item.waiter,))
        return True

    def _make_room(self) -> None:
        self._room = 0 if self._closed else self._max_queued - len(self._waiting) - len(self._kept_exchanges)

    def _due(self) -> bool:
        count = len(self._waiting) + len(self._kept_attempts)
        return count >= COMPANY or (count > 0 and time.monotonic() - self._since >= LINGER_SECONDS)

    def _gather(self) -> None:
        settled, asks = self.desk.settled, self._asks
        add = self._kept_exchanges.append
        for exchange in self._waiting:
            if exchange.kept:
                self._kept += exchange.kept
            try:
                row = exchange_row(exchange)  # tells of an only attempt, too
                plain = row[1][PLAIN]
                if not plain:
                    self._several(exchange)
            except Exception:
                # A half-built exchange is a mistake of ours; its open intents are charged by the next sweep.
                # So its holds stay closed to others till then: no account says what no row does.
                self._reject(f"exchange {exchange.id} could not be turned into rows", exc_info=True)
                self.desk.left(exchange.id)
                continue
            add(row)
            if not plain or asks or exchange.attempts[0].claims:
                settled(exchange)
        self._waiting.clear()

    def _several(self, exchange: Exchange) -> None:
        tried, owner = exchange.attempts, self._owner
        if len(tried) > 1:
            self._kept_attempts += [attempt_row(exchange, a, outcome(exchange, a), owner) for a in tried]

    def _commit(self, intents: list[Intent], *, alone: bool = False) -> None:
        """One transaction. Wakes the intents' callers, one way or the other.

        Args:
            alone: write the intents only, if they have room; otherwise everything settled goes with them.
        """
        if not alone:
            self._gather()
        desk = self.desk
        if not (intents or self._kept_exchanges or self._kept_attempts or desk.waiting):
            self._backoff = 0.0  # nothing waits for another try
            return
        told: Told = []
        asking = list(filter(_ask, intents))
        plain = [intent for intent in intents if intent.ask is None] if asking else intents
        for sifted in (False, True):
            try:
                session = self._session or self._open()
                if sifted:
                    self._sift(session)
                if not desk.idle(asking):
                    alone, told = desk.decide(session, asking, alone=alone, gather=self._gather)
                self._write(session, list(map(_row, plain)) + desk.rows(told), alone=alone)
                break
            except Exception as error:
                if sifted or alone or not unfit(error):
                    waiters = list(map(_waiter, plain)) + desk.failed(asking, told)
                    wake(waiters, self._failed(error))
                    return
                asking, told = desk.again(asking, told), []
        if not alone:
            self._kept_attempts, self._kept_exchanges = [], []
        self._backoff, self._error = 0.0, ""
        self._counts["commits"] += 1
        desk.written(list(map(_waiter, plain)), told, alone=alone)
        if self._kept:
            self._note_kept(session)

    def _note_kept(self, session: Session) -> None:
        """Where providers keep things. No money: what cannot be written is told once, and done without."""
        kept, self._kept = self._kept, []
        try:
            session.call(lambda connection: write_kept(connection, kept, self._now()))
        except Exception:
            self._reject(f"the homes of {len(kept)} things that providers keep were not taken", exc_info=True)

    def _write(self, session: Session, rows: list[Row], *, alone: bool) -> None:
        changed = self.desk.changed(session)
        attempts, exchanges = ((), ()) if alone else (self._kept_attempts, self._kept_exchanges)
        session.commit(rows, attempts, exchanges, changed)

    def _sift(self, session: Session) -> None:
        """One row spoils the batch: make every row fit, and write each exchange by itself, with what it changes on the
        accounts, so that a hopeless one harms no other. Its holds and its intents stay as they are: the next sweep
        charges them."""
        apart: dict[str, tuple[list[Row], list[Row]]] = {}
        for place, rows in enumerate((self._kept_attempts, self._kept_exchanges)):
            for row in rows:
                apart.setdefault(row[0], ([], []))[place].append(fitting(row))
        self._kept_attempts, self._kept_exchanges = [], []
        broken: Exception | None = None
        for exchange, (attempts, exchanges) in apart.items():
            try:
                if broken is None:
                    self.desk.settle_one(session, exchange, attempts, exchanges)
                    continue
            except Exception as error:
                if unfit(error):
                    self.desk.drop(exchange)
                    self._reject(f"exchange {exchange} was not taken: {reason(error)}")
                    continue
                broken = error
            self._kept_attempts += attempts
            self._kept_exchanges += exchanges
        if broken is not None:
            raise broken

    def _open(self) -> Session:
        self._session = session = self._connect()
        self.swept(session, session.swept)
        self.desk.began(session.newest)
        return session

    def _failed(self, error: Exception) -> Unavailable:
        first, longest = BACKOFF_SECONDS
        began = not self._backoff
        self._backoff = min(self._backoff * 2 or first, longest)
        self._counts["failures"] += 1
        self._error = reason(error)
        if len(self._kept_exchanges) > self._max_queued:
            self._shed()
        if isinstance(error, ConfigError):
            found = Unavailable(error.message, told=_NOT_WRITTEN)  # not at start-up any more: it may pass
        else:
            found = Unavailable(
                f"the ledger {self._name} cannot be written ({self._error}), so nothing is sent. {self._advice}; "
                "it recovers by itself",
                told=_NOT_WRITTEN,
            )
        if began:  # callers are not told where it is, nor why
            _report.error("%s", found.message)
        return found

    def _shed(self) -> None:
        """Memory is bounded: beyond the limit drop the oldest rows that carry no money (no attempt was made)."""
        over = len(self._kept_exchanges) - self._max_queued
        kept: list[Row] = []
        for row in self._kept_exchanges:
            if over > 0 and row[1][_ATTEMPTS] == 0:
                over -= 1
                self._counts["dropped"] += 1
            else:
                kept.append(row)
        self._kept_exchanges = kept

    def _answer(self, call: Call) -> None:
        error: HeadgateError | None = None
        try:
            if self._kept_exchanges or self._kept_attempts:
                raise Unavailable(f"the ledger {self._name} cannot be written ({self._error})", told=_NOT_WRITTEN)
            session = self._session or self._open()
            if call.work is not None:
                call.result = call.work(session)
            self._backoff, self._error = 0.0, ""
        except HeadgateError as refused:
            error = refused
        except Exception as broken:
            error = Unavailable(reason(broken)) if unfit(broken) else self._failed(broken)
        wake((call.waiter,), error)

    def _finish(self) -> None:
        """The last commit, tried for a few seconds; then say what is lost, if anything."""
        # Set before the last look: who puts something in after it sees the flag, who did so before is served here.
        self._finished = True
        with self._at_work:
            self._turn(self._inbox.take())
        end = time.monotonic() + CLOSE_SECONDS
        while (self._kept_exchanges or self._unwritten) and time.monotonic() < end:
            time.sleep(self._backoff)
            with self._at_work:
                self._commit([])
        closed = ledger_closed(self._name)
        wake(self.desk.dismiss(), closed)
        if self._kept_exchanges:
            _report.error(
                "%d settled exchanges could not be written to %s (%s); their open intents are charged in full at the "
                "next start",
                len(self._kept_exchanges),
                self._name,
                self._error,
            )
        if self._session is not None:
            with self._at_work:
                self._session.close()

    def _reject(self, message: str, *, exc_info: bool = False) -> None:
        self._counts["rejected"] += 1
        _report.error("ledger %s: %s", self._name, message, exc_info=exc_info)


def ledger_closed(name: str) -> Unavailable:
    """Nothing can be asked of it any more."""
    ending = "is closed: Headgate is shutting down"
    return Unavailable(f"the ledger {name} {ending}", told=f"the ledger {ending}")
