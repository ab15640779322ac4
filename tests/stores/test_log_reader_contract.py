"""Every question that a reader of the log store answers, over either database: see `LogReader`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ledger_maker import EPOCH
from log_world import LogWorld, log_exchange

from headgate.core.guards import Finding, Verdict
from headgate.stores.logs.query import DIMENSIONS, LogQuery
from headgate.stores.logs.reader import LogReader

END = EPOCH + 86_400.0
FIRST = log_exchange(1)
# Each with what it says of the three exchanges and the event that `told` stores.
QUESTIONS: Mapping[str, tuple[Callable[[LogReader], Any], Any]] = {
    "search": (lambda r: [row.user_message for row in r.search(LogQuery()).rows], ["three", "two", "one"]),
    "show": (lambda r: getattr(r.show(FIRST.id, "acme"), "user_message", None), "one"),
    "conversation": (lambda r: [row.user_message for row in r.conversation("s-1").rows], ["one", "two"]),
    "sessions": (lambda r: [each.session for each in r.sessions(LogQuery()).sessions], ["s-2", "s-1"]),
    "correlated": (lambda r: [row.user_message for row in r.correlated("c-1").rows], ["two"]),
    "since_id": (lambda r: len(r.since_id("", LogQuery()).rows), 3),
    "newest": (lambda r: r.newest() == r.search(LogQuery(limit=1)).rows[0].id, True),
    "events": (lambda r: [event.name for event in r.events()], ["breaker"]),
    "rollup": (lambda r: [(row.value, row.exchanges) for row in r.rollup(EPOCH, END, "day", "user")], [("ada", 3)]),
    "top": (lambda r: [(row.value, row.cost_nano) for row in r.top(EPOCH, END, "user")], [("ada", 3_000)]),
    "guards": (lambda r: [each.word for each in r.guards(EPOCH, END).counts], ["injection:override"]),
    "span": (lambda r: r.span(), (EPOCH + 1, EPOCH + 3)),
}


def told(world: LogWorld) -> None:
    """Three exchanges and an event."""
    last = log_exchange(3, message="three", session="s-2")
    last.guarded, last.findings = True, (Finding("injection", Verdict.FLAG, ("override",)),)
    world.event("breaker", provider="anthropic", state="open")
    world.stored(log_exchange(1, message="one"), log_exchange(2, message="two", correlation="c-1"), last)


def test_every_question_is_answered_in_either_database(any_world: LogWorld) -> None:
    told(any_world)
    assert {name: ask(any_world.reader) for name, (ask, _) in QUESTIONS.items()} == {
        name: answer for name, (_, answer) in QUESTIONS.items()
    }
    assert any_world.reader.behind(str(any_world.spool)) == 0
    any_world.event("breaker", provider="anthropic", state="closed")
    assert any_world.reader.behind(str(any_world.spool)) > 0


def test_no_question_is_left_out() -> None:
    asked = {name for name in vars(LogReader) if not name.startswith("_")}
    assert asked == {*QUESTIONS, "behind", "close"}


@pytest.mark.parametrize(("since", "tenant"), [(END, None), (EPOCH, "nobody")])
def test_where_nothing_was_there_is_nothing_to_say(any_world: LogWorld, since: float, tenant: str | None) -> None:
    told(any_world)
    reader, until = any_world.reader, since + 3600.0
    asked = LogQuery(since=since, tenant=tenant)
    assert (reader.search(asked).rows, reader.sessions(asked).sessions) == ((), ())
    assert (reader.since_id(reader.newest(), asked).rows, reader.events(["none"])) == ((), ())
    assert (reader.conversation("none", tenant).rows, reader.correlated("none", tenant).rows) == ((), ())
    assert reader.guards(since, until, tenant).counts == ()
    for by in DIMENSIONS:
        assert (reader.top(since, until, by, tenant), reader.rollup(since, until, "hour", by, tenant)) == ([], [])


def test_a_store_from_which_everything_has_gone_has_no_span(any_world: LogWorld) -> None:
    told(any_world)
    keeper = any_world.place.keeper(now=lambda: any_world.now + 100 * 86_400.0)
    while keeper.prune().more:
        pass
    keeper.close()
    assert any_world.reader.span() is None
