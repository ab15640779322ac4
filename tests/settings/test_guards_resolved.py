"""Which section of the configuration decides about a guard."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.policy.guards.rules import GuardRules
from headgate.settings import load
from headgate.settings.guards import guards_of

CONFIG = """
guards:
  profile: standard
  pii: "off"
  for:
    - {tenant: acme, user: ada, injection: flag}
    - {tenant: acme, profile: strict}
    - {environment: test, profile: observe, injection: on}
tasks:
  mail: {guards: {profile: strict, links: "off"}}
  play: {guards: "off"}
"""


def rules(tmp_path: Path, caller: Caller, text: str = CONFIG) -> GuardRules:
    file = tmp_path / "headgate.yaml"
    file.write_text(text)
    return guards_of(load(file, env={}))(caller)


def test_a_mode_wins_over_the_profile_of_its_own_section(tmp_path: Path) -> None:
    found = rules(tmp_path, Caller())
    assert (found.profile, found.pii, found.secrets, found.injection) == ("standard", "off", "redact-logs", "block")


def test_a_more_specific_profile_wins_over_a_more_general_mode(tmp_path: Path) -> None:
    found = rules(tmp_path, Caller(tenant="acme"))
    assert found.strict
    assert (found.pii, found.links) == ("redact", "redact")


def test_the_first_entry_that_fits_decides_and_leaves_the_rest_to_the_sections_below(tmp_path: Path) -> None:
    found = rules(tmp_path, Caller(tenant="acme", user="ada", task="mail"))
    assert (found.profile, found.injection, found.links, found.secrets) == ("strict", "flag", "off", "block")


def test_a_task_may_switch_all_guards_off(tmp_path: Path) -> None:
    assert not rules(tmp_path, Caller(task="play")).active


def test_on_is_the_mode_of_the_profile(tmp_path: Path) -> None:
    assert rules(tmp_path, Caller(environment="test")).injection == "flag"


def test_without_a_word_the_standard_profile_holds(tmp_path: Path) -> None:
    assert rules(tmp_path, Caller(), "") == GuardRules(
        "standard", "block", "redact-logs", "redact-logs", "block", "flag", "block", "block", "flag", "flag", "flag"
    )


def test_an_entry_for_nobody_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"headgate.yaml:1:\d+: guards.for\[0\]: whom it is for is not told"):
        rules(tmp_path, Caller(), "guards: {for: [{profile: strict}]}")
