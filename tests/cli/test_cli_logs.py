"""`headgate logs show`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cli_records as records
import pytest
from cli_commands import Run


@pytest.fixture
def _ledger(tmp_path: Path) -> None:
    now = time.time()
    records.write(
        tmp_path / "headgate.db",
        records.exchange("ex_00aa01", now - 60),
        records.exchange("ex_00aa02", now - 50, user="\x1b[2Jben"),
        records.exchange("ex_00bb03", now - 40),
    )


pytestmark = pytest.mark.usefixtures("_ledger")


def test_the_tree_shows_each_attempt_with_its_wait_its_error_and_its_cost(run: Run) -> None:
    done = run("logs", "show", "ex_00aa01")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ex_00aa01  complete 200")
    first = next(i for i, line in enumerate(lines) if "attempt 1" in line)
    waited = next(i for i, line in enumerate(lines) if "waited 500 ms" in line)
    second = next(i for i, line in enumerate(lines) if "attempt 2" in line)
    assert first < waited < second
    assert "429" in lines[first]
    assert "busy rate_limit_error" in lines[first]
    assert "$0.0015" in done.stdout
    assert "req_1" in done.stdout


def test_each_attempt_has_the_prices_that_it_was_charged_by(run: Run, tmp_path: Path) -> None:
    """The exchange has those of its last attempt, and a guess may be in another."""
    odd = records.exchange("ex_00cc04", time.time() - 30)
    odd.attempts[0].price_version, odd.attempts[0].cost_nano = "2026-11-20+ceiling", 900_000
    records.write(tmp_path / "headgate.db", odd)
    lines = run("logs", "show", "ex_00cc04").stdout.splitlines()
    charged = [line.partition("(")[0].strip("│ ") for line in lines if "at most" in line]
    assert charged == ["$0.0009, prices 2026-11-20+ceiling", "$0.0015, prices 2026-11-20"]


def test_an_unmistakable_beginning_is_enough_with_or_without_ex(run: Run) -> None:
    for text in ("ex_00bb", "00bb"):
        assert run("logs", "show", text).stdout.startswith("ex_00bb03")


def test_a_beginning_of_several_lists_them_and_is_misuse(run: Run) -> None:
    done = run("logs", "show", "ex_00aa")
    assert done.returncode == 2
    assert "ex_00aa01" in done.stderr
    assert "ex_00aa02" in done.stderr


def test_an_unknown_exchange_ends_with_1(run: Run) -> None:
    assert run("logs", "show", "ex_ffff").returncode == 1


def test_the_last_one_as_json_has_money_as_decimal_strings(run: Run) -> None:
    done = run("logs", "show", "--last", "--json")
    found = json.loads(done.stdout)
    assert found["exchange"]["id"] == "ex_00bb03"
    assert found["exchange"]["cost_usd"] == "0.0015"
    assert [each["number"] for each in found["attempts"]] == [1, 2]
    assert found["attempts"][0]["bound_usd"] == "0.002"
    assert not any(name.endswith("_nano") for name in found["exchange"])


def test_a_name_made_of_terminal_commands_is_written_out(run: Run) -> None:
    done = run("logs", "show", "ex_00aa02")
    assert "\x1b" not in done.stdout
    assert "\\x1b[2Jben" in done.stdout


def test_which_exchange_has_to_be_said(run: Run) -> None:
    assert run("logs", "show").returncode == 2
    assert run("logs", "show", "--last", "ex_00aa01").returncode == 2
