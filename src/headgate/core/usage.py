"""What a provider says it counted, in one canonical form for both dialects."""

from __future__ import annotations

from dataclasses import dataclass, replace

INSIDE = frozenset({"message", "fallback_message"})
"""The kinds of iterations whose tokens the top-level totals may hold."""


@dataclass(frozen=True, slots=True)
class Iteration:
    """One entry of Anthropic's ``usage.iterations[]`` (beta): a hop with its own counts and perhaps its own model.

    Compaction and advisor tokens are not in the top-level totals; with a fallback the top level shows the serving
    hop and declined hops appear only here (wire-formats 1.4).
    """

    kind: str  # "message" | "fallback_message" | "advisor_message" | "compaction" | a newer one
    model: str  # "" = the model of the answer
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_long_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class Usage:
    """Token counts of one attempt. All counts are >= 0. Immutable by convention: freezing would cost 2 us a call.

    `input_tokens` is the *uncached remainder*: the prompt's total is `input_tokens + cache_read_tokens +
    cache_write_tokens + cache_write_long_tokens` (Anthropic's sense; OpenAI's counts are converted). `output_tokens`
    includes `reasoning_tokens`, and the audio counts are included in the counts they are parts of.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # the short kind: Anthropic 5 minutes, OpenAI 30 minutes
    cache_write_long_tokens: int = 0  # Anthropic 1 hour, OpenAI 12 hours
    output_tokens: int = 0
    reasoning_tokens: int = 0  # part of output_tokens
    input_audio_tokens: int = 0  # part of input_tokens
    cache_read_audio_tokens: int = 0  # part of cache_read_tokens
    output_audio_tokens: int = 0  # part of output_tokens
    web_searches: int = 0
    service_tier: str = ""  # as reported in the response: standard, priority, batch, default, flex, ...
    speed: str = ""  # Anthropic: "fast" or "standard"
    inference_geo: str = ""  # Anthropic: "us", "global", ...
    iterations: tuple[Iteration, ...] = ()
    bad: bool = False  # some of what the provider sent in place of counts was none: below zero, fractional, no number

    @property
    def prompt_tokens(self) -> int:
        """Everything that went in, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.cache_write_long_tokens

    def whole(self) -> Usage:
        """All that was used: the iterations' tokens in the counts, and no iterations.

        The entries hold everything; what their messages do not account for of the totals is added to them, as it is
        charged (`policy.pricing`). Whatever counts tokens goes by this: caps, rows, the log.
        """
        if not self.iterations:
            return self
        every = [0, 0, 0, 0, 0]
        inside = [0, 0, 0, 0, 0]
        for entry in self.iterations:
            for place, count in enumerate(_counts(entry)):
                every[place] += count
                if entry.kind in INSIDE:
                    inside[place] += count
        told = _counts(self)
        plain, read, write, long, output = (e + max(0, t - i) for e, t, i in zip(every, told, inside, strict=True))
        return replace(
            self,
            input_tokens=plain,
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_long_tokens=long,
            output_tokens=output,
            iterations=(),
        )


def _counts(of: Usage | Iteration) -> tuple[int, int, int, int, int]:
    return of.input_tokens, of.cache_read_tokens, of.cache_write_tokens, of.cache_write_long_tokens, of.output_tokens
