"""Sections about decisions: retry, timeouts, guards, cache, tasks, unknown prices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from headgate.core.ports import Timeouts
from headgate.settings.cache import ON_SECONDS, read_seconds
from headgate.settings.degrading import read_degrade
from headgate.settings.fields import Section, suggestion
from headgate.settings.guard_answers import read_answer
from headgate.settings.guards import read_guards
from headgate.settings.lossy import read_lossy
from headgate.settings.model import (
    ProviderSettings,
    RetrySettings,
    TaskSettings,
    UnknownPriceSettings,
    frozen,
)
from headgate.settings.providers import route_name
from headgate.settings.shadow import read_shadow
from headgate.settings.shaping import read_history, read_prompt_caching
from headgate.settings.traffic import TIMER_KEYS
from headgate.settings.tree import Scalar, Table, kind, shown
from headgate.settings.units import Unfit, money, one_of, seconds, switch, usd, whole

DAY = 86_400.0
DIMENSIONS = ("tenant", "key", "user", "session", "task", "feature", "model", "provider", "environment")
TIMEOUT_KEYS = (*TIMER_KEYS, "total")
TASK_KEYS = (
    "model",
    "max_tokens",
    "guards",
    "cache",
    "timeout",
    "timeouts",
    "retry",
    "on_cut",
    "thinking",
    "max_usd_per_call",
    "degrade",
    "lossy",
    "answer",
    "prompt_caching",
    "history",
    "compact",
    "shadow",
)

# Names of models that dialects' default providers serve, where no provider is written.
_VENDOR_MODEL = re.compile(r"(claude-|gpt-|chatgpt-|o[0-9])[A-Za-z0-9._-]*")
_TAG = re.compile(r"tag:[A-Za-z0-9_.-]{1,64}")

_timeout = seconds(0.001, DAY)
_ceiling = money(10**6, 1_000_000, unit="USD per million tokens")


@dataclass(frozen=True, slots=True)
class Names:
    """What other sections may refer to."""

    providers: Mapping[str, ProviderSettings]
    models: frozenset[str]  # virtual ones

    def model(self, text: str) -> str:
        """A virtual model, provider/model, or a vendor's model by its plain name. Raises ValueError."""
        if text in self.models or _VENDOR_MODEL.fullmatch(text):
            return text
        if "/" in text or ":" in text:
            return str(route_name(text, self.providers))
        hint = suggestion(text, tuple(sorted(self.models)), label="virtual models")
        raise ValueError(f"no virtual model is named {shown(text)}{hint}")


def read_retry(section: Section, default: RetrySettings) -> RetrySettings:
    """`retry:`. Nothing else in YAML: a tenacity wait strategy is passed in Python."""
    return RetrySettings(
        attempts=section.take("attempts", whole(1, 20), default.attempts),
        deadline_seconds=section.take("deadline", _timeout, default.deadline_seconds),
        budget_basis_points=default.budget_basis_points,  # a provider's, not a task's: see `read_retry_budget`
    )


def read_timeouts(section: Section, default: Timeouts) -> Timeouts:
    """`timeouts:`."""
    return Timeouts(**{key: section.take(key, _timeout, getattr(default, key)) for key in TIMEOUT_KEYS})


def read_tasks(
    root: Section,
    names: Names,
    retry: RetrySettings,
    timeouts: Timeouts,
    cache: float | None,
    ceiling: int | None,
    caching: str = "auto",
) -> Mapping[str, TaskSettings]:
    """`tasks:`. What a task leaves out of `retry`, `timeouts`, `max_usd_per_call` and `prompt_caching` is the
    global value."""
    found = {}
    for name, node, path in root.named("tasks"):
        section = Section(root.context, node, path, TASK_KEYS)
        timers = section.section("timeouts", TIMEOUT_KEYS)
        own, told = read_timeouts(timers, timeouts), frozenset(timers.table.entries)
        if "timeout" in section.table.entries:
            own, told = _with_total(section, own), told | {"total"}
        found[name] = TaskSettings(
            name=name,
            model=section.take("model", names.model, ""),
            max_tokens=section.take("max_tokens", whole(1, 10_000_000), None),
            guards=read_guards(section),
            cache_seconds=read_seconds(section, "cache", None, cache or ON_SECONDS),
            on_cut=section.take("on_cut", one_of(("error", "buffer", "restart")), "error"),
            thinking=section.take("thinking", one_of(("keep", "drop")), "keep"),
            retry=read_retry(section.section("retry", ("attempts", "deadline")), retry),
            timeouts=own,
            timeouts_told=told,
            max_usd_per_call_nano=section.take("max_usd_per_call", usd, ceiling),
            degrade=read_degrade(section, names),
            lossy=read_lossy(section),
            answer=read_answer(section),
            history=read_history(section),
            compact=section.take("compact", switch, False),
            prompt_caching=read_prompt_caching(section, caching),
            shadow=read_shadow(section, names, name),
        )
    return frozen(found)


def _with_total(section: Section, timeouts: Timeouts) -> Timeouts:
    nested = section.table.entries.get("timeouts")
    if isinstance(nested, Table) and "total" in nested.entries:
        section.wrong("timeout", "is the same as timeouts.total, which is set too: keep one")
    total = section.take("timeout", _timeout, timeouts.total)
    return Timeouts(**{**{key: getattr(timeouts, key) for key in TIMEOUT_KEYS}, "total": total})


def dimension(text: str, more: tuple[str, ...] = ()) -> str:
    """One of `DIMENSIONS`, of `more`, or a tag. Raises Unfit."""
    known = (*DIMENSIONS, *more)
    if text in known or _TAG.fullmatch(text):
        return text
    raise Unfit(f"expected one of {', '.join(known)} or tag:<name>", known)


def read_unknown_price(root: Section) -> UnknownPriceSettings:
    """`unknown_price: refuse`, or `{ceiling_usd_per_mtok: 100}`."""
    node = root.node("unknown_price")
    if node is None or (isinstance(node, Scalar) and (node.live or node.text == "refuse")):
        return UnknownPriceSettings()
    if not isinstance(node, Table):
        what = kind(node)
        root.wrong("unknown_price", f"expected `refuse`, or {{ceiling_usd_per_mtok: 100}}, not {what}")
        return UnknownPriceSettings()
    section = Section(root.context, node, "unknown_price", ("ceiling_usd_per_mtok",))
    if "ceiling_usd_per_mtok" not in section.table.entries:
        section.wrong("ceiling_usd_per_mtok", "is missing: USD per million tokens for every token of an unknown model")
    usd_per_mtok = section.take("ceiling_usd_per_mtok", _ceiling, None)
    if usd_per_mtok is None:
        return UnknownPriceSettings()
    if usd_per_mtok == 0:
        section.wrong("ceiling_usd_per_mtok", "must be above 0: an unknown model is never free (use `price: free`)")
    # One USD per million tokens is 10**6 pico-dollars per token.
    return UnknownPriceSettings(ceiling_pico_per_token=int(usd_per_mtok * 10**6))
