"""Each rule has a runbook whose commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from headgate.cli.group import cli
from headgate.policy.alert_rules import RULES

DOCS = Path(__file__).parents[2] / "docs"
RUNBOOKS = DOCS / "runbooks"
COMMAND = re.compile(r"^\$ (headgate .*)$|`(headgate [^`]+)`", re.MULTILINE)


def test_each_rule_has_a_runbook_and_each_runbook_a_rule() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_runbook_says_what_is_seen_what_to_check_and_what_to_do(rule: str) -> None:
    text = (RUNBOOKS / f"{rule}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Symptom", "Check", "Act"]
    assert f"Rule `{rule}`" in text
    parts = re.split(r"^## .*$", text, flags=re.MULTILINE)
    assert all(part.strip() for part in parts)
    assert "headgate " in parts[2]


@pytest.mark.parametrize("page", [*sorted(RUNBOOKS.glob("*.md")), DOCS / "alerts.md", DOCS / "incidents.md"], ids=str)
def test_the_commands_that_a_page_names_exist_with_their_options(page: Path) -> None:
    found = ["".join(each) for each in COMMAND.findall(page.read_text(encoding="utf-8"))]
    assert found
    for written in found:
        command: click.Command = cli
        words = shlex.split(written)[1:]
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            inner = command.get_command(click.Context(command), words[0])
            if inner is None:
                break
            command, words = inner, words[1:]
        assert command is not cli, written
        assert not (isinstance(command, click.Group) and words and not words[0].startswith("-")), written
        known = {option for each in command.params for option in each.opts}
        unknown = [word for word in words if word.startswith("--") and word not in known]
        assert unknown == [], written


@pytest.mark.parametrize("rule", RULES)
def test_the_page_of_alerts_has_a_line_for_each_rule(rule: str) -> None:
    assert f"[`{rule}`](runbooks/{rule}.md)" in (DOCS / "alerts.md").read_text(encoding="utf-8")
