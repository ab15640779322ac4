"""A blocking caller's intent that its own thread writes: durable, and safe from what signals raise in the middle."""

from __future__ import annotations

import dis
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from types import CodeType, FrameType
from typing import Any

import pytest
from ledger_maker import Maker

from headgate.core.errors import Unavailable
from headgate.core.exchange import Ending, Exchange
from headgate.engine.blocking import run_blocking
from headgate.stores import writer
from headgate.stores.intents import Open as OpenIntents
from headgate.stores.intents import open_intents, read_intents
from headgate.stores.session import SqliteSession
from headgate.stores.sqlite import SqliteLedger
from headgate.stores.waiters import holding
from headgate.stores.writer import Writer

Open = Callable[..., SqliteLedger]


@pytest.fixture(autouse=True)
def nobody_else_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_SECONDS", 3_600.0)


def opened(ledgers: Open) -> SqliteLedger:
    ledger = ledgers()
    ledger.open()
    rested(ledger)
    return ledger


def rested(ledger: SqliteLedger) -> None:
    """The thread has nothing to do, or waits for company."""
    inbox = ledger.writer()._inbox
    while not inbox.resting:
        pass


def intend(ledger: SqliteLedger, make: Maker, exchange: Exchange | None = None) -> Exchange:
    exchange = exchange or make.exchange()
    run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange)))
    return exchange


