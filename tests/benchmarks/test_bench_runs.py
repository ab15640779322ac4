"""The benchmarks run. What they measure is not asserted: that depends on the machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import parser

ROOT = Path(__file__).resolve().parents[2]


def test_the_import_benchmark_prints_its_numbers_and_writes_them_as_json(tmp_path: Path) -> None:
    out = tmp_path / "numbers.json"
    command = [sys.executable, "-m", "benchmarks", "imports", "--quick", "--json", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert "import headgate, wall time" in ended.stdout
    found = json.loads(out.read_text())
    assert {"date", "commit", "cpu", "cores", "kernel", "python", "load_average"} <= found["machine"].keys()
    numbers = {number["name"]: number for number in found["numbers"]}
    assert numbers["import headgate, wall time"]["value"] > 0
    # Unlike a time, this one is the same on every machine.
    assert numbers["providers' SDKs imported by it"]["value"] == 0, numbers["providers' SDKs imported by it"]["note"]


def test_a_benchmark_that_does_not_exist_is_refused_with_the_names_of_those_that_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["speed"])

    assert ended.value.code == 2
    assert "in-process" in capsys.readouterr().err


def test_without_names_all_benchmarks_are_asked_for() -> None:
    assert parser().parse_args([]).benchmark == []
