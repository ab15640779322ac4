"""Lines into the log store: none lost, none twice, whatever happens to the file, the disk or the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_maker import EPOCH
from log_world import LogWorld, log_exchange

from headgate.core.errors import Unavailable
from headgate.stores import log_line
from headgate.stores.log import LineLog
from headgate.stores.logs import lines
from headgate.stores.logs.erasing import Subject
from headgate.stores.logs.query import SHARED_FIELDS, LogQuery
from headgate.stores.logs.sqlite_schema import open_reader


def numbers(world: LogWorld) -> list[int]:
    """The numbers of the rows, in the order they were taken in."""
    rows = world.reader.search(LogQuery(limit=1000)).rows
    return [int(row.request_id[4:]) for row in reversed(rows)]


def test_lines_are_taken_in_once_and_those_that_come_later_then(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1), log_exchange(2))
    assert log_world.ingest().exchanges == 0
    log_world.stored(log_exchange(3))
    assert numbers(log_world) == [1, 2, 3]


def test_a_line_that_is_not_whole_yet_waits_for_its_end(log_world: LogWorld) -> None:
    line = log_world.line(log_exchange(2)) + b"\n"
    log_world.stored(log_exchange(1))
    log_world.write_raw(line[:100])
    assert log_world.ingest().exchanges == 0
    log_world.write_raw(line[100:])
    assert log_world.ingest().exchanges == 1
    assert numbers(log_world) == [1, 2]


BAD = [
    b"not json",
    b"{}",
    b'{"timestamp":"never","event":"exchange"}',
    b'{"timestamp":"2027-01-15T08:00:00.000Z","event":7}',
    b'{"timestamp":"2027-01-15T08:00:00.000Z","event":"exchange","input_tokens":"many"}',
    b'{"timestamp":"2027-01-15T08:00:00.000Z","event":"exchange","cost_usd":"much"}',
    b'{"timestamp":"2027-01-15T08:00:00","event":"x"}',
    b"\x00\xff\xfe",
    b"[" * 3000,
]


def test_a_line_that_cannot_be_read_is_kept_apart_and_stops_no_other(log_world: LogWorld) -> None:
    log_world.write(log_exchange(1))
    for each in BAD:
        log_world.write_raw(each + b"\n")
    log_world.write(log_exchange(2))
    found = log_world.ingest()
    assert (found.exchanges, found.bad) == (2, len(BAD))
    assert found.why_bad
    assert numbers(log_world) == [1, 2]
    kept = open_reader(log_world.store).execute("SELECT line FROM log_bad ORDER BY n").fetchall()
    assert [line for (line,) in kept] == BAD


def test_broken_utf_8_and_lone_surrogates_are_shown_as_such_and_the_rest_is_kept(log_world: LogWorld) -> None:
    raw = log_world.line(log_exchange(1, message="caf-X-e"))
    log_world.write_raw(raw.replace(b"-X-", b"\xff") + b"\n")
    log_world.write(log_exchange(2, message="half \ud83d of it", user="\udc80"))
    log_world.keeper.catch_up()
    assert log_world.found() == ["half � of it", "caf�e"]


def test_times_to_come_and_times_gone_by_are_taken_as_they_are(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1, at=EPOCH + 9e8), log_exchange(2, at=EPOCH - 9e8), log_exchange(3))
    assert numbers(log_world) == [1, 2, 3]
    assert log_world.ids(since=EPOCH, until=EPOCH + 10) == [log_exchange(3).id]


def test_bodies_of_the_greatest_length_are_taken_in(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1, message="ü" * 200_000, answer="word " * 50_000))
    assert log_world.ids(text="word") == [log_exchange(1, at=EPOCH + 1).id]


def test_a_file_that_was_moved_away_is_read_to_its_end_and_then_the_new_one(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1))
    log_world.write(log_exchange(2))
    log_world.spool.rename(log_world.folder / "headgate.db.log.jsonl.1")
    log_world.write(log_exchange(3))
    log_world.keeper.catch_up()
    assert numbers(log_world) == [1, 2, 3]


def test_a_file_that_was_moved_while_nobody_looked_is_found_beside_the_new_one(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1))
    log_world.keeper.close()
    log_world.write(log_exchange(2))
    log_world.spool.rename(log_world.folder / "headgate.db.log.jsonl-20270115")
    log_world.write(log_exchange(3))
    log_world.another_keeper().catch_up()
    assert numbers(log_world) == [1, 2, 3]


def rotate(world: LogWorld) -> None:
    """As logrotate does: each file one further."""
    for number in range(9, -1, -1):
        old = world.spool.with_name(f"{world.spool.name}.{number}") if number else world.spool
        if old.exists():
            old.rename(world.spool.with_name(f"{world.spool.name}.{number + 1}"))


@pytest.mark.parametrize("unread", [0, 1], ids=["read to its end", "with a line more"])
@pytest.mark.parametrize("looking", [True, False], ids=["open", "closed"])
def test_files_that_were_moved_one_after_the_other_while_nobody_looked_are_all_read_in_their_order(
    log_world: LogWorld, unread: int, looking: bool
) -> None:
    log_world.write(log_exchange(0))
    rotate(log_world)  # one of before our time
    log_world.stored(log_exchange(1))
    if not looking:
        log_world.keeper.close()
    log_world.write(*(log_exchange(1, at=EPOCH + 2) for _ in range(unread)))
    for number in (10, 20, 30):
        rotate(log_world)
        log_world.write(log_exchange(number), log_exchange(number + 1))
    (log_world.folder / f"{log_world.spool.name}.copy").write_bytes(log_world.spool.read_bytes())
    log_world.another_keeper().catch_up() if not looking else log_world.keeper.catch_up()
    rotate(log_world)
    log_world.spool.touch()
    log_world.keeper.catch_up()
    assert numbers(log_world) == [1, *[1] * unread, 10, 11, 20, 21, 30, 31]


def test_a_file_that_was_begun_behind_one_that_was_emptied_is_read_where_it_was_moved_away(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1))
    log_world.keeper.erase(Subject("user", "nobody"))
    log_world.keeper.close()
    log_world.write(log_exchange(2))
    rotate(log_world)
    log_world.write(log_exchange(3))
    log_world.another_keeper().catch_up()
    assert numbers(log_world) == [1, 2, 3]


def test_a_torn_last_line_of_a_file_that_was_moved_away_is_bad_and_read_once(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1))
    log_world.write_raw(b'{"torn')
    log_world.spool.rename(log_world.folder / "away")
    log_world.write(log_exchange(2))
    log_world.keeper.catch_up()
    log_world.stored(log_exchange(3))
    assert numbers(log_world) == [1, 2, 3]
    assert len(open_reader(log_world.store).execute("SELECT 1 FROM log_bad").fetchall()) == 1


@pytest.mark.parametrize("lines_after", [1, 5])
def test_a_file_that_was_truncated_is_read_from_its_beginning(log_world: LogWorld, lines_after: int) -> None:
    log_world.stored(log_exchange(1), log_exchange(2))
    os.truncate(log_world.spool, 0)  # logrotate's copytruncate
    log_world.stored(*(log_exchange(n) for n in range(3, 3 + lines_after)))
    assert numbers(log_world) == [1, 2, *range(3, 3 + lines_after)]


def test_a_store_that_is_gone_is_made_anew_from_the_lines_that_are_there(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1))
    log_world.store.unlink()
    log_world.stored(log_exchange(2))
    assert numbers(log_world) == [1, 2]


def test_a_spool_that_has_grown_is_emptied_once_all_of_it_was_taken_in(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, spool_bytes=2000)
    log = LineLog(world.spool, key_file=tmp_path / "key", now=lambda: world.now)
    for number in range(1, 8):
        log.write(log_exchange(number))
        log.flush()
        world.ingest()
    assert world.spool.stat().st_size < 2000
    assert numbers(world) == list(range(1, 8))
    log.close()
    world.close()


def test_two_who_take_lines_in_at_once_take_each_line_in_once(log_world: LogWorld) -> None:
    keepers = [log_world.keeper, log_world.another_keeper(), log_world.another_keeper()]
    done = threading.Event()

    def take(which: int) -> None:
        while not done.is_set():
            keepers[which].ingest_once(0.01)

    threads = [threading.Thread(target=take, args=(which,)) for which in range(3)]
    for each in threads:
        each.start()
    for number in range(200):
        log_world.write(log_exchange(number, user=f"u{number % 7}"))
    done.set()
    for each in threads:
        each.join()
    log_world.keeper.catch_up()
    assert numbers(log_world) == list(range(200))
    rows = log_world.reader.rollup(EPOCH, EPOCH + 1000, "hour")
    assert sum(row.exchanges for row in rows) == 200


def test_while_the_store_cannot_be_written_the_lines_wait_for_it(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1))
    reader = log_world.reader
    log_world.keeper.close()
    full = log_world.another_keeper()
    connection = full._store.connection()  # type: ignore[attr-defined]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")  # a disk that is full, to SQLite
    log_world.write(*(log_exchange(n, message="words " * 5_000) for n in range(2, 6)))
    with pytest.raises(Unavailable, match="full"):
        full.ingest_once()
    connection.execute("PRAGMA max_page_count=1073741823")
    full.catch_up()
    assert [int(row.request_id[4:]) for row in reader.search(LogQuery()).rows] == [5, 4, 3, 2, 1]


KILLED = """
import sys
from pathlib import Path
from headgate.stores.logs.place import LogPlace
place = LogPlace(sys.argv[1], Path(sys.argv[2]))
keeper = place.keeper()
print("ready", flush=True)
while True:
    keeper.ingest_once(0.5)
