"""`guards.links`, `guards.canaries` and `guards.answer_characters`."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.policy.guards.rules import GuardRules
from headgate.settings import load
from headgate.settings.guards import guards_of

WORD = "Zebra-Quartz-7741"


def rules(tmp_path: Path, text: str, tenant: str = "", env: dict[str, str] | None = None) -> GuardRules:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    told = {"CANARY": WORD} if env is None else env
    return guards_of(load(path, env=told), told)(Caller(tenant=tenant))


def test_links_may_be_a_mode_or_a_mapping(tmp_path: Path) -> None:
    plain = rules(tmp_path, "guards: {links: block}")
    assert (plain.links, plain.output.link_allow) == ("block", ())
    told = rules(tmp_path, "guards: {links: {mode: redact, allow: [Acme.example, '*.acme.example']}}")
    assert (told.links, told.output.link_allow) == ("redact", ("acme.example", "*.acme.example"))
    assert rules(tmp_path, "guards: {profile: strict, links: {allow: [a.example]}}").links == "redact"


def test_each_is_told_by_the_most_specific_section(tmp_path: Path) -> None:
    text = (
        "guards:\n  links: {allow: [a.example]}\n  answer_characters: 100\n  canaries: [env:CANARY]\n"
        "  for:\n    - {tenant: acme, answer_characters: 5, links: {mode: block}}\n"
    )
    assert rules(tmp_path, text).output.answer_characters == 100
    acme = rules(tmp_path, text, "acme")
    assert (acme.links, acme.output.answer_characters) == ("block", 5)
    assert acme.output.link_allow == ("a.example",)
    assert acme.output.canaries.words == (WORD,)


def test_a_limit_alone_makes_the_guards_active(tmp_path: Path) -> None:
    assert rules(tmp_path, "guards: {profile: off, answer_characters: 5}").active
    assert not rules(tmp_path, "guards: {profile: off}").active


def test_without_an_environment_canaries_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "headgate.yaml"
    path.write_text("guards: {canaries: [env:CANARY]}", encoding="utf-8")
    assert not guards_of(load(path, env={}))(Caller()).output.canaries


@pytest.mark.parametrize("env", [{}, {"CANARY": "a-b-c"}])
def test_a_canary_that_cannot_be_used_is_an_error_that_does_not_show_it(tmp_path: Path, env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="CANARY") as caught:
        rules(tmp_path, "guards: {canaries: [env:CANARY]}", env=env)
    assert "a-b-c" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("guards: {links: {allow: ['https://acme.example']}}", "1:26"),
        ("guards: {links: {allow: ['*']}}", "1:26"),
        ("guards: {links: {modes: flag}}", "1:18"),
        ("guards: {links: quarantine}", "1:17"),
        ("guards: {answer_characters: 0}", "1:29"),
        ("guards: {canaries: [Zebra-Quartz-7741]}", "1:21"),
    ],
)
def test_mistakes_name_their_place(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ConfigError, match=f"headgate.yaml:{where}"):
        rules(tmp_path, text)
