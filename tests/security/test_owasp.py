"""docs/owasp.md: every risk of every edition is there, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "owasp.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert name in names_in(file)


@pytest.mark.parametrize("edition", [2023, 2025, 2026])
def test_every_risk_of_an_edition_is_in_the_table_and_in_a_section(edition: int) -> None:
    table = PAGE.partition("| 2023 (v1.1) |")[2].partition("\n\n")[0]
    for number in range(1, 11):
        risk = f"LLM{number:02d}:{edition}"
        assert risk in table
        assert any(risk in text.partition("**Headgate**")[0] for text in SECTIONS.values()), risk


def test_every_agentic_risk_is_in_the_table() -> None:
    rows = re.findall(r"^\| (ASI\d\d) \|", PAGE, re.MULTILINE)
    assert rows == [f"ASI{number:02d}" for number in range(1, 11)]


def test_no_risk_is_named_without_its_edition() -> None:
    assert not re.findall(r"LLM\d\d(?!:20(?:23|25|26))", PAGE)


def test_every_section_says_what_headgate_does_what_is_left_and_what_shows_it() -> None:
    for title, text in SECTIONS.items():
        if title.startswith("Agentic"):
            continue
        assert "**Headgate**" in text, title
        assert "**The application**" in text, title
        assert re.search(r"`tests/[\w/]+\.py::", text.partition("**Tests:**")[2]), title
