"""`gate.stats` and `gate.metrics`: what a gate has done, in numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.exchange import Route
from headgate.core.money import usd

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.stats import GateStats
    from headgate.telemetry.metrics import Metrics


class Numbers:
    """Part of a `Gate`."""

    _built: Built

    @property
    def stats(self) -> GateStats:
        """What this gate has done since it was made; `budget_remaining_usd` is of the budgets over everything, as of a
        tenth of a second ago (`budget` is exact, and waits for the ledger)."""
        rates, waiting = self._built.turns.rates()
        stats = replace(
            self._built.tally.stats(),
            attempt_error_rate=rates.attempt_errors,
            exchange_error_rate=rates.exchange_errors,
            waiting=waiting,
            cache_size=self._built.caching.in_memory,
        )
        if not any(not budget.per and not budget.only for budget in self._built.engine.policies.budgets.all):
            return stats
        built = self._built
        nobody = Route("", "", "", "")
        claims = built.engine.policies.budgets.claims(Caller(), nobody, "", built.engine.ports.clock.now())
        # What was not met yet has all of it left: `stats` is asked for in the middle of things, and waits for nothing.
        caps = {each.key: each.budget.cap_nano for each in claims if not each.budget.soft}
        left = {each.claim.key: each.left_nano for each in built.ledger.peek(claims) if not each.claim.budget.soft}
        found = [nano for nano in (caps | left).values() if nano is not None]
        return replace(stats, budget_remaining_usd=usd(min(found)) if found else None)

    @property
    def metrics(self) -> Metrics:
        """Counters, gauges and histograms of this process, from the first time that this is asked for:
        ``gate.metrics.page()`` is for Prometheus, ``gate.metrics.collector`` for a registry of `prometheus_client`.

        Raises:
            ConfigError: `metrics: off`.
        """
        if not self._built.settings.metrics.enabled:
            raise ConfigError("metrics are off here (metrics: off)")
        self._built.metrics.start()
        return self._built.metrics
