"""What incidents that are on make of a call, for `headgate explain`: as the ledger has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.cli.explain_record import Explanation
from headgate.engine.choosing import ANSWERS
from headgate.engine.incidents import stopped
from headgate.policy.incidents import words

if TYPE_CHECKING:
    from headgate.core.exchange import Request
    from headgate.core.incidents import Incident
    from headgate.engine.plan import Plan, Policies


def incidents(said: Explanation, request: Request, plan: Plan, policies: Policies, now: float) -> None:
    """Add those that concern the call or one of its routes, as `engine.incidents` would find them."""
    live = policies.incidents.live
    if live is None:
        return
    router = policies.router
    names = [name for name in router.led(plan.asked) if name in router.models or name in router.virtual]
    of_call = [*live.of_caller(request.caller, now), *live.of_names(names, now)]
    for each in of_call:
        _one(said, each)
        if each.kind == "stop" and said.refusal is None:
            said.refused("incident", stopped(each))
    told = {each.id for each in of_call}
    stops: list[Incident] = []
    for place, route in enumerate(plan.routes):
        for each in live.of_route(route.provider, route.model or request.facts.model, now):
            if each.id not in told and (each.kind != "degrade" or place == 0):
                told.add(each.id)
                _one(said, each)
            if each.kind == "stop":
                stops.append(each)
                _skip(said, route.provider, route.model, each)
    left = [row for row in said.routes if not row["skipped"]]
    if stops and not left and said.refusal is None:
        said.refused("incident", stopped(stops[0]))
    if any(each.kind == "degrade" for each in live.all) and request.endpoint not in ANSWERS:
        said.add("incident", "degrade", f"does not concern {request.endpoint}", "built in")


def _one(said: Explanation, incident: Incident) -> None:
    why = f" ({incident.why})" if incident.why else ""
    origin = f"{incident.id}, by {incident.by or 'somebody'}"
    said.add("incident", incident.kind, f"{words(incident)}{why}", origin)
    said.findings.append(f"an incident is on: {words(incident)} ({incident.id})")


def _skip(said: Explanation, provider: str, model: str, incident: Incident) -> None:
    for row in said.routes:
        if (row["provider"], row["model"]) == (provider, model) and not row["skipped"]:
            row["skipped"] = f"{words(incident)} ({incident.id})"
