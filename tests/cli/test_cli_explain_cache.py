"""`headgate explain` on the cache: why an answer would be kept, why not, and the line that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_commands import Run

CONFIG = """\
tasks:
  classify: {cache: 7d}
  brainstorm: {cache: off}
keys:
  - {name: dev, key: env:HG, tenant: acme, cache: 1d}
"""
ENV = {"ANTHROPIC_API_KEY": "x", "OPENAI_API_KEY": "x", "HG": "a-key"}
CLAUDE = ("--model", "claude-haiku-4-5")


def cache(run: Run, tmp_path: Path, *arguments: str, config: str = CONFIG) -> dict[str, tuple[str, str]]:
    (tmp_path / "headgate.yaml").write_text(config)
    result = run("explain", *arguments, "--json", **ENV)
    told: dict[str, Any] = json.loads(result.stdout)
    return {each["name"]: (each["value"], each["from"]) for each in told["decisions"] if each["step"] == "cache"}


@pytest.mark.parametrize(
    ("arguments", "keep", "line"),
    [
        (("--key", "dev"), "1d", "headgate.yaml:5:44"),
        (("--key", "dev", "--task", "classify"), "7d", "headgate.yaml:2:14"),
        (("--key", "dev", "--task", "brainstorm"), "off", "headgate.yaml:3:16"),
    ],
)
def test_how_long_comes_from_the_task_or_else_from_the_key(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], keep: str, line: str
) -> None:
    assert cache(run, tmp_path, *CLAUDE, *arguments)["keep"] == (keep, line)


def test_a_call_that_would_be_kept_shows_its_key_and_whose_it_is(run: Run, tmp_path: Path) -> None:
    found = cache(run, tmp_path, *CLAUDE, "--key", "dev")
    assert found["this call"][0].startswith("looked up, and kept for 1d")
    assert "(within one tenant)" in found["key"][0]


def test_a_call_that_passes_it_by_says_why(run: Run, tmp_path: Path) -> None:
    path = ("--path", "/v1/responses")
    found = cache(run, tmp_path, "--model", "gpt-6-luna", *path, "--key", "dev")
    assert "passes it by (state)" in found["this call"][0]
    assert "key" not in found


def test_without_a_word_only_temperature_0_is_kept(run: Run, tmp_path: Path) -> None:
    found = cache(run, tmp_path, *CLAUDE, config="retry: {attempts: 2}\n")
    assert found["keep"] == ("only answers at temperature 0", "default")
    assert found["this call"][0].startswith("no: its temperature is not 0")


def test_off_is_off(run: Run, tmp_path: Path) -> None:
    assert cache(run, tmp_path, *CLAUDE, config="cache: off\n") == {"keep": ("off", "headgate.yaml:1:1")}
