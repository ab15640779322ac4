"""What is tried when an answer cannot be had, in order of preference, by the class of what went wrong. No I/O.

A ladder is gone down and never up, so it ends: each step is tried at most once per exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.core.errors import BudgetExceeded, HeadgateError, RateExceeded, UpstreamError
from headgate.policy.error_classes import PROVIDERS
from headgate.policy.error_classes import class_of as failure_class

CLASSES = (*PROVIDERS, "missing", "context_length", "budget")

_WORDS = {"last_good": "last good answer", "similar": "similar answer"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Exactly one of `model`, `say` and `use` is set.

    Attributes:
        on: members of `CLASSES`.
        model: whose routes are tried: a virtual model, provider/model, or a plain model name.
        say: a sentence for a person.
        use: the name of one of `core.ports.Ports.substitutes`.
        source: where it is written: "headgate.yaml:3:5".
    """

    on: frozenset[str]
    model: str = ""
    say: str = ""
    use: str = ""
    source: str = ""

    @property
    def word(self) -> str:
        """What `x-headgate-degraded` calls it."""
        return self.model or _WORDS.get(self.use, self.use) or "say"


def class_of(error: HeadgateError) -> str:
    """One of `CLASSES`; "" where nothing is to be done about it, as for every other refusal of ours."""
    if isinstance(error, UpstreamError):
        found = failure_class(error)
        return found if found in CLASSES else ""
    # Its other codes ask for another request: a lower output cap, a path that has a price.
    return "budget" if isinstance(error, BudgetExceeded) and error.code == BudgetExceeded.code else ""


def queued_for(error: BaseException) -> str:
    """Why a call that was refused goes on the queue of jobs (`then: queue`): "budget" or "limit"; "" where it does not:
    nobody asks for it, or it would never fit."""
    if isinstance(error, BudgetExceeded):
        claim, fits = error.claim, error.why != "too_large" and error.code == BudgetExceeded.code
        return "budget" if claim is not None and claim.budget.queues and fits else ""
    return "limit" if isinstance(error, RateExceeded) and error.queues else ""


class Descent:
    """How far down its ladder one exchange is.

    Attributes:
        cause: what went wrong first: the answer where no step has one.
        why: the class of that which the last step was for.
        told: how the answer of the last step that is a model would be marked; "" before.
    """

    __slots__ = ("_at", "_met", "_steps", "cause", "told", "why")

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._at = 0
        self._met: list[str] = []
        self.cause: HeadgateError | None = None
        self.why = self.told = ""

    @property
    def steps(self) -> Sequence[Step]:
        """All of them."""
        return self._steps

    def goes_on(self, error: HeadgateError) -> bool:
        """Whether there is a step for this: then nobody waits for it to pass."""
        met = class_of(error)
        return any(met in step.on or any(each in step.on for each in self._met) for step in self._steps[self._at :])

    def next(self, error: HeadgateError) -> Step | None:
        """The next step that is for what has just gone wrong, or for what went wrong before; None = none is left."""
        self.cause = self.cause or error
        met = class_of(error)
        if met and met not in self._met:
            self._met.insert(0, met)  # the latest is the reason that is told, where a step is for several
        while self._at < len(self._steps):
            step = self._steps[self._at]
            self._at += 1
            for why in self._met:
                if why in step.on:
                    self.why = why
                    return step
        return None
