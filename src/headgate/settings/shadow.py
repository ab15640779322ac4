"""`tasks.<name>.shadow`: a second model that answers a sample of a task's calls, to be compared (docs/shadow.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.policy.shadowing import EXACT, JUDGE, SCHEMA, ShadowRules
from headgate.settings.fields import Section
from headgate.settings.units import one_of, percentage, usd, whole

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.settings.policies import Names

KEYS = ("model", "sample", "compare", "judge", "until", "agreement", "switch", "max_usd_per_day")

_sample = percentage(10_000, like="5%")
_agreement = percentage(10_000, like="95%")


def read_shadow(task: Section, names: Names, name: str) -> ShadowRules | None:
    """The `shadow:` of a task; None where there is none."""
    if task.node("shadow") is None:
        return None
    section = task.section("shadow", KEYS)
    told = ShadowRules(name, section.take("model", names.model, ""))
    if "model" not in section.table.entries:
        section.wrong("model", "is missing: which model is to be compared, like claude-haiku-4-5")
    compare = section.take("compare", one_of((EXACT, SCHEMA, JUDGE)), told.compare)
    judge = section.take("judge", names.model, "")
    if compare == JUDGE and "judge" not in section.table.entries:
        section.wrong("judge", "is missing: which model compares, like claude-sonnet-4-5")
    if compare != JUDGE and judge:
        section.wrong("judge", f"compares with `compare: judge`, and this says {compare}")
    return ShadowRules(
        name,
        told.model,
        section.take("sample", _sample, told.sample_basis_points),
        compare,
        judge,
        section.take("until", whole(20, 50_000), told.until),
        section.take("agreement", _agreement, told.agreement_basis_points),
        section.take("switch", one_of(("manual", "auto")), "manual") == "auto",
        section.take("max_usd_per_day", usd, told.day_nano),
    )


def shadow_rules(settings: Settings) -> dict[str, ShadowRules]:
    """By task, those that have a second model."""
    return {name: task.shadow for name, task in settings.tasks.items() if task.shadow is not None}
