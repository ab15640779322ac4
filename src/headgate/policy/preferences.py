"""In which order a virtual model's routes are tried: by weight, by cost, or by how soon they have answered of late.

`quality` is an order that does not change: whoever makes the routes has it already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headgate.core.exchange import Request, Route
from headgate.policy.latencies import Latencies, key_of
from headgate.policy.rules import Rule

PREFERENCES = ("cost", "latency", "quality")

EXPLORED = 0.05
"""With `latency`: the share of calls that begin with a route whose time is not known, while there are such routes."""

Spot = tuple[str, str]
"""(provider, model)."""

Costs = Callable[[Sequence[Route], Request, float], Sequence[int | None]]
"""What a call is expected to cost at each route, in nano-dollars; None where no price is known."""


@dataclass(frozen=True, slots=True)
class Virtual:
    """What a virtual model is besides routes in order.

    Attributes:
        prefer: "weight", "cost", "latency", "quality"; "" = the order written.
        weights: with "weight", by (provider, model): how often a route is the first, against the others'; 0 = never.
        rules: the first that holds says which model serves, and `use` where none does. Then there are no routes of its
            own.
    """

    prefer: str = ""
    weights: Mapping[Spot, int] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    use: str = ""


def spot(route: Route) -> Spot:
    """Which model of which provider, whatever the credential."""
    return route.provider, route.model


def by_weight(routes: Sequence[Route], weights: Mapping[Spot, int], random: Callable[[], float]) -> list[Route]:
    """Drawn by weight, each from those left; a weight of 0 comes last, in the order written.

    Each route waits an exponential time of its weight's rate, and the soonest is first (Efraimidis and Spirakis,
    2006): what fails is followed by the others in proportion, and not all of it by one.
    """
    drawn = []
    last = []
    for place, route in enumerate(routes):
        weight = weights.get(spot(route), 1)
        if weight > 0:
            drawn.append((-math.log(1.0 - random()) / weight, place, route))
        else:
            last.append(route)
    drawn.sort()
    return [route for _, _, route in drawn] + last


def by_cost(routes: Sequence[Route], costs: Sequence[int | None]) -> list[Route]:
    """The cheapest first; equal ones in the order written; those without a price last."""
    places = sorted(range(len(routes)), key=lambda place: (costs[place] is None, costs[place] or 0, place))
    return [routes[place] for place in places]


def by_latency(routes: Sequence[Route], seconds: Sequence[float | None], random: Callable[[], float]) -> list[Route]:
    """The soonest first, then those without a time, in the order written. For a share of `EXPLORED` one of these is
    the first: it would have no time for good otherwise.
    """
    known = sorted((s, place) for place, s in enumerate(seconds) if s is not None)
    unknown = [place for place, s in enumerate(seconds) if s is None]
    if known and unknown:
        draw = random()
        if draw < EXPLORED:
            first = unknown.pop(int(draw / EXPLORED * len(unknown)))
            return [routes[first], *(routes[place] for _, place in known), *(routes[place] for place in unknown)]
    return [routes[place] for _, place in known] + [routes[place] for place in unknown]


class Preferences:
    """Orders routes, by what it draws, is told, or has measured.

    Args:
        random: draws uniformly from [0, 1).
        costs: see `Costs`.
    """

    def __init__(self, random: Callable[[], float], costs: Costs) -> None:
        self.latencies = Latencies()
        self._random = random
        self._costs = costs

    def order(self, virtual: Virtual, routes: Sequence[Route], request: Request, now: float) -> Sequence[Route]:
        """The routes in the order in which they are tried for this request."""
        if len(routes) < 2:
            return routes
        if virtual.prefer == "weight":
            return by_weight(routes, virtual.weights, self._random)
        if virtual.prefer == "cost":
            return by_cost(routes, self._costs(routes, request, now))
        if virtual.prefer == "latency":
            return by_latency(routes, self.seconds(routes, request, now), self._random)
        return routes

    def seconds(self, routes: Sequence[Route], request: Request, now: float) -> list[float | None]:
        """To the first content, as measured; None where nothing has been lately."""
        stream = request.facts.stream
        return [self.latencies.of(key_of(route, stream=stream), now) for route in routes]

    def costs(self, routes: Sequence[Route], request: Request, now: float) -> Sequence[int | None]:
        """As expected; see `Costs`."""
        return self._costs(routes, request, now)
