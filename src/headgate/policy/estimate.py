"""What an attempt can cost at most, before it is sent; and what to charge when its count never came.

Both rest on one fact: a token of a byte-level vocabulary stands for at least one byte, so the raw body's bytes bound
the prompt's tokens and the content's bytes bound the answer's (JSON escapes only make the bytes more). What was learned
from counted answers (`calibration`) tightens what is charged, never the bound.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import NamedTuple

from headgate.core.exchange import Facts
from headgate.core.money import PICO_PER_NANO
from headgate.core.usage import Iteration, Usage
from headgate.policy.pricing import MOST_NANO, MOST_TOKENS, ModelPrice, PlainBound
from headgate.policy.rates import Dearest

HIDDEN_TOKENS = 1_024
"""Input tokens that are billed without being in the body: framing, and the system prompt that `tools` adds (about 290
to 800 tokens at Anthropic, wire-formats 1.4)."""

_HIDDEN = {"openai": 256}  # tools are rendered into the prompt, no system prompt is added

IMAGE_TOKENS = {"anthropic": 5_000, "openai": 50_000}
"""The most that one image costs, by its vendor's formula. Anthropic: width x height / 750 after shrinking, at most
about 4,800. OpenAI: at most 8 tiles and a base, the dearest of which are gpt-4o-mini's 5,667 and 2,833."""

ITERATIONS = 10
"""Requests that one call can become on the provider's side, where its tools or its state do the asking: what a ceiling
allows for (Anthropic's own loop of server tools pauses after 10, `stop_reason: pause_turn`)."""

UNKNOWN_WINDOW = 2 * 1024 * 1024
"""Tokens of a context window that nobody has told us: the largest of any model in the price file."""

FREE_OUTPUT_TOKENS = 128 * 1024
"""What an answer without a cap is held at in tokens (not in money), where output costs nothing and the model's largest
is unknown: a model of one's own."""

ABSURD = 100
"""Context windows' worth of tokens above which a provider's count is not believed: ten times what `ITERATIONS` requests
can take. The answer's own counts are measured by it, and apart from them all entries of its `iterations` together."""

MOST_SEARCHES = ITERATIONS * ABSURD
"""Web searches above which a provider's count is not believed: a hundred in each request that a call can become."""

COUNT_MARGIN = 10
"""A counted prompt is held with a tenth of it on top: Anthropic calls its `count_tokens` an estimate."""

COUNT_FLOOR = 64
"""And with so many tokens on top at the least."""


BYTES_PER_TOKEN = 4
"""What a prompt is taken to weigh where nothing was learned of such prompts yet: English text."""

LIKELY_IMAGE_TOKENS = 1_600
"""Of one image, as a guess: Anthropic's most before its newest models, and about a photograph's at OpenAI."""

LIKELY_MEDIA_TOKENS = 10_000
"""Of documents and sound in a body, at most, as a guess: their bytes say nothing of their tokens."""

LIKELY_OUTPUT_TOKENS = 1_000
"""Of an answer where nothing was learned of its model yet, as a guess: caps are far above what answers take."""


PLAIN_BITS = 38
"""Two numbers of tokens with no more bits are together below `MOST_TOKENS`; one below zero has more."""

TENTHS_PER_NANO = 10 * PICO_PER_NANO


def hidden_tokens(price: ModelPrice) -> int:
    """The per-model constant of decisions 2, in tokens."""
    return _HIDDEN.get(price.provider, HIDDEN_TOKENS)


class Bound(NamedTuple):
    """The most that one attempt can cost, before it is sent.

    Attributes:
        nano: nano-dollars, rounded up.
        tokens: prompt and output together.
        output_cap: the largest output per choice that this holds, in tokens: what to inject where the caller gave no
            cap; 0 = nothing to inject.
    """

    nano: int
    tokens: int
    output_cap: int


def bound(
    price: ModelPrice, body_bytes: int, facts: Facts, prompt_tokens: int | None = None, ceiling: bool = False
) -> Bound | None:
    """The most that the attempt can cost (decisions 2).

    The raw body's bytes and the hidden constant as input tokens at the dearest input rate that such a prompt can reach
    (cache writes, length bands, service tiers, speed and the 1.1x of `inference_geo: us` included), plus choices x
    output cap at the dearest output rate. Images that are in the body count as their vendor's largest; other media are
    bounded by the model's context window. Without a cap the model's largest output counts.

    Args:
        price: the price of the route's model.
        body_bytes: the length of the raw request body.
        facts: of the request.
        prompt_tokens: the prompt as somebody has counted it (`count_tokens`, tiktoken). A count is an estimate, so it
            holds with `COUNT_MARGIN` on top, and never for more than the bytes do.
        ceiling: where there is no bound, the ceiling (`unbounded: ceiling`): `ITERATIONS` requests, each with the
            model's whole context window, the largest output and a web search.

    Returns:
        None where there is no bound and no ceiling was asked for: server-side work or state, media on a model whose
        context window is unknown, or no cap on a model whose largest output is unknown.
    """
    cap = facts.max_output_tokens if facts.max_output_tokens is not None else price.max_output_tokens
    prompt = _prompt_bound(price, body_bytes, facts, prompt_tokens)
    rows = price.schedule.dearest_rates
    if prompt is None or (cap is None and rows[-1][1][1]):
        return _ceiling(price, max(0, body_bytes), facts, cap) if ceiling else None
    input_rate, output_rate, request = _dearest_rates(rows, prompt)
    per_choice = FREE_OUTPUT_TOKENS if cap is None else max(0, cap)
    output = per_choice * max(1, facts.choices)
    tenths = (prompt * input_rate + output * output_rate) * 11 + request * 10
    return Bound(_nano_up(tenths), _counted(prompt + output), per_choice if cap is not None else 0)


