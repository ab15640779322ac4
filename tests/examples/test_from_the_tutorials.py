"""Every block of "From the tutorials" that is ours runs, and prints what it says it prints."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-the-tutorials.md").read_text(encoding="utf-8")
OURS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
THEIRS = re.findall(r"^```py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SECTIONS = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("code", OURS, ids=[str(number) for number in range(1, len(OURS) + 1)])
def test_our_code_prints_what_the_page_says(code: str, workplace: Path) -> None:
    said = io.StringIO()
    names: dict[str, object] = {"__name__": "__main__"}
    try:
        with contextlib.redirect_stdout(said):
            exec(compile(code, "from-the-tutorials.md", "exec"), names)
    finally:
        gate = names.get("gate")
        if gate is not None:
            gate.close()  # type: ignore[attr-defined]  # a Gate, by its name
    assert said.getvalue().splitlines() == re.findall(r"# -> (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize("code", THEIRS, ids=[str(number) for number in range(1, len(THEIRS) + 1)])
def test_their_code_is_code(code: str) -> None:
    lines = "".join(f"    {line}" for line in code.replace("..., ", "").replace(", ...", "").splitlines(keepends=True))
    ast.parse(f"def _():\n{lines}")


def test_every_section_has_theirs_and_ours_and_a_place_in_the_table() -> None:
    assert len(SECTIONS) == 8
    for section in SECTIONS:
        text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        assert "```py\n" in text, section
        assert "```python\n" in text, section
        anchor = section.lower().replace(" ", "-")
        assert f"(#{anchor})" in PAGE, section


def test_every_link_to_a_heading_finds_it() -> None:
    for page, anchor in re.findall(r"\]\(([a-z-]+\.md)#([^)]+)\)", PAGE):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        headings = [
            re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        ]
        assert anchor in headings, f"{page}#{anchor}"
