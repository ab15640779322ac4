"""Sessions of the log store: each is found once, by its newest exchange, and summed up whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest
from ledger_maker import EPOCH
from log_world import LogWorld, log_exchange
from postgres_server import the_server

from headgate.core.exchange import Ending, Exchange
from headgate.stores.logs.query import BadQuery, LogQuery, LogSession

SIZE = 600
Name = tuple[str, str]


def exchange_of(number: int) -> Exchange:
    """One session is in every place, `wide`; others are of some exchanges that lie apart; every fifth is in none."""
    session = "wide" if number % 100 == 0 else "" if number % 5 == 0 else f"s{number * 7919 % 61}"
    return log_exchange(
        number,
        message=f"rare {number}" if number % 50 == 1 else f"said {number}",
        session=session,
        tenant=f"t{number % 2}",
        user=f"u{number % 3}",
        ending=Ending.FAILED if number % 30 == 7 else Ending.COMPLETE,
        cost=number,
    )


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def talked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogWorld]:
    storage = the_server().url() if request.param == "postgres" else ""
    world = LogWorld(tmp_path_factory.mktemp("talked"), storage)
    world.size = SIZE
    world.stored(*map(exchange_of, range(world.size)))
    yield world
    world.close()


def of_all(world: LogWorld) -> dict[Name, list[Exchange]]:
    found: dict[Name, list[Exchange]] = defaultdict(list)
    for number in range(world.size):
        exchange = exchange_of(number)
        if exchange.request.caller.session:
            found[exchange.request.caller.tenant, exchange.request.caller.session].append(exchange)
    return found


def pages(world: LogWorld, most: int = 1000, **query: object) -> list[LogSession]:
    found: list[LogSession] = []
    before = ""
    for _ in range(most):
        page = world.reader.sessions(LogQuery(before=before, **query))  # type: ignore[arg-type]
        found += page.sessions
        before = page.next
        if not before:
            break
    return found


def newest_first(sessions: dict[Name, list[Exchange]]) -> list[Name]:
    return sorted(sessions, key=lambda name: -(sessions[name][-1].ended or 0))


def test_every_session_is_on_one_page_in_the_order_of_its_newest_exchange(talked: LogWorld) -> None:
    found = [(each.tenant, each.session) for each in pages(talked, limit=20)]
    assert found == newest_first(of_all(talked))


def test_a_session_is_summed_up_with_all_its_exchanges(talked: LogWorld) -> None:
    expected = of_all(talked)
    for each in pages(talked, limit=40, most=2):
        mine = expected[each.tenant, each.session]
        assert each.whole
        assert (each.exchanges, each.cost_nano) == (len(mine), sum(one.cost_nano for one in mine))
        assert each.failed == sum(one.ending is Ending.FAILED for one in mine)
        assert (each.first, each.last, each.user) == (mine[0].ended, mine[-1].ended, mine[-1].request.caller.user)
        assert (each.excerpt, each.models) == (mine[0].request.facts.user_message, ("claude-haiku-4-5",))


def test_a_tenant_sees_its_part_of_a_session_alone(talked: LogWorld) -> None:
    expected = {name: mine for name, mine in of_all(talked).items() if name[0] == "t1"}
    found = pages(talked, limit=9, tenant="t1")
    assert [(each.tenant, each.session) for each in found] == newest_first(expected)
    assert [each.exchanges for each in found] == [len(expected[each.tenant, each.session]) for each in found]


def test_sessions_are_found_by_what_one_of_their_exchanges_has_and_summed_up_whole(talked: LogWorld) -> None:
    rare = {
        name: fits
        for name, mine in of_all(talked).items()
        if (fits := [one for one in mine if "rare" in one.request.facts.user_message])
    }
    found = pages(talked, limit=3, text="rare")
    assert [(each.tenant, each.session) for each in found] == newest_first(rare)
    assert found[0].exchanges == len(of_all(talked)[found[0].tenant, found[0].session])
    assert pages(talked, limit=3, fields={"user": "nobody"}) == []


def test_a_session_that_goes_on_between_two_pages_is_not_on_the_second_one_again(any_world: LogWorld) -> None:
    any_world.stored(*(log_exchange(n, session=f"s{n}") for n in (1, 2, 3)), log_exchange(4, session="s1"))
    first = any_world.reader.sessions(LogQuery(limit=1))
    assert [each.session for each in first.sessions] == ["s1"]
    any_world.stored(log_exchange(5, session="s2"), log_exchange(6, session="", at=EPOCH + 6))
    second = any_world.reader.sessions(LogQuery(limit=5, before=first.next))
    assert ([each.session for each in second.sessions], second.next) == (["s3"], "")
    assert [each.session for each in any_world.reader.sessions(LogQuery()).sessions] == ["s2", "s1", "s3"]


def test_a_cursor_of_sessions_that_is_none_is_told(talked: LogWorld) -> None:
    with pytest.raises(BadQuery, match="cursor"):
        talked.reader.sessions(LogQuery(before="x"))
