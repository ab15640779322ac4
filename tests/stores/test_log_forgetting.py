"""What is erased is gone from the files, byte by byte; what is old goes; sums stay."""

from __future__ import annotations

import random
import sqlite3
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_maker import EPOCH
from log_world import LogWorld, log_exchange
from postgres_server import the_server

from headgate.core.errors import Unavailable
from headgate.core.exchange import Ending
from headgate.stores.log import LineLog
from headgate.stores.logs import sqlite_erasing
from headgate.stores.logs.erasing import BadSubject, Subject
from headgate.stores.logs.histogram import BOUNDS, added, packed, percentile, unpacked, upper
from headgate.stores.logs.place import Logs
from headgate.stores.logs.postgres_link import connect
from headgate.stores.logs.query import BadQuery, LogQuery

DAY = 86_400.0


def bytes_of(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(folder.iterdir()) if each.is_file())


@pytest.fixture
def peopled(any_world: LogWorld) -> LogWorld:
    """Ada of two tenants, Bob, and what they say; the lines written by the log itself."""
    log = LineLog(any_world.spool, key_file=any_world.folder / "key", bodies="full", now=lambda: any_world.now)
    for number in range(300):
        user = ("ada.lovelace", "bob")[number % 2]
        tenant = ("acme", "other")[number // 2 % 2]
        log.write(
            log_exchange(
                number,
                user=user,
                tenant=tenant,
                session=f"{user}-{tenant}-session",
                message=f"{'zebrafish' if user != 'bob' else 'aardvark'} number{number}",
                answer=f"answer to {user}",
                tags={"who": user},
            )
        )
    log.event("anomaly", kind="tokens", user="ada.lovelace", tenant="acme")
    log.event("anomaly", kind="tokens", user="bob", tenant="acme")
    log.close()
    any_world.write_raw(b"unreadable ada.lovelace\n")
    any_world.keeper.catch_up()
    return any_world


def test_an_erased_users_words_and_name_are_in_no_file_any_more(peopled: LogWorld) -> None:
    assert b"zebrafish" in bytes_of(peopled.folder)
    found = peopled.keeper.erase(Subject("user", "ada.lovelace"))
    assert (found.exchanges, found.bodies, found.events, found.spool_emptied) == (150, 150, 1, True)
    left = bytes_of(peopled.folder)
    assert b"zebrafish" not in left
    assert b"lovelace" not in left
    assert (b"aardvark" in left) == peopled.store.exists()
    assert peopled.found(text="zebrafish") == []
    assert len(peopled.found(text="aardvark", limit=1000)) == 150
    if not peopled.store.exists():
        return
    words = sqlite3.connect(peopled.store)
    words.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, log_text_1, row)")
    assert {word for (word, *_) in words.execute("SELECT * FROM temp.words")} & {"zebrafish", "lovelace"} == set()
    words.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[LogWorld, LogWorld]]:
    """Two gateways' files of lines, in two folders, and one database."""
    database, worlds = the_server().url(), []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        worlds.append(LogWorld(tmp_path / name, database))
    yield worlds[0], worlds[1]
    for world in worlds:
        world.close()


