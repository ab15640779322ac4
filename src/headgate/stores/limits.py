"""Callers' limits of one process: the port over `policy.gcra.Limits` and a clock."""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Taken
from headgate.core.ports import AskAtOnce
from headgate.policy.gcra import Limits


class MemoryLimits:
    """:class:`headgate.core.ports.CallerLimits`, in memory. It never suspends: both colours take the same one.

    Args:
        limits: the limits, and where every scope stands.
        now: seconds; where it goes back, time stands still.
    """

    __slots__ = ("_limits", "_now", "at_once", "correct")

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self.at_once: AskAtOnce = limits.ask  # these two are on the way of every call: nothing stands in between
        self.correct = limits.correct if limits.counts_tokens else _nothing

    async def ask(
        self, caller: Caller, *, tokens: int, model: str = "", provider: str = "", address: str = ""
    ) -> Taken | Exceeded:
        """See the port."""
        return self._limits.ask(caller, self._now(), tokens, model, provider, address)


def _nothing(taken: Taken, tokens: int, now: float) -> None:
    """No limit is in tokens."""
