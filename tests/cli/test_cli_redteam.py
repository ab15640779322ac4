"""`headgate lab redteam`: what got through is told and named, advice was tried, and the exit code says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_commands import Run

_LITTLE = ("--every", "40", "--no-advice")
_OPEN = "guards: off\n"


def configured(folder: Path, text: str) -> None:
    (folder / "headgate.yaml").write_text(text)


def told(run: Run, *more: str) -> tuple[int, dict[str, Any]]:
    done = run("lab", "redteam", "--json", *more)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_without_guards_everything_gets_through_and_harmless_work_goes_on(run: Run, tmp_path: Path) -> None:
    configured(tmp_path, _OPEN)
    code, document = told(run, *_LITTLE)
    assert code == 1
    assert document["not_tried"] == 0
    (everybody,) = document["subjects"]
    assert document["got_through"] == everybody["tried"] > 0
    for work in everybody["harmless"].values():
        assert work["completed"] == work["of"] > 0
    assert not list(tmp_path.glob("*.db*"))


def test_the_report_is_written_and_tells_what_could_have_been_done(run: Run, tmp_path: Path) -> None:
    configured(tmp_path, _OPEN)
    done = run("lab", "redteam", "--family", "tool_hijack", *_LITTLE, "--report", "red.md")
    assert done.returncode == 1
    assert "got through" in done.stdout
    assert "The report is in red.md" in done.stdout
    assert "(send_email)" in (tmp_path / "red.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--report", "red.pdf"), ".html or .md"),
        (("--as", "task=nothing"), "--as"),
        (("--profile", "brave"), "brave"),
    ],
)
def test_misuse_is_refused_before_any_attack(run: Run, arguments: tuple[str, ...], words: str) -> None:
    done = run("lab", "redteam", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
