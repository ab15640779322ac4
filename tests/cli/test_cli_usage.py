"""`headgate usage`: tables, JSON, CSV, times and filters."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import cli_records as records
import click
import pytest
from cli_commands import Run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from headgate.cli.since import read_moment
from headgate.cli.text import print_table, safe
from headgate.core.caller import Caller
from headgate.core.exchange import Exchange
from headgate.core.usage import Usage
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricepins import PRICES_FILE, packaged
from headgate.policy.pricing import cost_nano

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


# Time buckets, zones and tags


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("bucket", ["hour", "day", "week", "month"])
def test_every_bucket_adds_up_to_the_total(run: Run, bucket: str) -> None:
    found = json.loads(run("usage", "--by", bucket, "--zone", "Asia/Kathmandu", "--json").stdout)
    assert sum(row["exchanges"] for row in found["rows"]) == 5
    assert [row[bucket] for row in found["rows"]] == sorted(row[bucket] for row in found["rows"])


def test_a_date_and_a_day_are_the_zones(run: Run, tmp_path: Path) -> None:
    late = datetime(2026, 11, 19, 23, 30, tzinfo=UTC).timestamp()  # 00:30 on the 20th in Berlin
    records.write(tmp_path / "headgate.db", records.exchange("ex_0001", late))
    asked = ("usage", "--by", "day", "--since", "2026-11-20", "--json")
    assert json.loads(run(*asked).stdout)["rows"] == []
    (row,) = json.loads(run(*asked, "--zone", "Europe/Berlin").stdout)["rows"]
    assert row["day"] == "2026-11-20"


def test_tags_break_down_and_narrow(run: Run, tmp_path: Path) -> None:
    now = time.time()
    tagged = [records.exchange(f"ex_000{place}", now - 60) for place in range(3)]
    for each, team in zip(tagged, ("search", "search", "o'brien"), strict=True):
        each.request.caller = Caller(tags=MappingProxyType({"team": team}))
    records.write(tmp_path / "headgate.db", *tagged)
    found = json.loads(run("usage", "--by", "tag:team,month", "--json").stdout)
    assert {row["tag:team"]: row["exchanges"] for row in found["rows"]} == {"search": 2, "o'brien": 1}
    assert json.loads(run("usage", "--tag", "team=o'brien", "--json").stdout)["total"]["exchanges"] == 1
    assert run("usage", "--by", "tag:team").stdout.splitlines()[0].split()[0] == "tag:team"


@pytest.mark.parametrize(
    "arguments",
    [("--zone", "Europe/Nowhere"), ("--zone", "../etc"), ("--tag", "team"), ("--by", "tag:"), ("--by", "minute")],
)
def test_a_wrong_zone_or_tag_is_misuse(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("usage", *arguments).returncode == 2


# Repricing


def spent(name: str, usage: Usage, *, user: str, version: str = "2026-11-20", cost: int | None = None) -> Exchange:
    """An exchange charged by the package's prices, or as told; its row does not hold `usage.service_tier`."""
    made = records.exchange(name, time.time() - 60, user=user)
    last = made.attempts[-1]
    price = PriceBook.load().price_for("anthropic", "claude-haiku-4-5", last.started)
    last.usage, last.price_version = usage, version
    last.cost_nano = cost_nano(price, usage, at=last.started) if cost is None else cost
    return made


@pytest.fixture
def cheaper(tmp_path: Path) -> Path:
    """A price file in which Haiku's input costs half, and its output ten times."""
    top = json.loads(packaged(PRICES_FILE))
    top["date"] = "2026-11-21"
    for entry in top["providers"]["anthropic"]["models"]:
        if entry["id"] == "claude-haiku-4-5":
            entry["p"][0][1] |= {"i": 500_000, "o": 50_000_000}
    path = tmp_path / "cheaper.json"
    path.write_text(json.dumps(top))
    return path


@pytest.fixture
def history(tmp_path: Path) -> None:
    records.write(
        tmp_path / "headgate.db",
        spent("ex_0001", Usage(1_000), user="ada"),  # 1,000,000 -> 500,000
        spent("ex_0002", Usage(output_tokens=100), user="ben"),  # 500,000 -> 5,000,000
        spent("ex_0003", Usage(1_000), user="ben", cost=1_100_000),  # the row cannot tell why
        spent("ex_0004", Usage(1_000), user="cleo", version="2024-01-01", cost=7_000_000),  # assumed: 500,000
    )


@pytest.mark.usefixtures("history")
def test_history_is_repriced_under_a_file_and_the_difference_is_shown_per_row(run: Run, cheaper: Path) -> None:
    done = run("usage", "--reprice", str(cheaper), "--by", "user", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["reprice"]["version"].startswith("2026-11-21@")
    assert found["reprice"]["attempts"] == {"exact": 6, "context": 1, "assumed": 1}  # 4 first attempts cost nothing
    rows = {row["user"]: row for row in found["rows"]}
    assert (rows["ada"]["cost_usd"], rows["ada"]["repriced_usd"], rows["ada"]["difference_usd"]) == (
        "0.001",
        "0.0005",
        "-0.0005",
    )
    assert (rows["ben"]["cost_usd"], rows["ben"]["repriced_usd"]) == ("0.0016", "0.0061")
    assert (rows["ben"]["not_repriced_attempts"], rows["ben"]["not_repriced_usd"]) == (1, "0.0011")
    assert (rows["cleo"]["assumed_attempts"], rows["cleo"]["assumed_usd"]) == (1, "0.0005")
    total = found["total"]
    assert (total["attempts"], total["cost_usd"], total["difference_usd"]) == (8, "0.0096", "-0.0025")


@pytest.mark.usefixtures("history")
def test_what_is_not_exact_is_said_under_the_table(run: Run, cheaper: Path) -> None:
    done = run("usage", "--reprice", str(cheaper), "--by", "user")
    assert "6 exact\n" in done.stdout
    assert "1 kept: charged for what their rows do not hold" in done.stdout
    assert "1 assumed: repriced as standard service" in done.stdout
    assert "What was kept, $0.0011 of the cost" in done.stdout
    assert "-$0.0005" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("total"))
    assert line.split()[1:] == ["8", "$0.0096", "$0.0071", "-$0.0025", "1"]


@pytest.mark.usefixtures("history")
def test_the_present_prices_change_nothing_and_csv_has_a_row_each(run: Run) -> None:
    done = run("usage", "--reprice", "2026-11-20", "--by", "user", "--user", "ada", "--csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["user"], row["cost_usd"], row["repriced_usd"], row["difference_usd"]) == ("ada", "0.001", "0.001", "0")
    assert "Repriced under 2026-11-20" in run("usage", "--reprice", "current").stdout


@pytest.mark.usefixtures("history")
def test_own_prices_of_the_configuration_hold_over_the_other_version(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("prices: {anthropic/claude-haiku-4-5: {input: 3, output: 5}}\n")
    found = json.loads(run("usage", "--reprice", "2026-11-20", "--user", "ada", "--json").stdout)
    assert found["reprice"]["version"].startswith("2026-11-20+")
    assert found["total"]["repriced_usd"] == "0.003"


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("2020-01-01", "There are 2026-11-20"),
        ("none.json", "cannot be read"),
        ("headgate.db.log.jsonl/x", "cannot be read"),
        ("2026-11-20+00000000", "other prices in headgate.yaml"),
    ],
)
@pytest.mark.usefixtures("history")
def test_a_version_that_is_not_at_hand_is_told_with_those_that_are(run: Run, version: str, told: str) -> None:
    done = run("usage", "--reprice", version)
    assert done.returncode == 2
    assert told in done.stderr
