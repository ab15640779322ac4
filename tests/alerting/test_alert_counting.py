"""What the metrics have counted, as the rules of alerts look at it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from ledger_maker import Maker

from headgate.alerting.counting import BOUNDS, counted
from headgate.core.errors import NoTurn, UpstreamBroken, UpstreamBusy, UpstreamRejected
from headgate.core.exchange import Ending, Exchange
from headgate.policy.alert_readings import readings
from headgate.policy.alert_rules import RULES
from headgate.policy.alert_states import States
from headgate.policy.alert_windows import Counted, Windows
from headgate.policy.recovery import Recovery
from headgate.policy.turn import TurnRules
from headgate.telemetry.counting import Counts
from headgate.testing.canned import message
from headgate.testing.fakes import Step, World

BROKEN = UpstreamBroken("no", kind="server", status=500, retryable=True)
BUSY = UpstreamBusy("no", kind="busy", status=429, retryable=True)
OURS = UpstreamRejected("no", kind="caller", status=400)


def seen(*scripts: tuple[Step, ...]) -> Counts:
    counts = Counts()
    for script in scripts:
        world = World(*script, recovery=Recovery(attempts=2), jitter=0.0)
        asyncio.run(world.call())
        assert world.exchange is not None
        counts.one(world.exchange)
    return counts


def test_failures_of_providers_count_retries_among_the_attempts_and_callers_own_mistakes_nowhere() -> None:
    counts = seen((message("a"),), (BROKEN, message("b")), (BUSY, message("c")), (BROKEN, BROKEN), (OURS,))
    found = counted(counts.families(), dropped=7)
    place = ("anthropic",)
    assert (found.exchanges[place], found.failed[place]) == (5, 1)
    assert (found.attempts[place], found.errors[place], found.down[place]) == (8, 4, 3)
    assert (found.calls, found.dropped, found.tokens > 0) == (5, 7, True)


def test_times_are_by_provider_and_model_in_the_metrics_buckets() -> None:
    found = counted(seen((message("a"),), (message("b"),)).families(), dropped=0)
    ((place, counts),) = found.latency.items()
    assert place[0] == "anthropic"
    assert (sum(counts), len(counts)) == (2, len(BOUNDS["latency"]) + 1)


def failing(make: Maker, error: Exception, *, attempts: int = 0) -> Exchange:
    exchange = make.exchange()
    for _ in range(attempts):
        make.attempt(exchange).error = OURS
    return make.ended(exchange, Ending.FAILED, error=error)  # type: ignore[arg-type]


def test_calls_that_fail_without_an_attempt_count_at_the_provider_whose_turn_never_came() -> None:
    make, counts = Maker(), seen((message("a"),))
    late = NoTurn("no", kind="paced", retry_after=1.0, provider="openai")
    counts.look([failing(make, late) for _ in range(3)])
    found = counted(counts.families(), dropped=0)
    assert (found.exchanges[("openai",)], found.failed[("openai",)]) == (3, 3)
    assert found.calls == 1
    assert all(place[0] for place in found.latency)


def test_failures_that_cannot_be_laid_at_a_provider_are_a_share_of_all_calls() -> None:
    make, counts = Maker(), seen(*[(message("a"),)] * 3)
    counts.one(failing(make, NoTurn("no", kind="paced", retry_after=1.0)))
    found = counted(counts.families(), dropped=0)
    assert (found.exchanges[("",)], found.failed[("",)]) == (4, 1)
    told = [each for each in readings(RULES, Windows(), found, 0.0, BOUNDS) if each.rule == "exchange_errors"]
    assert all("no provider" not in each.summary for each in told)


def test_callers_own_mistakes_that_a_fallback_served_hide_no_failure_that_comes_later() -> None:
    make, counts = Maker(), Counts()
    for _ in range(9):
        served = make.exchange()
        make.attempt(served).error = UpstreamRejected("no", kind="too_long", status=400)
        make.attempt(served)
        counts.one(make.answered(served))
    counts.look([failing(make, BROKEN, attempts=1) for _ in range(2)])
    found = counted(counts.families(), dropped=0)
    assert (found.exchanges[("anthropic",)], found.failed[("anthropic",)]) == (11, 2)


def test_a_call_whose_breaker_is_open_fails_at_its_provider_by_name() -> None:
    world = World(*[BROKEN] * 40, recovery=Recovery(attempts=1), jitter=0.0, turns=TurnRules())
    counts = Counts()
    for _ in range(40):
        asyncio.run(world.call())
        assert world.exchange is not None
        counts.one(world.exchange)
        if not world.exchange.attempts:
            break
    failures = next(each for each in counts.families() if each.name == "headgate_exchange_failures").values
    assert failures["anthropic", "open"] == 1


@pytest.mark.parametrize("what", ["latency", "ttft"])
def test_times_above_the_last_bucket_pass_the_largest_threshold_that_a_rule_takes(what: str) -> None:
    rule = RULES[f"{what}_p95"]
    assert rule.most == BOUNDS[what][-1]
    rules = {**RULES, rule.name: replace(rule, over=rule.most)}
    windows = Windows()
    windows.add(0.0, Counted())
    times = Counted(**{what: {("p", "m"): [0] * len(BOUNDS[what]) + [100]}})  # type: ignore[arg-type]
    (told,) = [each for each in readings(rules, windows, times, 60.0, BOUNDS) if each.rule == rule.name]
    (change,) = States({rule.name: replace(rules[rule.name], lasts=0.0)}).step([told], 60.0)
    assert change.what == "opened"
    assert f"more than {rule.most:.0f} s" in told.summary