def plain_bound(price: ModelPrice) -> PlainBound:
    """What `bound` of a plain call is worked out from. Nothing but the price decides, so threads find the same."""
    rows, hidden = price.schedule.dearest_rates, hidden_tokens(price)
    input_rate, output_rate, request = rows[0][1]
    reach = (1 << PLAIN_BITS if len(rows) == 1 else rows[1][0]) - hidden
    price.plain_bound = found = reach, hidden, input_rate * 11, output_rate * 11, request * 10
    return found


def likely_tokens(facts: Facts, body_bytes: int, prompt: float | None, output: float | None) -> int:
    """What a call is expected to take, prompt and output together: a guess, to be corrected once it is counted.

    Args:
        prompt, output: tokens that such calls have had; None where too little is known.
    """
    if prompt is None or facts.has_media:
        text = float(max(0, body_bytes - facts.image_bytes))
        if facts.has_media and not facts.images:
            text = min(text, LIKELY_MEDIA_TOKENS * BYTES_PER_TOKEN)
        prompt = text / BYTES_PER_TOKEN + facts.images * LIKELY_IMAGE_TOKENS
    if output is None:
        output = LIKELY_OUTPUT_TOKENS
    cap = facts.max_output_tokens
    if cap is not None and cap < output:
        output = cap
    answer = ceil(output) if output > 0 else 0
    if facts.choices > 1:
        answer *= facts.choices
    tokens = ceil(prompt) + answer
    return tokens if tokens < MOST_TOKENS else MOST_TOKENS


