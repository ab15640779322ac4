"""Which incidents are on, and what they say of a call. No I/O; time is an argument.

Calls look at one attribute, `Incidents.live`, and at nothing else while no incident is on.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import cast

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.incidents import KINDS, SCOPES, Incident, Kind, Scope

DEFAULT_SECONDS = 3600.0
LEAST_SECONDS, MOST_SECONDS = 1.0, 7 * 86_400.0
MOST_RATE = 1_000_000
MOST_VALUE, MOST_WHY, MOST_BY = 200, 500, 100
"""Characters."""


class Slowing:
    """So many requests per minute, one after the other: whoever comes is told how long to wait. Thread-safe."""

    __slots__ = ("_lock", "_next", "interval")

    def __init__(self, interval: float) -> None:
        """`interval`: seconds between two of them, > 0."""
        self.interval = interval
        self._next = 0.0
        self._lock = threading.Lock()

    def take(self, now: float, until: float) -> float | None:
        """Seconds until a place that is taken herewith, >= 0; None: there is none up to `until`, and none is taken."""
        with self._lock:
            at = max(self._next, now)
            if at > until:
                return None
            self._next = at + self.interval
            return at - now

    def left(self) -> None:
        """Whoever had taken a place did not stay: those who come later need not wait for it."""
        with self._lock:
            self._next -= self.interval

    def wait(self, now: float) -> float:
        """Seconds until the next place, >= 0. Takes nothing."""
        return max(0.0, self._next - now)


class Live:
    """Some incidents, found by what they are about. Immutable but for the places that `slow` has given out."""

    __slots__ = ("_by", "_paces", "all", "until", "writers")

    def __init__(self, found: Iterable[Incident] = (), *, writers: int = 1, before: Live | None = None) -> None:
        """
        Args:
            writers: processes that share each rate, >= 1.
            before: where the places of those that go on stand.
        """
        self.all = tuple(found)
        self.writers = max(1, writers)
        self.until = max((each.expires for each in self.all), default=0.0)  # then the last of them ends
        self._by = {(each.scope, each.value): each for each in self.all}
        self._paces: dict[str, Slowing] = {}
        known = {} if before is None else before._paces
        for each in self.all:
            if each.kind == "slow":
                pace = known.get(each.id) or Slowing(1.0)
                pace.interval = 60.0 / each.rate * self.writers
                self._paces[each.id] = pace

    def pace(self, incident: Incident) -> Slowing:
        """Of one that slows."""
        return self._paces[incident.id]

    def of_caller(self, caller: Caller, now: float) -> Iterator[Incident]:
        """Those of a call's tenant and task."""
        for scope, value in (("tenant", caller.tenant), ("task", caller.task)):
            yield from self._find(scope, value, now)

    def of_names(self, names: Iterable[str], now: float) -> Iterator[Incident]:
        """Those of models, by the names that calls use for them."""
        for name in names:
            yield from self._find("model", name, now)

    def of_route(self, provider: str, model: str, now: float) -> Iterator[Incident]:
        """Those of a route's provider and model."""
        yield from self._find("provider", provider, now)
        if model:
            yield from self._find("model", model, now)
            yield from self._find("model", f"{provider}/{model}", now)

    def _find(self, scope: str, value: str, now: float) -> Iterator[Incident]:
        found = self._by.get((cast("Scope", scope), value)) if value else None
        if found is not None and found.holds(now):
            yield found


UNREAD = Live()
"""In place of what is on record while that has not been read yet."""


