"""What is done to a request before it is sent, to spend less: `prompt_caching`, and a task's `history`."""

from __future__ import annotations

from headgate.policy.shaping import TOKENS_BLOCK, History
from headgate.settings.fields import Section
from headgate.settings.units import one_of, whole

HISTORY_KEYS = ("turns", "tokens", "block")


def read_prompt_caching(section: Section, default: str = "auto") -> str:
    """`prompt_caching: auto` or `off`."""
    return section.take("prompt_caching", one_of(("auto", "off")), default)


def read_history(section: Section) -> History | None:
    """`history: {turns: 20, block: 10}`, or `{tokens: 50_000}`; None where nothing is written."""
    if "history" not in section.table.entries:
        return None
    told = section.section("history", HISTORY_KEYS)
    turns = told.take("turns", whole(1, 100_000), None)
    tokens = told.take("tokens", whole(1, 100_000_000), None)
    written = [name for name in ("turns", "tokens") if name in told.table.entries]
    if len(written) != 1:
        section.wrong("history", "takes one of turns and tokens: the last so many, or about so many")
        return None
    most = 100_000 if turns is None else turns
    block = told.take("block", whole(1, most), TOKENS_BLOCK if turns is None else max(1, turns // 2))
    return History(turns, tokens, block)
