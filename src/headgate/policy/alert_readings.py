"""What counts over a window say of each rule. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from headgate.core.search_words import written
from headgate.policy.alert_rules import AlertRule, value_text
from headgate.policy.alert_states import Reading
from headgate.policy.alert_windows import Counted, Place, Windows, percentile

USUAL_CALLS = 200
"""Of the day before: fewer say nothing of what is usual."""
_PERCENTILES = {"p95": 0.95, "p99": 0.99}
_WORDS = {"latency": "answers take", "ttft": "streams take", "p95": "5%", "p99": "1%"}


def readings(
    rules: Mapping[str, AlertRule],
    windows: Windows,
    counted: Counted,
    now: float,
    bounds: Mapping[str, Sequence[float]],
) -> Iterator[Reading]:
    """Everything that is counted.

    Args:
        bounds: of the buckets of `latency` and `ttft`.
    """
    for name in ("exchange_errors", "attempt_errors", "provider_errors"):
        rule = rules[name]
        if rule.on:
            yield from _shares(rule, windows.over(rule.window, now, counted), now)
    for what in ("latency", "ttft"):
        for name, share in _PERCENTILES.items():
            rule = rules[f"{what}_{name}"]
            if rule.on:
                since = windows.over(rule.window, now, counted)
                yield from _slow(rule, getattr(since, what), bounds[what], (what, name, share), now)
    rule = rules["tokens_per_call"]
    if rule.on:
        yield from _tokens(rule, windows, windows.over(rule.window, now, counted), now)
    rule = rules["log_dropped"]
    dropped = windows.over(rule.window, now, counted).dropped
    yield Reading(
        rule.name, "", dropped, summary=f"{dropped:,.0f} lines of the log were lost", evidence="/ui/checklist"
    )


def evidence(path: str, **fields: object) -> str:
    """A path into the dashboard. `since`: seconds since the epoch."""
    since = fields.pop("since", None)
    if isinstance(since, int | float):
        fields["from"] = datetime.fromtimestamp(int(since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = {name: value for name, value in fields.items() if value not in ("", None)}
    return f"{path}?{urlencode(told, errors='replace')}" if told else path


def searched(**fields: str) -> str:
    """Fields of the log, as they are typed into the dashboard's search."""
    return " ".join(written(name, value) for name, value in fields.items() if value)


def minutes(seconds: float) -> str:
    """A window, for people."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _shares(rule: AlertRule, since: Counted, now: float) -> Iterator[Reading]:
    of_attempts = rule.name != "exchange_errors"
    every = since.attempts if of_attempts else since.exchanges
    wrong = {"exchange_errors": since.failed, "attempt_errors": since.errors, "provider_errors": since.down}[rule.name]
    for place, count in every.items():
        bad = wrong.get(place, 0.0)
        provider = place[0]
        what = "calls" if not of_attempts else "attempts"
        at = f"at {provider} failed" if provider else "failed without an attempt"
        said = f"{bad / max(1.0, count):.1%} of {count:,.0f} {what} {at}"
        yield Reading(
            rule.name,
            provider,
            bad / max(1.0, count),
            int(count),
            f"{said} within {minutes(rule.window)}; told above {value_text(rule.unit, rule.over)}",
            _failures(provider, of_attempts=of_attempts, since=now - rule.window),
        )


def _failures(provider: str, *, of_attempts: bool, since: float) -> str:
    if of_attempts:  # what a retry or another provider has saved is no error, and its provider is who answered
        return evidence("/ui/exchanges", q=searched(attempt_failed="true"), since=since)
    return evidence("/ui/exchanges", q=searched(provider=provider), errors="1", since=since)


def _slow(
    rule: AlertRule,
    times: Mapping[Place, Sequence[int]],
    bounds: Sequence[float],
    which: tuple[str, str, float],
    now: float,
) -> Iterator[Reading]:
    what, name, share = which
    least = str(int(rule.over * 1000))
    for place, counts in times.items():
        value = percentile(counts, bounds, share)
        scope = "/".join(part for part in place if part)
        until = "" if what == "latency" else " until their first content"
        yield Reading(
            rule.name,
            scope,
            value,
            sum(counts),
            f"{_WORDS[name]} of {scope}'s {_WORDS[what]} more than {value:.3g} s{until}, within "
            f"{minutes(rule.window)}; the target is {value_text(rule.unit, rule.over)}",
            evidence(
                "/ui/exchanges",
                q=searched(provider=place[0], model=place[-1], **({"min_ttft_ms": least} if what == "ttft" else {})),
                min_ms=least if what == "latency" else None,
                since=now - rule.window,
            ),
        )


def _tokens(rule: AlertRule, windows: Windows, since: Counted, now: float) -> Iterator[Reading]:
    calls, tokens = windows.usual(now - rule.window)
    if calls < USUAL_CALLS or not tokens or not since.calls:
        return
    mean, usual = since.tokens / since.calls, tokens / calls
    yield Reading(
        rule.name,
        "",
        mean / usual,
        int(since.calls),
        f"calls take {mean:,.0f} tokens on average within {minutes(rule.window)}; {usual:,.0f} were usual before",
        evidence("/ui/spend", by="task", since=now - rule.window),
    )
