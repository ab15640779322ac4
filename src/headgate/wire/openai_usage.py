"""OpenAI's `usage` objects, and those of compatible providers, as our `Usage` (wire-formats 2.2 and 3)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from headgate.core.usage import Usage
from headgate.wire.lenient import MAX_COUNT, count, miscounted, table, text

Fields = dict[str, Any]
PlainCount = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Zero = Annotated[int, Meta(ge=0, le=0)]

_COUNTS = ("prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens")
_DETAILS = ("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens")


class PlainPrompt(msgspec.Struct):
    """What the prompt consists of, where it is text."""

    cached_tokens: PlainCount | None = None
    cache_write_tokens: Zero | None = None
    audio_tokens: Zero | None = None
    reasoning_tokens: Zero | None = None
    cached_tokens_details: None = None


class PlainCompletion(msgspec.Struct):
    """What the completion consists of, where it is text."""

    reasoning_tokens: PlainCount | None = None
    cached_tokens: Zero | None = None
    cache_write_tokens: Zero | None = None
    audio_tokens: Zero | None = None


class Plain(msgspec.Struct):
    """The usage object of an ordinary answer. Anything out of the ordinary is refused, and the careful way is taken."""

    prompt_tokens: PlainCount
    completion_tokens: PlainCount
    total_tokens: PlainCount | None = None
    prompt_tokens_details: PlainPrompt | None = None
    completion_tokens_details: PlainCompletion | None = None
    prompt_cache_hit_tokens: None = None
    service_tier: None = None


def usage(fields: Fields, service_tier: Any = None, web_searches: int = 0) -> Usage | None:
    """A usage object of Chat Completions; None where neither prompt nor completion is told.

    `prompt_tokens` includes what was read from and written to the cache; `Usage.input_tokens` is what remains.
    """
    return _ordinary(fields, service_tier, web_searches) or _careful(fields, service_tier, web_searches)


def _ordinary(fields: Fields, service_tier: Any, web_searches: int) -> Usage | None:
    try:
        plain = msgspec.convert(fields, Plain)
    except msgspec.ValidationError:
        return None
    prompt, completion, cached, reasoning = plain.prompt_tokens, plain.completion_tokens, 0, 0
    if plain.prompt_tokens_details is not None:
        cached = plain.prompt_tokens_details.cached_tokens or 0
    if plain.completion_tokens_details is not None:
        reasoning = plain.completion_tokens_details.reasoning_tokens or 0
        if reasoning:
            if prompt + completion + reasoning == plain.total_tokens:
                completion += reasoning  # xAI: reasoning is not inside the completion, and only the total tells
            reasoning = min(reasoning, completion)
    found = Usage(prompt - cached if prompt > cached else 0, cached, 0, 0, completion, reasoning)
    if service_tier:
        found.service_tier = text(service_tier)
    if web_searches:
        found.web_searches = web_searches
    return found


def _careful(fields: Fields, service_tier: Any, web_searches: int) -> Usage | None:
    prompt, completion = count(fields.get("prompt_tokens")), count(fields.get("completion_tokens"))
    details = table(fields.get("prompt_tokens_details"))
    out = table(fields.get("completion_tokens_details"))
    bad = miscounted(fields, _COUNTS) or miscounted(details, _DETAILS) or miscounted(out, _DETAILS)
    if prompt is None and completion is None and not bad:
        return None
    prompt, completion = prompt or 0, completion or 0
    cached = _first(details.get("cached_tokens"), fields.get("prompt_cache_hit_tokens"))  # the latter: DeepSeek
    written = count(details.get("cache_write_tokens")) or 0
    long = min(count(table(details.get("cache_write_tokens_details")).get("ttl_12h_tokens")) or 0, written)
    remainder = max(prompt - cached - written, 0)
    cached_audio = min(count(table(details.get("cached_tokens_details")).get("audio_tokens")) or 0, cached)
    reasoning = count(out.get("reasoning_tokens")) or 0
    if reasoning and prompt + completion + reasoning == count(fields.get("total_tokens")):
        completion += reasoning  # as above
    return Usage(
        input_tokens=remainder,
        cache_read_tokens=cached,
        cache_write_tokens=written - long,
        cache_write_long_tokens=long,
        output_tokens=completion,
        reasoning_tokens=min(reasoning, completion),
        input_audio_tokens=min(max((count(details.get("audio_tokens")) or 0) - cached_audio, 0), remainder),
        cache_read_audio_tokens=cached_audio,
        output_audio_tokens=min(count(out.get("audio_tokens")) or 0, completion),
        web_searches=web_searches,
        service_tier=text(service_tier) or text(fields.get("service_tier")),
        bad=bad,
    )


def reported_whole(fields: Fields, service_tier: Any = None, web_searches: int = 0) -> Usage | None:
    """As `usage`; None where it is not all there, but for one that is wrong, which is told."""
    found = _ordinary(fields, service_tier, web_searches)
    if found is not None:
        return found
    found = _careful(fields, service_tier, web_searches)
    return found if found is not None and (found.bad or complete(fields)) else None


def falls(before: Usage | None, after: Usage | None) -> bool:
    """Whether a later report takes back some of an earlier one: counts are cumulative, so one of the two is wrong."""
    if before is None or after is None:
        return False
    return after.prompt_tokens < before.prompt_tokens or after.output_tokens < before.output_tokens


def complete(fields: Fields) -> bool:
    """Whether both counts that every bill needs are there."""
    return count(fields.get("prompt_tokens")) is not None and count(fields.get("completion_tokens")) is not None


def of_responses(fields: Fields) -> Fields:
    """A usage object of Responses under the names of Chat Completions."""
    return {
        "prompt_tokens": fields.get("input_tokens"),
        "completion_tokens": fields.get("output_tokens"),
        "total_tokens": fields.get("total_tokens"),
        "prompt_tokens_details": fields.get("input_tokens_details"),
        "completion_tokens_details": fields.get("output_tokens_details"),
    }


def of_embeddings(fields: Fields) -> Fields:
    """A usage object of Embeddings, which has no answer to count, as one of Chat Completions."""
    return {"prompt_tokens": fields.get("prompt_tokens"), "completion_tokens": 0}


def reported(usage_field: Any, x_groq: Any) -> Fields | None:
    """The usage object of an answer or a chunk, wherever the provider puts it; None for `null` and the like."""
    if isinstance(usage_field, dict):
        return usage_field
    beside = table(x_groq).get("usage")  # Groq
    return beside if isinstance(beside, dict) else None


def _first(*values: Any) -> int:
    return next((number for number in map(count, values) if number is not None), 0)
