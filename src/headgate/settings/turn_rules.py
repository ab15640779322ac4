"""How the configuration wants each provider treated, as `policy.turns` takes it."""

from __future__ import annotations

from headgate.policy.breaker import BreakerRules
from headgate.policy.pace_need import Ceilings
from headgate.policy.turn import TurnRules
from headgate.policy.turns import Turns
from headgate.settings.model import ProviderSettings, Settings

_PERCENT = 10_000  # basis points in one


def turns_of(settings: Settings) -> Turns:
    """A desk for one process."""
    share = share_of(settings)
    return Turns(
        {name: rules_of(provider, share) for name, provider in settings.providers.items()},
        default=TurnRules(retry_share=share),
        weights=settings.fairness.tenants,
        batch_floor=settings.fairness.batch_floor_basis_points / _PERCENT,
    )


def share_of(settings: Settings) -> float | None:
    """Retries per success; None = any number."""
    budget = settings.retry.budget_basis_points
    return None if budget is None else budget / _PERCENT


def rules_of(provider: ProviderSettings, retry_share: float | None) -> TurnRules:
    """Those of one provider."""
    told = provider.concurrency
    return TurnRules(
        pacing=provider.pacing,
        ceilings=Ceilings(provider.requests_per_minute, provider.tokens_per_minute),
        concurrency=None if told == "auto" else 0 if told == "off" else told,
        breaker=BreakerRules(slow_seconds=provider.slow_seconds) if provider.breaker else None,
        retry_share=retry_share,
    )
