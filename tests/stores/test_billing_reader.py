"""What invoices and reconciliations ask of the ledger: which attempts count, on which day, and how."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postgres_server import the_server

from headgate.core.caller import Caller
from headgate.core.errors import UpstreamBusy
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.usage import Usage
from headgate.engine.blocking import run_blocking
from headgate.policy.reconciling import Ours
from headgate.stores.billing_reader import BillingReader
from headgate.stores.opening import open_ledger, open_reader
from headgate.stores.usage_sums import HOLDS

DAY = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
NEXT = DAY + 86_400
END = NEXT + 86_400


def exchange(
    name: str, started: float, *, provider: str = "anthropic", ended: float | None = None, tenant: str = "acme"
) -> Exchange:
    """One that met a 429 first, and cost 1,000 nano-dollars after that."""
    route = Route(provider, "claude-haiku-4-5", "anthropic", "https://api.anthropic.com")
    facts = Facts(model="claude-haiku-4-5")
    asked = Request("anthropic", "messages", "POST", "/v1/messages", (), b"{}", facts, Caller(tenant=tenant), "gateway")
    busy = UpstreamBusy("too many requests", kind="busy", retryable=True, status=429)
    done = started + 2 if ended is None else ended
    return Exchange(
        name,
        asked,
        started,
        [
            Attempt(1, route, started, bound_nano=9_000, sent=True, ended=started + 0.1, status=429, error=busy),
            Attempt(
                2,
                route,
                started + 1,
                bound_nano=9_000,
                sent=True,
                ended=done,
                status=200,
                usage=Usage(input_tokens=10, cache_write_long_tokens=3, output_tokens=5, web_searches=1),
                model_served="claude-haiku-4-5-20251001",
                cost_nano=1_000,
            ),
        ],
        Ending.COMPLETE,
        None,
        done,
        200,
    )


def write(place: str, *several: Exchange, open_one: Exchange | None = None) -> None:
    ledger = open_ledger(place)
    ledger.open()
    port = ledger.blocking()
    for each in several:
        port.settle(each)
    if open_one is not None:
        run_blocking(port.intend(open_one, open_one.attempts[0]))
    ledger.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage URL."""
    return f"sqlite:///{tmp_path / 'headgate.db'}" if request.param == "sqlite" else the_server().url()


def days(place: str, *, simulated: bool = False, until: float = END) -> dict[tuple[str, str], Ours]:
    found = BillingReader(open_reader(place)).provider_days(["anthropic", "team-b"], DAY, until, simulated=simulated)
    return {(row.day, row.key): row for row in found}


def test_attempts_are_added_up_by_day_model_and_provider(place: str) -> None:
    write(place, exchange("ex_1", DAY), exchange("ex_2", NEXT - 10), exchange("ex_3", NEXT), exchange("ex_4", END))
    found = days(place)
    assert set(found) == {("2026-11-20", "anthropic"), ("2026-11-21", "anthropic")}
    first = found["2026-11-20", "anthropic"]
    assert (first.requests, first.cost_nano, first.model) == (2, 2_000, "claude-haiku-4-5-20251001")
    assert first.counts["cache_write_long_tokens"] == 6
    assert (first.counts["web_searches"], first.late, first.estimated) == (2, 0, 0)
    assert not days(place, until=DAY)


def test_an_attempt_belongs_to_the_day_on_which_it_began_and_is_late_if_it_ended_on_another(place: str) -> None:
    write(place, exchange("ex_1", NEXT - 1.5), exchange("ex_2", NEXT - 60, ended=NEXT + 5))
    found = days(place)
    # ex_1 began a second before midnight, and its second attempt half a second before.
    assert found["2026-11-20", "anthropic"].requests == 2
    assert found["2026-11-20", "anthropic"].late == 2


def test_estimates_are_counted_apart(place: str) -> None:
    one = exchange("ex_1", DAY)
    one.attempts[1].estimated = True
    write(place, one, exchange("ex_2", DAY))
    found = days(place)["2026-11-20", "anthropic"]
    assert (found.requests, found.estimated, found.estimated_nano, found.killed) == (2, 1, 1_000, 0)


def test_what_was_never_charged_here_is_left_out(place: str) -> None:
    behind = exchange("ex_1", DAY)
    behind.upstream_gateway = "ex_of_another_headgate"
    made_up = exchange("ex_2", DAY)
    made_up.attempts[1].simulated = True
    write(place, behind, made_up, exchange("ex_3", DAY, provider="acme"), exchange("ex_4", DAY, provider="team-b"))
    assert set(days(place)) == {("2026-11-20", "team-b")}
    assert set(days(place, simulated=True)) == {("2026-11-20", "anthropic")}


def test_attempts_of_a_process_that_died_are_open_until_they_are_swept_and_killed_then(place: str) -> None:
    lost = exchange("ex_1", DAY)
    lost.attempts[:] = lost.attempts[:1]
    write(place, open_one=lost)
    found = days(place)["2026-11-20", "anthropic"]
    assert (found.open, found.open_nano, found.requests) == (1, 9_000, 0)
    write(place)  # the next start sweeps
    swept = days(place)["2026-11-20", "anthropic"]
    assert (swept.open, swept.killed, swept.killed_nano, swept.cost_nano) == (0, 1, 9_000, 9_000)


def test_tenants_are_those_with_exchanges_in_the_time_on_their_way_too(place: str) -> None:
    going = exchange("ex_2", DAY, tenant="globex")
    going.ending = None
    write(place, exchange("ex_1", DAY), exchange("ex_3", END, tenant="later"), open_one=going)
    reader = BillingReader(open_reader(place))
    assert reader.tenants(DAY, END) == ["acme", "globex"]
    works, pending = reader.work("globex", ("model",), DAY, END)
    assert works == []
    assert (pending.attempts, pending.bound_nano) == (1, 9_000)


def test_a_batchs_hold_that_was_charged_is_on_the_tenants_bill_though_it_is_no_exchange(place: str) -> None:
    hold = exchange("ex_1", DAY)
    hold.request = replace(hold.request, endpoint=HOLDS)
    write(place, hold)
    (work,), _ = BillingReader(open_reader(place)).work("acme", ("model",), DAY, END)
    assert (work.exchanges, work.cost_nano) == (0, 1_000)
