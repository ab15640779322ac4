"""What recovery would do for each class of failure, for `headgate explain`: the engine's own steps, one after another,
with attempts that all fail in the same way. Nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING

from headgate.cli.explain_record import Explanation, Origins
from headgate.core.errors import UpstreamError, UpstreamRejected, UpstreamTimeout
from headgate.core.exchange import Attempt, Exchange, Request, Route
from headgate.engine.answer import error_answer
from headgate.engine.books import once_only
from headgate.engine.choosing import fall_back
from headgate.policy.failures import failure
from headgate.policy.ladder import Descent
from headgate.policy.recovery import Retry

if TYPE_CHECKING:
    from headgate.engine.plan import Plan, Policies

MOST_ATTEMPTS = 100
"""Nothing goes on for longer: attempts are at most 20."""


def _answered(status: int, code: str) -> Callable[[], UpstreamError]:
    return lambda: failure(status, (), b"", code=code)


def _late() -> UpstreamError:
    return UpstreamTimeout("late", kind="timeout", retryable=True, maybe_billed=True)


def _refusal() -> UpstreamError:
    return UpstreamRejected("refused", kind="refusal", maybe_billed=True, status=200)


CLASSES: Mapping[str, tuple[str, Callable[[], UpstreamError]]] = MappingProxyType(
    {
        "overload": ("a 529", _answered(529, "overloaded_error")),
        "rate limit": ("a 429", _answered(429, "rate_limit_error")),
        "timeout": ("no answer in time", _late),
        "server": ("a 500", _answered(500, "api_error")),
        "auth": ("a 401", _answered(401, "authentication_error")),
        "money": ("no money", _answered(402, "billing_error")),
        "missing": ("a 404", _answered(404, "not_found_error")),
        "context_length": ("too long", _answered(400, "context_length_exceeded")),
        "refusal": ("a refusal", _refusal),
    }
)
"""What stands for each class, and a failure of it. A 429 of rates is of class `overload`; another key may help it."""


def recovery(said: Explanation, request: Request, plan: Plan, policies: Policies, origins: Origins, now: float) -> None:
    """Add a line for each class."""
    for name, (what, made) in CLASSES.items():
        if name == "refusal" and not plan.takes_refusals:
            text = "is an answer like any other"
        else:
            text = _course(request, plan, policies, made, now)
        said.add("recovery", name, f"{what}: {text}" if name != "refusal" else text, origins.of("retry.attempts"))


def _course(request: Request, plan: Plan, policies: Policies, made: Callable[[], UpstreamError], now: float) -> str:
    """Where the attempts go, then what the ladder has, then what the caller gets."""
    mine = copy(plan)  # a fallback changes its routes
    exchange = Exchange("", request, now)
    place = 0
    while True:
        error = made()
        attempt = Attempt(len(exchange.attempts) + 1, mine.routes[place], now, sent=True, error=error)
        exchange.attempts.append(attempt)
        if once_only(request, error) or len(exchange.attempts) >= MOST_ATTEMPTS:
            break
        named = fall_back(exchange, mine, policies, error, now)
        left = mine.first_content_by - now
        step = mine.recovery.next(exchange.attempts, mine.routes, left=left, jitter=0.5, at_once=named)
        if not isinstance(step, Retry):
            break
        place = step.route
    parts = [", ".join(_visits([attempt.route for attempt in exchange.attempts]))]
    parts += _steps(plan, error)
    if not parts[-1].startswith("say"):
        parts.append(_last_word(request, plan, exchange, error, now))
    return "; then ".join(parts)


def _visits(routes: list[Route]) -> Iterator[str]:
    """Each route, with how many times in a row it is tried."""
    before: Route | None = None
    for _, group in groupby(routes, key=lambda route: (route.provider, route.model, id(route.credential))):
        visits = list(group)
        route = visits[0]
        name = f"{route.provider}/{route.model}" if route.model else route.provider
        same = before is not None and (before.provider, before.model) == (route.provider, route.model)
        times = "" if len(visits) == 1 else " twice" if len(visits) == 2 else f" {len(visits)} times"
        yield f"{'another key of it' if same else name}{times}"
        before = route


def _steps(plan: Plan, error: UpstreamError) -> Iterator[str]:
    if plan.descent is None:
        return
    descent = Descent(plan.descent.steps)
    while (step := descent.next(error)) is not None:
        yield f"try {step.model}" if step.model else f'say "{step.say}"' if step.say else step.use
        if not step.model:
            return


def _last_word(request: Request, plan: Plan, exchange: Exchange, error: UpstreamError, now: float) -> str:
    if error.kind == "refusal":
        return "the caller gets the refusal"
    owns = plan.recovery.owns_retries
    answer = error_answer(plan.dialect, exchange, error, owns_retries=owns, now=now)
    own = answer.status == error.status and not answer.body
    return f"the caller gets the provider's {answer.status}" if own else f"the caller gets a {answer.status}"
