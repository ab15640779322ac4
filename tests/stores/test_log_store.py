"""The log store: what goes in comes out, by every question that can be asked."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ledger_maker import EPOCH
from log_world import LogWorld, log_exchange
from postgres_server import the_server

from headgate.core.exchange import Ending
from headgate.core.guards import Finding, Verdict
from headgate.stores.log import LineLog
from headgate.stores.logs.filters import filter_of
from headgate.stores.logs.posts import PLACES, packed, places_of, unpacked
from headgate.stores.logs.query import BadQuery, LogQuery
from headgate.stores.logs.sqlite_reader import NoLogStore, SqliteLogReader


def test_a_row_has_everything_that_its_line_has(any_world: LogWorld) -> None:
    exchange = log_exchange(1, message="hi", answer="hello", correlation="c-9", tags={"team": "search"}, task="sum")
    exchange.pruned = "4 of 9 messages"
    any_world.stored(exchange)
    row = any_world.reader.show(exchange.id)
    assert row is not None
    assert (row.user, row.session, row.tenant, row.key, row.task) == ("ada", "s-1", "acme", "k1", "sum")
    assert (row.model_asked, row.provider) == ("claude-haiku-4-5", "anthropic")
    assert (row.ending, row.status_code) == ("complete", 200)
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens, row.cache_write_tokens) == (10, 5, 1, 2)
    assert (row.cost_nano, row.latency_ms, row.ttft_ms, row.at) == (1_000, 500.0, 250.0, EPOCH + 1)
    assert (row.request_id, row.correlation_id) == ("req_1", "c-9")
    assert (row.tags, row.more["pruned"]) == ({"team": "search"}, "4 of 9 messages")
    assert (row.user_message, row.response_text) == ("hi", "hello")
    assert any_world.reader.show(exchange.id, tenant="other") is None
    assert any_world.reader.show("ex_none") is None


SIZES = {"sqlite": 17_000, "postgres": 3_000}
"""More than one segment of SQLite: 16,384 with bitmaps and 616 without."""


@pytest.fixture(scope="module", params=SIZES)
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogWorld]:
    """Every 50th says "rare", every second "even"."""
    storage = the_server().url() if request.param == "postgres" else ""
    world = LogWorld(tmp_path_factory.mktemp("many"), storage)
    world.size = SIZES[request.param]
    dice = random.Random(7)
    for number in range(world.size):
        words = "even " * (number % 2 == 0) + "rare" * (number % 50 == 0)
        exchange = log_exchange(
            number,
            message=f"{words} number{number}",
            user=f"u{number % 100}",
            session=f"s{number // 10}",
            tenant=f"t{number % 3}",
            ending=Ending.FAILED if number % 1000 == 999 else Ending.COMPLETE,
            cost=dice.randrange(1_000_000),
            seconds=0.1 if number % 500 else 9.0,
            tags={"team": "odd"} if number % 7 == 0 else None,
        )
        if number % 400 == 0:
            exchange.guarded, exchange.findings = True, (Finding("injection", Verdict.FLAG, ("override",)),)
        elif number % 400 == 200:
            reasons = ("repeat", "budget") if number % 800 == 200 else ()
            exchange.guarded, exchange.findings = True, (Finding("loops", Verdict.BLOCK, reasons),)
        world.write(exchange)
    world.keeper.catch_up()
    yield world
    world.close()


def all_of(world: LogWorld, **query: object) -> list[int]:
    """The numbers of all rows that a search finds, page by page."""
    found: list[int] = []
    before = ""
    while True:
        page = world.reader.search(LogQuery(before=before, **query))  # type: ignore[arg-type]
        found += [int(row.request_id[4:]) for row in page.rows]
        before = page.next
        if not before:
            return found


def falling(numbers: Iterable[int]) -> list[int]:
    return sorted(numbers, reverse=True)


def test_a_search_without_a_condition_finds_all_the_newest_first(many: LogWorld) -> None:
    assert all_of(many, limit=1000) == falling(range(many.size))


def test_a_search_by_a_field_finds_all_that_have_it_and_nothing_else(many: LogWorld) -> None:
    assert all_of(many, fields={"user": "u7"}) == falling(range(7, many.size, 100))
    assert all_of(many, fields={"tenant": "t1"}, limit=1000) == falling(range(1, many.size, 3))
    assert all_of(many, fields={"session": "s3"}) == falling(range(30, 40))
    assert all_of(many, fields={"request_id": f"req_{many.size - 1}"}) == [many.size - 1]
    assert all_of(many, fields={"user": "nobody"}) == []
    assert all_of(many, fields={"model": "claude-haiku-4-5", "user": "u7", "tenant": "t1"}) == [
        n for n in falling(range(7, many.size, 100)) if n % 3 == 1
    ]


def test_an_exchange_that_a_retry_saved_has_an_attempt_that_failed_and_one_without_any_has_none() -> None:
    wanted = filter_of(LogQuery(fields={"attempt_failed": "true"})).shape
    assert wanted is not None
    found = [wanted(SimpleNamespace(attempts=a, failed=f)) for a, f in ((2, 0), (1, 1), (1, 0), (0, 1))]  # type: ignore[arg-type]
    assert found == [True, True, False, False]
    for number in ("much", "-1", "nan"):
        with pytest.raises(BadQuery, match="min_output_tokens is a number"):
            filter_of(LogQuery(fields={"min_output_tokens": number}))


def test_errors_costs_times_tags_and_guards_can_be_searched_by(many: LogWorld) -> None:
    assert all_of(many, errors=True) == falling(range(999, many.size, 1000))
    assert all_of(many, min_latency_ms=5000.0) == falling(range(0, many.size, 500))
    assert all_of(many, fields={"min_ttft_ms": "2500"}) == falling(range(0, many.size, 500))
    assert all_of(many, fields={"min_waited_ms": "1"}) == []
    assert all_of(many, fields={"attempt_failed": "true"}) == falling(range(999, many.size, 1000))
    assert all_of(many, fields={"tag:team": "odd"}, limit=500) == falling(range(0, many.size, 7))
    assert all_of(many, fields={"guard": "injection"}) == falling(range(0, many.size, 400))
    assert all_of(many, fields={"guard": "injection:override"}) == falling(range(0, many.size, 400))
    dear = many.reader.search(LogQuery(min_cost_nano=999_000, limit=1000)).rows
    assert dear
    assert all(row.cost_nano >= 999_000 for row in dear)
    assert len(dear) == sum(row.cost_nano >= 999_000 for row in every_row(many))


def every_row(world: LogWorld) -> Iterator[object]:
    before = ""
    while True:
        page = world.reader.search(LogQuery(before=before, limit=1000))
        yield from page.rows
        before = page.next
        if not before:
            return


def test_a_search_by_words_finds_all_that_say_them(many: LogWorld) -> None:
    assert all_of(many, text="rare", limit=7) == falling(range(0, many.size, 50))
    assert all_of(many, text="number2500") == [2_500]
    assert all_of(many, text='"even rare"', limit=100) == falling(range(0, many.size, 50))
    assert all_of(many, text='"rare even"') == []
    assert all_of(many, text="number123*", until=EPOCH + 3000) == falling([*range(1_230, 1_240), 123])
    assert all_of(many, text="rare -number100")[-2:] == [50, 0]


def test_words_and_fields_together_find_what_has_both(many: LogWorld) -> None:
    assert all_of(many, text="rare", fields={"user": "u50"}) == falling(range(50, many.size, 100))
    assert all_of(many, text="even", fields={"session": "s3"}) == [38, 36, 34, 32, 30]
    assert all_of(many, text="rare", fields={"user": "u7"}) == []
    assert all_of(many, text="even", errors=True) == []
    assert all_of(many, text="number*", fields={"session": "s165"}) == falling(range(1_650, 1_660))


def test_a_search_between_two_times_finds_what_ended_in_between(many: LogWorld) -> None:
    assert all_of(many, since=EPOCH + 100, until=EPOCH + 103) == [102, 101, 100]
    last = [many.size - n for n in (2, 4, 6, 8, 10)]
    assert all_of(many, text="even", since=EPOCH + many.size - 10) == last


def test_a_tenant_sees_its_own_whatever_else_it_asks_for(many: LogWorld) -> None:
    assert all_of(many, tenant="t1", fields={"tenant": "t2"}) == []
    assert all_of(many, tenant="t1", fields={"user": "u7"}) == [
        n for n in falling(range(7, many.size, 100)) if n % 3 == 1
    ]
    assert many.reader.conversation("s3", tenant="none").rows == ()


def test_a_conversation_is_read_from_its_beginning_page_by_page(many: LogWorld) -> None:
    first = many.reader.conversation("s3", limit=6)
    rest = many.reader.conversation("s3", limit=6, after=first.next)
    assert [row.request_id for row in (*first.rows, *rest.rows)] == [f"req_{n}" for n in range(30, 40)]
    assert rest.next == ""


def test_sessions_are_found_once_each_and_summed_up_whole_wherever_their_rows_lie(many: LogWorld) -> None:
    found = many.reader.sessions(LogQuery(tenant="t1", limit=200))
    numbers = range(many.size - 1, 0, -1)
    assert [each.session for each in found.sessions] == list(
        dict.fromkeys(f"s{n // 10}" for n in numbers if n % 3 == 1)
    )[:200]
    (old,) = many.reader.sessions(LogQuery(fields={"session": "s5"}, tenant="t1")).sessions
    assert (old.exchanges, old.first, old.last) == (3, EPOCH + 52, EPOCH + 58)
    assert many.reader.sessions(LogQuery(tenant="t1", before=found.next, limit=1)).sessions[0].session == (
        f"s{int(found.sessions[-1].session[1:]) - 1}"
    )


@pytest.mark.parametrize("tenant", [None, "t1"])
@pytest.mark.parametrize(("since", "until"), [(0, 50_000), (900, 1_700), (2_000, 16_500)])
def test_what_guards_found_is_counted_exactly_between_two_times(
    many: LogWorld, tenant: str | None, since: int, until: int
) -> None:
    numbers = [n for n in range(since, min(until, many.size)) if tenant is None or n % 3 == 1]
    expected = {
        ("injection:override", "flag"): [n for n in numbers if n % 400 == 0],
        ("loops:repeat", "block"): [n for n in numbers if n % 800 == 200],
        ("loops:budget", "block"): [n for n in numbers if n % 800 == 200],
        ("loops", "block"): [n for n in numbers if n % 800 == 600],
    }
    found = many.reader.guards(EPOCH + since, EPOCH + until, tenant)
    assert found.counted_from is None
    assert {(each.word, each.verdict): (each.exchanges, each.last) for each in found.counts} == {
        name: (len(some), EPOCH + some[-1]) for name, some in expected.items() if some
    }
    assert all(each.exchange_id.endswith(f"{int(each.last - EPOCH):016x}") for each in found.counts)


def test_counting_what_guards_found_says_how_far_back_it_came(many: LogWorld) -> None:
    if many.size <= PLACES:
        return  # PostgreSQL looks first at more than there is
    reader = SqliteLogReader(many.store, seconds=0.0)
    assert reader.guards(EPOCH, EPOCH + many.size).counted_from is not None
    reader.close()


def test_a_search_for_sessions_whose_time_is_up_says_so_and_goes_on_to_all_of_them(many: LogWorld) -> None:
    if many.size <= PLACES:
        return  # PostgreSQL looks first at more than there is
    reader = SqliteLogReader(many.store, seconds=0.0)
    query = LogQuery(tenant="t2", limit=1000)
    page = reader.sessions(query)
    assert page.searched_to is not None
    names = [each.session for each in page.sessions]
    while page.next:
        page = reader.sessions(replace(query, before=page.next))
        names += [each.session for each in page.sessions]
    reader.close()
    assert set(names) == {f"s{n // 10}" for n in range(many.size) if n % 3 == 2}


def test_the_live_tail_goes_on_behind_what_was_seen(many: LogWorld) -> None:
    newest = many.reader.newest()
    page = many.reader.since_id(newest, LogQuery())
    assert (page.rows, page.next, page.searched_to) == ((), newest, None)
    page = many.reader.since_id(str(int(newest) - 3), LogQuery(limit=3))
    assert [int(row.request_id[4:]) for row in page.rows] == falling(range(many.size - 3, many.size))
    assert (page.next, page.searched_to) == (newest, None)


def test_the_live_tail_of_a_store_in_which_nothing_was_has_its_very_first_row(any_world: LogWorld) -> None:
    exchange = log_exchange(1)
    any_world.stored(exchange)
    page = any_world.reader.since_id("", LogQuery())
    assert [row.exchange_id for row in page.rows] == [exchange.id]
    assert any_world.reader.since_id(page.next, LogQuery()).rows == ()


def test_the_live_tail_shows_the_newest_of_what_it_cannot_show_whole_and_says_so(many: LogWorld) -> None:
    newest = many.reader.newest()
    page = many.reader.since_id(str(int(newest) - 900), LogQuery(limit=2))
    assert [int(row.request_id[4:]) for row in page.rows] == [many.size - 1, many.size - 2]
    assert (page.next, page.searched_to) == (newest, page.rows[-1].at)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (LogQuery(text="even -rare"), lambda n: n % 2 == 0 and n % 50),
        (LogQuery(text="rare", fields={"user": "u50"}), lambda n: n % 100 == 50),
        (LogQuery(fields={"tag:team": "odd"}, tenant="t1"), lambda n: n % 7 == 0 and n % 3 == 1),
        (LogQuery(errors=True), lambda n: n % 1000 == 999),
    ],
    ids=["not-a-word", "word-and-field", "tag-of-a-tenant", "errors"],
)
def test_the_live_tail_finds_what_a_search_finds_of_what_came_since(
    many: LogWorld, query: LogQuery, wanted: Callable[[int], bool]
) -> None:
    newest, back = many.reader.newest(), 1_500  # in SQLite, more than the segment that is open
    page = many.reader.since_id(str(int(newest) - back), replace(query, limit=1000))
    found = [int(row.request_id[4:]) for row in page.rows]
    assert found == falling(n for n in range(many.size - back, many.size) if wanted(n))
    assert (page.next, page.searched_to) == (newest, None)


@pytest.mark.parametrize("many", ["sqlite"], indirect=True)  # of PostgreSQL's windows the first is larger
def test_a_search_whose_time_is_up_says_how_far_it_has_looked_and_can_be_gone_on_with(many: LogWorld) -> None:
    reader = SqliteLogReader(many.store, seconds=-1.0)
    page = reader.search(LogQuery(fields={"user": "u7"}, limit=200))
    assert (len(page.rows), page.searched_to) == (6, EPOCH + PLACES)
    rest = reader.search(LogQuery(fields={"user": "u7"}, limit=200, before=page.next))
    assert len(rest.rows) == 164
    reader.close()


@pytest.mark.parametrize(
    "query",
    [
        {"fields": {"colour": "red"}},
        {"before": "yesterday"},
        {"before": "-1"},
        {"limit": 0},
        {"limit": 100_000},
        {"text": "!!!"},
        {"text": "-only"},
        {"text": "a*"},
    ],
)
def test_what_makes_no_sense_is_told(many: LogWorld, query: dict[str, object]) -> None:
    with pytest.raises(BadQuery):
        many.reader.search(LogQuery(**query))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ['"', '"" x', "a AND OR NOT", "x' OR 1=1 --", "NEAR(a b)", "col:umn", "{a b}", "x\0y"])
def test_no_text_that_is_searched_for_is_taken_for_a_command(many: LogWorld, text: str) -> None:
    try:
        assert many.reader.search(LogQuery(text=text)).rows == ()
    except BadQuery:
        assert not any(ch.isalnum() for ch in text)


def test_a_reader_of_what_was_never_made_says_so(tmp_path: Path) -> None:
    world = LogWorld(tmp_path)
    with pytest.raises(NoLogStore):
        world.reader.search(LogQuery())


def test_events_are_kept_apart_and_found_by_name(any_world: LogWorld) -> None:
    any_world.event("breaker", provider="anthropic", state="open")
    any_world.event("started", url="http://127.0.0.1:1")
    any_world.event("breaker", provider="anthropic", state="closed")
    any_world.keeper.catch_up()
    states = [each.fields["state"] for each in any_world.reader.events(["breaker"])]
    assert states == ["closed", "open"]
    assert len(any_world.reader.events()) == 3
    last = any_world.reader.events(limit=1)[0]
    assert [each.name for each in any_world.reader.events(before=last.id)] == ["started", "breaker"]


@pytest.mark.parametrize("count", [1, 2, 1000, 1001, PLACES])
def test_places_come_out_as_they_went_in(count: int) -> None:
    places = sorted(random.Random(count).sample(range(PLACES), count))
    assert places_of(unpacked(packed(places))) == places


def test_the_file_is_nobody_elses_to_read(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1))
    assert log_world.store.stat().st_mode & 0o777 == 0o600


def test_whole_requests_are_kept_where_that_is_asked_for_and_scrubbed_text_by_text(any_world: LogWorld) -> None:
    address = "ada" + "@" + "lovelace.example"
    body = {"model": "m", "messages": [{"role": "user", "content": f'mail "{address}" now'}], "n": 1.5, "x": None}
    for number, bodies, most in (
        (1, "redacted", 1000),
        (2, "full", 1000),
        (3, "full", 10),
        (4, "off", 1000),
        (5, "full", 0),
    ):
        log = LineLog(any_world.spool, key_file=any_world.folder / "key", bodies=bodies, request_bytes=most)  # type: ignore[arg-type]
        exchange = log_exchange(number)
        exchange.request.body = json.dumps(body).encode()
        log.write(exchange)
        log.close()
    any_world.keeper.catch_up()
    kept = [any_world.reader.show(log_exchange(n).id) for n in range(1, 6)]
    requests = [row.request if row is not None else "?" for row in kept]
    assert requests[2:] == ["", "", ""]
    assert json.loads(requests[1]) == body
    scrubbed = json.loads(requests[0])
    assert address not in requests[0]
    assert scrubbed["messages"][0]["content"].startswith('mail "')
    assert {**scrubbed, "messages": []} == {**body, "messages": []}


def test_a_request_that_is_longer_than_a_line_may_be_otherwise_is_kept_whole(log_world: LogWorld) -> None:
    log = LineLog(log_world.spool, key_file=log_world.folder / "key", bodies="full", request_bytes=1_000_000)
    exchange = log_exchange(1, message="long " * 30_000)
    exchange.request.body = json.dumps({"messages": "ü" * 100_000, "key": ',"key":"'}).encode()
    log.write(exchange)
    exchange = log_exchange(2)
    exchange.request.body = b"\xff not json"
    log.write(exchange)
    log.close()
    log_world.keeper.catch_up()
    row = log_world.reader.show(log_exchange(1).id)
    assert row is not None
    assert json.loads(row.request) == {"messages": "ü" * 100_000, "key": ',"key":"'}
    assert (row.tenant, row.user, len(row.user_message)) == ("acme", "ada", 65_536)
    assert log_world.ids(limit=5) == [log_exchange(2).id, log_exchange(1).id]
