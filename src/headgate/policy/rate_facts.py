"""What a provider's answer tells about its rate limits. `wire/ratelimits.py` reads it, `policy/pace.py` follows it."""

from __future__ import annotations

from typing import NamedTuple


class LimitFacts(NamedTuple):
    """One limit as an answer's headers tell it. None = not told, or told and not to be believed.

    Attributes:
        limit: requests or tokens per window (a minute unless the reset shows otherwise), >= 1.
        remaining: left at the moment of the answer, 0 to `limit`.
        reset: seconds from now until the limit is *full* again (wire-formats 1.2 and 2.3), >= 0.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


class RateFacts(NamedTuple):
    """All that one answer tells. `retry_after` is in seconds from now, >= 0.

    `tokens` is OpenAI's combined limit; Anthropic's header of that name repeats the tightest limit in force.
    """

    requests: LimitFacts | None = None
    tokens: LimitFacts | None = None
    input_tokens: LimitFacts | None = None
    output_tokens: LimitFacts | None = None
    retry_after: float | None = None


NO_FACTS = RateFacts()
"""An answer that tells nothing."""
