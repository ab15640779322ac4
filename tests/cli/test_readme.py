"""The documentation's Python runs as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from cli_commands import Serving, clean_env

from headgate.core.money import usd
from headgate.testing.server import SimulatorServer

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/in-process.md", "docs/many-calls.md", "docs/gateway.md", "docs/log-and-ledger.md")
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def _blocks() -> list[tuple[str, str]]:
    return [
        (f"{page}-{number}", code)
        for page in PAGES
        for number, code in enumerate(_BLOCK.findall((ROOT / page).read_text()), 1)
    ]


def _env(simulator: SimulatorServer) -> dict[str, str]:
    """Both SDKs' own variables, pointing at the simulator."""
    return clean_env(
        ANTHROPIC_BASE_URL=simulator.url,
        ANTHROPIC_API_KEY="simulated",
        OPENAI_BASE_URL=simulator.openai_url,
        OPENAI_API_KEY="simulated",
        NO_PROXY="127.0.0.1,localhost",
    )


@pytest.mark.parametrize("code", [code for _, code in _blocks()], ids=[name for name, _ in _blocks()])
def test_python_in_the_documentation_runs(
    code: str,
    serving: Serving,
    headgate_simulator: SimulatorServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In this process: the SDKs take seconds to import.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", _env(headgate_simulator))
    code = code.replace("http://127.0.0.1:8484", serving.url)
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(code, "documentation", "exec"), names)
    gate = names.get("gate")
    if gate is not None:
        gate.close()  # type: ignore[attr-defined]


def test_the_first_lines_of_the_readme_run_as_pasted(headgate_simulator: SimulatorServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _blocks()[0][1]],
        cwd=tmp_path,
        env=_env(headgate_simulator),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cost, rest = done.stdout.splitlines()[-1].split(" ", 1)
    assert rest == "USD in 1 attempts"
    assert usd(headgate_simulator.invoice()["total"]["cost_nano"]) == Decimal(cost)


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_no_link_of_the_documentation_is_dead(page: str) -> None:
    path = ROOT / page
    targets = _LINK.findall(path.read_text())
    assert not [target for target in targets if not (path.parent / target).exists()]


def test_the_readme_begins_with_ten_lines_of_python() -> None:
    assert len(_blocks()[0][1].strip().splitlines()) <= 12