def on_disk(ledger: SqliteLedger, table: str) -> int:
    with closing(sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


def on_their_way(ledger: SqliteLedger) -> int:
    return ledger.reader()._ask(lambda connection: len(open_intents(connection, read_intents(connection))))


def test_a_lone_blocking_caller_writes_its_intent_itself_and_it_goes_with_its_row(ledgers: Open, make: Maker) -> None:
    ledger = opened(ledgers)
    commits = ledger.health()["commits"]
    first, second = intend(ledger, make), intend(ledger, make)
    assert on_their_way(ledger) == 2
    assert ledger.health()["commits"] == commits  # the thread has slept
    ledger.blocking().settle(make.answered(first))
    rested(ledger)
    third = intend(ledger, make)  # what is settled waits for company, and holds up nobody
    assert (on_disk(ledger, "exchanges"), ledger.health()["commits"]) == (0, commits)
    for each in (second, third):
        ledger.blocking().settle(make.answered(each))
    ledger.flush()
    assert (on_disk(ledger, "exchanges"), on_disk(ledger, "intents")) == (3, 0)


def test_whoever_comes_while_another_writes_waits_for_the_thread_and_is_written_too(ledgers: Open, make: Maker) -> None:
    ledger = opened(ledgers)
    written = ledger.writer()
    others = [threading.Thread(target=intend, args=(ledger, make)) for _ in range(8)]
    with written._at_work:
        others[0].start()
        while not written._written_here:  # it waits for the lock
            pass
        for each in others[1:]:
            each.start()
        while written._inbox.resting:  # so does the thread, for the others
            pass
    for each in others:
        each.join(30)
    assert on_their_way(ledger) == 8


def test_what_the_disk_refuses_is_told_by_the_thread(ledgers: Open, make: Maker) -> None:
    ledger = opened(ledgers)
    session: Any = ledger.writer()._session
    session._driver.execute("PRAGMA query_only=1")
    with pytest.raises(Unavailable, match="cannot be written"):
        intend(ledger, make)
    assert (session._open._left, session._open._batches) == ({}, {})
    session._driver.execute("PRAGMA query_only=0")
    intend(ledger, make)
    assert on_their_way(ledger) == 1


def test_a_closed_ledger_says_so(ledgers: Open, make: Maker) -> None:
    ledger = opened(ledgers)
    ledger.writer().close()
    with pytest.raises(Unavailable, match="shutting down"):
        intend(ledger, make)


# -- signals ---------------------------------------------------------------------------------------------------------

PLACES: list[Callable[..., Any]] = [Writer.intend_here, SqliteSession.intend, OpenIntents.add]


def behind_calls(code: CodeType) -> set[int]:
    """Where the interpreter looks for signals: behind a call, and as a function begins."""
    found, asks = set(), False
    for each in dis.get_instructions(code):
        if asks and each.opname != "CACHE":
            found.add(each.offset)
            asks = False
        asks = asks or each.opname in ("CALL", "RESUME", "CALL_FUNCTION_EX")
    return found


class Interrupting:
    """Does what a signal's handler would, at the n-th place where it could."""

    def __init__(self, at: int, handler: Callable[[], object]) -> None:
        self.left = at
        self.handler = handler
        self.places = {place.__code__: behind_calls(place.__code__) for place in PLACES}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code not in self.places:
            return None
        frame.f_trace_opcodes = True
        return self.step

    def step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and frame.f_lasti in self.places[frame.f_code]:
            if self.left == 0:
                sys.settrace(None)
                self.left = -1
                self.handler()
            self.left -= 1
        return self.step


def struck(ledger: SqliteLedger, make: Maker, at: int, handler: Callable[[], object]) -> tuple[Exchange, str, bool]:
    """A call with a signal at the n-th place of its intent; what came out of it, and whether there was such a place."""
    exchange, signal, found = make.exchange(), Interrupting(at, handler), ""
    before = sys.gettrace()
    try:
        sys.settrace(signal)
        intend(ledger, make, exchange)
    except (KeyboardInterrupt, TimeoutError, Unavailable) as error:
        found = type(error).__name__
    finally:
        sys.settrace(before)
    return exchange, found, signal.left < 0


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
def test_wherever_a_handler_raises_the_ledger_works_on_and_no_intent_is_left(
    ledgers: Open, make: Maker, kind: type[BaseException]
) -> None:
    ledger = opened(ledgers)

    def handler() -> None:
        raise kind

    for at in range(1_000):
        rested(ledger)
        exchange, found, there = struck(ledger, make, at, handler)
        assert found == (kind.__name__ if there else "")  # it passes
        ledger.blocking().settle(make.ended(exchange, Ending.CANCELLED) if found else make.answered(exchange))
        other = intend(ledger, make)
        ledger.blocking().settle(make.answered(other))
        ledger.flush()  # the thread is not locked out
        assert on_their_way(ledger) == 0
        assert on_disk(ledger, "exchanges") == 2 * (at + 1)
        if not there:
            break
    assert at >= 8
    session: Any = ledger.writer()._session
    assert session._open._batches == {}
    assert not holding
    ledger.close()
    again = ledgers()
    again.open()
    assert again.health()["swept"] == 0
    assert on_disk(again, "intents") == 0


@pytest.mark.parametrize("does", ["flush", "call"])
def test_a_handler_may_wait_for_the_ledger_wherever_it_strikes(ledgers: Open, make: Maker, does: str) -> None:
    ledger = opened(ledgers)
    others: list[Exchange] = []
    handler = ledger.flush if does == "flush" else lambda: others.append(intend(ledger, make))
    for at in range(1_000):
        rested(ledger)
        exchange, found, there = struck(ledger, make, at, handler)
        assert found == ""
        assert on_their_way(ledger) == 1 + len(others)
        for each in (exchange, *others):
            ledger.blocking().settle(make.answered(each))
        others.clear()
        ledger.flush()
        assert (on_their_way(ledger), on_disk(ledger, "intents")) == (0, 0)
        if not there:
            break
    assert at >= 8
    assert not holding


def test_a_handler_may_close_the_ledger_wherever_it_strikes(ledgers: Open, make: Maker) -> None:
    for at in range(1_000):
        ledger = opened(ledgers)
        before = intend(ledger, make)
        rested(ledger)
        ledger.blocking().settle(make.answered(before))
        rested(ledger)
        closed = ledger.writer()
        exchange, found, there = struck(ledger, make, at, closed.close)
        if not there:
            break
        assert not closed._thread.is_alive()  # type: ignore[union-attr]
        assert found in ("", "Unavailable")
        ledger.close()
        again = ledgers()
        again.open()  # what was settled is on record; what was sent, if anything was, is charged
        assert again.health()["swept"] == (found == "")
        with closing(sqlite3.connect(f"file:{again.path}?mode=ro", uri=True)) as connection:
            there_now = {row[0] for row in connection.execute("SELECT id FROM exchanges")}
        assert before.id in there_now
        assert (exchange.id in there_now) == (found == "")
        again.close()
    assert at >= 8
