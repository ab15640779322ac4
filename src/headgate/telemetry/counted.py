"""What was counted, as metrics (docs/metrics.md has them all)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headgate.telemetry.cells import LATENCY, OVERHEAD, TTFT, WAIT, Cells, Where
from headgate.telemetry.families import Distribution, Family

_CLASSES = ("input", "cache_read", "cache_write", "cache_write_1h", "output")
_NANO = 1e9
_PLACE = ("provider", "model")


def families_of(cells: Cells, *, tenants: bool) -> list[Family]:
    """All families.

    Args:
        tenants: with a label `tenant`.
    """
    return [*_exchanges(cells, tenants), *_attempts(cells, tenants), *_times_of(cells), *_others(cells)]


def _told(where: Where, tenants: bool) -> tuple[str, ...]:
    return (where.tenant,) if tenants else ()


def _exchanges(cells: Cells, tenants: bool) -> list[Family]:
    exchanges = Family(
        "headgate_exchanges",
        "counter",
        "Exchanges that have ended, by how; provider and model are those of the last attempt.",
        labels=(*_PLACE, "task", "outcome", "way_in", *(("tenant",) if tenants else ())),
    )
    cache = Family("headgate_cache_lookups", "counter", "Exchanges, by what the cache did.", labels=("result",))
    for (where, outcome, way_in, cached, _), cell in cells.exchanges.items():
        exchanges.add((where.provider, where.model, where.task, outcome, way_in, *_told(where, tenants)), cell.count)
        if cached:
            cache.add((cached,), cell.count)
    return [exchanges, cache]


def _attempts(cells: Cells, tenants: bool) -> list[Family]:
    more = ("tenant",) if tenants else ()
    attempts = Family(
        "headgate_attempts",
        "counter",
        "Requests to providers, by how they ended: the exchange's ending, or the kind of failure.",
        labels=(*_PLACE, "outcome"),
    )
    tokens = Family(
        "headgate_tokens",
        "counter",
        "Tokens that providers have counted, by class; their sum is all there were.",
        labels=(*_PLACE, "task", "class", *more),
    )
    reasoning = Family("headgate_reasoning_tokens", "counter", "Of the output tokens: thinking.", labels=_PLACE)
    cost = Family(
        "headgate_cost_usd",
        "counter",
        "Money charged; estimated where the provider has not reported its usage.",
        "{USD}",
        labels=(*_PLACE, "task", "estimated", *more),
    )
    saved = Family(
        "headgate_prompt_cache_saved_usd",
        "gauge",
        "What providers' prompt caches have saved since the start; negative = lost.",
        "{USD}",
        labels=_PLACE,
    )
    for (where, outcome), cell in cells.attempts.items():
        at, told = (where.provider, where.model), _told(where, tenants)
        attempts.add((*at, outcome), cell.count)
        for kind, count in zip(_CLASSES, cell.tokens(), strict=True):
            if count:
                tokens.add((*at, where.task, kind, *told), count)
        if cell.reasoning:
            reasoning.add(at, cell.reasoning)
        cost.add((*at, where.task, "false", *told), (cell.cost - cell.estimated) / _NANO)
        if cell.estimated:
            cost.add((*at, where.task, "true", *told), cell.estimated / _NANO)
        if cell.saved:
            saved.add(at, cell.saved / _NANO)
    return [attempts, tokens, reasoning, cost, saved]


def _times_of(cells: Cells) -> list[Family]:
    return [
        _times("headgate_exchange_duration_seconds", "From the call to its end.", _PLACE, LATENCY, cells.latency),
        _times(
            "headgate_time_to_first_content_seconds",
            "From the call to the first content, of streams.",
            _PLACE,
            TTFT,
            cells.ttft,
        ),
        _times(
            "headgate_overhead_seconds",
            "Headgate's own time in an exchange: its duration without providers' and without waits on purpose.",
            ("way_in",),
            OVERHEAD,
            cells.overhead,
        ),
        _times(
            "headgate_wait_seconds",
            "Waits on purpose: for a turn, for money, before a retry.",
            ("for",),
            WAIT,
            cells.waits,
        ),
    ]


def _others(cells: Cells) -> list[Family]:
    failures = Family(
        "headgate_exchange_failures",
        "counter",
        "Exchanges that failed or broke off, by why; the provider is the last attempt's, or whose turn never came.",
        labels=("provider", "kind"),
    )
    failures.values.update(cells.failures)
    refusals = Family("headgate_refusals", "counter", "Exchanges that were refused, by code.", labels=("code",))
    refusals.values.update(cells.refusals)
    verdicts = Family(
        "headgate_verdicts", "counter", "What guards have found, by guard and verdict.", labels=("guard", "verdict")
    )
    verdicts.values.update(cells.verdicts)
    saved = cells.cache_saved / _NANO
    return [
        failures,
        refusals,
        verdicts,
        _single("headgate_degraded_exchanges", "Answered by less than was asked for.", cells.degraded),
        _single("headgate_cache_saved_usd", "What kept answers had cost when they were made.", saved, "{USD}"),
        _single("headgate_uncounted_exchanges", "Kept from being counted by a mistake in Headgate.", cells.wrong),
    ]


def _times(
    name: str,
    said: str,
    labels: tuple[str, ...],
    bounds: Sequence[float],
    found: Mapping[tuple[str, ...], Distribution],
) -> Family:
    family = Family(name, "histogram", said, "s", labels, bounds=bounds)
    family.distributions = {place: each.copy() for place, each in found.items() if any(each.counts)}
    return family


def _single(name: str, said: str, value: float, unit: str = "") -> Family:
    return Family(name, "counter", said, unit, values={(): value})
