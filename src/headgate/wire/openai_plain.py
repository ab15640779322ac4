"""The ordinary answer of Chat Completions, read in one go.

Anything out of the ordinary makes the decoder or `usage` refuse it, and the careful way is taken (`openai_usage`).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from headgate.core.usage import Usage
from headgate.wire.lenient import MAX_COUNT

_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    cached_tokens_details: Any = None


class _Counted(msgspec.Struct):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: Any = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: _Count | None = None
    service_tier: str | None = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    message: Raw = Raw()
    error: None = None


class Plain(msgspec.Struct):
    """An answer with a single choice, and counts as the vendor itself gives them."""

    choices: Annotated[list[_Choice], Meta(min_length=1, max_length=1)]
    model: str
    usage: _Counted
    service_tier: str | None = None
    error: None = None


_NOTHING = _Details()


def usage(answer: Plain) -> Usage | None:
    """What it used; None where that needs the careful way."""
    counted = answer.usage
    into, out = counted.prompt_tokens_details or _NOTHING, counted.completion_tokens_details or _NOTHING
    if into.cache_write_tokens or into.audio_tokens or out.audio_tokens or into.cached_tokens_details:
        return None
    prompt, completion, reasoning = counted.prompt_tokens, counted.completion_tokens, out.reasoning_tokens or 0
    cached = into.cached_tokens
    if cached is None:
        cached = counted.prompt_cache_hit_tokens or 0  # DeepSeek
    if reasoning and (prompt + completion + reasoning == counted.total_tokens or reasoning > completion):
        return None  # xAI: it is not inside the completion, and only the total tells
    found = Usage(prompt - cached if prompt > cached else 0, cached, 0, 0, completion, reasoning)
    found.service_tier = answer.service_tier or counted.service_tier or ""
    return found
