"""`gate.stats`: the sums are of all calls, the percentiles of the last ones, and whoever asks is told of the last."""

from __future__ import annotations

import random
import threading
from decimal import Decimal

from ledger_maker import Maker

from headgate.core.exchange import Ending, Exchange
from headgate.core.usage import Usage
from headgate.stats import WINDOW, Tally, percentile
from headgate.testing.fakes import FakeLog


def some(make: Maker, dice: random.Random) -> Exchange:
    """A call of any kind: none to three attempts, any ending."""
    exchange = make.exchange()
    for _ in range(dice.randrange(4)):
        attempt = make.attempt(exchange)
        attempt.ended = None if dice.random() < 0.1 else attempt.started + dice.random() / 20
        attempt.waited = dice.choice([0.0, 0.0, 0.01])
        attempt.first_content = dice.choice([None, attempt.started + 0.02])
        attempt.usage = dice.choice([None, Usage(1, 2, 3, 4, 5)])
        attempt.cost_nano, attempt.saved_nano = dice.randrange(1000), dice.choice([0, 7, -3])
        attempt.estimated = dice.random() < 0.3
    make.ended(exchange, dice.choice(list(Ending)))
    exchange.ended = exchange.started + dice.random()
    exchange.cache = dice.choice(["", "hit", "miss", "bypass"])
    exchange.degraded = dice.choice(["", "", "busy: say"])
    exchange.waited = dice.choice([0.0, 0.003])
    return exchange


def judged(calls: list[Exchange], tally: Tally) -> None:
    """What each call says for itself, added up one by one."""
    stats, attempts = tally.stats(), [attempt for call in calls for attempt in call.attempts]
    assert (stats.total_calls, stats.total_attempts) == (len(calls), len(attempts))
    assert stats.total_cost_usd == Decimal(sum(call.cost_nano for call in calls)) / 10**9
    assert stats.estimated_cost_usd == Decimal(sum(a.cost_nano for a in attempts if a.estimated)) / 10**9
    assert stats.prompt_cache_saved_usd == Decimal(sum(a.saved_nano for a in attempts)) / 10**9
    used = [a.usage for a in attempts if a.usage is not None]
    assert stats.input_tokens == sum(usage.prompt_tokens for usage in used)
    assert stats.output_tokens == sum(usage.output_tokens for usage in used)
    endings = [call.ending for call in calls]
    assert stats.failed_calls == endings.count(Ending.FAILED) + endings.count(Ending.CUT)
    assert stats.refused_calls == endings.count(Ending.REFUSED)
    assert stats.degraded_calls == sum(bool(call.degraded) for call in calls)
    hits, misses = (sum(call.cache == word for call in calls) for word in ("hit", "miss"))
    assert stats.cache_hit_rate == (hits / (hits + misses) if hits else 0.0)
    latency, overhead, ttft = [], [], []
    for call in calls[-WINDOW:]:
        assert call.ended is not None
        latency.append(call.ended - call.started)
        elsewhere = call.waited
        for attempt in call.attempts:
            elsewhere += (attempt.ended or call.ended) - attempt.started + attempt.waited
        overhead.append(max(0.0, latency[-1] - elsewhere))
        if call.attempts and call.attempts[-1].first_content is not None:
            ttft.append(call.attempts[-1].first_content - call.started)
    assert stats.latency_p95_ms == percentile(sorted(latency), 0.95)
    assert stats.overhead_p95_ms == percentile(sorted(overhead), 0.95)
    assert stats.ttft_p95_ms == percentile(sorted(ttft), 0.95)


def test_it_says_what_adding_up_every_call_says_whenever_it_is_asked() -> None:
    make, dice, tally, calls = Maker(), random.Random(7), Tally(FakeLog()), list[Exchange]()
    for number in range(2 * WINDOW + 700):
        calls.append(some(make, dice))
        tally.write(calls[-1])
        if number in (0, 1, 255, 256, 300, WINDOW, WINDOW + 300):
            judged(calls, tally)
    judged(calls, tally)
    judged(calls, tally)


def test_calls_of_several_threads_are_all_counted_while_figures_are_read() -> None:
    make, tally, readers = Maker(), Tally(FakeLog()), list[int]()
    each = [
        [make.answered(exchange) for _ in range(1_000) if make.attempt(exchange := make.exchange())] for _ in "four"
    ]
    threads = [threading.Thread(target=lambda calls=calls: [tally.write(call) for call in calls]) for calls in each]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        readers.append(tally.stats().total_calls)
    for thread in threads:
        thread.join()
    assert readers == sorted(readers)
    stats = tally.stats()
    assert (stats.total_calls, stats.total_attempts, stats.output_tokens) == (4_000, 4_000, 4_000 * 50)


def test_what_is_noted_of_calls_is_bounded() -> None:
    make, tally = Maker(), Tally(FakeLog())
    for _ in range(3 * WINDOW):
        exchange = make.exchange()
        make.attempt(exchange)
        tally.write(make.answered(exchange))
    assert len(tally._recent) == WINDOW
    assert len(tally._noted) == len(tally._spent) == 0
    tally.stats()
    assert len(tally._recent) == WINDOW
