"""Reading a scenario: from Python objects, a YAML or JSON file (docs/simulator.md), or a shipped one by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from headgate.core.errors import ConfigError
from headgate.testing.simulator.faults import KINDS, fault_from
from headgate.testing.simulator.limits import Limits
from headgate.testing.simulator.scenario import Batching, Match, Pace, Reports, Rule, Scenario, TlsRule, When

T = TypeVar("T")


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
    plain = {k: v for k, v in told.items() if k not in ("pace", "limits", "batches", "rules", "tls", "reports")}
    pace = _build(Pace, told.get("pace"), f"{where}.pace", mistakes)
    limits = _build(Limits, told.get("limits"), f"{where}.limits", mistakes)
    batches = _build(Batching, told.get("batches"), f"{where}.batches", mistakes)
    reports = _build(Reports, _patterns(told.get("reports")), f"{where}.reports", mistakes)
    rules = [_rule(*one, mistakes) for one in _listed(told, "rules", where, mistakes)]
    tls = [_tls_rule(*one, mistakes) for one in _listed(told, "tls", where, mistakes)]
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
        tls=tuple(rule for rule in tls if rule is not None),
        reports=reports or Reports(),
        obey=made.obey,
    )


def _patterns(told: Any) -> Any:
    """`reports` with single patterns as lists."""
    if not isinstance(told, Mapping):
        return told
    return {name: (value,) if isinstance(value, str) else value for name, value in told.items()}


def _listed(told: Mapping[str, Any], name: str, where: str, mistakes: list[str]) -> list[tuple[Any, str]]:
    """The entries of a list in a scenario, each with its place."""
    listed = told.get(name) or ()
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        mistakes.append(f"{where}.{name}: expected a list")
        return []
    return [(one, f"{where}.{name}[{index}]") for index, one in enumerate(listed)]


def _tls_rule(told: Any, where: str, mistakes: list[str]) -> TlsRule | None:
    if isinstance(told, str):
        told = {"fault": told}
    if not isinstance(told, Mapping) or not set(told) <= {"fault", "when"}:
        mistakes.append(f"{where}: expected a TLS fault, or a mapping with fault and when")
        return None
    when = _build(When, told.get("when"), f"{where}.when", mistakes)
    try:
        return TlsRule(str(told.get("fault")), when or When())
    except ValueError as error:
        mistakes.append(f"{where}.fault: {error}")
        return None


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
        elif types[name] == "bool" and not isinstance(value, bool):
            mistakes.append(f"{where}.{name}: expected true or false")
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
