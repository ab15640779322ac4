"""What the metrics have counted, as the rules of alerts look at it."""

from __future__ import annotations

import asyncio

from headgate.alerting.counting import BOUNDS, counted
from headgate.core.errors import UpstreamBroken, UpstreamBusy, UpstreamRejected
from headgate.policy.recovery import Recovery
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
