"""Rate limits as the providers keep them: token buckets, refilled continuously, with the vendors' own headers.

Sources: wire-formats 1.2 (Anthropic) and 2.3 (OpenAI). Anthropic counts uncached input and cache writes against ITPM
at the start and real output against OTPM as it is produced; OpenAI charges prompt plus requested maximum up front.
Each credential is its own organisation, and limits are pooled per model family.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

_PLENTY = 100_000_000  # what an unset limit shows, and never reaches
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Limits:
    """Per minute, per credential and model family. None = unlimited. All > 0.

    `tokens_per_minute` is OpenAI's; `input_` and `output_tokens_per_minute` are Anthropic's.
    """

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    tokens_per_minute: int | None = None


class Bucket:
    """A token bucket that holds one minute's worth and refills continuously. It may go below zero."""

    __slots__ = ("_at", "_level", "capacity", "rate")

    def __init__(self, per_minute: int | None, now: float) -> None:
        self.capacity = per_minute if per_minute is not None else _PLENTY
        self.rate = self.capacity / 60
        self._level = float(self.capacity)
        self._at = now

    def level(self, now: float) -> float:
        """What is in it at `now`, in requests or tokens."""
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def wait(self, need: float, now: float) -> float:
        """Seconds until `need` fits, 0.0 if it does. More than a full bucket waits for the full bucket."""
        missing = min(need, self.capacity) - self.level(now)
        return max(0.0, missing / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Remove `amount`, below zero if it must be."""
        self._level = self.level(now) - amount

    def remaining(self, now: float) -> int:
        """Whole units left, >= 0."""
        return max(0, math.floor(self.level(now)))

    def full_in(self, now: float) -> float:
        """Seconds until it is full again: what the `reset` headers tell."""
        return (self.capacity - self.level(now)) / self.rate


class AnthropicLimits:
    """The buckets of one credential and family."""

    __slots__ = ("_input", "_output", "_requests")

    def __init__(self, limits: Limits, now: float) -> None:
        self._requests = Bucket(limits.requests_per_minute, now)
        self._input = Bucket(limits.input_tokens_per_minute, now)
        self._output = Bucket(limits.output_tokens_per_minute, now)

    def admit(self, counted_input: int, _cap: int, now: float) -> tuple[str, float] | None:
        """Take a request in, or say (which limit, seconds to wait)."""
        for name, bucket, need in (
            ("requests", self._requests, 1),
            ("input tokens", self._input, counted_input),
            ("output tokens", self._output, 1),
        ):
            wait = bucket.wait(need, now)
            if wait > 0:
                return name, wait
        self._requests.take(1, now)
        self._input.take(counted_input, now)
        return None

    def produced(self, tokens: int, now: float) -> None:
        """Count output as it is produced."""
        self._output.take(tokens, now)

    def headers(self, now: float) -> list[Header]:
        """The standard `anthropic-ratelimit-*` family; `-tokens-` shows the tighter of input and output."""
        tighter = min(self._input, self._output, key=lambda b: b.level(now) / b.capacity)
        made: list[Header] = []
        for name, bucket, step in (
            (b"requests", self._requests, 1),
            (b"tokens", tighter, 1000),
            (b"input-tokens", self._input, 1000),
            (b"output-tokens", self._output, 1000),
        ):
            prefix = b"anthropic-ratelimit-" + name
            # To the nearest thousand, never above what is left in a bucket of less than that.
            left = min((bucket.remaining(now) + step // 2) // step * step, bucket.capacity)
            made.append((prefix + b"-limit", b"%d" % bucket.capacity))
            made.append((prefix + b"-remaining", b"%d" % left))
            made.append((prefix + b"-reset", _rfc3339(now + bucket.full_in(now))))
        return made


class OpenAILimits:
    """The buckets of one credential and model."""

    __slots__ = ("_requests", "_tokens")

    def __init__(self, limits: Limits, now: float) -> None:
        self._requests = Bucket(limits.requests_per_minute, now)
        self._tokens = Bucket(limits.tokens_per_minute, now)

    def admit(self, prompt: int, cap: int, now: float) -> tuple[str, float] | None:
        """Take a request in, or say (which limit, seconds to wait)."""
        wait = self._requests.wait(1, now)
        if wait > 0:
            return "requests", wait
        wait = self._tokens.wait(prompt + cap, now)
        if wait > 0:
            return "tokens", wait
        self._requests.take(1, now)
        self._tokens.take(prompt + cap, now)
        return None

    def produced(self, tokens: int, now: float) -> None:
        """Nothing: output was charged up front, and is not given back."""

    def headers(self, now: float) -> list[Header]:
        """The `x-ratelimit-*` family, with Go-style durations."""
        return [
            (b"x-ratelimit-limit-requests", b"%d" % self._requests.capacity),
            (b"x-ratelimit-limit-tokens", b"%d" % self._tokens.capacity),
            (b"x-ratelimit-remaining-requests", b"%d" % self._requests.remaining(now)),
            (b"x-ratelimit-remaining-tokens", b"%d" % self._tokens.remaining(now)),
            (b"x-ratelimit-reset-requests", go_duration(self._requests.full_in(now))),
            (b"x-ratelimit-reset-tokens", go_duration(self._tokens.full_in(now))),
        ]


class LimitBook:
    """All buckets of one scenario, made when first needed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: dict[tuple[str, str], AnthropicLimits | OpenAILimits] = {}

    def of(self, dialect: str, credential: str, family: str, now: float) -> AnthropicLimits | OpenAILimits:
        """The buckets for one credential (its digest) and family."""
        key = (credential, family)
        found = self._kept.get(key)
        if found is None:
            kind = AnthropicLimits if dialect == "anthropic" else OpenAILimits
            found = self._kept[key] = kind(self._limits, now)
        return found


def _rfc3339(when: float) -> bytes:
    return _rfc3339_second(math.ceil(when))


@lru_cache(maxsize=64)
def _rfc3339_second(when: int) -> bytes:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def go_duration(seconds: float) -> bytes:
    """Seconds as Go prints a duration: ``120ms``, ``1s``, ``1m30.5s``, ``6m0s``."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, fraction = divmod(rest, 1000)
    tail = f"{whole}.{fraction:03d}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{tail}".encode()
    return (f"{minutes}m{tail}" if minutes else tail).encode()
