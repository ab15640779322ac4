"""The record that `headgate explain` makes: decisions, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.core.errors import HeadgateError
from headgate.settings.enforced import unenforced
from headgate.settings.fields import DEFAULT

if TYPE_CHECKING:
    from headgate.settings.model import Settings, TaskSettings

REQUEST = "the request"
BUILT_IN = "built in"


@dataclass(frozen=True, slots=True)
class Decision:
    """One line. `origin`: file:line:column, a variable's name, "default", "built in", or "the request"."""

    step: str
    name: str
    value: str
    origin: str
    enforced: bool = True


@dataclass(slots=True)
class Explanation:
    """Everything that was found out.

    Attributes:
        refusal: Headgate would say no to the call: who says so ("way in", "routes", "translation", "price"), code,
            status, message.
        findings: what deserves a look although the call would be made.
        gateway: the running one that was asked how traffic stands; "" = none.
    """

    decisions: list[Decision] = field(default_factory=list)
    routes: list[dict[str, Any]] = field(default_factory=list)
    refusal: dict[str, Any] | None = None
    findings: list[str] = field(default_factory=list)
    not_enforced: list[str] = field(default_factory=list)
    gateway: str = ""

    def add(self, step: str, name: str, value: str, origin: str, *, enforced: bool = True) -> None:
        """One more decision."""
        self.decisions.append(Decision(step, name, value, origin, enforced))

    def refused(self, step: str, error: HeadgateError) -> None:
        """Note who said no, and what the caller would get."""
        self.refusal = {"step": step, "code": error.code, "status": error.status_hint, "message": error.message}


class Origins:
    """Where a value comes from: the task's own line, else the global one."""

    def __init__(self, settings: Settings, task: str) -> None:
        self._origins = settings.origins
        self._prefix = f"tasks.{task}." if task in settings.tasks else ""
        self.pending = unenforced(settings)
        self.task: TaskSettings | None = settings.tasks.get(task)

    def of(self, *paths: str) -> str:
        """The first of the paths that somebody has set, under the call's task or outside; "default" if none."""
        return self._origins.get(self.path(*paths), DEFAULT)

    def path(self, *paths: str) -> str:
        """The path that `of` speaks about."""
        every = [f"{self._prefix}{path}" for path in paths] if self._prefix else []
        for path in (*every, *paths):
            if self._origins.get(path, DEFAULT) != DEFAULT:
                return path
        return paths[-1]
