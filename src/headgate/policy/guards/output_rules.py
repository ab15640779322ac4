"""What the output guards of one call need beyond their modes."""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.policy.guards.leaks import Canaries


@dataclass(frozen=True, slots=True)
class OutputRules:
    """Settings of the guards of answers.

    Attributes:
        link_allow: hosts that links may lead to, as ``acme.example`` or ``*.acme.example``.
        canaries: words that no answer may hold.
        answer_characters: the longest answer, all its texts together; None = as long as it likes.
    """

    link_allow: tuple[str, ...] = ()
    canaries: Canaries = field(default_factory=lambda: Canaries(()))
    answer_characters: int | None = None


NO_OUTPUT_RULES = OutputRules()
