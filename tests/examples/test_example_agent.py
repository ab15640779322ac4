"""The agent example in front of the simulator."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from anthropic.types import ToolUseBlock

from headgate.core.money import usd
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Rule, Scenario

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "examples" / "agent" / "agent.py"


@pytest.fixture
def agent(workplace: Path, example: Callable[[str], ModuleType]) -> ModuleType:
    return example("agent/agent.py")


def main(agent: ModuleType, monkeypatch: pytest.MonkeyPatch, *told: str) -> int:
    monkeypatch.setattr(sys, "argv", ["agent.py", *told])
    return int(agent.main())


def test_it_calls_a_tool_gives_the_result_back_and_prints_what_that_cost(
    workplace: Path, headgate_simulator: SimulatorServer
) -> None:
    told = [sys.executable, str(AGENT), "Please calculate something"]
    done = subprocess.run(told, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    first, second, total = done.stderr.splitlines()
    assert first.startswith("step 1: calculate(")
    assert second.startswith("step 2: end_turn")
    billed = usd(headgate_simulator.invoice()["total"]["cost_nano"])
    assert total == f"2 calls, ${billed:f}"
    assert sum(Decimal(line.rpartition("$")[2]) for line in (first, second)) == billed


def test_it_stops_at_its_bound(
    agent: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    headgate_simulator: SimulatorServer,
) -> None:
    assert main(agent, monkeypatch, "Please calculate something", "--max-steps", "1") == 1
    assert "No answer after 1 steps." in capsys.readouterr().out
    assert len(headgate_simulator.requests()) == 1


@pytest.mark.parametrize(
    ("question", "fault", "out"),
    [
        ("hello", Fault("overloaded", retry_after_ms=1), "not available right now"),
        ("hello", Fault("error", status=400, message="no such thing"), "no such thing"),
        ("hello", Fault("refusal"), ""),
    ],
    ids=["outage", "mistake", "refusal of the model's"],
)
def test_what_is_no_answer_is_not_passed_off_as_one(
    agent: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    headgate_simulator: SimulatorServer,
    question: str,
    fault: Fault,
    out: str,
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(fault),)))
    assert main(agent, monkeypatch, question) == 1
    assert out in capsys.readouterr().out


def called(name: str, arguments: Any) -> ToolUseBlock:
    return ToolUseBlock.model_construct(type="tool_use", id="toolu_1", name=name, input=arguments)


@pytest.mark.parametrize(
    ("expression", "result"),
    [("12 * 2.5 * 0.3", "9"), ("-(1 + 2) / 4", "-0.75"), ("7", "7")],
)
def test_it_calculates(agent: ModuleType, expression: str, result: str) -> None:
    found = agent.run_tool(called("calculate", {"expression": expression}))
    assert (found["content"], found.get("is_error")) == (result, None)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("calculate", {"expression": "__import__('os').getcwd()"}),
        ("calculate", {"expression": "9 ** 9 ** 9"}),
        ("calculate", {"expression": "1 / 0"}),
        ("calculate", {"expression": "1" * 5000}),
        ("calculate", {"expression": "'a' * 3"}),
        ("calculate", {"expression": "(" * 150}),
        ("calculate", {"wrong": "1"}),
        ("calculate", {"expression": 7}),
        ("calculate", ["1"]),
        ("calculate", {}),
        ("delete_everything", {}),
    ],
)
def test_a_models_mistake_is_told_to_it_and_ends_nothing(agent: ModuleType, name: str, arguments: Any) -> None:
    found = agent.run_tool(called(name, arguments))
    assert found["is_error"] is True
    assert found["content"]


def test_the_notes_are_found_by_their_title(agent: ModuleType) -> None:
    assert "top of a canal" in agent.search_notes("What is a Headgate?")
    assert "weir" in agent.search_notes("nothing of that")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("README.md")), ids=lambda path: path.parent.name)
def test_the_pages_of_the_examples_have_python_that_parses_and_links_that_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        ast.parse(f"async def _():\n{''.join('    ' + line for line in block.splitlines(keepends=True))}")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link
