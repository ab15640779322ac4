"""The writer thread under bad weather: full disks, locks, bad rows, many loops, cancellations, closing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ledger_maker import Maker

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError, Unavailable
from headgate.core.exchange import Ending
from headgate.core.money import MOST_CHARGE
from headgate.engine.blocking import run_blocking
from headgate.stores import database, writer
from headgate.stores.intents import open_intents, read_intents
from headgate.stores.sqlite import SqliteLedger, close_all

Open = Callable[..., SqliteLedger]


def rows(ledger: SqliteLedger, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def on_their_way(ledger: SqliteLedger) -> int:
    """Open intents on disk."""
    return ledger.reader()._ask(lambda connection: len(open_intents(connection, read_intents(connection))))


def intend(ledger: SqliteLedger, make: Maker, **options: Any) -> Any:
    exchange = make.exchange(**options)
    run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange)))
    return exchange


def fill_the_disk(ledger: SqliteLedger) -> None:
    def limit(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    ledger.call(limit)


def empty_the_disk(ledger: SqliteLedger) -> None:
    """Straight on the connection: a command would wait behind the rows that cannot be written."""
    session: Any = ledger.writer()._session
    session._driver.execute("PRAGMA max_page_count=1000000")


def test_a_full_disk_refuses_new_intents_in_plain_words(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    fill_the_disk(ledger)

    def until_refused() -> None:
        for _ in range(200):
            intend(ledger, make)

    with pytest.raises(Unavailable, match=r"headgate\.db cannot be written .*full.*Check the disk") as caught:
        until_refused()
    assert caught.value.told == "the ledger cannot be written now, so nothing is sent; it recovers by itself"
    assert ledger.health()["ok"] is False
    assert "full" in ledger.health()["last_error"]


def test_what_was_settled_while_the_disk_was_full_is_written_once_it_has_room(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchanges = [intend(ledger, make, caller=Caller(user="x" * 500)) for _ in range(40)]
    fill_the_disk(ledger)
    for exchange in exchanges:
        ledger.blocking().settle(make.answered(exchange, cost=3))
    with pytest.raises(Unavailable, match="cannot be written"):
        ledger.flush()
    assert rows(ledger, "SELECT count(*) FROM exchanges") == [(0,)]
    assert ledger.health()["queued"] == 40
    empty_the_disk(ledger)
    ledger.flush()
    assert rows(ledger, "SELECT count(*), sum(cost_nano) FROM exchanges") == [(40, 120)]
    assert ledger.health() | {"ok": True, "queued": 0, "last_error": "", "rejected": 0} == ledger.health()


def test_rows_that_wait_for_the_disk_are_written_without_being_asked_for(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchanges = [intend(ledger, make, caller=Caller(user="x" * 500)) for _ in range(40)]
    fill_the_disk(ledger)
    for exchange in exchanges:
        ledger.blocking().settle(make.answered(exchange))
    with pytest.raises(Unavailable):
        ledger.flush()
    empty_the_disk(ledger)
    ledger.close()
    assert rows(ledger, "SELECT count(*) FROM exchanges") == [(40,)]


def test_a_locked_file_refuses_and_recovers(ledgers: Open, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    ledger = ledgers()
    exchange = intend(ledger, make)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            intend(ledger, make)
        ledger.blocking().settle(make.answered(exchange))
        intruder.execute("ROLLBACK")
    ledger.flush()
    assert rows(ledger, "SELECT id FROM exchanges") == [(exchange.id,)]


def test_an_intent_that_could_not_be_written_is_not_on_record(
    ledgers: Open, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    ledger = ledgers()
    ledger.open()
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            intend(ledger, make)
        intruder.execute("ROLLBACK")
    ledger.flush()
    assert on_their_way(ledger) == 0


def test_too_long_a_queue_refuses_new_intents_but_loses_no_settle(ledgers: Open, make: Maker) -> None:
    ledger = ledgers(max_queued=3)
    exchanges = [intend(ledger, make, caller=Caller(user="x" * 900)) for _ in range(20)]
    fill_the_disk(ledger)
    for exchange in exchanges:
        ledger.blocking().settle(make.answered(exchange))
    with pytest.raises(Unavailable):
        ledger.flush()
    with pytest.raises(Unavailable, match=r"behind by 3 exchanges.*full") as caught:
        intend(ledger, make)
    assert caught.value.told == "the ledger is behind. Nothing is sent until it catches up"
    empty_the_disk(ledger)
    ledger.flush()
    assert rows(ledger, "SELECT count(*) FROM exchanges") == [(20,)]


def test_only_rows_without_money_are_dropped_when_memory_runs_out(
    ledgers: Open, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.0)
    ledger = ledgers(max_queued=5)
    paid = intend(ledger, make)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        for _ in range(300):
            ledger.blocking().settle(make.ended(make.exchange(), Ending.REFUSED, status=429))
        ledger.blocking().settle(make.answered(paid, cost=17))
        with pytest.raises(Unavailable):
            ledger.flush()
        assert ledger.health()["queued"] == 5
        intruder.execute("ROLLBACK")
    ledger.flush()
    assert rows(ledger, "SELECT count(*), sum(cost_nano) FROM exchanges") == [(5, 17)]
    assert ledger.health()["dropped"] == 296


@pytest.mark.parametrize("bad", ["a\ud800b", "nul\x00", "\U0010ffff"])
def test_a_text_that_no_database_takes_spoils_no_other_row(ledgers: Open, make: Maker, bad: str) -> None:
    ledger = ledgers()
    good = intend(ledger, make)
    odd = intend(ledger, make, caller=Caller(user=bad, tags={"t": bad}))
    for exchange in (good, odd):
        ledger.blocking().settle(make.answered(exchange))
    ledger.flush()
    assert rows(ledger, "SELECT id FROM exchanges ORDER BY id") == [(good.id,), (odd.id,)]
    assert ledger.health()["rejected"] == 0


def test_a_number_beyond_64_bits_is_stored_as_the_most_that_is_charged(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = intend(ledger, make)
    ledger.blocking().settle(make.answered(exchange, cost=2**70))
    ledger.flush()
    assert rows(ledger, "SELECT cost_nano FROM exchanges") == [(MOST_CHARGE,)]


def test_a_half_built_exchange_is_counted_and_stops_nothing(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    broken, whole = make.exchange(), make.exchange()
    broken.request.caller = None  # type: ignore[assignment]  # a mistake of ours
    for exchange in (broken, whole):
        ledger.blocking().settle(make.ended(exchange, Ending.REFUSED))
    ledger.flush()
    assert rows(ledger, "SELECT id FROM exchanges") == [(whole.id,)]
    assert ledger.health()["rejected"] == 1


def test_a_cancelled_wait_leaves_the_intent_on_record_for_its_settle(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = make.exchange()
    attempt = make.attempt(exchange)

    async def cancelled() -> None:
        task = asyncio.ensure_future(ledger.asynchronous().intend(exchange, attempt))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ledger.asynchronous().settle(make.ended(exchange, Ending.CANCELLED))
        await ledger.asynchronous().flush()

    asyncio.run(cancelled())
    assert rows(ledger, "SELECT ending FROM exchanges") == [("cancelled",)]
    assert rows(ledger, "SELECT outcome FROM attempts") == [("cancelled",)]


def test_loops_in_several_threads_and_blocking_callers_share_one_ledger(ledgers: Open) -> None:
    ledger = ledgers()
    makers = [Maker() for _ in range(4)]
    for index, maker in enumerate(makers):
        maker.made = index * 1_000

    async def many(make: Maker) -> None:
        async def one() -> None:
            exchange = make.exchange()
            await ledger.asynchronous().intend(exchange, make.attempt(exchange))
            ledger.asynchronous().settle(make.answered(exchange, cost=1))

        await asyncio.gather(*(one() for _ in range(100)))

    def blocking(make: Maker) -> None:
        for _ in range(100):
            ledger.blocking().settle(make.answered(intend(ledger, make), cost=1))

    threads = [threading.Thread(target=lambda m=m: asyncio.run(many(m))) for m in makers[:2]]
    threads += [threading.Thread(target=blocking, args=(m,)) for m in makers[2:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.flush()
    assert rows(ledger, "SELECT count(*), sum(cost_nano) FROM exchanges") == [(400, 400)]
    assert rows(ledger, "SELECT count(*) FROM intents") == [(0,)]


def test_a_closed_loop_does_not_hold_up_the_others(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = make.exchange()

    async def step() -> None:
        ledger.asynchronous().intend(exchange, make.attempt(exchange))  # queued, and never waited for

    asyncio.run(step())
    intend(ledger, make)
    assert on_their_way(ledger) == 2


def test_ledgers_of_one_file_share_a_writer_until_the_last_closes(ledgers: Open, make: Maker, tmp_path: Path) -> None:
    (tmp_path / "same").symlink_to(tmp_path)
    first, second = ledgers(), ledgers("same/headgate.db")
    intend(first, make)
    intend(second, make)
    assert first.writer() is second.writer()
    first.close()
    intend(second, make)
    with pytest.raises(Unavailable, match="closed"):
        intend(first, make)
    second.close()
    assert on_their_way(second) == 3


def test_a_settle_after_the_close_is_silent_and_leaves_the_intent_to_the_next_sweep(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = intend(ledger, make)
    ledger.close()
    ledger.blocking().settle(make.answered(exchange))
    again = ledgers()
    again.open()
    assert rows(again, "SELECT ending, cost_nano FROM exchanges") == [("killed", 5_000)]


def test_nothing_is_created_before_the_first_use(ledgers: Open, tmp_path: Path) -> None:
    ledger = ledgers()
    assert ledger.health()["queued"] == 0
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_leaving_the_process_writes_what_is_queued(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    ledger.blocking().settle(make.answered(intend(ledger, make)))
    close_all()
    assert rows(ledger, "SELECT ending FROM exchanges") == [("complete",)]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://x", "sqlite:///a.db?mode=ro", "x"])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"storage:.*sqlite:///headgate\.db"):
        SqliteLedger(url)


def test_a_missing_folder_is_named(ledgers: Open) -> None:
    with pytest.raises(ConfigError, match=r"there is no folder .*missing"):
        ledgers("missing/headgate.db").open()


def test_the_file_is_for_its_owner_only(ledgers: Open, tmp_path: Path) -> None:
    ledgers().open()
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("full", 2)])
def test_full_durability_syncs_every_commit(ledgers: Open, durability: str, level: int) -> None:
    ledger = ledgers(durability=durability)
    assert ledger.call(lambda connection: connection.exec_driver_sql("PRAGMA synchronous").scalar()) == level
    assert ledger.call(lambda connection: connection.exec_driver_sql("PRAGMA journal_mode").scalar()) == "wal"


def test_a_call_that_fails_by_its_own_fault_leaves_the_ledger_healthy(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    with pytest.raises(Unavailable, match="surrogates not allowed"):
        ledger.keys.create("a\ud800b")
    assert ledger.health()["ok"]
    intend(ledger, make)
    assert ledger.keys.list() == []


def test_a_closed_ledger_says_so(ledgers: Open) -> None:
    ledger = ledgers()
    ledger.close()
    assert (ledger.health()["ok"], ledger.health()["last_error"]) == (False, "closed")


def test_settled_exchanges_wait_for_company_but_a_flush_takes_all(
    ledgers: Open, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LINGER_SECONDS", 3_600.0)
    monkeypatch.setattr(writer, "COMPANY", 2)
    ledger = ledgers()
    first, second, third = (intend(ledger, make) for _ in range(3))
    settled = "SELECT count(*) FROM exchanges"
    ledger.blocking().settle(make.answered(first))
    intend(ledger, make)
    assert rows(ledger, settled) == [(0,)]
    ledger.blocking().settle(make.answered(second))
    intend(ledger, make)
    assert rows(ledger, settled) == [(2,)]
    ledger.blocking().settle(make.answered(third))
    ledger.flush()
    assert rows(ledger, settled) == [(3,)]


def test_a_refusal_without_an_intent_on_record_waits_for_nobody(
    ledgers: Open, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LINGER_SECONDS", 3_600.0)
    ledger = ledgers()
    ledger.blocking().settle(make.ended(make.exchange(), Ending.REFUSED, status=429))
    intend(ledger, make)
    assert rows(ledger, "SELECT count(*) FROM exchanges") == [(1,)]


def test_closing_does_not_wait_for_a_writer_that_is_gone_before_it_is_looked_at(
    ledgers: Open, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the thread may have done all, and ended, in the middle of `close`."""
    ledger = ledgers()
    run_blocking(ledger.blocking().flush())
    writer = ledger.writer()
    thread = writer._thread
    assert thread is not None
    put = writer._inbox.put_hurried

    def put_and_be_late(item: Any) -> None:
        put(item)
        thread.join(30)

    monkeypatch.setattr(type(writer._inbox), "put_hurried", lambda self, item: put_and_be_late(item))
    closing = threading.Thread(target=ledger.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