def test_what_one_gateway_erases_is_gone_from_the_other_gateways_file_of_lines_too(
    two: tuple[LogWorld, LogWorld],
) -> None:
    one, other = two
    one.stored(log_exchange(1, message="zebrafish one"))
    other.stored(log_exchange(2, message="zebrafish two"))
    told = {"who": "ada"}
    other.write(log_exchange(3, message="zebrafish three", tags=told), log_exchange(4, user="bob", message="aardvark"))
    other.event("anomaly", at="2027-01-15T08:00:00.000Z", user="ada")
    found = one.keeper.erase(Subject("user", "ada"))
    assert (found.exchanges, found.spool_emptied, found.spools_left) == (2, True, 1)
    other.write(log_exchange(5, at=one.now + 3600, message="zebrafish again"))
    assert other.keeper.catch_up()
    assert other.spool.stat().st_size == 0
    assert one.found(text="zebrafish") == ["zebrafish again"]
    assert one.found(text="aardvark") == ["aardvark"]
    erased = one.reader.search(LogQuery(fields={"user": found.pseudonym})).rows
    assert len(erased) == 3
    assert all(row.session.startswith(found.pseudonym) for row in erased)
    assert [row.tags for row in erased if row.tags] == [{"who": found.pseudonym}]
    (event,) = one.reader.events()
    assert event.fields["user"] == found.pseudonym
    other.stored(log_exchange(6, message="zebrafish later"))
    assert other.spool.stat().st_size > 0  # heard of once
    assert one.keeper.erase(Subject("user", "nobody")).spools_left == 1


def test_a_gateway_with_nothing_to_take_in_hears_of_an_erasure_and_empties_its_file(
    two: tuple[LogWorld, LogWorld],
) -> None:
    one, other = two
    other.stored(log_exchange(12, tenant="globex", message="walrus"))
    one.keeper.erase(Subject("tenant", "globex"))
    assert b"walrus" in other.spool.read_bytes()
    other.ingest()
    assert b"walrus" not in bytes_of(other.folder)


def test_a_store_in_postgresql_of_before_erasures_were_heard_of_is_brought_into_the_new_form(tmp_path: Path) -> None:
    database = the_server().url()
    world = LogWorld(tmp_path, database)
    world.stored(log_exchange(1, message="zebrafish"))
    link, _ = connect(database)
    link.execute("DROP TABLE log_erasures")
    link.execute("ALTER TABLE log_spools DROP COLUMN heard")
    link.execute("UPDATE log_meta SET value = 2 WHERE name = 'version'")
    link.close()
    world.keeper.close()
    assert world.ingest().exchanges == 0  # nothing to write: the old form will do
    world.stored(log_exchange(2, message="aardvark"))
    assert world.keeper.erase(Subject("user", "ada")).bodies == 2
    assert world.found(text="zebrafish") == []
    world.close()


