"""What the cache would do about a call, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.cli.explain_record import BUILT_IN, REQUEST, Explanation, Origins
from headgate.engine.mending import on_cut
from headgate.policy.caching import BY_DEFAULT_SECONDS, KEPT
from headgate.settings.fields import DEFAULT
from headgate.settings.units import duration_text

if TYPE_CHECKING:
    from headgate.core.exchange import Request
    from headgate.engine.plan import Plan, Policies
    from headgate.settings.model import Settings

_WHY = {
    "off": "x-headgate-cache says so",
    "state": "the provider keeps something of it, or is asked to: its answer is not all there is",
    "choices": "it asks for several answers at once",
    "user": "`cache: {per: user}`, and it names no user",
    "size": "its body has more than 1 MiB",
    "body": "its JSON has a key twice, or a number that is none: readers differ in what it says",
    "restart": "its stream may begin anew in the middle (`on_cut: restart`)",
    "flagged": "a guard has something to say of it",
}


def caching(
    said: Explanation, request: Request, plan: Plan, policies: Policies, settings: Settings, origins: Origins
) -> None:
    """Add it."""
    rules = policies.caching
    if rules is None:
        said.add("cache", "keep", "off", origins.of("cache", "cache.default"))
        return
    seconds = rules.seconds(request.caller)
    shown = "off" if seconds == 0 else "only answers at temperature 0" if seconds is None else duration_text(seconds)
    said.add("cache", "keep", shown, _origin(request, settings, origins))
    restarts = request.facts.stream and on_cut(request, plan.on_cut) == "restart"
    found = rules.wanted(
        request, plan.came.body, plan.routes, output_cap=plan.output_cap, answer=plan.answer, restarts=restarts
    )
    if found is None:
        if request.endpoint not in KEPT:
            said.add("cache", "this call", f"no: answers of {request.endpoint} are not kept", BUILT_IN)
        elif seconds is None:
            said.add("cache", "this call", "no: its temperature is not 0, and nothing opts in", REQUEST)
        return
    if found.why:
        said.add("cache", "this call", f"passes it by ({found.why}): {_WHY[found.why]}", REQUEST)
        return
    whose = "tenant" if request.caller.tenant else "key" if request.caller.key else "credential"
    whose = f"{whose} and user" if rules.per_user else whose
    kept = duration_text(found.seconds if seconds is not None else BY_DEFAULT_SECONDS)
    said.add("cache", "this call", f"looked up, and kept for {kept}; those who ask it at once make one call", REQUEST)
    said.add("cache", "key", f"{found.key} (within one {whose})", BUILT_IN)


def _origin(request: Request, settings: Settings, origins: Origins) -> str:
    """A task's line, a key's, or the global one."""
    task = origins.task
    if task is not None and task.cache_seconds is not None:
        return origins.of("cache")
    for number, key in enumerate(settings.keys):
        if key.name == request.caller.key and key.cache_seconds is not None:
            return settings.origins.get(f"keys[{number}].cache", DEFAULT)
    for path in ("cache.default", "cache"):
        found = settings.origins.get(path, DEFAULT)
        if found != DEFAULT:
            return found
    return DEFAULT