class Incidents:
    """What is on in this process.

    Attributes:
        live: None = nothing is on.
    """

    __slots__ = ("live",)

    def __init__(self, *, unread: bool = False) -> None:
        """`unread`: what is on record has to be looked up first."""
        self.live: Live | None = UNREAD if unread else None

    def put(self, found: Iterable[Incident], now: float, *, writers: int = 1) -> None:
        """From now on these are on, and no others. One assignment: whoever is looking sees the one or the other."""
        on = [each for each in found if each.holds(now)]
        self.live = Live(on, writers=writers, before=self.live) if on else None

    def forget(self) -> None:
        """What is on record has to be looked up again, as after a fork."""
        self.live = UNREAD

    def all(self, now: float) -> tuple[Incident, ...]:
        """Those that are on, the newest first."""
        live = self.live
        on = () if live is None else tuple(each for each in live.all if each.holds(now))
        return tuple(sorted(on, key=lambda each: (-each.since, each.id)))

    def stops(self, names: Sequence[str], now: float) -> bool:
        """Whether one of the names that a model goes by is stopped: nobody is led there."""
        live = self.live
        return live is not None and any(each.kind == "stop" for each in live.of_names(names, now))

    def stops_models(self) -> bool:
        """Whether any model is stopped."""
        live = self.live
        return live is not None and any(each.kind == "stop" and each.scope == "model" for each in live.all)

    def stops_batch(self, caller: Caller, provider: str, now: float) -> bool:
        """Whether a batch may not be submitted to its provider: that is stopped, or its caller is. Models: `stops`."""
        live = self.live
        if live is None:
            return False
        found = (*live.of_caller(caller, now), *live.of_route(provider, "", now))
        return any(each.kind == "stop" for each in found)


def checked(
    kind: str,
    scope: str,
    value: str,
    *,
    to: str = "",
    rate: int = 0,
    by: str = "",
    why: str = "",
    seconds: float = DEFAULT_SECONDS,
    now: float,
    incident_id: str,
    providers: Container[str],
    models: Container[str],
) -> Incident:
    """A new incident.

    Args:
        seconds: how long it is on, 1 s to 7 days.
        providers, models: names of the configuration, the latter of virtual models.

    Raises:
        ConfigError: all that is wrong with it, each in a sentence.
    """
    wrong = []
    if kind not in KINDS:
        wrong.append(f"an incident is one of {', '.join(KINDS)}, not {kind[:40]!r}")
    if scope not in SCOPES:
        wrong.append(f"an incident is about a {', '.join(SCOPES[:-1])} or {SCOPES[-1]}, not {scope[:40]!r}")
    elif not value or len(value) > MOST_VALUE or not value.isprintable():
        wrong.append(f"the {scope} has to be named: 1 to {MOST_VALUE} printable characters")
    elif scope == "provider" and value not in providers:
        wrong.append(f"there is no provider named {value!r} in the configuration")
    if scope == "model":
        value = _with_slash(value, providers)
    if kind == "degrade":
        to = _with_slash(to, providers)
        if to not in models and to.partition("/")[0] not in providers:
            wrong.append(
                f"{to[:MOST_VALUE]!r} is no model to degrade to: name a virtual model of the configuration, or "
                "provider/model"
            )
        elif scope == "model" and value == to:
            wrong.append(f"{to!r} cannot be degraded to itself")
    elif to:
        wrong.append("only `degrade` has a model to degrade to")
    if kind == "slow" and not 1 <= rate <= MOST_RATE:
        wrong.append(f"`slow` needs a rate of 1 to {MOST_RATE:,} requests per minute")
    elif kind != "slow" and rate:
        wrong.append("only `slow` has a rate")
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        wrong.append("an incident is on for 1 second to 7 days, and can be set again")
    for name, text, most in (("why", why, MOST_WHY), ("by", by, MOST_BY)):
        if len(text) > most or not text.isprintable():
            wrong.append(f"{name} has to be at most {most} printable characters")
    if wrong:
        raise ConfigError(wrong)
    return Incident(incident_id, cast("Kind", kind), cast("Scope", scope), value, to, rate, by, why, now, now + seconds)


def _with_slash(name: str, providers: Container[str]) -> str:
    """provider:model as provider/model."""
    provider, mark, model = name.partition(":")
    return f"{provider}/{model}" if mark and model and provider in providers else name


def words(incident: Incident) -> str:
    """What it does, for people: "stop provider anthropic", "slow tenant acme to 30 requests per minute"."""
    said = f"{incident.kind} {incident.scope} {incident.value}"
    if incident.kind == "slow":
        return f"{said} to {incident.rate:,} request{'' if incident.rate == 1 else 's'} per minute"
    return f"{said} to {incident.to}" if incident.kind == "degrade" else said
