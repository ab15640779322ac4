"""What stands between a call and each of its routes, for `headgate explain`: pace, cap, breakers, retry budget, timers.

What the configuration says, each with its line; and how it stands now in the running gateway, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headgate.cli.explain_record import BUILT_IN, Explanation
from headgate.cli.traffic_door import Running, running
from headgate.cli.traffic_text import at_once_text, header_lines, open_text, pace_lines, rates_text, retries_text
from headgate.core.errors import Unavailable
from headgate.policy.families import family
from headgate.policy.turn import PACED
from headgate.settings.fields import DEFAULT
from headgate.settings.turn_rules import rules_of, share_of
from headgate.settings.units import duration_text

if TYPE_CHECKING:
    from headgate.core.exchange import Request, Route
    from headgate.engine.plan import Plan
    from headgate.policy.breaker import BreakerRules
    from headgate.policy.routing import Router
    from headgate.policy.turn import TurnRules
    from headgate.settings.model import Settings

GATEWAY = "the gateway, now"
_TIMERS = ("connect", "pool", "write", "first_byte", "idle")


def traffic(said: Explanation, request: Request, plan: Plan, settings: Settings, router: Router) -> None:
    """Add it all, for the plan's routes."""
    stands = _Stands(settings, router, in_process=request.way_in != "gateway")
    _standing(said, stands, plan.routes)
    said.gateway = stands.url
    if request.endpoint in PACED:
        _pace(said, stands, settings, plan.routes)
        _cap(said, stands, settings, plan.routes)
    _breakers(said, stands, settings, plan.routes)
    _retries(said, stands, settings, plan.routes)
    for each in said.routes:
        row = stands.rows.get((each["provider"], _family(plan.routes, each)))
        each["now"] = dict(row) if row is not None else None
        each["open"] = stands.open.get((each["provider"], each["model"]), [])


class _Stands:
    """How it stands in the running gateway, asked once per provider and family of models.

    Attributes:
        rows: by (provider, family); none where the gateway does not know the provider.
        open: by (provider, model), what keeps the route from being tried.
        why: nobody could be asked; "" = somebody was.
    """

    def __init__(self, settings: Settings, router: Router, *, in_process: bool) -> None:
        self._settings = settings
        self._router = router
        self.rows: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.open: dict[tuple[str, str], list[str]] = {}
        self.url = ""
        self.why = "each process that calls in process has its own" if in_process else ""

    def ask(self, route: Route) -> Mapping[str, Any] | None:
        """The gateway's row of a route's provider, with the paces of its model's family alone."""
        key = (route.provider, family(route.dialect, route.model))
        if not self.why and key not in self.rows:
            try:
                found = running(self._settings, *key)
            except Unavailable as error:
                found = Running(None, error.message)
            self.why, self.url = found.why, found.url
            if found.rows:
                self.rows[key] = found.rows[0]
        return self.rows.get(key)

    def used(self, route: Route) -> Mapping[str, Any] | None:
        """As `ask`; None also where nothing was sent to the provider."""
        row = self.ask(route)
        return row if row is not None and row["used"] else None

    def reference(self, route: Route) -> str:
        """What the gateway calls the route's credential; "" where that is not known here."""
        provider = self._settings.providers.get(route.provider)
        references = provider.api_keys if provider is not None else ()
        keys = self._router.keys.get(route.provider, ())
        if len(references) == 1:
            return str(references[0])
        place = next((n for n, key in enumerate(keys) if key is route.credential), -1)
        return str(references[place]) if place >= 0 and len(keys) == len(references) else ""


def _family(routes: Sequence[Route], row: Mapping[str, Any]) -> str:
    dialect = next((r.dialect for r in routes if (r.provider, r.model) == (row["provider"], row["model"])), "")
    return family(dialect, row["model"])


def _standing(said: Explanation, stands: _Stands, routes: Sequence[Route]) -> None:
    """Who was asked, or that nobody could be."""
    for name, route in _providers(routes):
        row = stands.ask(route)
        if stands.why:
            said.add("now", "not known", f"{stands.why}: only what the configuration says", BUILT_IN)
            return
        if row is None:
            said.findings.append(
                f"the gateway at {stands.url} knows no provider {name!r}: it runs with another configuration"
            )
            continue
        if not row["used"]:
            said.add("now", name, "nothing was sent yet", GATEWAY)
            continue
        said.add("now", name, rates_text(row), GATEWAY)
        for line in header_lines(row):
            said.add("now", "", line, GATEWAY)


def _pace(said: Explanation, stands: _Stands, settings: Settings, routes: Sequence[Route]) -> None:
    keys: dict[tuple[str, str], list[Route]] = {}
    for route in routes:
        keys.setdefault((route.provider, route.model), []).append(route)
    for (provider, _), mine in keys.items():
        rules = _rules(settings, provider)
        name = str(routes.index(mine[0]) + 1)
        for text, origin in _ceilings(rules, settings, provider):
            said.add("pace", name, text, origin)
            name = ""
        row = stands.used(mine[0])
        references = {stands.reference(route) for route in mine}
        for pace in row["paces"] if row is not None and rules.pacing else ():
            if "" not in references and pace["credential"] not in {*references, ""}:
                continue
            several = len(mine) > 1 or "" in references
            key = f"{pace['credential']}: " if several and pace["credential"] else ""
            for line in pace_lines(pace):
                said.add("pace", "", f"{key}{line}", GATEWAY)