@pytest.mark.parametrize("then", ["another erasure", "the next pruning"])
def test_an_erasure_that_was_stopped_behind_the_rows_is_finished_by_what_comes_next(
    log_world: LogWorld, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    log_world.event("anomaly", kind="tokens", session="s-ada", tenant="acme")
    log_world.stored(
        *(log_exchange(n, message="zebrafish", session="s-ada") for n in range(3)),
        log_exchange(3, tenant="other", session="s-bob", message="aardvark"),
    )
    monkeypatch.setattr(sqlite_erasing, "merge_marked", stopped)
    with pytest.raises(Unavailable):
        log_world.keeper.erase(Subject("tenant", "acme"))
    monkeypatch.undo()
    if then == "another erasure":
        assert log_world.keeper.erase(Subject("tenant", "acme")).spool_emptied
    else:
        prune(log_world)
        log_world.spool.unlink()
    left = bytes_of(log_world.folder)
    assert b"zebrafish" not in left
    assert b"s-ada" not in left
    assert b"aardvark" in left
    assert log_world.found(text="aardvark") == ["aardvark"]


def stopped(_: object) -> bool:
    raise Unavailable("the disk is full")


def test_an_erased_users_rows_stay_with_their_counts_under_another_name(peopled: LogWorld) -> None:
    before = peopled.reader.rollup(EPOCH, EPOCH + DAY, "day")
    found = peopled.keeper.erase(Subject("user", "ada.lovelace"))
    assert peopled.reader.rollup(EPOCH, EPOCH + DAY, "day") == before
    by_user = peopled.reader.rollup(EPOCH, EPOCH + DAY, "day", "user")
    assert {row.value: row.exchanges for row in by_user} == {found.pseudonym: 150, "bob": 150}
    rows = len(peopled.ids(fields={"user": found.pseudonym}, limit=1000))
    assert rows == 150
    assert peopled.ids(fields={"user": "ada.lovelace"}) == []
    assert peopled.ids(fields={"tag:who": "ada.lovelace"}) == []


def test_a_tenant_erases_its_own_users_words_and_not_those_of_another_tenants_user_by_that_name(
    peopled: LogWorld,
) -> None:
    found = peopled.keeper.erase(Subject("user", "ada.lovelace", tenant="acme"))
    assert (found.exchanges, found.events) == (75, 1)
    assert len(peopled.ids(fields={"user": "ada.lovelace"}, limit=1000)) == 75
    assert len(peopled.found(text="zebrafish", limit=1000)) == 75
    by_user = {row.value: row.exchanges for row in peopled.reader.rollup(EPOCH, EPOCH + DAY, "day", "user")}
    assert by_user == {found.pseudonym: 75, "ada.lovelace": 75, "bob": 150}
    acme = {row.value: row.exchanges for row in peopled.reader.rollup(EPOCH, EPOCH + DAY, "day", "user", "acme")}
    assert acme == {found.pseudonym: 75, "bob": 75}


def test_the_user_of_no_tenant_goes_out_of_nobodys_sums_and_no_tenants_user_of_that_name(any_world: LogWorld) -> None:
    tenants = ("acme",) * 3 + ("globex",) * 2 + ("",) * 4
    any_world.stored(*(log_exchange(n, user="ada", tenant=tenant) for n, tenant in enumerate(tenants)))

    def by_user(tenant: str | None = None) -> dict[str, int]:
        rows = any_world.reader.rollup(EPOCH, EPOCH + DAY, "day", "user", tenant)
        return {row.value: row.exchanges for row in rows if row.value}

    found = any_world.keeper.erase(Subject("user", "ada", tenant=""))
    assert (found.exchanges, by_user()) == (4, {"ada": 5, found.pseudonym: 4})
    assert (by_user("acme"), by_user("globex")) == ({"ada": 3}, {"ada": 2})
    assert len(any_world.ids(fields={"user": "ada"})) == 5
    again = any_world.keeper.erase(Subject("user", "ada", tenant=""))
    assert (again.exchanges, again.pseudonym) == (0, "")


def test_a_name_goes_out_of_the_scope_of_a_budget_with_several_dimensions(any_world: LogWorld) -> None:
    any_world.event("budget_alert", budget="tenant,user/day", scope='["acme","ada \\"l\\" 100%"]')
    any_world.event("budget_alert", budget="tenant,user/day", scope='["acme","bob"]')
    any_world.event("budget_alert", budget="tenant,user/day", scope="[not JSON, ada")
    any_world.ingest()
    erased = any_world.keeper.erase(Subject("user", 'ada "l" 100%'))
    assert erased.events == 1
    scopes = {each.fields["scope"] for each in any_world.reader.events()}
    assert scopes == {f'["acme","{erased.pseudonym}"]', '["acme","bob"]', "[not JSON, ada"}


def test_a_tenant_cannot_rewrite_what_is_everybodys_by_a_user_with_the_name_of_one_of_our_words(
    any_world: LogWorld,
) -> None:
    ours = {"alert": "al_1", "rule": "breaker_open", "scope": "critical", "severity": "critical"}
    any_world.event("alert", **ours)
    any_world.event("budget_alert", budget="critical", scope="critical", share="80%")
    any_world.stored(log_exchange(1, user="critical", tenant="acme"))
    erased = any_world.keeper.erase(Subject("user", "critical", tenant="acme"))
    assert (erased.exchanges, erased.events) == (1, 1)
    found = {each.name: each.fields for each in any_world.reader.events()}
    assert found["alert"] == ours
    assert (found["budget_alert"]["budget"], found["budget_alert"]["scope"]) == ("critical", erased.pseudonym)


def test_an_erased_session_or_tenant_keeps_its_rows_and_loses_its_words(peopled: LogWorld) -> None:
    session = peopled.keeper.erase(Subject("session", "bob-acme-session"))
    assert (session.exchanges, session.bodies) == (75, 75)
    assert len(peopled.found(text="aardvark", limit=1000)) == 75
    tenant = peopled.keeper.erase(Subject("tenant", "other"))
    assert tenant.exchanges == 150
    assert peopled.found(text="aardvark") == []
    assert len(peopled.ids(tenant="other", limit=1000)) == 150
    by_user = peopled.reader.rollup(EPOCH, EPOCH + DAY, "day", "user", "other")
    assert sorted(row.exchanges for row in by_user) == [75, 75]
    assert {row.value for row in by_user} == {f"{tenant.pseudonym}-u1", f"{tenant.pseudonym}-u2"}
    assert peopled.ids(tenant="other", fields={"user": "bob"}) == []


def test_what_is_logged_after_an_erasure_is_taken_in_as_ever(peopled: LogWorld) -> None:
    peopled.keeper.erase(Subject("user", "ada.lovelace"))
    peopled.stored(log_exchange(400, user="bob", message="aardvark again"))
    assert peopled.found(text="again") == ["aardvark again"]
    rows = peopled.reader.rollup(EPOCH, EPOCH + DAY, "day")
    assert [row.exchanges for row in rows] == [301]


def test_erasing_nobody_does_nothing_and_an_empty_name_is_refused(peopled: LogWorld) -> None:
    assert peopled.keeper.erase(Subject("user", "nobody")).exchanges == 0
    with pytest.raises(BadSubject):
        Subject("user", "")
    with pytest.raises(BadSubject):
        Subject("tenant", "acme", tenant="other")


def prune(world: LogWorld) -> None:
    while world.keeper.prune(5.0).more:
        pass


def test_what_is_older_than_is_kept_goes_part_by_part_and_its_sums_stay(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, keep_seconds=10 * DAY)
    for day in range(15):
        world.now = EPOCH + day * DAY
        world.stored(*(log_exchange(day * 10 + n, at=world.now - n, message=f"word{day}") for n in range(10)))
        prune(world)
    assert world.found(text="word3") == []
    assert world.found(text="word4") == ["word4"] * 10
    assert len(world.ids(limit=1000)) == 110
    assert sum(row.exchanges for row in world.reader.rollup(EPOCH - DAY, world.now + DAY, "day")) == 150
    world.spool.unlink()
    assert b"word3" not in bytes_of(tmp_path)
    assert b"word5" in bytes_of(tmp_path)
    world.now += 100 * DAY
    prune(world)
    assert world.ids() == []
    world.stored(log_exchange(1000, at=world.now, message="new"))
    assert world.found() == ["new"]
    world.close()


def test_without_a_gateway_whoever_searches_finds_nothing_that_is_older_than_is_kept(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, keep_seconds=DAY)
    logs = Logs(world.place)
    world.write(*(log_exchange(n, at=time.time() - days * DAY, message=f"{days}") for n, days in enumerate((9, 2))))
    assert logs.fresh().search(LogQuery()).rows == ()
    world.write(log_exchange(3, at=time.time(), message="today"))
    assert [row.user_message for row in logs.fresh().search(LogQuery()).rows] == ["today"]
    logs.close()
    world.close()


def found_beside(world: LogWorld, **place: Any) -> list[str]:
    """What somebody finds who is told otherwise how long exchanges are kept, and is no gateway."""
    logs = Logs(replace(world.place, **place))
    try:
        return [row.user_message for row in logs.fresh().search(LogQuery()).rows]
    finally:
        logs.close()


def pruned_by_a_gateway(world: LogWorld, keep_seconds: float) -> None:
    keeper = replace(world.place, keep_seconds=keep_seconds).keeper()
    while keeper.prune(5.0).more:
        pass
    keeper.close()


def test_who_only_searches_forgets_nothing_that_a_gateway_keeps(any_world: LogWorld) -> None:
    any_world.stored(log_exchange(1, at=time.time() - 9 * DAY, message="9 days"))
    pruned_by_a_gateway(any_world, 30.5 * DAY)
    assert found_beside(any_world, keep_seconds=DAY, keep_bytes=1) == ["9 days"]
    pruned_by_a_gateway(any_world, 5 * DAY)  # it was told otherwise since
    assert any_world.found() == []
    any_world.write(log_exchange(2, at=time.time() - 8 * DAY, message="8 days"))
    assert found_beside(any_world, keep_seconds=20 * DAY) == ["8 days"]
    assert found_beside(any_world, keep_seconds=DAY) == []


def test_nobody_forgets_anything_in_postgresql_before_a_gateway_did(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, the_server().url())
    world.stored(log_exchange(1, at=time.time() - 9 * DAY, message="9"))
    assert found_beside(world, keep_seconds=DAY) == ["9"]
    world.close()


def test_what_is_kept_for_a_minute_is_gone_after_three(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, keep_seconds=60.0)
    for minute in range(6):
        world.now = EPOCH + minute * 60
        world.stored(log_exchange(minute, at=world.now, message=f"minute{minute}"))
        prune(world)
    assert world.found() == ["minute5", "minute4"]
    world.now += 121.0
    prune(world)
    assert world.found() == []
    world.close()


def test_a_line_with_a_time_to_come_goes_when_those_beside_it_go(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, keep_seconds=DAY)
    world.stored(log_exchange(1), log_exchange(2, at=EPOCH + 1000 * DAY))
    world.now += 0.5 * DAY
    world.stored(log_exchange(3, at=world.now))
    world.now += 1.1 * DAY
    prune(world)
    assert world.ids() == []
    world.close()


def test_a_file_that_is_too_large_loses_its_oldest_parts_and_becomes_smaller(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, keep_bytes=1_500_000)
    for hour in range(20):
        world.now = EPOCH + hour * 13 * 3600
        world.stored(*(log_exchange(hour * 100 + n, at=world.now, message=f"hour{hour} " * 200) for n in range(100)))
    prune(world)
    assert world.store.stat().st_size < 2_000_000
    assert world.found(text="hour0") == []
    assert len(world.found(text="hour19", limit=1000)) == 100
    world.close()


def test_in_postgresql_the_oldest_go_where_there_is_more_than_is_kept(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, the_server().url(), keep_bytes=6_000_000)
    dice = random.Random(7)
    for day in range(10):
        world.now = EPOCH + day * DAY
        texts = (" ".join(f"{dice.randrange(10**9):x}" for _ in range(200)) for _ in range(100))
        world.stored(*(log_exchange(day * 100 + n, at=world.now, message=text) for n, text in enumerate(texts)))
    every = world.ids(limit=1000)
    assert len(every) == 1000
    prune(world)
    left = world.ids(limit=1000)
    assert left == every[: len(left)]
    assert 250 < len(left) < 700
    assert sum(row.exchanges for row in world.reader.rollup(EPOCH, world.now + DAY, "day")) == 1000
    prune(world)
    assert world.ids(limit=1000) == left  # room that is empty is not counted
    world.close()


def test_sums_by_every_dimension_add_up_to_the_whole(any_world: LogWorld) -> None:
    for number in range(200):
        any_world.write(
            log_exchange(
                number * 60,
                tenant=("acme", "other", "")[number % 3],
                model=f"m{number % 4}",
                task="sum" if number % 2 else "",
                ending=Ending.FAILED if number % 10 == 0 else Ending.COMPLETE,
                user=f"u{number % 5}" if number % 5 else "",
                cost=number,
            )
        )
    any_world.ingest()
    any_world.now += 60.0
    any_world.stored(log_exchange(12_001, cost=1_000_000))
    for step in ("minute", "hour", "day"):
        whole = any_world.reader.rollup(EPOCH, EPOCH + DAY, step)
        assert sum(row.exchanges for row in whole) == 201
        assert sum(row.cost_nano for row in whole) == sum(range(200)) + 1_000_000
        assert sum(row.failed for row in whole) == 20
        assert sum(sum(row.latency.values()) for row in whole) == 201
        for by in ("tenant", "model", "ending", "error", *(("task", "key", "verdict") if step != "minute" else ())):
            rows = any_world.reader.rollup(EPOCH, EPOCH + DAY, step, by)
            assert sum(row.exchanges for row in rows) == 201
            assert sum(row.output_tokens for row in rows) == 201 * 5
    of_task = {row.value: row.exchanges for row in any_world.reader.rollup(EPOCH, EPOCH + DAY, "day", "task")}
    assert of_task == {"sum": 100, "": 101}
    mine = any_world.reader.rollup(EPOCH, EPOCH + DAY, "day", "model", "acme")
    assert sum(row.exchanges for row in mine) == 68
    users = {row.value: row.exchanges for row in any_world.reader.rollup(EPOCH, EPOCH + DAY, "day", "user")}
    assert users == {"u1": 40, "u2": 40, "u3": 40, "u4": 40, "": 40, "ada": 1}
    some = any_world.reader.rollup(EPOCH, EPOCH + DAY, "day", "user", values=["u1", "u3"])
    assert {row.value: row.exchanges for row in some} == {"u1": 40, "u3": 40, "": 121}
    top = any_world.reader.top(EPOCH, EPOCH + DAY, "user", limit=2, order="exchanges")
    assert [(row.value, row.exchanges) for row in top] == [("u1", 40), ("u2", 40)]
    (dearest,) = any_world.reader.top(EPOCH, EPOCH + 3 * DAY, "user", limit=1)
    assert (dearest.value, dearest.cost_nano) == ("ada", 1_000_000)
    assert [row.value for row in any_world.reader.top(EPOCH, EPOCH + DAY, "tenant", "acme")] == ["acme"]
    assert sum(row.exchanges for row in any_world.reader.top(EPOCH, EPOCH + DAY, "model", "acme")) == 68
    with pytest.raises(BadQuery):
        any_world.reader.top(EPOCH, EPOCH + DAY, "colour")
    with pytest.raises(BadQuery):
        any_world.reader.rollup(EPOCH, EPOCH + DAY, "minute", "user")
    with pytest.raises(BadQuery):
        any_world.reader.rollup(EPOCH, EPOCH + DAY, "week")


def test_values_beyond_the_most_that_are_told_apart_are_summed_up_together(
    log_world: LogWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.stores.logs.user_sums.MOST_VALUES", 3)
    for turn in range(3):
        log_world.now += 600.0
        log_world.stored(*(log_exchange(turn * 10 + n, user=f"u{n}") for n in range(5)))
    log_world.now += 600.0
    log_world.stored(log_exchange(40, user="u9"))
    rows = log_world.reader.rollup(EPOCH, EPOCH + DAY, "day", "user")
    assert sum(row.exchanges for row in rows) == 16
    assert sum(row.exchanges for row in rows if row.value == "…") >= 6


@given(st.lists(st.floats(0.0, 1e7, allow_nan=False), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_a_percentile_of_a_histogram_is_not_below_the_true_one_and_little_above(times: list[float], q: float) -> None:
    histogram = added({bisect_left(BOUNDS, each): 1} for each in times)
    found = percentile(unpacked(packed(histogram)), q)
    rank = max(1, -int(-len(times) * q // 1))
    true = sorted(times)[rank - 1]
    assert found is not None
    assert found >= true * 0.999
    assert found <= max(1.0, true * 1.0906)


def test_an_empty_histogram_has_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert upper(0) == 1.0
