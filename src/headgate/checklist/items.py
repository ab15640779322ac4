"""One item of the checklist, as it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

State = Literal["pass", "warn", "fail", "not applicable"]
STATES: tuple[State, ...] = ("pass", "warn", "fail", "not applicable")

PASS: State = "pass"  # noqa: S105 -- a state of an item
WARN: State = "warn"
FAIL: State = "fail"
NOT_APPLICABLE: State = "not applicable"


class Result(NamedTuple):
    """What looking at one item gave.

    Attributes:
        evidence: one or more sentences, with the figure, or the file:line:column that it comes from. Never a secret,
            nor words of a prompt or an answer.
        remedy: what to do: lines of YAML or a command, and nothing else; "" where there is nothing to do.
    """

    state: State
    evidence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One item.

    Attributes:
        id: stable, for programs: "budget-stop".
        title: what has to be so, as a sentence without a full stop.
        group: "Reliability", "Money", "Safety" or "Watching".
        state: "not applicable": it is about something that this installation does not do, or nothing was seen of it.
        evidence, remedy: as in `Result`.
    """

    id: str
    title: str
    group: str
    state: State
    evidence: str
    remedy: str = ""

    def as_json(self) -> dict[str, str | None]:
        """For programs."""
        told = {"id": self.id, "title": self.title, "group": self.group, "state": str(self.state)}
        return {**told, "evidence": self.evidence, "remedy": self.remedy or None}
