"""Settings of traffic: a provider's ceilings, timers, breaker and cap; what retries may be of successes; shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Literal

from headgate.core.ports import Timeouts
from headgate.settings.fields import Section
from headgate.settings.model import FairnessSettings, RetrySettings, Settings, frozen
from headgate.settings.tree import Scalar
from headgate.settings.units import FALSE, Unfit, money, one_of, percentage, seconds, switch, text_up_to, whole

REQUESTS_PER_MINUTE = whole(1, 10**9)
TOKENS_PER_MINUTE = whole(1, 10**12)
PROVIDER_TRAFFIC_KEYS = ("requests_per_minute", "tokens_per_minute", "pacing", "concurrency", "timeouts", "breaker")
RETRY_KEYS = ("attempts", "deadline", "budget")
FAIRNESS_KEYS = ("tenants", "batch_floor")
TIMER_KEYS = ("connect", "pool", "write", "first_byte", "idle")
"""Timers of one attempt: what a provider may have its own of. `total` is the exchange's."""

_timer = seconds(0.001, 86_400)
_share = percentage(10_000, like="20%", zero=True)
_floor = percentage(9_000, like="10%", zero=True)
_weight = money(100, 1000, unit="shares")


def read_ceilings(section: Section) -> tuple[int | None, int | None, bool]:
    """A provider's (requests_per_minute, tokens_per_minute, pacing)."""
    requests = section.take("requests_per_minute", REQUESTS_PER_MINUTE, None)
    tokens = section.take("tokens_per_minute", TOKENS_PER_MINUTE, None)
    pacing = section.take("pacing", switch, True)
    for key, ceiling in (("requests_per_minute", requests), ("tokens_per_minute", tokens)):
        if ceiling is not None and not pacing:
            section.wrong(key, "is kept by pacing, and `pacing` is off: switch it on, or remove this")
    return requests, tokens, pacing


def read_concurrency(section: Section) -> Literal["auto", "off"] | int:
    """A provider's `concurrency: auto|off|<n>`."""
    read_number = whole(1, 100_000)

    def read(text: str) -> Literal["auto", "off"] | int:
        word = text.lower()
        if word == "auto":
            return "auto"
        if word in FALSE:
            return "off"
        try:
            return read_number(text)
        except ValueError:
            raise Unfit("expected auto, off, or a whole number from 1 to 100_000", ("auto", "off")) from None

    auto: Literal["auto", "off"] | int = "auto"
    return section.take("concurrency", read, auto)


def read_timers(section: Section) -> Mapping[str, float]:
    """A provider's `timeouts:`, what it says of them."""
    timers = section.section("timeouts", (*TIMER_KEYS, "total"))
    if "total" in timers.table.entries:
        timers.wrong("total", "is the whole exchange's, over all its providers: write it under `timeouts` or a task")
    return frozen({key: timers.take(key, _timer, 0.0) for key in TIMER_KEYS if key in timers.table.entries})


def timeouts_of(settings: Settings, provider: str, task: str = "") -> Timeouts:
    """The timers of an attempt at a provider: the task's own, else the provider's own, else everybody's.

    Args:
        provider, task: by name; an unknown one has nothing of its own.
    """
    known = settings.tasks.get(task)
    timeouts = settings.timeouts if known is None else known.timeouts
    told = frozenset[str]() if known is None else known.timeouts_told
    found = settings.providers.get(provider)
    own = {} if found is None else {key: value for key, value in found.timeouts.items() if key not in told}
    return replace(timeouts, **own) if own else timeouts


def read_breaker(section: Section) -> tuple[bool, float | None]:
    """A provider's `breaker:`, on, off, or a mapping: (is there one, from which second on is slow)."""
    node = section.table.entries.get("breaker")
    if isinstance(node, Scalar) and not node.null:
        return section.take("breaker", one_of(("on", "off")), "on") == "on", None
    return True, section.section("breaker", ("slow",)).take("slow", _timer, None)


def read_retry_budget(section: Section, retry: RetrySettings) -> RetrySettings:
    """`retry:` of everybody with its `budget`, which is a provider's and no task's."""

    def read(text: str) -> int | None:
        if text.lower() in FALSE:
            return None
        try:
            return _share(text)
        except ValueError as error:
            raise Unfit(f"{error}, or off") from None

    return replace(retry, budget_basis_points=section.take("budget", read, retry.budget_basis_points))


def read_fairness(root: Section) -> FairnessSettings:
    """`fairness: {tenants: {acme: 3}, batch_floor: 10%}`."""
    section = root.section("fairness", FAIRNESS_KEYS)
    shares = {}
    for name, _, path in section.named("tenants"):
        try:
            text_up_to(200)(name)
        except ValueError as error:
            root.context.wrong_name(path, str(error))
        shares[name] = path
    weights = section.section("tenants", tuple(shares))
    return FairnessSettings(
        tenants=frozen({name: weights.take(name, _weight_of, 1.0) for name in shares}),
        batch_floor_basis_points=section.take("batch_floor", _floor, FairnessSettings().batch_floor_basis_points),
    )


def _weight_of(text: str) -> float:
    try:
        found = _weight(text)
    except ValueError:
        found = Decimal(0)
    if not found:
        raise Unfit("expected a weight from 0.01 to 1_000, like 3 or 0.5")
    return float(found)
