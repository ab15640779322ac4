"""What an attempt needs of its provider's limits, the ceilings of the configuration, and how a pace is looked at."""

from __future__ import annotations

from dataclasses import dataclass

_ENOUGH = 4  # counted answers before estimates are scaled by them
_MEMORY = 0.98  # of the past in that scale, per answer


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Limits from the configuration, per minute, beside whatever the provider tells. None = no ceiling."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


NO_CEILINGS = Ceilings()


class Need:
    """What one attempt is expected to take, and, once `Pace.ask` has said 0, what it holds until it is ended.

    Attributes:
        input_tokens: of the prompt, as they count against an input limit.
        output_tokens: as expected, not the cap: Anthropic's limit counts what is produced.
        tokens: what a combined limit is charged up front: prompt and the largest output allowed (OpenAI).
        asked_at: when it was let go; seconds, by the owner's clock.
        counted: it has been answered since.
        taken: of each of the pace's kinds; None: nobody has asked for that yet, because no limit was known.
    """

    __slots__ = ("asked_at", "counted", "input_tokens", "output_tokens", "taken", "tokens")

    def __init__(self, input_tokens: int = 0, output_tokens: int = 0, tokens: int | None = None) -> None:
        if input_tokens < 0:
            input_tokens = 0
        if output_tokens < 0:
            output_tokens = 0
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.tokens = input_tokens + output_tokens if tokens is None else tokens if tokens > 0 else 0
        self.asked_at = 0.0
        self.counted = False
        self.taken: tuple[float, float, float, float] | None = None

    def estimate(self) -> None:
        """Have the numbers in it. Called before they are read: whoever makes one may leave them until then."""


@dataclass(frozen=True, slots=True)
class Level:
    """One limit as it is believed: `limit` per window, what is left, and how much comes back per second."""

    name: str
    limit: int
    left: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Look:
    """What a pace believes, for `explain`, `doctor`, metrics. `blocked` is in seconds, `share` of the limits ours."""

    levels: tuple[Level, ...]
    in_flight: int
    window: int
    blocked: float
    share: float


class Scale:
    """How much of an estimate turns out to be counted: a mean over past answers, weighted by size."""

    __slots__ = ("_told", "_was", "factor", "seen")

    def __init__(self) -> None:
        self.factor = 1.0
        self._told = self._was = 0.0
        self.seen = 0

    def learn(self, told: int, was: int) -> None:
        """An estimate, and what was counted."""
        if told <= 0:
            return
        self._told = estimated = self._told * _MEMORY + told
        self._was = counted = self._was * _MEMORY + (was if was < 100 * told else 100 * told)
        self.seen = seen = self.seen + 1
        if seen >= _ENOUGH:
            factor = counted / estimated
            self.factor = 0.01 if factor < 0.01 else 4.0 if factor > 4.0 else factor