def _prompt_bound(price: ModelPrice, body_bytes: int, facts: Facts, counted: int | None) -> int | None:
    """The most tokens the prompt can have; None where nothing bounds it."""
    if facts.server_side:
        return None
    prompt = max(0, body_bytes) + hidden_tokens(price)
    if facts.images and price.provider in IMAGE_TOKENS:
        prompt += facts.images * IMAGE_TOKENS[price.provider] - facts.image_bytes
    elif facts.has_media and counted is None:
        return None if price.context_window is None else max(prompt, price.context_window)
    if counted is not None:
        counted = max(0, counted) + -(-max(0, counted) // COUNT_MARGIN) + COUNT_FLOOR
        return counted if facts.has_media and not facts.images else min(counted, prompt)
    return prompt


def _ceiling(price: ModelPrice, body_bytes: int, facts: Facts, cap: int | None) -> Bound:
    """What cannot be bounded, at its documented ceiling."""
    window = price.context_window if price.context_window is not None else UNKNOWN_WINDOW
    prompt = max(window, body_bytes + hidden_tokens(price))
    per_choice = max(0, cap) if cap is not None else window
    output = per_choice * max(1, facts.choices)
    input_rate, output_rate, request = _dearest_rates(price.schedule.dearest_rates, prompt)
    search = max(rates.web_search for _, rates in price.schedule.dearest)
    tenths = (prompt * input_rate + output * output_rate) * 11 + (request + search) * 10
    tokens = _counted((prompt + output) * ITERATIONS)
    return Bound(_nano_up(tenths * ITERATIONS), tokens, per_choice if cap is not None else 0)


def _nano_up(tenths: int) -> int:
    return min(-(-tenths // TENTHS_PER_NANO), MOST_NANO)


def _counted(tokens: int) -> int:
    return min(tokens, MOST_TOKENS)


def _dearest_rates(rows: Dearest, prompt: int) -> tuple[int, int, int]:
    """The dearest input, output and request rate among the bands that a prompt of at most `prompt` tokens can pay."""
    if len(rows) == 1:
        return rows[0][1]
    reachable = [rates for above, rates in rows if above < prompt or above == 0]
    return max(r[0] for r in reachable), max(r[1] for r in reachable), max(r[2] for r in reachable)


def cut_estimate(
    price: ModelPrice,
    *,
    usage: Usage | None,
    shown: int,
    facts: Facts,
    body_bytes: int,
    prompt: Usage | None = None,
    to_end: bool = False,
) -> Usage:
    """The usage to charge for an answer whose final count never came, or cannot be believed. Rows with it are marked.

    The prompt is as reported (Anthropic does so in `message_start`); or else as calibrated, or else its byte bound in
    the dearest class that the model's price names; with media, and where the call goes on from what the provider keeps
    or finds, the whole context window. The output is what was reported so far or `shown`, whichever is more, and
    `shown` is never more than the caller allowed.

    Args:
        price: the price of the route's model.
        usage: what the provider had reported, if anything. What is `bad` about it never lowers the charge.
        shown: tokens of the answer that was shown, hidden and on its way, as estimated.
        facts: of the request.
        body_bytes: the length of the raw request body.
        prompt: the prompt as calibrated; None where too little is known.
        to_end: the provider goes on to the answer's end, and bills it: all that is allowed is charged.
    """
    shown = max(0, shown)
    cap = facts.max_output_tokens
    if facts.background or to_end:
        most = cap if cap is not None else price.max_output_tokens or 0
        shown = max(shown, most * max(1, facts.choices))
    if cap is not None:
        shown = min(shown, max(0, cap) * max(1, facts.choices))
    so_far = usage if usage is not None else Usage()
    output = max(so_far.output_tokens, shown)
    if so_far.prompt_tokens > 0 and not so_far.bad:
        return replace(so_far, output_tokens=output)
    if prompt is not None and not (facts.has_media or facts.server_side):
        found = prompt
    else:
        tokens = _prompt_bound(price, body_bytes, facts, None)
        if tokens is None:
            tokens = max(max(0, body_bytes) + hidden_tokens(price), price.context_window or 0)
        found = Usage()
        setattr(found, price.schedule.prompt_field, tokens)
    if found.prompt_tokens < so_far.prompt_tokens:
        found = so_far
    return replace(
        so_far,
        input_tokens=found.input_tokens,
        cache_read_tokens=found.cache_read_tokens,
        cache_write_tokens=found.cache_write_tokens,
        cache_write_long_tokens=found.cache_write_long_tokens,
        output_tokens=output,
    )


def believable(price: ModelPrice, usage: Usage) -> bool:
    """False for a usage that no answer can have, in anything that is charged: something in it is no count; more than
    `ABSURD` context windows of tokens in its totals, in a part of them or in its iterations; more than `MOST_SEARCHES`
    web searches."""
    most = most_tokens(price)
    return (
        not usage.bad
        and usage.prompt_tokens + usage.output_tokens <= most
        and usage.web_searches <= MOST_SEARCHES
        and usage.reasoning_tokens <= most
        and usage.input_audio_tokens + usage.cache_read_audio_tokens + usage.output_audio_tokens <= most
        and (not usage.iterations or _nested(usage) <= _most_nested(price, usage))
    )


def credible(price: ModelPrice, usage: Usage) -> Usage | None:
    """What can be believed of a usage, as something to begin an estimate with: parts are at most their wholes,
    iterations are taken as long as they can be, and searches beyond all measure are `ITERATIONS`, as a ceiling has
    them. None where its totals are beyond it."""
    if usage.prompt_tokens + usage.output_tokens > most_tokens(price):
        return None
    kept: list[Iteration] = []
    left = _most_nested(price, usage)
    for entry in usage.iterations:
        taken = _taken(entry)
        if taken <= left:
            kept.append(entry)
            left -= taken
    return replace(
        usage,
        reasoning_tokens=min(usage.reasoning_tokens, usage.output_tokens),
        input_audio_tokens=min(usage.input_audio_tokens, usage.input_tokens),
        cache_read_audio_tokens=min(usage.cache_read_audio_tokens, usage.cache_read_tokens),
        output_audio_tokens=min(usage.output_audio_tokens, usage.output_tokens),
        web_searches=usage.web_searches if usage.web_searches <= MOST_SEARCHES else ITERATIONS,
        iterations=tuple(kept),
    )


def as_told(usage: Usage) -> dict[str, int]:
    """What a provider has told, for the event `bad_usage`."""
    return {
        "told_input_tokens": usage.prompt_tokens,
        "told_output_tokens": usage.output_tokens,
        "told_nested_tokens": _nested(usage),
        "told_web_searches": usage.web_searches,
    }


def _nested(usage: Usage) -> int:
    """Tokens of all iterations of an answer: some of them are in its totals as well."""
    return sum(map(_taken, usage.iterations))


def _taken(entry: Iteration) -> int:
    prompt = entry.input_tokens + entry.cache_read_tokens + entry.cache_write_tokens + entry.cache_write_long_tokens
    return prompt + entry.output_tokens


def most_tokens(price: ModelPrice) -> int:
    """The most that are believed of a model's answer, prompt and all."""
    return ABSURD * (price.context_window if price.context_window is not None else UNKNOWN_WINDOW)


def _most_nested(price: ModelPrice, usage: Usage) -> int:
    """A hop under another model has that one's window, which is at most the largest there is."""
    elsewhere = any(entry.model not in ("", price.model, price.entry) for entry in usage.iterations)
    return max(most_tokens(price), ABSURD * UNKNOWN_WINDOW if elsewhere else 0)
