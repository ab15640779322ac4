"""What the engine would decide about a call, and where each decision comes from. Its own code decides; nothing is sent.

The plan is `engine.plan.make_plan`'s, the routes are the router's, prices and bounds the engine's charges'. What this
version reads but does not act on is marked, from `settings.enforced`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headgate.cli.explain_cache import caching
from headgate.cli.explain_configured import configured
from headgate.cli.explain_crossing import Ways, crossings
from headgate.cli.explain_incidents import incidents
from headgate.cli.explain_money import bound_text, price_fields, price_origin, price_text
from headgate.cli.explain_record import BUILT_IN, REQUEST, Explanation, Origins
from headgate.cli.explain_recovery import recovery
from headgate.cli.explain_routing import chosen, fallbacks, route_origin, tied
from headgate.cli.explain_traffic import timers, traffic
from headgate.core.errors import Refusal
from headgate.core.money import usd_text
from headgate.engine.plan import FREE, PRICED, Plan, Policies, as_asked, capped, make_plan, unseen_tokens
from headgate.policy.recovery import BACKOFF_CAP, TIMEOUT_STRETCH, TOLD_JITTER
from headgate.settings.enforced import not_enforced
from headgate.settings.fields import DEFAULT, suggestion
from headgate.settings.units import duration_text

if TYPE_CHECKING:
    from headgate.cli.explain_call import Call
    from headgate.core.exchange import Request, Route
    from headgate.policy.pricing import ModelPrice
    from headgate.settings.model import Settings

_TIMEOUTS = ("connect", "pool", "write", "first_byte", "idle", "total")
_CALLER = ("key", "tenant", "user", "session", "task", "feature", "environment")


def explain(call: Call, settings: Settings, policies: Policies, now: float) -> Explanation:
    """Decide, and say why.

    Args:
        call: what would come in.
        settings, policies: of one configuration.
        now: seconds since the epoch; prices depend on it.
    """
    said = Explanation(not_enforced=not_enforced(settings))
    origins = Origins(settings, call.request.caller.task if call.request is not None else "")
    _request(said, call)
    if call.request is not None:
        _caller(said, call, call.request)
        _task(said, call.request, settings, origins)
    if call.refusal is not None:
        said.refused("way in", call.refusal)
        return said
    if call.request is None:
        return said
    plan = _routes(said, call.request, settings, policies, origins, now)
    if plan is None:
        return said
    incidents(said, call.request, plan, policies, now)
    request = capped(call.request, plan)
    ways = crossings(said, request, policies, plan, origins, now)
    _prices(said, request, settings, policies, plan, ways, now)
    traffic(said, request, plan, settings, policies.router)
    _retry(said, plan, origins, request, now)
    timers(said, plan, settings)
    if plan.routes:
        recovery(said, request, plan, policies, origins, now)
    caching(said, request, plan, policies, settings, origins)
    configured(said, settings, origins, request.caller)
    return said


def _request(said: Explanation, call: Call) -> None:
    request = call.request
    guessed = f" (guessed from {call.guessed})" if call.guessed else ""
    said.add("request", "dialect", f"{call.dialect}{guessed}", REQUEST)
    if request is None:
        said.add("request", "path", call.path, REQUEST)
        return
    facts = request.facts
    said.add("request", "endpoint", f"{request.endpoint} (POST {call.path}, {request.way_in})", REQUEST)
    said.add("request", "model", facts.model or "-", REQUEST)
    cap = "none" if facts.max_output_tokens is None else f"{facts.max_output_tokens:,} tokens"
    cap += " (assumed: --max-tokens tells another)" if call.assumed_cap else ""
    choices = f", {facts.choices} choices" if facts.choices > 1 else ""
    said.add("request", "output cap", f"{cap}{choices}", REQUEST)
    said.add("request", "body", f"{len(call.body):,} bytes{', streamed' if facts.stream else ''}", REQUEST)


def _caller(said: Explanation, call: Call, request: Request) -> None:
    caller = request.caller
    for name in _CALLER:
        value: str = getattr(caller, name)
        if value:
            by_key = name in ("key", "environment", "tenant") and call.key_origin
            said.add("caller", name, value, call.key_origin if by_key else REQUEST)
    if call.keys and not caller.key and request.way_in == "gateway":
        said.add(
            "caller",
            "key",
            f"none, and the gateway turns such a call away (it has {call.keys}); --key NAME takes one",
            "keys",
        )
    elif not any(getattr(caller, name) for name in _CALLER):
        said.add("caller", "nobody", "not attributed to a key, tenant, user, session, task or feature", REQUEST)


def _task(said: Explanation, request: Request, settings: Settings, origins: Origins) -> None:
    name = request.caller.task
    if origins.task is not None:
        where = settings.origins.get(f"tasks.{name}", DEFAULT)
        said_of = (("model", origins.task.model), ("max_tokens", origins.task.max_tokens))
        for key, value in (*said_of, ("on_cut", origins.task.on_cut.removeprefix("error"))):
            path = f"tasks.{name}.{key}"
            if value:
                shown = f"{value:,}" if isinstance(value, int) else value
                said.add("task", key, shown, settings.origins.get(path, where), enforced=path not in origins.pending)
    elif name and settings.tasks:
        hint = suggestion(name, tuple(settings.tasks), label="tasks")
        said.findings.append(f"no task is named {name!r} in the configuration: the global values apply{hint}")


def _routes(
    said: Explanation, request: Request, settings: Settings, policies: Policies, origins: Origins, now: float
) -> Plan | None:
    router = policies.router
    asked = as_asked(request, policies.tasks(request.caller.task))
    plan: Plan | None = None
    refusal: Refusal | None = None
    try:
        candidates: Sequence[Route] = replace(router, unready={}).routes(asked, now)
    except Refusal as error:
        said.refused("routes", error)
        return None
    chosen(said, asked, settings, policies, now)
    try:
        plan = make_plan(request, policies, now)
    except Refusal as error:
        refusal = error
        said.refused("price" if error.code == "unknown_price" else "routes", error)
    serving = {(route.provider, route.model) for route in plan.routes} if plan is not None else set()
    held = tied(said, asked, candidates, origins)
    for place, route in enumerate(candidates):
        why = "" if (route.provider, route.model) in serving else _skipped(route, router.unready, refusal, held)
        _route(said, route, place, asked, settings, why, route_origin(route, asked, settings, policies))
    fallbacks(said, asked, settings, policies)
    return plan


def _skipped(route: Route, unready: Mapping[str, str], refusal: Refusal | None, held: str) -> str:
    if route.provider in unready:
        return unready[route.provider]
    if held and refusal is None:
        return held
    return refusal.message if refusal is not None and refusal.code == "unknown_price" else "no price is known for it"


def _route(
    said: Explanation, route: Route, place: int, request: Request, settings: Settings, why: str, origin: str
) -> None:
    provider = settings.providers.get(route.provider)
    asked = request.facts.model
    name = str(place + 1)
    shown = f"{route.provider}/{route.model}" if route.model else route.provider
    by_default = asked == route.model and not request.provider and request.direct is None
    note = "  (skipped)" if why else f"  (serves the {route.dialect} dialect by default)" if by_default else ""
    said.add("routes", name, f"{shown}{note}", origin)
    own = request.direct is not None and request.direct.provider == route.provider
    base = REQUEST if own else settings.origins.get(f"providers.{route.provider}.base_url", DEFAULT)
    said.add("routes", "", route.base_url, base)
    credential = "the SDK's own key" if own else credentials(provider) or "none: it wants no credential"
    where = REQUEST if own else settings.origins.get(f"providers.{route.provider}.api_key", DEFAULT)
    said.add("routes", "", f"credential: {credential}", where)
    if why:
        said.add("routes", "", f"skipped: {why}", where)
    said.routes.append(
        {
            "provider": route.provider,
            "model": route.model,
            "dialect": route.dialect,
            "base_url": route.base_url,
            "credential": credential,
            "skipped": why or None,
            "translated": None,
            "price": None,
            "bound_usd": None,
            "now": None,
            "open": [],
        }
    )


def credentials(provider: Any) -> str:
    """The references of a provider's credential, never its value; "" where it has none."""
    if provider is None or provider.api_key is None:
        return ""
    told = provider.api_key
    return ", ".join(str(each) for each in told) if isinstance(told, tuple) else str(told)


