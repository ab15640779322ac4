"""`similar:`: answers to questions that are only alike (docs/similar.md); and which ladders use what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.policy.similar import LOCAL, PYTHON, SimilarRules
from headgate.settings.fields import Section
from headgate.settings.providers import route_name
from headgate.settings.units import Unfit, money, one_of, percentage, seconds, switch, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.settings.model import DegradeSettings, ProviderSettings, Settings

DAY = 86_400.0
SIMILAR_KEYS = (
    *("embedder", "mode", "threshold", "until", "false_hits", "check", "alike", "keep", "entries", "timeout", "per"),
    "trust",
)
_FEWEST = 200
_share = money(10_000, 1, unit="a cosine")


def _cosine(text: str) -> float:
    found = float(_share(text))
    if found < 0.5:
        raise Unfit("expected a cosine from 0.5 to 1, like 0.95")
    return found


def read_similar(root: Section, providers: Mapping[str, ProviderSettings]) -> SimilarRules | None:
    """`similar:`; None where it is not told, or off."""
    if root.node("similar") is None:
        return None
    section = root.section("similar", SIMILAR_KEYS)

    def embedder(text: str) -> str:
        if text == PYTHON:
            return text
        if text.startswith(LOCAL):
            if not text.removeprefix(LOCAL).strip():
                raise Unfit("expected a model's folder behind local:, like local:models/potion")
            return f"{LOCAL}{Path(root.context.base) / text.removeprefix(LOCAL).strip()}"
        route = route_name(text, providers)
        if providers[route.provider].dialect != "openai":
            raise ValueError(f"{route.provider} has no embeddings endpoint as OpenAI's: name another provider")
        return str(route)

    told = SimilarRules(section.take("embedder", embedder, ""))
    if "embedder" not in section.table.entries:
        section.wrong(
            "embedder",
            "is missing: what makes vectors, like openai/text-embedding-3-small, local:models/potion or python",
        )
    return SimilarRules(
        told.embedder,
        section.take("threshold", _cosine, told.threshold),
        section.take("mode", one_of(("shadow", "answer")), "shadow") == "answer",
        section.take("until", whole(_FEWEST, 100_000), told.until),
        section.take("false_hits", percentage(1_000, like="1%", zero=True), told.false_hits_basis_points),
        section.take("check", percentage(10_000, like="5%"), told.check_basis_points),
        section.take("alike", _cosine, told.alike),
        section.take("keep", seconds(1, 365 * DAY), told.keep_seconds),
        section.take("entries", whole(1, 1_000_000), told.entries),
        section.take("timeout", seconds(0.01, 30), told.timeout_seconds),
        section.take("per", one_of(("tenant", "user")), "tenant") == "user",
        section.take("trust", switch, False),
    )


def uses(settings: Settings, what: str) -> Callable[[str], bool] | None:
    """Whether the ladder of a task comes to `use: <what>`; None where none does."""

    def has(steps: tuple[DegradeSettings, ...]) -> bool:
        return any(step.use == what for step in steps)

    everybody = has(settings.degrade)
    told = {name: has(task.degrade) for name, task in settings.tasks.items() if task.degrade is not None}
    if not (everybody or any(told.values())):
        return None
    return lambda task: told.get(task, everybody)
