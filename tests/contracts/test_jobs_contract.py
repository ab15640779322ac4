"""What every place of batches and deferred jobs must do, whatever database is behind it; and that a batch's hold, of
which a dead process was charged the bound, can be corrected in every ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_maker import Maker
from money_store import NOW, claims_of
from postgres_server import the_server

from headgate.stores.batch_items import CANCELLED, DONE, FAILED, SENT, WAITING, Batch, BatchStore, Ended, Hold, Shard
from headgate.stores.job_rows import CANCELLED as JOB_CANCELLED
from headgate.stores.job_rows import DONE as JOB_DONE
from headgate.stores.job_rows import (
    EXPIRED,
    LEASE_SECONDS,
    LOST,
    QUEUED,
    RUNNING,
    TELL_SECONDS,
    Job,
    JobStore,
)
from headgate.stores.job_rows import FAILED as JOB_FAILED
from headgate.stores.jobs_place import JobsPlace

Open = Callable[[], JobsPlace]


@pytest.fixture(params=["sqlite", "postgres"])
def open_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same place again and again; with SQLite one at a time."""
    url = the_server().url() if request.param == "postgres" else f"sqlite:///{tmp_path / 'headgate.db'}"
    opened: list[JobsPlace] = []

    def open_it() -> JobsPlace:
        if request.param == "sqlite" and opened:
            opened[-1].close()
        opened.append(JobsPlace(url, now=lambda: NOW))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


def job(name: str = "job_1", **changed: Any) -> Job:
    made = Job(
        name, "acme", "", "digest", QUEUED, NOW, NOW + 100, NOW, "anthropic", "messages", "/v1/messages", "",
        "[]", "{}", b'{"model": "m\\u0000"}',
    )  # fmt: skip
    return replace(made, **changed)


def test_a_job_is_taken_once_and_its_answer_is_there_after_a_reopening(open_place: Open) -> None:
    store = JobStore(open_place())
    store.add(job(webhook="reports"))
    (taken,) = store.take(NOW, 5)
    assert (taken.body, taken.tries, taken.twice) == (b'{"model": "m\\u0000"}', 1, 0)
    assert store.take(NOW, 5) == []
    assert store.finish("job_1", JOB_DONE, now=NOW, keeps=50.0, status=200, kind="application/json", answer=b"{}")
    assert not store.finish("job_1", JOB_FAILED, now=NOW, keeps=50.0)
    again = JobStore(open_place())
    found = again.get("job_1")
    assert found is not None
    assert (found.state, found.answer, found.body, found.expires) == (JOB_DONE, b"{}", b"", NOW + 50)
    (telling,) = again.untold(NOW, 5)
    assert (telling.webhook, telling.tries) == ("reports", 1)
    assert again.untold(NOW, 5) == []
    (telling,) = again.untold(NOW + TELL_SECONDS, 5)
    assert telling.tries == 2
    again.told("job_1", LOST, said="410")
    assert (again.queue().lost, again.queue().untold) == (1, 0)
    again.remove(before=NOW + 51)
    assert (again.get("job_1"), again.telling("job_1")) == (None, None)


def test_one_whose_lease_has_ended_is_taken_again_and_marked(open_place: Open) -> None:
    store = JobStore(open_place())
    store.add(job(expires=NOW + 10_000))
    store.take(NOW, 1)
    assert store.take(NOW + LEASE_SECONDS - 1, 1) == []
    (again,) = store.take(NOW + LEASE_SECONDS, 1)
    assert (again.tries, again.twice) == (2, 1)
    store.release(["job_1"], NOW + LEASE_SECONDS)  # its gateway was stopped: nobody waits for the lease
    assert [each.tries for each in store.take(NOW + LEASE_SECONDS, 1)] == [3]


def test_one_that_finds_no_room_expires_and_its_webhook_hears_it(open_place: Open) -> None:
    store = JobStore(open_place())
    store.add(job(webhook="reports"))
    store.take(NOW, 1)
    store.wait("job_1", NOW + 10, waits_for="a", why="no room", back=True)
    waiting = store.get("job_1")
    assert waiting is not None
    assert (waiting.state, waiting.tries, waiting.why) == (QUEUED, 0, "no room")
    assert store.take(NOW + 101, 1, keeps=5.0) == []
    expired = store.get("job_1")
    assert expired is not None
    assert (expired.state, expired.status, expired.expires) == (EXPIRED, 504, NOW + 106)
    assert [each.job for each in store.untold(NOW + 101, 5)] == ["job_1"]


