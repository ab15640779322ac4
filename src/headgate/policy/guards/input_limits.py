"""Limits on what one request may bring. None holds unless it is configured; what is over one is blocked, whatever the
profile says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from headgate.core.guards import Finding, Verdict

_BYTES_PER_TOKEN = 4  # of ASCII; of everything else about one character. As the vendors' own rules of thumb have it


@dataclass(frozen=True, slots=True)
class InputLimits:
    """The most that one request may bring; None = any number.

    Attributes:
        characters: of all texts together.
        tokens: of all texts together, estimated.
        images: pictures, wherever they are kept.
        nesting: levels of arrays and objects, the body itself included.
        messages: messages or input items.
        tools: definitions of tools.
    """

    characters: int | None = None
    tokens: int | None = None
    images: int | None = None
    nesting: int | None = None
    messages: int | None = None
    tools: int | None = None

    @property
    def of_structure(self) -> bool:
        """Whether one of them needs a look at the body's structure."""
        return not (self.images is self.messages is self.tools is self.nesting is None)


NO_LIMITS = InputLimits()
LIMIT_KEYS = tuple(each.name for each in fields(InputLimits))


@dataclass(slots=True)
class Brought:
    """What a request brings, by the names of `InputLimits`."""

    characters: int = 0
    tokens: int = 0
    images: int = 0
    nesting: int = 0
    messages: int = 0
    tools: int = 0


def estimated_tokens(texts: Iterable[str]) -> int:
    """About as many tokens as vendors' tokenizers make of them: four ASCII characters each, or one other. Linear."""
    total = 0
    for text in texts:
        plain = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
        total += -(-plain // _BYTES_PER_TOKEN) + len(text) - plain
    return total


def over(limits: InputLimits, brought: Brought) -> Finding | None:
    """What a request brings too much of; None where it is within its limits. The reasons name each of them with how
    much it brought and the limit: "tokens 5200 of 4000"."""
    reasons = []
    for name in LIMIT_KEYS:
        most, found = getattr(limits, name), getattr(brought, name)
        if most is not None and found > most:
            reasons.append(f"{name} {found} of {most}")
    return Finding("limits", Verdict.BLOCK, tuple(reasons)) if reasons else None
