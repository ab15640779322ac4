"""How the process stands now, asked when metrics are read: queues, breakers, budgets, stores, memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from headgate._version import __version__
from headgate.core.errors import HeadgateError
from headgate.policy.provider_look import ProviderLook
from headgate.telemetry.families import Family

if TYPE_CHECKING:
    from headgate.build import Built

_NANO = 1e9
_STARTED = time.time()  # of the process, as near as it can be told everywhere


def gauge(name: str, said: str, value: float | None = None, *, unit: str = "", labels: tuple[str, ...] = ()) -> Family:
    """A family with one series, or without any yet."""
    return Family(name, "gauge", said, unit, labels, {} if value is None else {(): float(value)})


def counter(name: str, said: str, value: float) -> Family:
    """A family with one series."""
    return Family(name, "counter", said, values={(): float(value)})


def standing(built: Built) -> list[Family]:
    """Everything that is no sum over exchanges. Waits for nothing."""
    return [
        *_providers(built.turns.providers()),
        *_money(built),
        *_log(built),
        *_cache(built),
        *_watched(built),
        *_process(),
    ]


def _providers(looks: list[ProviderLook]) -> Iterator[Family]:
    by = ("provider",)
    waiting = gauge("headgate_waiting_exchanges", "Exchanges that wait for a turn.", labels=by)
    flying = gauge("headgate_attempts_in_flight", "Attempts under way, of those under a cap or a pace.", labels=by)
    cap = gauge("headgate_concurrency_cap", "Attempts that may be under way at once.", labels=by)
    breakers = gauge("headgate_breakers_open", "Breakers that are not closed.", labels=("provider", "what"))
    left = gauge(
        "headgate_rate_limit_left_ratio",
        "What is left of a provider's rate limit, of the account and family of models with least; 1 = all.",
        labels=("provider", "limit"),
    )
    for look in looks:
        name = (look.name,)
        waiting.values[name] = look.waiting
        flying.values[name] = look.in_flight
        if look.cap is not None:
            cap.values[name] = look.cap
        for what in ("route", "account", "credential"):
            breakers.values[look.name, what] = sum(each.what == what for each in look.opened)
        for lane in look.lanes:
            for level in lane.pace.levels if lane.pace is not None else ():
                share = level.left / level.limit if level.limit else 0.0
                place = (look.name, level.name)
                left.values[place] = min(share, left.values.get(place, 1.0))
    yield from (waiting, flying, cap, breakers, left)


def _money(built: Built) -> Iterator[Family]:
    health = built.ledger.health()
    yield gauge("headgate_ledger_up", "1 where the last commit went well.", float(bool(health.get("ok"))))
    yield gauge("headgate_ledger_queued", "Records that are not written yet.", health.get("queued", 0))
    yield gauge("headgate_waiting_for_money", "Attempts that wait for money.", health.get("waiting_for_money", 0))
    try:
        found = built.ledger.standing()
    except HeadgateError:
        return  # it is closed: there is no money to look after
    yield gauge("headgate_held_attempts", "Attempts with money set aside.", found.holds)
    yield gauge(
        "headgate_held_usd", "The most that attempts under way can cost.", found.held_nano / _NANO, unit="{USD}"
    )
    by = ("budget",)
    spent = gauge("headgate_budget_spent_usd", "Spent of a budget's accounts in memory.", unit="{USD}", labels=by)
    fullest = gauge("headgate_budget_fullest_ratio", "The fullest account's share of its cap, with holds.", labels=by)
    said = "A budget's accounts in memory: those in use, and the fullest of the others."
    accounts = gauge("headgate_budget_accounts", said, labels=by)
    over = gauge("headgate_budget_accounts_over_80_percent", "Those in memory above 80% of their cap.", labels=by)
    full = gauge("headgate_budget_accounts_full", "Those in memory with nothing left.", labels=by)
    for line in found.lines.values():
        name = (line.id,)
        spent.values[name] = line.spent_nano / _NANO
        fullest.values[name] = line.fullest
        accounts.values[name], over.values[name], full.values[name] = line.accounts, line.over_80, line.full
    yield from (spent, fullest, accounts, over, full)


def _log(built: Built) -> Iterator[Family]:
    health = built.log.health()
    yield gauge("headgate_log_queued", "Lines that are not written yet.", health["queued"])
    yield counter("headgate_log_lines", "Lines written.", health["written"])
    yield counter("headgate_log_dropped", "Lines lost: the queue was full, or the disk.", health["dropped"])
    store = built.logs.health()
    if store is not None:
        said = "How long the log store has been behind the log."
        yield gauge("headgate_log_store_lag_seconds", said, store["lag_seconds"])
        yield gauge("headgate_log_store_up", "1 while the log store takes lines in.", float(bool(store["ok"])))
        yield counter("headgate_log_store_bad_lines", "Lines that could not be read.", store["bad_lines"])


def _cache(built: Built) -> Iterator[Family]:
    report = built.caching.report()
    for name, said, unit in (("entries", "Answers that are kept.", ""), ("bytes", "Their size.", "By")):
        if report[name] is not None:
            yield gauge(f"headgate_cache_{name}", said, report[name], unit=unit)


def _watched(built: Built) -> Iterator[Family]:
    if built.watch is not None:
        found = Family("headgate_anomalies", "counter", "Anomalies, by kind.", labels=("kind",))
        found.values = {(kind,): float(count) for kind, count in built.watch.counts().items()}
        yield found
    shared = built.sharing.health()
    yield gauge("headgate_shared_store_up", "0 while the store that replicas share is gone.", float(bool(shared["ok"])))
    secrets = built.secrets.health()
    yield gauge("headgate_secrets_usable", "1 where every secret could be read.", float(bool(secrets["ok"])))


def _process() -> Iterator[Family]:
    info = gauge("headgate_build_info", "1, with the version.", labels=("version", "python"))
    info.values[__version__, f"{sys.version_info.major}.{sys.version_info.minor}"] = 1.0
    yield info
    times = os.times()
    yield counter("process_cpu_seconds", "CPU time of this process.", times.user + times.system)
    yield gauge("process_start_time_seconds", "When it began, since the epoch.", _STARTED, unit="s")
    resident = resident_bytes()
    if resident is not None:
        yield gauge("process_resident_memory_bytes", "Memory of this process.", resident, unit="By")


def resident_bytes() -> int | None:
    """This process's resident memory; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
