"""How all of a process's traffic to a provider stands: for `headgate providers`, `explain`, `doctor`, health pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headgate.policy.breakers import Opened
from headgate.policy.pace_need import Look
from headgate.policy.rate_facts import HeaderLook
from headgate.policy.retry_budget import Rates
from headgate.policy.turn import Lane, Shared

MOST_LANES = 50
"""Of one provider that are looked at, those with the most to do: models are named by callers."""


@dataclass(frozen=True, slots=True)
class LaneLook:
    """The queue before one pace.

    Attributes:
        account: as `policy.turn.account_name`; a digest, to be matched and never shown.
        family: of models; see `policy.families`.
        pace: None = not paced.
        waiting: exchanges in the queue.
    """

    account: str
    family: str
    pace: Look | None
    waiting: int


@dataclass(frozen=True, slots=True)
class ProviderLook:
    """One provider.

    Attributes:
        cap: calls at once; None = no cap.
        adapts: the cap follows the provider's capacity.
        in_flight: calls under the cap; without one, those that are paced.
        waiting: exchanges in all of its lanes.
        retries_left: of its retry budget; None = any number.
        rates: errors of attempts and of exchanges, over five minutes.
        opened: breakers that are not closed, the longest first.
        lanes: those with the most to do first, at most `MOST_LANES`.
        more_lanes: how many there are beside them.
        headers: what was found in its answers' headers.
    """

    name: str
    cap: int | None
    adapts: bool
    in_flight: int
    waiting: int
    retries_left: float | None
    rates: Rates
    opened: tuple[Opened, ...]
    lanes: tuple[LaneLook, ...]
    more_lanes: int
    headers: HeaderLook


def look_at(name: str, shared: Shared, lanes: Iterable[Lane], now: float) -> ProviderLook:
    """One provider as it stands.

    Args:
        lanes: of its lanes, those that are wanted.
    """
    wanted = sorted(lanes, key=_busy, reverse=True)
    cap, breakers = shared.cap, shared.breakers
    in_flight = sum(_in_flight(lane) for lane in wanted) if cap is None else cap.in_flight
    return ProviderLook(
        name,
        None if cap is None else cap.cap,
        cap is not None and shared.rules.concurrency is None,
        in_flight,
        sum(len(lane.queue) for lane in shared.waiting),
        shared.budget.balance(now),
        shared.budget.rates(now),
        tuple(breakers.opened(name, now)) if breakers is not None else (),
        tuple(_look(lane, now) for lane in wanted[:MOST_LANES]),
        max(0, len(wanted) - MOST_LANES),
        shared.headers.look(),
    )


def _look(lane: Lane, now: float) -> LaneLook:
    account, pooled = lane.name
    return LaneLook(account, pooled, None if lane.pace is None else lane.pace.look(now), len(lane.queue))


def _in_flight(lane: Lane) -> int:
    return 0 if lane.pace is None else lane.pace.in_flight


def _busy(lane: Lane) -> tuple[int, int]:
    return len(lane.queue), _in_flight(lane)
