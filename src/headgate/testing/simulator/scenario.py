"""Scenarios: how fast, how much, within which limits, and with which faults the simulator answers.

A scenario comes from Python objects, from a YAML or JSON file (docs/simulator.md), or by name from the shipped ones.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from headgate.core.errors import ConfigError
from headgate.testing.simulator.faults import KINDS, Fault, fault_from
from headgate.testing.simulator.limits import Limits

T = TypeVar("T")


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
class Scenario:
    """A day at the provider. `output_tokens`: a free answer's typical length. `seed` wins over the simulator's."""

    name: str = "healthy"
    rules: Sequence[Rule] = ()
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    output_tokens: int = 60
    seed: int | None = None
    batches: Batching = field(default_factory=Batching)


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

    def __init__(self, rules: Sequence[Rule], seed: int) -> None:
        self._rules = [_Playing(rule, seed, index) for index, rule in enumerate(rules)]

    def strike(self, seen: Seen) -> Rule | None:
        """The rule that strikes this request, if one does. Every matching rule counts it, struck or not."""
        struck: Rule | None = None
        for playing in self._rules:
            if playing.rule.match.holds(seen) and playing.due() and struck is None:
                playing.struck += 1
                struck = playing.rule
        return struck


class _Playing:
    __slots__ = ("_dice", "_seen", "rule", "struck")

    def __init__(self, rule: Rule, seed: int, index: int) -> None:
        self.rule = rule
        self.struck = 0
        self._seen = 0
        self._dice = random.Random(f"{seed}:{index}")  # noqa: S311 - a script, not a secret

    def due(self) -> bool:
        self._seen += 1
        when, n = self.rule.when, self._seen
        lucky = when.probability is None or self._dice.random() < when.probability
        return (
            lucky
            and (not when.nth or n in when.nth)
            and (not when.every or (n - when.offset) % when.every == 0)
            and (not when.first or n <= when.first)
            and n > when.after
            and (not when.times or self.struck < when.times)
        )


def load_scenario(source: Scenario | Mapping[str, Any] | str | Path | None) -> Scenario:
    """A scenario from an object, a mapping, a shipped name, a file's path, or YAML or JSON text. None: healthy.

    Raises:
        ConfigError: it is not one; every mistake is named.
    """
    from headgate.testing.simulator.scenarios import SHIPPED

    if source is None:
        return SHIPPED["healthy"]
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return _scenario(source, "scenario")
    text = str(source)
    if text in SHIPPED:
        return SHIPPED[text]
    if isinstance(source, Path) or ("\n" not in text and text.endswith((".yaml", ".yml", ".json"))):
        path = Path(source)
        try:
            return _parse(path.read_text(encoding="utf-8"), path.name)
        except OSError as error:
            raise ConfigError(f"scenario {path.name}: cannot be read: {error.strerror}") from error
    return _parse(text, "scenario")


def _parse(text: str, where: str) -> Scenario:
    import yaml

    from headgate.testing.simulator.scenarios import SHIPPED

    try:
        told = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())}") from error
    if isinstance(told, str) and told in SHIPPED:
        return SHIPPED[told]
    if not isinstance(told, dict):
        raise ConfigError(f"{where}: expected a mapping, or one of {', '.join(SHIPPED)}")
    return _scenario(told, where)


def _scenario(told: Mapping[str, Any], where: str) -> Scenario:
    mistakes: list[str] = []
    plain = {k: v for k, v in told.items() if k not in ("pace", "limits", "batches", "rules")}
    pace = _build(Pace, told.get("pace"), f"{where}.pace", mistakes)
    limits = _build(Limits, told.get("limits"), f"{where}.limits", mistakes)
    batches = _build(Batching, told.get("batches"), f"{where}.batches", mistakes)
    listed = told.get("rules") or ()
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        mistakes.append(f"{where}.rules: expected a list")
        listed = ()
    rules = [_rule(rule, f"{where}.rules[{index}]", mistakes) for index, rule in enumerate(listed)]
    made = _build(Scenario, {"name": "custom", **plain}, where, mistakes)
    if mistakes or made is None:
        raise ConfigError(mistakes)
    return Scenario(
        name=made.name,
        rules=tuple(rule for rule in rules if rule is not None),
        pace=pace or Pace(),
        limits=limits or Limits(),
        output_tokens=made.output_tokens,
        seed=made.seed,
        batches=batches or Batching(),
    )


def _rule(told: Any, where: str, mistakes: list[str]) -> Rule | None:
    if not isinstance(told, Mapping):
        mistakes.append(f"{where}: expected a mapping")
        return None
    for name in told:
        if name not in ("name", "match", "when", "fault"):
            mistakes.append(f"{where}: unknown key {name!r}; known: name, match, when, fault")
    match = _build(Match, told.get("match"), f"{where}.match", mistakes)
    when = _build(When, told.get("when"), f"{where}.when", mistakes)
    fault = told.get("fault")
    if isinstance(fault, str):
        fault = {"kind": fault}
    if not isinstance(fault, Mapping):
        mistakes.append(f"{where}.fault: expected a kind ({', '.join(KINDS)}) or a mapping with one")
        return None
    try:
        made = fault_from(dict(fault))
    except (TypeError, ValueError) as error:
        mistakes.append(f"{where}.fault: {error}")
        return None
    return Rule(made, match or Match(), when or When(), str(told.get("name") or ""))


_NUMBERS = {"int", "int | None", "float", "float | None"}


def _build(kind: type[T], told: Any, where: str, mistakes: list[str]) -> T | None:
    """An object of `kind` from a mapping; None, with the mistakes noted, where that cannot be."""
    if told is None:
        return kind()
    if not isinstance(told, Mapping):
        mistakes.append(f"{where}: expected a mapping")
        return None
    types = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]  # always one of our dataclasses
    good: dict[str, Any] = {}
    for name, value in told.items():
        if name not in types:
            mistakes.append(f"{where}: unknown key {name!r}; known: {', '.join(types)}")
        elif types[name] in _NUMBERS and not _is_number(value, types[name]):
            mistakes.append(f"{where}.{name}: expected a number >= 0")
        elif name == "nth" and not isinstance(value, Sequence):
            good[name] = (value,)
        else:
            good[name] = value
    return kind(**good)


def _is_number(value: Any, wanted: str) -> bool:
    if value is None:
        return "None" in wanted
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return False
    return isinstance(value, int) or "float" in wanted