def _ceilings(rules: TurnRules, settings: Settings, provider: str) -> Iterator[tuple[str, str]]:
    at = settings.origins.get
    path = f"providers.{provider}"
    if not rules.pacing:
        yield "off: only what the provider tells with a 429 is waited for", at(f"{path}.pacing", DEFAULT)
        return
    ceilings = rules.ceilings
    for name, value in (
        ("requests", ceilings.requests_per_minute),
        ("tokens", ceilings.tokens_per_minute),
    ):
        if value is not None:
            yield f"at most {value:,} {name} a minute", at(f"{path}.{name}_per_minute", DEFAULT)
    if ceilings.requests_per_minute is None and ceilings.tokens_per_minute is None:
        yield "as the provider's answers tell its limits", at(f"{path}.pacing", DEFAULT)


def _cap(said: Explanation, stands: _Stands, settings: Settings, routes: Sequence[Route]) -> None:
    for name, route in _providers(routes):
        told = _rules(settings, name).concurrency
        text = "follows the provider's capacity" if told is None else f"{told:,} calls" if told else "no cap"
        said.add("at once", name, text, settings.origins.get(f"providers.{name}.concurrency", DEFAULT))
        row = stands.used(route)
        if row is not None:
            said.add("at once", "", at_once_text(row), GATEWAY)


def _breakers(said: Explanation, stands: _Stands, settings: Settings, routes: Sequence[Route]) -> None:
    for name, first in _providers(routes):
        rules = _rules(settings, name).breaker
        path = f"providers.{name}.breaker"
        origin = settings.origins.get(f"{path}.slow", settings.origins.get(path, DEFAULT))
        said.add("breaker", name, "off" if rules is None else _breaker(rules), origin)
        row = stands.used(first)
        if row is None or rules is None:
            continue
        mine = [route for route in routes if route.provider == name]
        found = [each for each in row["open"] if any(_concerns(each, route, stands.reference(route)) for route in mine)]
        for each in found:
            said.add("breaker", "", f"OPEN: {open_text(each)}", GATEWAY)
        if not found:
            said.add("breaker", "", "nothing is open", GATEWAY)
        for route in mine:
            ways = [_in_way(row["open"], each, stands.reference(each)) for each in mine if each.model == route.model]
            if all(ways):  # no key of it is left
                stands.open[(name, route.model)] = list(dict.fromkeys(text for texts in ways for text in texts))
    for (provider, model), texts in stands.open.items():
        said.findings.append(f"{provider}/{model} is passed over now: {'; '.join(texts)}")


def _in_way(opened: Sequence[Mapping[str, Any]], route: Route, mine: str) -> list[str]:
    return [open_text(each) for each in opened if _concerns(each, route, mine)]


def _concerns(each: Mapping[str, Any], route: Route, mine: str) -> bool:
    if each["what"] == "route" and each["model"] != route.model:
        return False
    return not mine or each["credential"] in (mine, "")


def _breaker(rules: BreakerRules) -> str:
    window = (
        f"{rules.failure_rate:.0%} of at least {rules.minimum_calls} calls in {duration_text(rules.window_seconds)}"
    )
    slow = (
        ""
        if rules.slow_seconds is None
        else f", or {rules.slow_rate:.0%} take over {duration_text(rules.slow_seconds)}"
    )
    return f"opens where {window} fail{slow}; for {duration_text(rules.open_seconds)} at first"


def _retries(said: Explanation, stands: _Stands, settings: Settings, routes: Sequence[Route]) -> None:
    share = share_of(settings)
    text = "any number" if share is None else f"{share:.0%} of a provider's successes"
    said.add("retry", "budget", text, settings.origins.get("retry.budget", DEFAULT))
    for name, route in _providers(routes):
        row = stands.used(route)
        if row is not None:
            said.add("retry", "", f"{name}: {retries_text(row)}", GATEWAY)


def timers(said: Explanation, plan: Plan, settings: Settings) -> None:
    """A provider's own timers, where they differ from everybody's."""
    for name, _ in _providers(plan.routes):
        own = plan.timeouts_at.get(name)
        for timer in _TIMERS if own is not None else ():
            value = getattr(own, timer)
            if value != getattr(plan.timeouts, timer):
                origin = settings.origins.get(f"providers.{name}.timeouts.{timer}", DEFAULT)
                said.add("timeouts", "", f"{timer} at {name}: {duration_text(value)}", origin)


def _providers(routes: Sequence[Route]) -> Iterator[tuple[str, Route]]:
    """Each provider once, with its first route."""
    found: dict[str, Route] = {}
    for route in routes:
        found.setdefault(route.provider, route)
    yield from found.items()


def _rules(settings: Settings, provider: str) -> TurnRules:
    return rules_of(settings.providers[provider], share_of(settings))
