"""`lossy:`, of everything, of virtual models and of tasks: what a translation may drop, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from headgate.settings.fields import Section
from headgate.settings.model import LossySettings, Settings, frozen
from headgate.settings.tree import Items, Scalar, kind
from headgate.settings.units import one_of

if TYPE_CHECKING:
    from headgate.wire.translate import Choice, LossPolicy

REST = "default"
"""Beside features: the choice for all that are not named."""

CHOICES = ("refuse", "drop")
_choice = one_of(CHOICES)


def read_lossy(section: Section, key: str = "lossy") -> LossySettings | None:
    """`refuse`, `drop`, or a mapping of features; None where nothing is written."""
    node = section.table.entries.get(key)
    if node is None:
        return None
    if isinstance(node, Scalar) and not node.null:
        return LossySettings(section.take(key, _choice, ""))
    if isinstance(node, Items):
        section.wrong(key, f"expected refuse, drop, or {{feature: refuse or drop}}, not {kind(node)}")
        return None
    from headgate.wire.translate import FEATURES  # not at the top: most configurations say nothing of it

    told = section.section(key, (REST, *FEATURES))
    features = {word: told.take(word, _choice, "") for word in told.table.entries if word in FEATURES}
    return LossySettings(told.take(REST, _choice, ""), frozen({word: said for word, said in features.items() if said}))


def over(base: LossySettings, told: LossySettings | None) -> LossySettings:
    """What somebody more particular says, over what holds for all: a word for everything replaces it whole."""
    if told is None:
        return base
    return told if told.rest else LossySettings(base.rest, frozen({**base.features, **told.features}))


def losses_of(settings: Settings) -> Callable[[str, str], LossPolicy] | None:
    """What translation may lose, by task and model asked; None where nobody has said anything."""
    tasks = {name: task.lossy for name, task in settings.tasks.items() if task.lossy is not None}
    models = {name: model.lossy for name, model in settings.virtual.items() if model.lossy is not None}
    if settings.lossy == LossySettings() and not tasks and not models:
        return None
    made: dict[tuple[str, str], LossPolicy] = {}

    def of(task: str, model: str) -> LossPolicy:
        key = (task if task in tasks else "", model if model in models else "")
        if key not in made:
            made[key] = _policy(over(over(settings.lossy, models.get(key[1])), tasks.get(key[0])))
        return made[key]

    return of


def _policy(told: LossySettings) -> LossPolicy:
    from headgate.wire.translate import LossPolicy

    return LossPolicy(cast("Choice | None", told.rest or None), cast("Mapping[str, Choice]", told.features))
