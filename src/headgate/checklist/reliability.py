"""Retries, timeouts, fallback, health."""

from __future__ import annotations

import json

from headgate.checklist.drills import drill, target
from headgate.checklist.facts import Facts
from headgate.checklist.items import FAIL, PASS, WARN, Result
from headgate.core.errors import UpstreamBroken
from headgate.settings.secrets import SIMULATED
from headgate.testing.fakes import FakeAnswer

TOLD_SECONDS = 2
"""What the drill's provider asks for."""
LONG_FIRST_BYTE, LONG_TOTAL = 300.0, 3600.0
"""Seconds; somebody who waits for longer has gone."""

_BUSY = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down", "code": "rate_limit_exceeded"}}


def _busy_once(_provider: str, attempt: int) -> FakeAnswer | None:
    if attempt > 1:
        return None
    headers = ((b"content-type", b"application/json"), (b"retry-after", str(TOLD_SECONDS).encode()))
    return FakeAnswer(429, headers, [json.dumps(_BUSY).encode()])


def retries(facts: Facts) -> Result:
    """A 429, then an answer, for a call of the first model."""
    settings = facts.settings
    at = facts.at("retry.attempts")
    if settings.retry.attempts == 1:
        what = f"retry.attempts is 1{at}: the caller's SDK owns the retries, and knows nothing of other routes."
        return Result(WARN, what, "retry: {attempts: 4, deadline: 120s}")
    model, dialect = target(settings)
    done = drill(settings, facts.env, _busy_once, model=model, dialect=dialect)
    attempts = len(done.asked)
    most = f"at most {settings.retry.attempts} attempts{at}, {settings.retry.deadline_seconds:g} s to the first content"
    if not done.answered:
        what = f"Drill: one 429 for {model}, and the caller got status {done.played.status} after {attempts} attempts"
        return Result(FAIL, f"{what} ({most}).", "headgate explain --model " + model)
    how = "another route" if done.asked[-1] != done.asked[0] else "the same route"
    then = f"attempt {attempts} on {how} answered after {done.waited:.1f} s"
    what = f"Drill: a 429 with retry-after: {TOLD_SECONDS}, then {then}"
    callers = sum(row.client_retries > 0 for row in facts.sample)
    twice = f" {callers} of the last {len(facts.sample)} calls were retries of the caller's own SDK." if callers else ""
    return Result(WARN if callers * 10 > len(facts.sample) else PASS, f"{what}; {most}.{twice}")


def timeouts(facts: Facts) -> Result:
    """Those of everybody, the longest of tasks and providers, and how long calls have taken."""
    told = facts.settings.timeouts
    slowest = facts.quantile(0.99)
    seen = "" if slowest is None else f" p99 of the last 7 days: {slowest:.3g} s."
    what = (
        f"connect {told.connect:g} s, first byte {told.first_byte:g} s{facts.at('timeouts.first_byte')}, idle "
        f"{told.idle:g} s, total {told.total:g} s{facts.at('timeouts.total')}.{seen}"
    )
    long = [f"tasks.{t.name}" for t in facts.settings.tasks.values() if t.timeouts.total > LONG_TOTAL]
    long += [
        f"providers.{p.name}" for p in facts.settings.providers.values() if p.timeouts.get("total", 0) > LONG_TOTAL
    ]
    if told.first_byte > LONG_FIRST_BYTE or told.total > LONG_TOTAL or long:
        named = f" Longer than {LONG_TOTAL / 60:g} min: {', '.join(long)}." if long else ""
        return Result(WARN, f"{what}{named} Nobody waits for so long.", "timeouts: {first_byte: 60s, total: 600s}")
    if slowest is not None and slowest > told.total * 0.9:
        return Result(WARN, f"{what} The slowest calls end by the timeout.", "timeouts: {total: 900s}")
    return Result(PASS, what)


def fallback(facts: Facts) -> Result:
    """Each virtual model, with its first provider gone."""
    settings = facts.settings
    models = {name: routes for name, routes in settings.models.items() if routes}
    remedy = "models:\n  fast: [anthropic/claude-haiku-4-5, openai/gpt-6-luna]"
    if not models:
        if settings.degrade:
            what = f"No virtual model, but degrade has {len(settings.degrade)} steps{facts.at('degrade')}."
            return Result(PASS, what)
        return Result(WARN, "There are no virtual models: a provider's bad day is yours, too.", remedy)
    alone, held = [], []
    for name, routes in models.items():
        first = routes[0].provider

        def down(provider: str, _attempt: int, first: str = first) -> BaseException | None:
            return (
                UpstreamBroken("connection refused", kind="unreachable", retryable=True) if provider == first else None
            )

        dialect = settings.providers[first].dialect
        done = drill(settings, facts.env, down, model=name, dialect=dialect)
        if done.answered and done.asked and done.asked[-1] != first:
            held.append(f"{name} goes from {first} to {done.asked[-1]}")
        else:
            alone.append(f"{name}{facts.at(f'models.{name}')}")
    drilled = f"Drill, with the first provider unreachable: {'; '.join(held)}." if held else ""
    if alone:
        what = f"Without its first provider nothing answers for {', '.join(alone)}. {drilled}".strip()
        return Result(WARN if held or settings.degrade else FAIL, what, remedy)
    return Result(PASS, drilled)


def health(facts: Facts) -> Result:
    """Whether anything can be answered, and is watched."""
    settings, built = facts.settings, facts.built
    env = {SIMULATED: "-", **facts.env}
    ready = [p.name for p in settings.providers.values() if p.has_key(env)]
    if not ready:
        what = "No provider has a key: outside loopback nothing can be answered."
        return Result(FAIL, what, "providers:\n  anthropic: {api_key: env:ANTHROPIC_API_KEY}")
    where = f"http://{settings.server.host}:{settings.server.port}" if settings.server.port else "the gateway"
    running = "" if built is None else " This gateway answers now."
    what = (
        f"{where} has /health/live, /health/ready and /health/providers; {len(ready)} of {len(settings.providers)} "
        f"providers have a key.{running}"
    )
    off = [name for name in ("breaker_open", "provider_errors", "store_down") if not settings.alert_rules[name].on]
    if off:
        return Result(WARN, f"{what} Nobody is told, as these rules are off: {', '.join(off)}.", _on(off))
    return Result(PASS, what)


def _on(rules: list[str]) -> str:
    return "alert_rules:\n" + "\n".join(f"  {name}: on" for name in rules)
