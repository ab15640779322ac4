"""Scenarios: how fast, how much, within which limits, and with which faults the simulator answers.

`loading` reads one from a file.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.limits import Limits

TLS_FAULTS = ("self_signed", "expired", "wrong_host", "stall", "close", "reset")
"""A certificate that must be refused; a handshake that hangs, or ends in the middle with a FIN or a RST."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an answer is generated. Seconds >= 0; `tokens_per_event` >= 1."""

    first_token_seconds: float = 0.0
    seconds_per_event: float = 0.0
    tokens_per_event: int = 4


@dataclass(frozen=True, slots=True)
class Batching:
    """How fast batches are worked off, one request after another. Seconds >= 0; 0: done when first looked at."""

    start_seconds: float = 0.0
    seconds_per_request: float = 0.0


@dataclass(frozen=True, slots=True)
class Reports:
    """What is wrong with the usage and cost reports.

    `hide_keys` and `hide_models` (shell patterns) are not in them, nor is what came in less than `delay_seconds` ago.
    Tokens and cost are `percent` of the truth.
    """

    hide_keys: Sequence[str] = ()
    hide_models: Sequence[str] = ()
    delay_seconds: float = 0.0
    percent: int = 100


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a rule looks at. Everything told must hold. `model` and `path` are shell patterns.

    Without `path`, a rule looks at the requests that generate: messages, chat completions, responses
    and embeddings.
    """

    dialect: str = ""
    model: str = ""
    path: str = ""
    stream: bool | None = None
    header: Mapping[str, str] = field(default_factory=dict)
    prompt_contains: str = ""

    def holds(self, seen: Seen) -> bool:
        """True where a request is one of these."""
        if self.path:
            if not fnmatchcase(seen.path, self.path):
                return False
        elif not seen.generates:
            return False
        return (
            (not self.dialect or self.dialect == seen.dialect)
            and (not self.model or fnmatchcase(seen.model, self.model))
            and (self.stream is None or self.stream == seen.stream)
            and all(seen.headers.get(k.lower().encode()) == v.encode() for k, v in self.header.items())
            and (not self.prompt_contains or self.prompt_contains in seen.body_text)
        )


@dataclass(frozen=True, slots=True)
class When:
    """Which of the matching requests are hit, counted from 1. Everything told must hold; nothing told means all.

    `nth`: these; `every` k, shifted by `offset`; the `first` n; only those `after` n; with a `probability` from 0 to
    1, drawn from the seed; at most `times` in all.
    """

    nth: Sequence[int] = ()
    every: int = 0
    offset: int = 0
    first: int = 0
    after: int = 0
    probability: float | None = None
    times: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault, and when it strikes. The first rule of a scenario that strikes wins."""

    fault: Fault
    match: Match = field(default_factory=Match)
    when: When = field(default_factory=When)
    name: str = ""


@dataclass(frozen=True, slots=True)
class TlsRule:
    """What happens to a connection before its first request. `fault`: one of :data:`TLS_FAULTS`."""

    fault: str
    when: When = field(default_factory=When)

    def __post_init__(self) -> None:
        if self.fault not in TLS_FAULTS:
            raise ValueError(f"unknown TLS fault {self.fault!r}; known: {', '.join(TLS_FAULTS)}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A day at the provider. `output_tokens`: a free answer's typical length. `seed` wins over the simulator's.

    `obey`: the model does whatever any text tells it to, see `obeying`.
    """

    name: str = "healthy"
    rules: Sequence[Rule] = ()
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    output_tokens: int = 60
    seed: int | None = None
    batches: Batching = field(default_factory=Batching)
    tls: Sequence[TlsRule] = ()
    reports: Reports = field(default_factory=Reports)
    obey: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rule may look at."""

    dialect: str
    path: str
    generates: bool
    model: str
    stream: bool
    headers: Mapping[bytes, bytes]
    body: bytes

    @property
    def body_text(self) -> str:
        """The request's body as text, escapes and all."""
        return self.body.decode("utf-8", "replace")


class Script:
    """A scenario being played: counts what each rule has seen."""

    def __init__(self, rules: Sequence[Rule], seed: int, tls: Sequence[TlsRule] = ()) -> None:
        self._rules = [(rule, _Playing(rule.when, f"{seed}:{index}")) for index, rule in enumerate(rules)]
        self._tls = [(rule, _Playing(rule.when, f"{seed}:tls:{index}")) for index, rule in enumerate(tls)]

    def connect(self) -> str:
        """The TLS fault that strikes a new connection, "" if none does. Every rule counts every connection."""
        struck = ""
        for rule, playing in self._tls:
            if playing.due() and not struck:
                playing.struck += 1
                struck = rule.fault
        return struck

    def strike(self, seen: Seen) -> Rule | None:
        """The rule that strikes this request, if one does. Every matching rule counts it, struck or not."""
        struck: Rule | None = None
        for rule, playing in self._rules:
            if rule.match.holds(seen) and playing.due() and struck is None:
                playing.struck += 1
                struck = rule
        return struck


class _Playing:
    __slots__ = ("_dice", "_seen", "_when", "struck")

    def __init__(self, when: When, seed: str) -> None:
        self._when = when
        self.struck = 0
        self._seen = 0
        self._dice = random.Random(seed)  # noqa: S311 - a script, not a secret

    def due(self) -> bool:
        self._seen += 1
        when, n = self._when, self._seen
        lucky = when.probability is None or self._dice.random() < when.probability
        return (
            lucky
            and (not when.nth or n in when.nth)
            and (not when.every or (n - when.offset) % when.every == 0)
            and (not when.first or n <= when.first)
            and n > when.after
            and (not when.times or self.struck < when.times)
        )
