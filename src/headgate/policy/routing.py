"""Which routes may serve a request, in order of preference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from headgate.core.caller import Caller
from headgate.core.errors import NotServed
from headgate.core.exchange import Kept, Request, Route
from headgate.core.secret import Secret
from headgate.policy.fallback import Fallbacks
from headgate.policy.homes import Home, Homes, owner
from headgate.policy.latencies import key_of
from headgate.policy.preferences import Preferences, Virtual
from headgate.policy.sessions import Sessions

TRANSLATED = frozenset({"messages", "chat"})
"""Endpoints that routes of the other dialect serve as well: the engine translates (`engine.crossing`)."""


def _is_rejected(route: Route) -> bool:
    return route.credential is not None and route.credential.rejected


@dataclass(frozen=True, slots=True)
class Router:
    """Model names to routes.

    A name is, in this order: a virtual model; ``provider/model`` or ``provider:model`` of a provider we know; or a
    model of the dialect's default provider, which decides whether it exists.

    Attributes:
        providers: a route for every provider, by its name; its model is filled in.
        models: virtual models; their routes are complete. Of one with rules, all that they can lead to.
        defaults: the provider that serves a bare model name, by dialect.
        unready: why a provider has no credential, by the provider's name; may change at any time.
        keys: the credentials of the providers that have several. Each exchange begins with another one, and has a
            route for each. One without a value is left out, one that its provider refused comes last.
        homes: where providers keep what requests refer to.
        virtual: what virtual models are besides routes in order, by name; only those that are.
        fallbacks: which models follow a failure, by its class.
        preferences: orders routes where `virtual` says by what; None: nobody prefers anything.
        sessions: which model a session was last answered by.
        measures: some virtual model prefers what answers soonest.
    """

    providers: Mapping[str, Route]
    models: Mapping[str, Sequence[Route]]
    defaults: Mapping[str, str]
    unready: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, Sequence[Secret]] = field(default_factory=dict)
    homes: Homes = field(default_factory=Homes)
    virtual: Mapping[str, Virtual] = field(default_factory=dict)
    fallbacks: Fallbacks = field(default_factory=Fallbacks)
    preferences: Preferences | None = None
    sessions: Sessions = field(default_factory=Sessions)
    measures: bool = False
    _seen: dict[tuple[str, str, bool], Sequence[Route]] = field(default_factory=dict, repr=False)
    _turns: dict[tuple[str, str], Sequence[Sequence[Route]]] = field(default_factory=dict, repr=False)
    _own: dict[tuple[str, str, str], tuple[Route, Route]] = field(default_factory=dict, repr=False)
    _turn: Iterator[int] = field(default_factory=count, repr=False)

    def routes(self, request: Request, now: float = 0.0) -> Sequence[Route]:
        """The routes of `request`, best first; never empty.

        Args:
            now: seconds since the epoch; prices depend on it, and how old a measured time is.

        Raises:
            NotServed: no provider serves the name, or none of the request's dialect where it cannot be translated.
        """
        direct, facts = request.direct, request.facts
        name = facts.model
        if direct is not None and self._is_bare(name, direct.provider):
            return [self._own_route(direct, name)]  # the SDK's base URL has chosen the provider
        found = self._found(request, now)
        if direct is not None:
            return self._beside(direct, found)
        ready = found if not self.unready else self._ready(found, told=request.way_in != "gateway")
        if facts.state or facts.keeps:
            return self._at_home(request, ready)
        return ready if not self.keys else self._in_turn(ready, next(self._turn))

    def settled(self, dialect: str, endpoint: str, name: str) -> Route | None:
        """The one route that serves a name for whoever asks, as long as it has its credential; None where more than the
        name decides, or nothing serves it. A path that names a provider, and what a provider keeps, decide otherwise.
        """
        if name in self.virtual:
            return None
        try:
            found = self._named(dialect, endpoint, name)
        except NotServed:
            return None
        return found[0] if len(found) == 1 and found[0].provider not in self.keys else None

    def after_failure(self, request: Request, name: str, now: float) -> Sequence[Route]:
        """The routes of a model that `fallbacks` names, for a request that asked for another; () if none can serve it.

        A virtual model, or provider/model; its preference, its credentials in turn, and the SDK's own as in `routes`.
        """
        asked = replace(request, facts=replace(request.facts, model=name), provider="")
        try:
            found = self._found(asked, now)
            if request.direct is not None:
                return self._beside(request.direct, found)
            ready = found if not self.unready else self._ready(found)
        except NotServed:
            return ()
        return ready if not self.keys else self._in_turn(ready, next(self._turn))

    def led(self, request: Request) -> tuple[str, ...]:
        """The names that a request's model leads to by rules, its own first; the last one's routes serve."""
        way: tuple[str, ...] = (request.facts.model,)
        while True:
            virtual = self.virtual.get(way[-1])
            if virtual is None or not virtual.use:
                return way
            found = next((rule.use for rule in virtual.rules if rule.when.holds(request)), virtual.use)
            if found in way:  # settings let no such rules in
                return way
            way += (found,)

    def measured(self, route: Route, seconds: float, now: float, *, stream: bool) -> None:
        """A route has answered after so many seconds, or has not in so many."""
        if self.preferences is not None:
            self.preferences.latencies.note(key_of(route, stream=stream), seconds, now)

    def _beside(self, direct: Route, found: Sequence[Route]) -> Sequence[Route]:
        # In process the SDK's own base URL and key are used as they are, wherever the route is that same provider.
        own = [self._own_route(direct, r.model) if r.provider == direct.provider else r for r in found]
        ready = own if not self.unready else self._ready(own, direct.provider)
        return ready if not self.keys else self._in_turn(ready, next(self._turn))

    def _own_route(self, direct: Route, model: str) -> Route:
        """`direct` for a model: the same object from call to call, made once."""
        place = direct.provider, direct.base_url, model
        known = self._own.get(place)
        if known is not None and (known[0] is direct or known[0] == direct):
            return known[1]
        made = replace(direct, model=model)
        if len(self._own) >= 4096:  # as `_seen`
            self._own.clear()
        self._own[place] = direct, made
        return made

    def remember(self, ids: Iterable[str], route: Route, caller: Caller) -> list[Kept]:
        """What a caller made at `route`, or found in what it has made: requests that refer to it have to go there.

        Returns:
            What was not known before.
        """
        home = Home(route.provider, route.model, route.credential, owner(caller))
        fresh = self.homes.remember(ids, home)
        place = next((n for n, key in enumerate(self.keys.get(route.provider, ())) if key is route.credential), 0)
        return [Kept(name, home.provider, home.model, place, home.owner) for name in fresh]

    def restore(self, found: Iterable[Kept]) -> None:
        """What earlier processes, or others, have remembered."""
        for each in found:
            known = self.providers.get(each.provider)
            if known is None:
                continue  # a provider that is configured no longer
            keys = self.keys.get(each.provider, ())
            credential = keys[each.place] if each.place < len(keys) else known.credential
            self.homes.remember((each.id,), Home(each.provider, each.model, credential, each.owner))

    def _at_home(self, request: Request, routes: Sequence[Route]) -> Sequence[Route]:
        """The one route that holds the state a request refers to: another account would not find it (decisions 14).

        Where the state's home is not known, and where the answer will be kept, it is the first route's first key.
        """
        if not request.facts.state:
            return self._in_turn(routes, 0) if self.keys else routes
        home = self.homes.find(request.facts.state, request.caller)
        if home is None:
            return (self._in_turn(routes, 0) if self.keys else routes)[:1]
        there = [r for r in routes if r.provider == home.provider]
        here = next((r for r in there if r.model == home.model), there[0] if there else None)
        if here is None:
            known = self.providers.get(home.provider)
            name = request.facts.model
            if known is None or known.dialect != request.dialect or request.provider or name in self.models:
                raise NotServed(
                    f"this request goes on from what provider {home.provider} keeps, and {name[:200] or 'its path'!r} "
                    "is not served there: ask for the model that the earlier call was made with",
                    code="state_elsewhere",
                    status_hint=400,
                )
            here = replace(known, model=name)
        return [here if home.credential is here.credential else replace(here, credential=home.credential)]

    def _is_bare(self, name: str, direct: str) -> bool:
        if name in self.models:
            return False
        if direct not in self.providers:
            return True  # nobody we know: OpenRouter's own names have slashes too
        return name.partition("/")[0] not in self.providers and name.partition(":")[0] not in self.providers

    def _ready(self, routes: Sequence[Route], direct: str = "", *, told: bool = True) -> Sequence[Route]:
        """Args: `told`: say why, with the place in the configuration; a gateway's callers are not its operators."""
        usable = [r for r in routes if r.provider not in self.unready or r.provider == direct]
        if not usable:
            why = self.unready.get(routes[0].provider, "no key") if told else "the gateway has no key for it now"
            raise NotServed(
                f"provider {routes[0].provider} cannot be used: {why}",
                code="provider_not_configured",
                status_hint=503,
            )
        return usable if len(usable) < len(routes) else routes  # shared by all calls where it can be: many may wait

    def _in_turn(self, routes: Sequence[Route], turn: int) -> Sequence[Route]:
        """A route for every key of those that have several, from the key whose turn it is."""
        found: list[Route] = []
        for route in routes:
            if route.credential is None or route.provider not in self.keys:
                found.append(route)
                continue
            turns = self._turns_of(route)
            mine = turns[turn % len(turns)]
            usable = [r for r in mine if r.credential]
            if any(r.credential is not None and r.credential.rejected for r in usable):
                usable.sort(key=_is_rejected)
            found += usable or mine[:1]  # the last of them has gone this moment
        return found

    def _turns_of(self, route: Route) -> Sequence[Sequence[Route]]:
        place = (route.provider, route.model)
        turns = self._turns.get(place)
        if turns is None:
            each = [replace(route, credential=key) for key in self.keys[route.provider]]
            turns = [each[first:] + each[:first] for first in range(len(each))]
            if len(self._turns) < 4096:  # as `_seen`
                self._turns[place] = turns
        return turns

    def _pinned(self, request: Request) -> Sequence[Route]:
        route = self.providers.get(request.provider)
        if route is None:
            raise NotServed(f"there is no provider named {request.provider[:64]!r}", code="no_provider")
        model = request.facts.model
        there = [r for r in self.models.get(model, ()) if r.provider == route.provider]
        if there:
            return there  # a virtual model, as far as this provider serves it
        for mark in ("/", ":"):
            model = model.removeprefix(route.provider + mark)
        return [replace(route, model=model)]

    def _found(self, request: Request, now: float) -> Sequence[Route]:
        if request.provider:
            return self._pinned(request)
        name = request.facts.model
        if not self.virtual or name not in self.virtual or request.facts.state:
            return self._named(
                request.dialect, request.endpoint, name
            )  # what a provider keeps decides: rules and preferences have no say
        name = self.led(request)[-1]
        routes, virtual = self._named(request.dialect, request.endpoint, name), self.virtual.get(name)
        if virtual is None or not virtual.prefer or self.preferences is None:
            return routes
        return self.preferences.order(virtual, routes, request, now)

    def _named(self, dialect: str, endpoint: str, name: str) -> Sequence[Route]:
        key = (dialect, name, endpoint in TRANSLATED)
        routes = self._seen.get(key)
        if routes is None:
            routes = self._find(*key)
            if len(self._seen) < 4096:  # names come from callers: bounded, or a hostile one grows it without end
                self._seen[key] = routes
        return routes

    def _find(self, dialect: str, name: str, translated: bool) -> Sequence[Route]:
        virtual = self.models.get(name)
        if virtual is not None:
            return list(virtual) if translated else self._checked(dialect, name, virtual)
        for mark in ("/", ":"):
            provider, found, model = name.partition(mark)
            if found and model and provider in self.providers:
                routes = [replace(self.providers[provider], model=model)]
                return routes if translated else self._checked(dialect, name, routes)
        default = self.defaults.get(dialect)
        if default is None:
            raise NotServed(f"no provider of the {dialect} dialect is configured", code="no_provider")
        return [replace(self.providers[default], model=name)]

    @staticmethod
    def _checked(dialect: str, name: str, routes: Sequence[Route]) -> Sequence[Route]:
        fitting = [r for r in routes if r.dialect == dialect]
        if not fitting:
            spoken = ", ".join(sorted({r.dialect for r in routes}))
            raise NotServed(
                f"model {name[:200]!r} is served in the {spoken} dialect; this request came in the {dialect} dialect, "
                "and of these two only messages and chat completions are translated: call it through the other SDK",
                code="model_not_found",
            )
        return fitting
