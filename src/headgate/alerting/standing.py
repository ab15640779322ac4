"""How the process stands, as the rules look at it: breakers, queues, stores, disks, models that retire."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.policy.alert_readings import evidence, minutes, searched
from headgate.policy.alert_rules import AlertRule
from headgate.policy.alert_states import Reading
from headgate.settings.retirements import Retirement, retirement_of, retirements, used, vendor_of
from headgate.stores.opening import log_file, sqlite_file

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.telemetry.counting import Counts

GROWING_SECONDS = 120.0
"""A queue is compared with what it was so long ago."""
BEHIND_SECONDS = 300.0
"""A log store that is so far behind the log is as good as down: who looks for an exchange does not find it."""
_LOOK_EVERY = 3_600.0
_CHECKLIST = "/ui/checklist"
_MODELS = "/ui/models"


class Standing:
    """Looks at a process's parts. One thread at a time."""

    def __init__(self, built: Built, counts: Counts | None) -> None:
        """`counts`: of models that were asked for; None: nobody counts."""
        self._built = built
        self._counts = counts
        self._queues: dict[str, deque[tuple[float, int]]] = {}
        self._retiring: list[Reading] = []
        self._retiring_at = -_LOOK_EVERY
        self._known: dict[tuple[str, str], Retirement] | None = None

    def readings(self, now: float) -> Iterator[Reading]:
        """All of it. Waits for nothing but the file system."""
        yield from self._providers(now)
        yield from self._stores(now)
        yield from self._disks()
        rule = self._built.settings.alert_rules["model_retires"]
        if rule.on and now - self._retiring_at >= _LOOK_EVERY:
            self._retiring, self._retiring_at = list(self._models(rule, now)), now
        yield from self._retiring

    def _providers(self, now: float) -> Iterator[Reading]:
        for look in self._built.turns.providers():
            count = len(look.opened)
            causes = ", ".join(sorted({each.cause for each in look.opened}))
            said = f"{count} breaker{'' if count == 1 else 's'} of {look.name} open: {causes}"
            yield Reading("breaker_open", look.name, count, summary=said, evidence=_MODELS)
            yield from self._queue(f"turns at {look.name}", look.waiting, now)

    def _queue(self, name: str, length: int, now: float) -> Iterator[Reading]:
        """Long is one thing; it has to be growing, too, or at least not be getting shorter."""
        past = self._queues.setdefault(name, deque())
        past.append((now, length))
        while len(past) > 1 and now - past[1][0] >= GROWING_SECONDS:
            past.popleft()
        value = float(length) if length >= past[0][1] else 0.0
        said = f"{length:,} wait for {name}; {past[0][1]:,} did {now - past[0][0]:.0f} s ago"
        yield Reading("queue_growing", name, value, summary=said, evidence=_MODELS)

    def _stores(self, now: float) -> Iterator[Reading]:
        built = self._built
        health, shared = built.ledger.health(), built.sharing.health()
        for name, well in (("ledger", bool(health.get("ok"))), ("shared store", bool(shared["ok"]))):
            said = f"the {name} cannot be reached or written"
            yield Reading("store_down", name, 0.0 if well else 1.0, summary=said, evidence=_CHECKLIST)
        log = built.log.health()
        yield Reading(
            "store_down", "log", 0.0 if log["ok"] else 1.0, summary="the log cannot be written", evidence=_CHECKLIST
        )
        store = built.logs.health()
        if store is not None:
            behind = store["lag_seconds"]
            said = (
                "the log store takes no lines in" if not store["ok"] else f"the log store is {minutes(behind)} behind"
            )
            down = not store["ok"] or behind >= BEHIND_SECONDS
            yield Reading("store_down", "log store", float(down), summary=said, evidence=_CHECKLIST)
        yield from self._queue("the ledger", int(health.get("queued", 0)), now)
        yield from self._queue("money", int(health.get("waiting_for_money", 0)), now)

    def _disks(self) -> Iterator[Reading]:
        storage = self._built.settings.storage
        seen: set[int] = set()
        for name, file in (("ledger", sqlite_file(storage)), ("log", log_file(storage))):
            share = None if file is None else used_share(file.parent)
            if share is not None and file is not None:
                device = file.parent.stat().st_dev
                if device in seen:
                    continue  # one disk is one alert
                seen.add(device)
                said = f"the disk of the {name} is {share:.1%} full"
                yield Reading("disk_full", name, share, summary=said, evidence=_CHECKLIST)

    def _models(self, rule: AlertRule, now: float) -> Iterator[Reading]:
        today = datetime.fromtimestamp(now, UTC).date()
        settings = self._built.settings
        if self._known is None:
            self._known = dict(retirements()[1])
        named = {(each.provider, each.model) for each in used(settings)} | self._served()
        for provider, model in sorted(named):
            found = retirement_of(vendor_of(provider, settings), model, self._known)
            if found is not None:
                yield retiring(rule, f"{provider}/{model}", found, today)

    def _served(self) -> set[tuple[str, str]]:
        """Models that were asked for since the process began, whether or not the configuration names them."""
        if self._counts is None:
            return set()
        attempts = next(family for family in self._counts.families() if family.name == "headgate_attempts")
        return {(labels[0], labels[1]) for labels in attempts.values}


def retiring(rule: AlertRule, scope: str, found: Retirement, today: date) -> Reading:
    """The reading of a model with a date."""
    left = (found.retires - today).days
    gone = left < 0
    said = f"{scope} {'was retired' if gone else 'stops answering'} on {found.retires}; use {found.successor}"
    since = evidence("/ui/exchanges", q=searched(model=scope.partition("/")[2]))
    return Reading(rule.name, scope, float(left), summary=said, evidence=since, critical=gone)


def used_share(folder: Path) -> float | None:
    """How full a folder's disk is, for who is not root; None where that cannot be told."""
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return None
    there = found.used + found.free
    return found.used / there if there else None
