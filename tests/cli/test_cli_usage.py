"""`headgate usage`: tables, JSON, CSV, times and filters."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import cli_records as records
import click
import pytest
from cli_commands import Run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from headgate.cli.since import read_moment
from headgate.cli.text import print_table, safe

HOSTILE = "\x1b]0;owned\x07\x1b[31m\u202eevil\u009b2J"


@pytest.fixture
def ledger(tmp_path: Path) -> None:
    now = time.time()
    records.write(
        tmp_path / "headgate.db",
        records.exchange("ex_0001", now - 10 * 86400, user="ada"),
        records.exchange("ex_0002", now - 60, user="ada", cost_nano=2_000_000_001),
        records.exchange("ex_0003", now - 50, user="ben", tenant="globex", estimated=True),
        records.exchange("ex_0004", now - 40, user=HOSTILE),
        records.exchange("ex_0005", now - 30, user="=1+1"),
    )


@pytest.mark.usefixtures("ledger")
def test_json_has_the_total_and_the_rows_with_money_as_decimal_strings(run: Run) -> None:
    done = run("usage", "--by", "user", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"total", "rows"}
    total = found["total"]
    named = ("exchanges", "attempts", "cost_usd", "estimated_usd", "held_usd", "input_tokens", "output_tokens")
    assert set(named) <= set(total)
    assert (total["exchanges"], total["attempts"]) == (5, 10)
    assert (total["cost_usd"], total["estimated_usd"], total["held_usd"]) == ("2.006000001", "0.0015", "0")
    assert (total["input_tokens"], total["output_tokens"]) == (500, 150)
    ada = next(row for row in found["rows"] if row["user"] == "ada")
    assert ada["cost_usd"] == "2.001500001"
    assert sum(row["exchanges"] for row in found["rows"]) == 5


@pytest.mark.usefixtures("ledger")
def test_since_and_filters_narrow_what_is_counted(run: Run) -> None:
    assert json.loads(run("usage", "--since", "24h", "--json").stdout)["total"]["exchanges"] == 4
    assert json.loads(run("usage", "--until", "24h", "--json").stdout)["total"]["exchanges"] == 1
    assert json.loads(run("usage", "--tenant", "globex", "--json").stdout)["total"]["exchanges"] == 1
    assert json.loads(run("usage", "--since", "2000-01-01", "--json").stdout)["total"]["exchanges"] == 5


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
def test_names_made_of_terminal_commands_reach_no_terminal(run: Run, form: tuple[str, ...]) -> None:
    done = run("usage", "--by", "user", *form)
    assert done.returncode == 0
    assert "owned" in done.stdout
    for forbidden in ("\x1b", "\x07", "\u202e", "\u009b"):
        assert forbidden not in done.stdout


@pytest.mark.usefixtures("ledger")
def test_csv_has_one_line_per_row_and_no_formula(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("usage", "--by", "user", "--csv").stdout)))
    assert len(rows) == 4
    assert {row["user"] for row in rows} >= {"ada", "ben", "'=1+1"}
    assert next(row for row in rows if row["user"] == "ben")["cost_usd"] == "0.0015"


@pytest.mark.usefixtures("ledger")
def test_the_table_has_no_colour_and_no_broken_line_away_from_a_terminal(run: Run) -> None:
    done = run("usage", "--by", "user,tenant,model")
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["user", "tenant", "model"]
    assert len(lines) == 1 + 4 + 1
    assert lines[-1].split()[0] == "total"


def test_a_terminal_too_narrow_for_a_table_loses_no_digit() -> None:
    out = io.StringIO()
    narrow = Console(file=out, force_terminal=True, width=30, color_system=None)
    print_table(("user", "cost", "tokens"), [("somebody@example", "$1234.567890123", "987,654,321")], left=1, to=narrow)
    shown = out.getvalue()
    assert "$1234.567890123" in shown
    assert "987,654,321" in shown


def test_no_ledger_is_said_in_a_sentence(run: Run) -> None:
    done = run("usage")
    assert done.returncode == 2
    assert "there is no ledger at headgate.db" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("--by", "colour"), ("--since", "yesterday"), ("--json", "--csv"), ("--by", "user,user")]
)
def test_a_wrong_option_is_misuse(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("usage", *arguments).returncode == 2


def test_a_ledger_for_each_process_has_to_be_named(run: Run) -> None:
    done = run("usage", HEADGATE_STORAGE="sqlite:///headgate-{pid}.db")
    assert done.returncode == 2
    assert "name one of them" in done.stderr


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))
def test_a_date_without_an_offset_is_universal_time(told: datetime) -> None:
    told = told.replace(microsecond=0)
    assert read_moment(told.isoformat(), now=0.0, option="--since") == told.replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "ago"), [("24h", 86400), ("7d", 7 * 86400), ("90m", 5400), ("1w", 7 * 86400), ("30s", 30)]
)
def test_an_age_counts_back_from_now(text: str, ago: float) -> None:
    assert read_moment(text, now=1e9, option="--since") == 1e9 - ago


@pytest.mark.parametrize("text", ["", "7", "-1d", "tomorrow", "2026-13-01", "1e3h"])
def test_what_is_neither_an_age_nor_a_date_is_misuse(text: str) -> None:
    with pytest.raises(click.BadParameter):
        read_moment(text, now=1e9, option="--since")


@given(st.text())
def test_safe_text_is_printable_and_leaves_the_harmless_alone(text: str) -> None:
    shown = safe(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    if text.isascii() and text.isprintable():
        assert shown == text
