"""Token counts of one dialect under the names of the other (wire-formats 4, "Usage")."""

from __future__ import annotations

from headgate.core.usage import Usage
from headgate.wire.translate.reading import Json


def to_openai(usage: Usage) -> Json:
    """Chat's `usage`: the prompt includes what was read from and written to the cache."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_long_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def to_anthropic(usage: Usage | None) -> Json:
    """Messages' `usage`: the input is what remains uncached. Its members are required: nothing told is zero."""
    told = usage or Usage()
    out: Json = {
        "input_tokens": told.input_tokens,
        "cache_creation_input_tokens": told.cache_write_tokens + told.cache_write_long_tokens,
        "cache_read_input_tokens": told.cache_read_tokens,
        "output_tokens": told.output_tokens,
    }
    if told.reasoning_tokens:
        out["output_tokens_details"] = {"thinking_tokens": told.reasoning_tokens}
    return out