def test_one_that_is_cancelled_while_it_runs_stays_so_and_can_be_tried_again(open_place: Open) -> None:
    store = JobStore(open_place())
    store.add(job())
    store.take(NOW, 1)
    assert store.cancel("job_1", now=NOW, keeps=50.0)
    assert not store.cancel("job_1", now=NOW, keeps=50.0)
    assert not store.finish("job_1", JOB_DONE, now=NOW, keeps=50.0, answer=b"{}")
    store.wait("job_1", NOW)
    found = store.get("job_1")
    assert found is not None
    assert (found.state, found.answer) == (JOB_CANCELLED, None)
    assert store.retry("job_1", now=NOW, waits=10.0)
    assert not store.retry("job_1", now=NOW, waits=10.0)
    assert [each.id for each in store.take(NOW, 1)] == ["job_1"]


def test_the_list_goes_back_in_time_page_after_page_by_owner_and_state(open_place: Open) -> None:
    store = JobStore(open_place())
    for number in range(5):
        store.add(job(f"job_{number}", created=NOW + number // 2, owner="acme" if number else "other"))
    first = store.list(owner="acme", limit=3)
    assert [each.id for each in first] == ["job_4", "job_3", "job_2"]
    assert [each.id for each in store.list(owner="acme", limit=3, after="job_2")] == ["job_1"]
    assert (store.list(state=RUNNING), store.queue().states, store.queue().oldest) == ([], {QUEUED: 5}, NOW)


def test_the_same_request_with_the_same_key_is_one_job_for_each_owner(open_place: Open) -> None:
    store = JobStore(open_place())
    assert store.add(job("job_1", idempotency="k")) == store.add(job("job_2", idempotency="k")) == "job_1"
    assert store.add(job("job_3", idempotency="k", owner="other")) == "job_3"
    assert store.add(job("job_4", idempotency="k", digest="another")) == "job_4"
    assert store.add(job("job_5"), most=2) == ""  # it has so many that wait; another owner has not
    assert store.add(job("job_6", owner="third"), most=2) == "job_6"


def test_that_holds_when_it_comes_to_several_at_once(open_place: Open) -> None:
    store, found = JobStore(open_place()), list[str]()
    stores = [JobStore(open_place()) for _ in range(3)] if store.place.shared else [store] * 3
    threads = [
        threading.Thread(target=lambda s=s, n=n: found.append(s.add(job(f"job_{n}", idempotency="k"))))  # type: ignore[misc]  # mypy: a default of a lambda
        for n, s in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_a_file_of_an_earlier_version_gets_the_columns_that_it_lacks(open_place: Open) -> None:
    place = open_place()
    place.run(lambda c: c.exec_driver_sql("CREATE TABLE something (a INTEGER)"))
    for column in ("webhook", "twice", "waits_for", "why"):
        place.run(lambda c, column=column: c.exec_driver_sql(f"ALTER TABLE deferred_jobs DROP COLUMN {column}"))  # type: ignore[misc]  # mypy: a default of a lambda
    place.close()
    store = JobStore(open_place())
    store.add(job())
    (taken,) = store.take(NOW, 1)
    assert (taken.webhook, taken.twice, taken.why) == ("", 0, "")


def item(place: int, **more: Any) -> dict[str, Any]:
    told = {"place": place, "line": place + 1, "custom_id": f"n{place}", "state": WAITING, "url": "/v1/messages"}
    return {**told, "body": b"{}", "bound_nano": 10**12, "bound_tokens": 7, "hold": 0, **more}


def batch(store: BatchStore, lines: int = 4) -> None:
    store.create(Batch("batch_1", "in.jsonl", "anthropic", "paced", "ready", NOW, caller={"tenant": "acme"}))
    store.add("batch_1", [item(n) for n in range(lines)])
    store.add_holds("batch_1", [Hold(0, "anthropic", "m", "ada")])


def test_items_are_leased_in_order_finished_once_and_counted(open_place: Open) -> None:
    store = BatchStore(open_place())
    batch(store)
    assert [(each.place, each.attempt) for each in store.lease("batch_1", 3)] == [(0, 1), (1, 1), (2, 1)]
    ends = [Ended(0, DONE, 200, b"x", "r\0", "", "ex_1", 5 * 10**9, 5 * 10**9, 3), Ended(1, FAILED, reason="\ud800")]
    store.finish("batch_1", ends)
    counts = store.counts("batch_1")
    assert (counts.states, counts.cost_nano) == ({DONE: 1, FAILED: 1, SENT: 1, WAITING: 1}, 5 * 10**9)
    drawn = store.drawn("batch_1")[0]
    assert (drawn.left, drawn.bound_nano, drawn.drawn_nano, drawn.drawn_tokens) == (2, 2 * 10**12, 5 * 10**9, 3)
    store.recover("batch_1", [2])
    assert [(each.place, each.twice) for each in store.lease("batch_1", 9)] == [(2, True), (3, False)]
    assert store.retry("batch_1") == 1
    assert store.end_waiting("batch_1", CANCELLED, "late") == 1


def test_a_batch_is_claimed_by_one_process_until_that_shows_no_sign_of_life(open_place: Open) -> None:
    store = BatchStore(open_place())
    batch(store)
    assert store.claim("batch_1", "a", NOW, stale=90.0)
    assert store.claim("batch_1", "b", NOW + 60, stale=90.0) is not store.place.shared
    assert store.claim("batch_1", "b", NOW + 91, stale=90.0)
    found = store.batch("batch_")
    assert found is not None
    assert (found.owner, found.served, found.caller) == ("b", False, {"tenant": "acme"})


def test_shards_take_their_items_along_and_leave_what_was_not_answered(open_place: Open) -> None:
    store = BatchStore(open_place())
    batch(store)
    shard = Shard(0, "anthropic", "/v1/messages", 2, begun=NOW)
    store.add_shard("batch_1", shard, [0, 1])
    shard.state, shard.provider_id = "submitted", "msgbatch_1"
    store.set_shard("batch_1", shard)
    again = BatchStore(open_place())
    assert again.shards("batch_1") == [shard]
    assert [each.place for each in again.of_shard("batch_1", 0)] == [0, 1]
    assert [each.place for each in again.unsharded("batch_1")] == [2, 3]
    again.finish("batch_1", [Ended(0, DONE)])
    assert again.leave_shard("batch_1", 0, WAITING) == 1
    assert [each.place for each in again.unsharded("batch_1")] == [1, 2, 3]
    assert again.names("batch_1") == {f"n{n}": n for n in range(4)}
    again.remove("batch_1")
    assert (again.batch("batch_1"), again.page("batch_1"), again.holds("batch_1")) == (None, [], [])


@pytest.mark.needs("survives")
def test_what_a_dead_process_was_charged_for_a_hold_is_corrected_once(each_store: Any, make: Maker) -> None:
    store = each_store
    exchange = make.exchange()
    attempt = make.attempt(exchange, bound=20)
    attempt.claims, attempt.sent = claims_of("a"), True
    store.intend(exchange, attempt)
    store.crash()
    charged = _balances(store)
    assert charged == [(20, 0)] * 3
    attempt.elsewhere_nano = 7
    make.answered(exchange, cost=0)
    assert store.ledger.correct(exchange)
    assert _balances(store) == [(7, 0)] * 3
    assert not store.ledger.correct(exchange)
    assert _balances(store) == [(7, 0)] * 3
    (row,) = store.rows("SELECT cost_nano, ending, attempts FROM exchanges")
    assert (row["cost_nano"], row["ending"], row["attempts"]) == (0, "complete", 1)
    assert len(store.rows("SELECT outcome FROM attempts")) == 1
    store.ledger.close()


def _balances(store: Any) -> list[tuple[int, int]]:
    return [(each.spent_nano, each.held_nano) for each in store.ledger.balances(list(claims_of("a")))]
