"""What the configuration says about a call besides its routes and its money: guards, budgets, limits, log."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from headgate.cli.explain_guards import guards
from headgate.cli.explain_record import Explanation, Origins
from headgate.core.money import usd_text
from headgate.policy.budgets import TAG
from headgate.policy.caps import DEFAULT_CAPS
from headgate.policy.ladder import CLASSES
from headgate.policy.limit_words import rates_text, scope_text
from headgate.settings.budgets import budgets_of
from headgate.settings.degrading import ladder_of
from headgate.settings.fields import DEFAULT
from headgate.settings.limits import ADDRESS, limits_of
from headgate.stores.redis_place import place_of

if TYPE_CHECKING:
    from headgate.core.budget import Budget
    from headgate.core.caller import Caller
    from headgate.settings.model import Settings

_ROUTES = ("model", "provider")  # dimensions that the route decides, not the caller
_WAY = (*_ROUTES, ADDRESS)  # or the way in


def configured(said: Explanation, settings: Settings, origins: Origins, caller: Caller) -> None:
    """Add it, each with whether this version acts on it."""
    task = origins.task
    marks = settings.prompt_caching if task is None else task.prompt_caching
    if settings.caps != "off" and caller.task in DEFAULT_CAPS and (task is None or task.max_tokens is None):
        cap = f"{DEFAULT_CAPS[caller.task]} tokens of text, {settings.caps}"
        said.add("economy", "output cap", cap, settings.origins.get("caps", DEFAULT))
    if task is not None and task.history is not None:
        history = task.history
        most = f"{history.turns} turns" if history.turns is not None else f"about {history.tokens} tokens"
        text = f"the last {most} are sent, cut by {history.block} turns"
        said.add("economy", "history", text, origins.of("history.turns", "history.tokens"))
    if task is not None and task.compact:
        said.add("economy", "compact", "white space of system prompts", origins.of("compact"))
    said.add("economy", "prompt caching", marks, origins.of("prompt_caching", "prompt_caching"))
    _compared(said, settings, caller.task)
    guards(said, settings, caller)
    _ladder(said, settings, caller.task)
    _budgets(said, settings, origins, caller)
    _limits(said, settings, caller)
    bodies = not any(line.startswith("log.bodies ") for line in said.not_enforced)
    said.add("log", "bodies", settings.log.bodies, origins.of("log.bodies"), enforced=bodies)


def _compared(said: Explanation, settings: Settings, task: str) -> None:
    """What is measured on its calls, and may change what serves them."""
    shadow = settings.tasks[task].shadow if task in settings.tasks else None
    if shadow is not None:
        switch = "switches by itself" if shadow.auto else "a person switches"
        text = f"{shadow.sample_basis_points / 100:g}% of calls, by {shadow.compare}; {switch} (see headgate shadow)"
        said.add("economy", f"shadow {shadow.model}", text, settings.origins.get(f"tasks.{task}.shadow", DEFAULT))
    similar = settings.similar
    if similar is not None:
        does = "answered once they were right often enough" if similar.answers else "only measured"
        text = f"cosine {similar.threshold:g} by {similar.embedder}, {does} (see headgate cache similar)"
        said.add("cache", "similar questions", text, settings.origins.get("similar", DEFAULT))


def _ladder(said: Explanation, settings: Settings, task: str) -> None:
    """What is tried when an answer cannot be had, in order."""
    for place, step in enumerate(ladder_of(settings, task), 1):
        classes = ", ".join(name for name in CLASSES if name in step.on)
        what = f"try {step.model}" if step.model else f'say "{step.say}"' if step.say else f"use the {step.word}"
        said.add("degrade", str(place), f"on {classes}: {what}", step.source)


def _budgets(said: Explanation, settings: Settings, origins: Origins, caller: Caller) -> None:
    """Those that count for the caller, and those that would if it said more of itself."""
    for budget in budgets_of(settings):
        if any(_told(caller, name) != value for name, value in budget.only if name not in _ROUTES):
            continue
        lacks = [name for name in budget.per if name not in _ROUTES and not _told(caller, name)]
        text = _cap(budget) + (f" (does not apply: the call names no {' and no '.join(lacks)})" if lacks else "")
        said.add("budgets", _scope(budget), text, budget.source)
    path = origins.path("max_usd_per_call")
    task = origins.task
    ceiling = task.max_usd_per_call_nano if task is not None else settings.max_usd_per_call_nano
    if ceiling is not None:
        said.add("budgets", "one call", f"at most ${usd_text(ceiling)}", settings.origins.get(path, DEFAULT))


def _limits(said: Explanation, settings: Settings, caller: Caller) -> None:
    """Likewise."""
    for limit in limits_of(settings):
        if any(_told(caller, name) != value for name, value in limit.only if name not in _WAY):
            continue
        lacks = [name for name in limit.per if name not in _WAY and not _told(caller, name)]
        text = rates_text(limit) + (f" (does not apply: the call names no {' and no '.join(lacks)})" if lacks else "")
        said.add("limits", scope_text(limit), f"{text}, then queue" if limit.queues else text, limit.source)
    if settings.shared != "memory":
        kept = f"kept in {place_of(settings.shared).name}, for all replicas together"
        said.add("limits", "shared", kept, settings.origins.get("shared", DEFAULT))


def _told(caller: Caller, name: str) -> str:
    return caller.tags.get(name[len(TAG) :], "") if name.startswith(TAG) else str(getattr(caller, name))


def _scope(budget: Budget) -> str:
    scope = f"per {' and '.join(budget.per)}" if budget.per else "all together"
    return scope + "".join(f", {name} {value}" for name, value in budget.only)


def _cap(budget: Budget) -> str:
    caps = [f"${usd_text(budget.cap_nano)}"] if budget.cap_nano is not None else []
    caps += [f"{budget.cap_tokens:,} tokens"] if budget.cap_tokens is not None else []
    text = f"{' and '.join(caps)} {f'a {budget.every}' if budget.every else 'for good'}"
    text += f" ({budget.zone})" if budget.zone is not UTC else ""
    text += ", only warns" if budget.soft else ""
    text += ", then queue" if budget.queues else ""
    return text + (f", then degrade to {budget.degrade_to}" if budget.degrade_to else "")
