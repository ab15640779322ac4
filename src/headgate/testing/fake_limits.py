"""Callers' limits by the real rules, in fake time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Limit, Taken
from headgate.policy.gcra import Limits


class FakeLimits:
    """`core.ports.CallerLimits`.

    Attributes:
        corrected: (tokens that were expected, tokens that were used) of each exchange that is over.
    """

    at_once = None  # as where somebody else has to be asked

    def __init__(self, limits: Sequence[Limit], now: Callable[[], float]) -> None:
        self._limits = Limits(limits)
        self._now = now
        self.corrected: list[tuple[int, int]] = []

    async def ask(
        self, caller: Caller, *, tokens: int, model: str = "", provider: str = "", address: str = ""
    ) -> Taken | Exceeded:
        """See `core.ports.CallerLimits`."""
        return self._limits.ask(caller, self._now(), tokens=tokens, model=model, provider=provider, address=address)

    def correct(self, taken: Taken, tokens: int, now: float) -> None:
        """See `core.ports.CallerLimits`."""
        self.corrected.append((taken.tokens, tokens))
        self._limits.correct(taken, tokens, self._now())
