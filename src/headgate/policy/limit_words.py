"""What is said about a caller's limits: to the caller, and by `headgate explain`."""

from __future__ import annotations

from headgate.core.errors import RateExceeded
from headgate.core.limits import Exceeded, Limit


def refusal(exceeded: Exceeded, tokens: int) -> RateExceeded:
    """The refusal of a call that was expected to take `tokens` tokens."""
    limit, unit = exceeded.limit, exceeded.unit
    per_minute = limit.requests_per_minute if unit == "requests" else limit.tokens_per_minute
    assert per_minute is not None  # it is what was exceeded
    over = f"the limit of {_count(per_minute, unit)} per minute{_whose(limit, exceeded.scope)}"
    if exceeded.retry_after is None:
        message = (
            f"this call is expected to take {tokens:,} tokens, and {over} never has room for so many. "
            "Send less, or lower its output cap"
        )
    else:
        message = f"{over} is used up. Send it again in {_seconds(exceeded.retry_after)}"
    return RateExceeded(
        message[:1].upper() + message[1:],
        retry_after=exceeded.retry_after,
        unit=unit,
        source=limit.source,
        figures=exceeded.figures,
        queues=limit.queues and exceeded.retry_after is not None,
    )


def scope_text(limit: Limit) -> str:
    """Whose calls are counted together: "per tenant and user, environment production"."""
    scope = f"per {' and '.join(limit.per)}" if limit.per else "all together"
    return scope + "".join(f", {name} {value}" for name, value in limit.only)


def rates_text(limit: Limit) -> str:
    """ "60 requests and 100,000 tokens a minute"."""
    rates = ((limit.requests_per_minute, "requests"), (limit.tokens_per_minute, "tokens"))
    return f"{' and '.join(_count(count, unit) for count, unit in rates if count is not None)} a minute"


def _whose(limit: Limit, scope: object) -> str:
    """With the caller's own values, and nothing of what the configuration filters by."""
    values = scope if isinstance(scope, tuple) else (scope,)
    named = [f"{name} {value}" for name, value in zip(limit.per, values, strict=False)]
    return f" of {', '.join(named)}" if named else ""


def _count(count: int, unit: str) -> str:
    return f"{count:,} {unit if count != 1 else unit[:-1]}"


def _seconds(wait: float) -> str:
    return f"{wait:.1f} s" if wait < 10 else f"{wait:.0f} s"
