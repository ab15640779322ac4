"""Isolation and input limits, as they are written and as they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.policy.guards.input_limits import InputLimits
from headgate.policy.guards.rules import GuardRules
from headgate.settings import load
from headgate.settings.guard_input import isolation_key
from headgate.settings.guard_model import GuardSettings
from headgate.settings.guards import guards_of

CONFIG = """
guards:
  isolate: xml
  limits: {characters: 1000, images: 0, tools: 5}
  for:
    - {tenant: acme, profile: strict}
    - {key: importer, isolate: off, limits: {characters: off, nesting: 9}}
tasks:
  play: {guards: off}
  draw: {guards: {profile: "off", limits: {images: 2}}}
"""


def rules(tmp_path: Path, caller: Caller, text: str = CONFIG) -> GuardRules:
    file = tmp_path / "headgate.yaml"
    file.write_text(text)
    return guards_of(load(file, env={}))(caller)


def test_a_stricter_profile_keeps_isolation_and_limits(tmp_path: Path) -> None:
    found = rules(tmp_path, Caller(tenant="acme"))
    assert (found.isolate, found.limits) == ("xml", InputLimits(characters=1000, images=0, tools=5))


def test_each_limit_is_as_the_most_specific_section_tells_it(tmp_path: Path) -> None:
    found = rules(tmp_path, Caller(key="importer"))
    assert (found.isolate, found.limits) == ("off", InputLimits(images=0, tools=5, nesting=9))


def test_guards_that_are_off_isolate_and_limit_nothing_but_what_their_section_tells(tmp_path: Path) -> None:
    assert not rules(tmp_path, Caller(task="play")).active
    found = rules(tmp_path, Caller(task="draw"))
    assert (found.isolate, found.limits) == ("off", InputLimits(images=2))
    assert found.active


def test_nothing_is_isolated_or_limited_by_default(tmp_path: Path) -> None:
    found = rules(tmp_path, Caller(), "")
    assert (found.isolate, found.limits) == ("off", InputLimits())


def test_the_key_of_isolation_is_a_reference_and_everybodys(tmp_path: Path) -> None:
    file = tmp_path / "headgate.yaml"
    file.write_text("guards: {isolate: xml, isolation_key: env:MARKS}")
    key = load(file, env={"MARKS": "m" * 16}).guards.isolation_key
    assert key is not None
    assert key.name == "MARKS"
    told = load(file, env={"MARKS": "m" * 16}).guards
    assert isolation_key(told, {"MARKS": "m" * 16}) == b"m" * 16
    with pytest.raises(ConfigError, match=r"guards.isolation_key: env:MARKS has less than 16 bytes"):
        isolation_key(told, {"MARKS": "m" * 15})
    without = GuardSettings()
    assert isolation_key(without, {}) != isolation_key(without, {})
    with pytest.raises(ConfigError, match="unknown key 'isolation_key'"):
        rules(tmp_path, Caller(), "tasks: {x: {guards: {isolation_key: env:MARKS}}}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("guards: {isolate: yaml}", "guards.isolate: .*off, xml, datamark.* encode"),
        ("guards: {limits: {images: -1}}", "guards.limits.images"),
        ("guards: {limits: {nesting: 201}}", "guards.limits.nesting: .*200"),
        ("guards: {limits: {words: 1}}", "unknown key 'words'"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"headgate.yaml:1:\d+: .*{said}" if "unknown" in said else rf"headgate.yaml:1:\d+: {said}"
    ):
        rules(tmp_path, Caller(), text)
