"""What an attempt can cost at most, before it is sent; and what to charge when its count never came.

Both rest on one fact: a token of a byte-level vocabulary stands for at least one byte, so the raw body's bytes bound
the prompt's tokens and the content's bytes bound the answer's (JSON escapes only make the bytes more).
"""

from __future__ import annotations

from dataclasses import replace

from headgate.core.exchange import Facts
from headgate.core.money import PICO_PER_NANO
from headgate.core.usage import Usage
from headgate.policy.pricing import MOST_NANO, ModelPrice
from headgate.policy.rates import Dearest

HIDDEN_TOKENS = 1_024
"""Input tokens that are billed without being in the body: framing, and the system prompt that `tools` adds (about 290
to 800 tokens at Anthropic, wire-formats 1.4)."""

_HIDDEN = {"openai": 256}  # tools are rendered into the prompt, no system prompt is added


def hidden_tokens(price: ModelPrice) -> int:
    """The per-model constant of decisions 2, in tokens."""
    return _HIDDEN.get(price.provider, HIDDEN_TOKENS)


def bound_nano(price: ModelPrice, body_bytes: int, facts: Facts) -> int | None:
    """The most that the attempt can cost, in nano-dollars, rounded up (decisions 2).

    The raw body's bytes and the hidden constant as input tokens at the dearest input rate that such a prompt can reach
    (cache writes, length bands, service tiers, speed and the 1.1x of `inference_geo: us` included), plus choices x
    output cap at the dearest output rate. Media are bounded by the model's context window instead of by bytes. Without
    a cap the model's largest output counts.

    Args:
        price: the price of the route's model.
        body_bytes: the length of the raw request body.
        facts: of the request.

    Returns:
        None where there is no bound: server-side work or state, media on a model whose context window is unknown, or
        no cap on a model whose largest output is unknown.
    """
    if facts.server_side:
        return None
    prompt = max(0, body_bytes) + hidden_tokens(price)
    if facts.has_media:
        if price.context_window is None:
            return None
        prompt = max(prompt, price.context_window)
    rows = price.schedule.dearest_rates
    input_rate, output_rate, request = rows[0][1] if len(rows) == 1 else _dearest_rates(rows, prompt)
    output = 0
    if output_rate:
        cap = facts.max_output_tokens if facts.max_output_tokens is not None else price.max_output_tokens
        if cap is None:
            return None
        output = max(0, cap) * max(1, facts.choices)
    tenths = (prompt * input_rate + output * output_rate) * 11 + request * 10
    return min(-(-tenths // (10 * PICO_PER_NANO)), MOST_NANO)


def _dearest_rates(rows: Dearest, prompt: int) -> tuple[int, int, int]:
    """The dearest input, output and request rate among the bands that a prompt of at most `prompt` tokens can pay."""
    reachable = [rates for above, rates in rows if above < prompt or above == 0]
    return max(r[0] for r in reachable), max(r[1] for r in reachable), max(r[2] for r in reachable)


def cut_estimate(price: ModelPrice, *, usage: Usage | None, content_bytes: int, facts: Facts, body_bytes: int) -> Usage:
    """The usage to charge for a stream that was cut or abandoned before its final count.

    Never below what the provider can have billed for what it showed. The prompt is as reported (Anthropic does so in
    `message_start`), or else its byte bound, in the dearest class that the model's price names; with media, and where
    the call goes on from what the provider keeps or finds, the whole context window. The output is what was reported so
    far or one token for each byte of content, whichever is more, and by bytes never more than the caller allowed; in
    the background, where nobody sees how far it got, all that was allowed. Ledger rows with it are marked as estimates.
    Calibration by real counts will tighten the bytes (issue 4).

    Args:
        price: the price of the route's model.
        usage: what the provider had reported, if anything.
        content_bytes: UTF-8 bytes of generated content seen (text, thinking, tool arguments).
        facts: of the request.
        body_bytes: the length of the raw request body.
    """
    shown = max(0, content_bytes)
    if facts.background:
        cap = facts.max_output_tokens
        shown = max(shown, cap if cap is not None else price.max_output_tokens or 0)
    if facts.max_output_tokens is not None:
        shown = min(shown, max(0, facts.max_output_tokens) * max(1, facts.choices))
    if usage is not None and usage.prompt_tokens > 0:
        return replace(usage, output_tokens=max(usage.output_tokens, shown))
    prompt = max(0, body_bytes) + hidden_tokens(price)
    if (facts.has_media or facts.server_side) and price.context_window is not None:
        prompt = max(prompt, price.context_window)
    so_far = usage if usage is not None else Usage()
    output = max(so_far.output_tokens, shown)
    if price.schedule.prompt_field == "cache_write_long_tokens":
        return replace(so_far, cache_write_long_tokens=prompt, output_tokens=output)
    if price.schedule.prompt_field == "cache_write_tokens":
        return replace(so_far, cache_write_tokens=prompt, output_tokens=output)
    return replace(so_far, input_tokens=prompt, output_tokens=output)
