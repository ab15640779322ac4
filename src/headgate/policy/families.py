"""Which models share a rate limit."""

from __future__ import annotations

import re
from functools import lru_cache

_LONGEST = 200  # characters of a model's name
# claude-opus-4-8, claude-haiku-4-5-20251001, claude-sonnet-4@20250514: a line and its major number.
_CLAUDE = re.compile(r"claude-([a-z]+)-([0-9]{1,2})(?![0-9])")
_SNAPSHOT = re.compile(r"(?:[-@][0-9]{8}|-[0-9]{4}-[0-9]{2}-[0-9]{2}|-latest)$")


@lru_cache(maxsize=1024)
def family(dialect: str, model: str, *, fast: bool = False) -> str:
    """The name that a model shares with those whose limits are pooled with its own.

    Anthropic pools a line's models of one major number: all Opus 4.x are one (wire-formats 1.2). Elsewhere a model is
    alone with its dated snapshots. Pooling too little costs a few 429s, because what the others use shows in the
    headers; pooling what is apart would follow the headers of two limits as if they were one.

    Args:
        dialect: "anthropic" or "openai".
        model: as the provider knows it; "" for calls without one.
        fast: Anthropic's fast mode, which has limits of its own.
    """
    name = model[:_LONGEST].lower()
    found = _CLAUDE.match(name) if dialect == "anthropic" else None
    pooled = found.group() if found is not None else _SNAPSHOT.sub("", name)
    return pooled + "/fast" if fast else pooled


def cache_reads_count(dialect: str, model: str) -> bool:
    """Tokens read from the prompt cache count against the input limit: OpenAI's, and Claude Haiku 3.5's."""
    return dialect != "anthropic" or model.startswith("claude-3-5-haiku")
