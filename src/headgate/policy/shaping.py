"""What is taken out of a task's requests before they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TOKENS_BLOCK = 5
"""Turns that go at once where a history is bounded by tokens and no block is told."""


@dataclass(frozen=True, slots=True)
class History:
    """The most that is sent of a conversation. Exactly one of `turns` and `tokens` is set.

    Attributes:
        turns: the last so many; a turn begins with what a user says, and goes on to the next such message.
        tokens: about so many, of all messages.
        block: turns that go at once, 1 to `turns`. The beginning of what is left then stays the same for so many turns,
            and so does what a provider has cached of it (decisions 17).
    """

    turns: int | None = None
    tokens: int | None = None
    block: int = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """What is done to a task's requests.

    Attributes:
        history: None = all of it is sent.
        compact: white space that its system prompts do not need is left out.
    """

    history: History | None = None
    compact: bool = False


def turns_to_drop(history: History, tokens: Sequence[int], kept: int) -> int:
    """How many of a conversation's first turns are left out: a multiple of the block, and never the last turn.

    It depends on nothing but the conversation, so that each replica drops the same, and grows with it by whole blocks.

    Args:
        tokens: of each turn, about.
        kept: tokens of what is kept in any case.
    """
    count, block = len(tokens), max(1, history.block)
    most = (count - 1) // block * block
    if history.turns is not None:
        over = count - history.turns
        return min(-(-over // block) * block, max(0, most)) if over > 0 else 0
    left, dropped = sum(tokens) + kept, 0
    while history.tokens is not None and left > history.tokens and dropped < most:
        left -= sum(tokens[dropped : dropped + block])
        dropped += block
    return dropped
