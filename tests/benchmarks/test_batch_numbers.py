"""A batch that is killed three times, at a small size: each line once in the ledger, its hold given back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    out = tmp_path_factory.mktemp("batch") / "numbers.json"
    command = [sys.executable, "-m", "benchmarks.batch", "kills", "--quick", "--json", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return {number["name"].partition(": ")[2]: number["value"] for number in json.loads(out.read_text())["numbers"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        "lines not in the ledger",
        "lines twice in the ledger and not marked",
        "lines without a result",
        "results out of order",
        "on the invoice and not in the ledger",
        "held after the end",
        "budgets off the ledger",
    ],
)
def test_no_line_and_no_money_of_a_batch_is_lost_to_kills(numbers: dict[str, float], wrong: str) -> None:
    assert numbers[wrong] == 0
