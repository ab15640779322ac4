"""One replica's share of callers' limits, while nobody knows what the others let in. Pure, as `gcra`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Limit, Taken
from headgate.policy.gcra import Limits
from headgate.policy.limit_rules import BURST_SECONDS, DEBT_SECONDS


class ShareOfLimits:
    """All limits, each divided by the number of replicas, and never less than 1 per minute. Thread-safe.

    Args:
        limits: the whole ones.
        replicas: that share them, >= 1.
    """

    __slots__ = ("_limits", "_whole", "replicas")

    def __init__(self, limits: Sequence[Limit], replicas: int) -> None:
        self.replicas = replicas
        # A call may be as large as the whole limit: what is beyond the share is owed, all of it.
        debt = DEBT_SECONDS + BURST_SECONDS * (replicas - 1)
        self._limits = Limits([_part(limit, replicas) for limit in limits], debt_seconds=debt)
        self._whole = {id(part): limit for part, limit in zip(self._limits.all, limits, strict=True)}

    def ask(
        self, caller: Caller, now: float, *, tokens: int, model: str = "", provider: str = "", address: str = ""
    ) -> Taken | Exceeded:
        """As `Limits.ask`. A call that fits into the whole limit and not into the share takes the whole share."""
        while True:
            said = self._limits.ask(caller, now, tokens=tokens, model=model, provider=provider, address=address)
            if said:
                return said
            share, whole = said.limit, self._whole[id(said.limit)]
            if (
                said.retry_after is None
                and share.tokens_per_minute is not None
                and whole.tokens_per_minute is not None
                and share.tokens_per_minute < tokens <= whole.tokens_per_minute
            ):
                tokens = share.tokens_per_minute  # what it uses beyond is charged when it is known
                continue
            said.limit = whole
            return said

    def correct(self, taken: Taken, tokens: int, now: float) -> None:
        """As `Limits.correct`."""
        self._limits.correct(taken, tokens, now)


def _part(limit: Limit, replicas: int) -> Limit:
    def part(figure: int | None) -> int | None:
        return None if figure is None else max(1, figure // replicas)

    return replace(
        limit,
        requests_per_minute=part(limit.requests_per_minute),
        tokens_per_minute=part(limit.tokens_per_minute),
    )
