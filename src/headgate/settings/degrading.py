"""`degrade:`: what is tried when an answer cannot be had. Everybody's, and a task's own in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headgate.policy.error_classes import ANY, PROVIDERS
from headgate.policy.ladder import CLASSES, Step
from headgate.settings.fields import DEFAULT, Context, Section
from headgate.settings.model import DegradeSettings, Settings
from headgate.settings.tree import Items, Node, Scalar, Table
from headgate.settings.units import FALSE, one_of, text_up_to

if TYPE_CHECKING:
    from headgate.settings.policies import Names

STEP_KEYS = ("on", "model", "say", "use")

_WAYS = ("model", "say", "use")
_MAX_SENTENCE = 4_000  # characters
_MAX_STEPS = 16
_USES = ("last_good", "similar", "defer")


def read_degrade(section: Section, names: Names) -> tuple[DegradeSettings, ...] | None:
    """The `degrade:` of a section: a list of steps, or `off`; None where nothing is written."""
    node = section.table.entries.get("degrade")
    if node is None:
        section.node("degrade")  # its origin: the default
        return None
    if isinstance(node, Scalar) and not node.null:
        section.node("degrade")
        if node.text.lower() not in FALSE:
            section.wrong("degrade", "expected a list of steps, like [{on: any, say: ...}], or off")
        return ()
    context = section.context
    found: list[DegradeSettings] = []
    answered: dict[str, str] = {}  # classes that an earlier step has a sentence for, with its path
    for item, path in section.items("degrade"):
        before = len(context.mistakes)
        step = _read(context, item, path, names)
        if len(context.mistakes) == before:
            _reachable(context, path, step, answered)
        found.append(step)
    if len(found) > _MAX_STEPS:
        section.wrong("degrade", f"has {len(found)} steps, and may have {_MAX_STEPS}")
    return tuple(found)


def _read(context: Context, node: Node, path: str, names: Names) -> DegradeSettings:
    section = Section(context, node, path, STEP_KEYS)
    step = DegradeSettings(
        on=_classes(section),
        model=section.take("model", names.model, ""),
        say=section.take("say", text_up_to(_MAX_SENTENCE), ""),
    )
    use = section.take("use", one_of(_USES), "")
    step = replace(step, use=use)
    if isinstance(node, Table) and node.entries.keys() <= set(STEP_KEYS):
        ways = [way for way in _WAYS if way in section.table.entries]
        if len(ways) != 1:
            what = "nothing to do" if not ways else f"{' and '.join(ways)}"
            context.wrong(path, f"a step has one of model, say and use, and this one has {what}")
        elif step.model and "budget" in step.on:
            section.wrong("model", "a budget degrades to a model by its own `then: degrade <model>`; here it may `say`")
    return step


def _classes(section: Section) -> tuple[str, ...]:
    """`on: overload`, or a list; `any` stands for every class that is the provider's failure."""
    known = one_of((*CLASSES, ANY))
    if isinstance(section.table.entries.get("on"), Items):
        told: tuple[str, ...] = section.texts("on", known)
    else:
        told = (section.take("on", known, ANY),)
    wanted = {each for name in told for each in (PROVIDERS if name == ANY else (name,))}
    return tuple(name for name in CLASSES if name in wanted)


def _reachable(context: Context, path: str, step: DegradeSettings, answered: dict[str, str]) -> None:
    """A sentence always can be said, so nothing behind it is tried for the same classes."""
    before = {answered[name] for name in step.on if name in answered}
    if step.on and all(name in answered for name in step.on):
        context.wrong(path, f"can never be reached: {' and '.join(sorted(before))} says a sentence in all these cases")
    if step.say:
        for name in step.on:
            answered.setdefault(name, path)


def ladder_of(settings: Settings, task: str = "") -> tuple[Step, ...]:
    """The steps of a task's exchanges ("" = of those without one), each with where it is written."""
    own = settings.tasks[task].degrade if task in settings.tasks else None
    steps, path = (settings.degrade, "degrade") if own is None else (own, f"tasks.{task}.degrade")
    return tuple(
        Step(
            frozenset(step.on), step.model, step.say, step.use, source=settings.origins.get(f"{path}[{place}]", DEFAULT)
        )
        for place, step in enumerate(steps)
    )
