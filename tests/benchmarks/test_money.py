"""Promises 1 and 2 at a small size, with real gateways: bursts over a budget, and `kill -9` at random moments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    out = tmp_path_factory.mktemp("money") / "numbers.json"
    command = [sys.executable, "-m", "benchmarks.money", "bursts", "kills", "--callers", "100", "--runs", "2"]
    ended = subprocess.run([*command, "--json", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return {number["name"]: number["value"] for number in json.loads(out.read_text())["numbers"]}


@pytest.mark.parametrize("wrong", ["overspent", "on the invoice and not in the ledger", "held after recovery"])
def test_no_number_of_gateways_killed_leaves_the_books_wrong(numbers: dict[str, float], wrong: str) -> None:
    assert {value for name, value in numbers.items() if name.endswith(f"kill -9: {wrong}")} == {0}


def test_no_burst_spends_more_than_its_budget(numbers: dict[str, float]) -> None:
    found = [value for name, value in numbers.items() if name.endswith(": overspent") and "kill" not in name]
    assert found == [0] * 4  # two APIs, two budgets


def test_what_a_used_up_budget_has_left_is_less_than_one_calls_hold(numbers: dict[str, float]) -> None:
    left = {name: value for name, value in numbers.items() if "$0.01: left unused" in name}
    assert len(left) == 2
    assert all(value < 1 for value in left.values()), left