def _prices(
    said: Explanation, request: Request, settings: Settings, policies: Policies, plan: Plan, ways: Ways, now: float
) -> None:
    if request.endpoint not in PRICED:
        free = request.endpoint in FREE
        said.add("price", request.endpoint, "free" if free else "not priced: passed on, logged as unpriced", BUILT_IN)
        return
    bounds: list[int | None] = []
    for place, route in enumerate(plan.routes, 1):
        try:
            price: ModelPrice = policies.charges.book.price_for(route.provider, route.model, now)  # type: ignore[attr-defined]  # the engine asks `Charges` for amounts only; `policies_of` makes a `Charging`
            sent = ways.sent(request, route)
            most = policies.charges.bound(route, sent.facts, len(sent.body), now)
        except Refusal as error:
            said.refused("price", error)
            said.add("price", str(place), "unknown, and refused", settings.origins.get("unknown_price", DEFAULT))
            return
        bound = None if most is None else most.nano
        bounds.append(bound)
        origin = price_origin(price, settings)
        for line, text in enumerate(price_text(price)):
            said.add("price", "" if line else str(place), text, origin)
        said.add("bound", str(place), bound_text(bound, price, sent.facts, len(sent.body)), BUILT_IN)
        for each in said.routes:
            if (each["provider"], each["model"]) == (route.provider, route.model):
                each["price"] = price_fields(price)
                each["bound_usd"] = None if bound is None else usd_text(bound)
    if any(bound is None for bound in bounds):
        origin = settings.origins.get("unbounded", DEFAULT)
        said.add("bound", "unbounded", settings.unbounded, origin, enforced=False)