"""


def test_whoever_is_killed_in_the_middle_of_it_has_lost_no_line_and_leaves_none_twice(log_world: LogWorld) -> None:
    lines_of_one = 400
    made = 0
    for _ in range(4):
        log_world.write(*(log_exchange(made + n, message="some words", user=f"u{n}") for n in range(lines_of_one)))
        made += lines_of_one
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, log_world.place.storage, str(log_world.spool)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        child.stdout.readline()
        for n in range(20):
            log_world.write(log_exchange(made + n))
        made += 20
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    log_world.keeper.catch_up()
    found = []
    before = ""
    while True:
        page = log_world.reader.search(LogQuery(limit=1000, before=before))
        found += [int(row.request_id[4:]) for row in page.rows]
        before = page.next
        if not before:
            break
    assert sorted(found) == list(range(made))
    assert sum(row.exchanges for row in log_world.reader.rollup(EPOCH, EPOCH + 90_000, "day")) == made
    assert len(log_world.found(text="words", limit=1000)) == 1000


def test_the_log_waits_for_whoever_ends_its_file_and_then_writes_to_the_new_one(tmp_path: Path) -> None:
    from headgate.stores.logs.spool import Spool

    log = LineLog(tmp_path / "x.jsonl", key_file=tmp_path / "key", now=lambda: EPOCH)
    log.write(log_exchange(1))
    log.flush()
    spool = Spool(tmp_path / "x.jsonl")
    spool.advance(len(spool.read()))
    with spool.held():
        log.write(log_exchange(2))
        flushed = threading.Thread(target=log.flush)
        flushed.start()
        (tmp_path / "x.jsonl").rename(tmp_path / "away")
        assert (tmp_path / "away").read_bytes().count(b"\n") == 1
    flushed.join()
    assert (tmp_path / "x.jsonl").read_bytes().count(b"\n") == 1
    log.close()
    spool.close()


def test_every_field_of_a_line_is_known_to_the_store() -> None:
    written = {each.name for each in msgspec.structs.fields(log_line._More)}
    read = {each.name for each in msgspec.structs.fields(lines.Own)}
    assert written - {"key"} <= read  # which begins what is shared
    assert log_line._SHARED[0] == "key"
    assert log_line._SHARED == SHARED_FIELDS
    bodies = {"user_message", "response_text", "discarded_texts", "request_body"}
    few = {each.name for each in msgspec.structs.fields(log_line._More) if not each.required} - {"key"}
    assert few - bodies == set(lines.MORE) & few


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=8),
            st.text(max_size=8),
            st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
        ),
        max_size=4,
    )
)
def test_a_line_is_read_as_it_was_written_whatever_its_names_are(
    tmp_path_factory: pytest.TempPathFactory, callers: list[tuple[str, str, dict[str, str]]]
) -> None:
    made: dict[bytes, lines.Shape] = {}

    def shape_of(tail: bytes, values: tuple[object, ...] | None) -> lines.Shape:
        if values is not None:
            made[tail] = lines.Shape(len(made), tail, values)
        return made[tail]

    maker = log_line.LineMaker(b"k" * 32, with_bodies=True)
    exchanges = [
        log_exchange(n, user=user, tenant=tenant, tags=tags, message=user + tenant)
        for n, (user, tenant, tags) in enumerate(callers)
    ]
    read = lines.read_lines(b"".join(maker.line(each, EPOCH) + b"\n" for each in exchanges), shape_of)
    assert not read.bad
    assert len(read.exchanges) == len(exchanges)
    for line, exchange in zip(read.exchanges, exchanges, strict=True):
        caller = exchange.request.caller
        told = msgspec.json.decode(line.more) if line.more else {}
        wanted = (_plain(caller.user), _plain(caller.tenant), {_plain(k): _plain(v) for k, v in caller.tags.items()})
        assert (line.own.user_id, line.shape.tenant, told.get("tags", {})) == wanted


def _plain(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
