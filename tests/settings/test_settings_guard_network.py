"""Guards that ask somebody, read and worked out."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.build import build
from headgate.core.caller import Caller
from headgate.core.checks import Check
from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.settings.guards import guards_of


def checks(tmp_path: Path, text: str, caller: Caller | None = None) -> tuple[Check, ...]:
    file = tmp_path / "headgate.yaml"
    file.write_text(text)
    return guards_of(load(file, env={}))(caller or Caller()).checks


def test_nobody_is_asked_by_default(tmp_path: Path) -> None:
    assert checks(tmp_path, "guards: {profile: strict}\n") == ()
    built = build(load(tmp_path / "headgate.yaml", env={}), env={})
    assert built.engine.ports.checkers is None


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """
guards:
  moderation: {mode: block, on_failure: closed, timeout: 500ms, threshold: 0.4, categories: [hate], texts: output}
  judge: {model: claude-haiku-4-5}
  topic: {mode: block, model: fast, topics: [canals, deliveries], texts: both}
  webhook: {url: "https://guard.acme.example/check", secret: env:HOOK}
  classifier: {model: models/guard, threshold: 0.95}
"""
    assert checks(tmp_path, text) == (
        Check("moderation", True, True, 0.5, 0.4, False, True, "openai", categories=("hate",)),
        Check("judge", model="claude-haiku-4-5"),
        Check("topic", True, outputs=True, model="fast", topics=("canals", "deliveries")),
        Check("webhook", outputs=True, url="https://guard.acme.example/check", secret="env:HOOK"),
        Check("classifier", threshold=0.95, model="models/guard"),
    )


def test_the_most_specific_section_decides_about_each_guard(tmp_path: Path) -> None:
    text = """
guards:
  moderation: block
  judge: {model: claude-haiku-4-5}
  for:
    - {user: ada, profile: "off"}
    - {user: bob, judge: "off"}
tasks: {quick: {guards: {judge: {model: gpt-6-luna, mode: block}}}}
"""

    def found(**who: str) -> list[tuple[str, bool, str]]:
        return [(c.guard, c.blocks, c.model) for c in checks(tmp_path, text, Caller(**who))]  # type: ignore[arg-type]

    assert found() == [("moderation", True, ""), ("judge", False, "claude-haiku-4-5")]
    assert found(task="quick") == [("moderation", True, ""), ("judge", True, "gpt-6-luna")]
    assert found(user="ada", task="quick") == []
    assert found(user="bob", task="quick") == [("moderation", True, "")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("judge: block", "expected off"),
        ("judge: {mode: block}", "model: is missing"),
        ("judge: {model: m, texts: output}", "only `input`"),
        ("judge: {model: m, on_failure: closed}", "mode is flag"),
        ("topic: {model: m}", "topics: is missing"),
        ("webhook: {url: 'https://a.example/x'}", "secret: is missing"),
        ("webhook: {secret: env:X}", "url: is missing"),
        ("webhook: {url: 'https://u:pw@a.example/x', secret: env:X}", "without a credential"),
        ("moderation: {url: 'https://a.example/x', provider: openai}", "keep one"),
        ("moderation: {threshold: 2}", "from 0 to 1"),
        ("moderation: {timeout: 5m}", "from 50ms to 30s"),
        ("moderation: maybe", "expected one of off, flag, block"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checks(tmp_path, f"guards:\n  {text}\n")
    assert said in str(caught.value)
    assert "headgate.yaml:2:" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("webhook: {url: 'https://a.example/x', secret: env:NOT_SET}", "NOT_SET"),
        ("moderation: {provider: nobody}", "no provider is named 'nobody'"),
    ],
)
def test_a_guard_that_could_never_be_asked_keeps_the_gate_from_starting(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "headgate.yaml"
    file.write_text(f"guards:\n  {text}\n")
    with pytest.raises(ConfigError, match=said):
        build(load(file, env={}), env={})