def _retry(said: Explanation, plan: Plan, origins: Origins, request: Request, now: float) -> None:
    rules = plan.recovery
    who = "Headgate retries" if rules.owns_retries else "the caller's SDK owns the retries"
    said.add("retry", "attempts", f"{rules.attempts} in all: {who}", origins.of("retry.attempts"))
    if len(plan.routes) > 1:
        said.add("retry", "per route", f"{rules.per_route}, then the next route", BUILT_IN)
    waits = (
        "a tenacity strategy of the application's own"
        if rules.wait is not None
        else f"as the provider says, plus 0 to {TOLD_JITTER:.0%}; else random, at most min({BACKOFF_CAP:g}, 2^n) s"
    )
    said.add("retry", "waits", waits, BUILT_IN)
    again = f"{rules.timeout_retries} retry, with {TIMEOUT_STRETCH:g}x the time for the first byte"
    said.add("retry", "timed out", again, BUILT_IN)
    by_request = request.timeout is not None and request.timeout < plan.timeouts.total
    total = f"{REQUEST}'s own" if by_request else origins.of("timeout", "timeouts.total")
    first = total if plan.first_content_by == plan.ends_by else origins.of("retry.deadline")
    until = duration_text(round(plan.first_content_by - now, 3))
    said.add("timeouts", "first content", f"no attempt begins after {until}", first)
    for name in _TIMEOUTS[:-1]:
        value = duration_text(getattr(plan.timeouts, name))
        said.add("timeouts", name, value, origins.of(f"timeouts.{name}"))
    unseen = unseen_tokens(request)
    if unseen != 0:
        seconds = plan.attempt_timeouts(now, 1.0, unseen=unseen).first_byte
        most = "an unknown number of" if unseen is None else f"up to {unseen:,}"
        what = (
            f"first_byte of a whole answer, {most} tokens: {duration_text(round(seconds, 0 if seconds >= 10 else 3))}"
        )
        said.add("timeouts", "", what, BUILT_IN)
    said.add("timeouts", "total", duration_text(round(plan.ends_by - now, 3)), total)
