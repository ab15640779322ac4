"""Which routes get the call translated, and what that would lose, for `headgate explain`. The engine translates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate.cli.explain_record import BUILT_IN, Explanation, Origins
from headgate.core.errors import Refusal
from headgate.core.exchange import Request, Route
from headgate.engine.crossing import Crossed, Crossings
from headgate.settings.fields import DEFAULT

if TYPE_CHECKING:
    from headgate.engine.plan import Plan, Policies


@dataclass(slots=True)
class Ways:
    """What each route of a plan gets: by provider and model, where it is not the request as it came."""

    crossed: dict[tuple[str, str], Crossed] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)

    def sent(self, request: Request, route: Route) -> Request:
        """What a route gets."""
        found = self.crossed.get((route.provider, route.model))
        return request if found is None else found.request


def crossings(
    said: Explanation, request: Request, policies: Policies, plan: Plan, origins: Origins, now: float
) -> Ways:
    """Translate for each route that needs it, and say so. Routes that cannot be told the request leave the plan, as
    they do in the engine; where none is left the call is refused."""
    ways, preparing = Ways(), Crossings(policies)
    last: Refusal | None = None
    for route in plan.routes:
        key = (route.provider, route.model)
        try:
            found = preparing.crossed(request, plan, route, now)
        except Refusal as error:
            last, ways.refused[key] = error, error.message
            said.add("translation", "/".join(key), f"skipped: {error.message}", _origin(origins))
            continue
        if found is not None:
            ways.crossed[key] = found
            said.add("translation", "/".join(key), _words(request, found), _origin(origins) if found.lost else BUILT_IN)
    _note(said, ways)
    plan.routes = [route for route in plan.routes if (route.provider, route.model) not in ways.refused]
    if last is not None and not plan.routes:
        said.refused("translation", last)
    return ways


def _words(request: Request, found: Crossed) -> str:
    lost = f"loses {', '.join(found.lost)}" if found.lost else "loses nothing"
    if found.request.dialect == request.dialect:
        return f"for another model, {lost}"
    return f"from {request.dialect} to {found.request.dialect}, {lost}"


def _origin(origins: Origins) -> str:
    return BUILT_IN if origins.of("lossy") == DEFAULT else origins.of("lossy")


def _note(said: Explanation, ways: Ways) -> None:
    for each in said.routes:
        key = (each["provider"], each["model"])
        found: Mapping[str, object] | None = None
        if key in ways.crossed:
            found = {"dialect": ways.crossed[key].request.dialect, "lost": list(ways.crossed[key].lost)}
        each["translated"] = found
        each["skipped"] = each["skipped"] or ways.refused.get(key)
