"""docs/clients.md names the versions that the locks pin."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
PYTHON = [
    ("dev", "anthropic"),
    ("dev", "openai"),
    ("legacy", "anthropic"),
    ("legacy", "openai"),
    ("clients-frameworks", "anthropic"),
    ("clients-frameworks", "openai"),
    ("clients-frameworks", "langchain-anthropic"),
    ("clients-frameworks", "langchain-openai"),
    ("clients-frameworks", "llm"),
    ("clients-frameworks", "llm-anthropic"),
    ("clients-frameworks", "pydantic-ai-slim"),
    ("clients-instructor", "anthropic"),
    ("clients-instructor", "openai"),
    ("clients-instructor", "instructor"),
]
NPM = json.loads((Path(__file__).parent / "package.json").read_text(encoding="utf-8"))["dependencies"]


def _row(name: str) -> str:
    return next(line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line)


@pytest.mark.parametrize(("lock", "name"), PYTHON)
def test_the_page_names_the_locked_version(lock: str, name: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8")
    pinned = re.search(rf"^{re.escape(name)}==(\S+)", text, re.MULTILINE)
    assert pinned is not None
    assert pinned[1] in re.split(r"[ ,|]+", _row(name))


@pytest.mark.parametrize("name", [name for name in NPM if name != "zod"])
def test_the_page_names_the_version_of_package_json(name: str) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line]
    assert any(NPM[name] in re.split(r"[ ,|]+", row) for row in rows)
