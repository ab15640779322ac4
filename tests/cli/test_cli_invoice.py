"""`headgate invoice`: totals that are the lines, in every form; what is hostile, provisional or estimated."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cli_records as records
import pytest
from cli_commands import Run
from hypothesis import given
from hypothesis import strategies as st

from headgate.cli import invoice as command
from headgate.cli.invoice_text import table
from headgate.core.exchange import Ending, Exchange
from headgate.core.text import csv_cell as cell
from headgate.invoices.made import file_name
from headgate.invoices.words import csv_text, json_text, money
from headgate.policy.invoicing import Invoice, Pending, Work, make
from headgate.stores.dimensions import BUCKETS, DIMENSIONS
from headgate.stores.sqlite import SqliteLedger

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0
HOSTILE = "<img src=x onerror=alert(1)>\x1b]0;x\x07\u202e&'\""
TERMS = {
    "HEADGATE_INVOICES": '{markup: 12.5%, minimum_usd: 5, seller: "Canal <Works>", tenants: {idle: {minimum_usd: 30}}}'
}


@pytest.fixture
def ledger(tmp_path: Path) -> None:
    records.write(
        tmp_path / "headgate.db",
        records.exchange("ex_0001", OCTOBER + DAY, cost_nano=2_000_000_001),
        records.exchange("ex_0002", OCTOBER + 2 * DAY, user="ben", model="claude-opus-5-5", cost_nano=7_000_000_000),
        records.exchange("ex_0003", OCTOBER + 2 * DAY, user="ben", cost_nano=500_000_000, estimated=True),
        records.exchange("ex_0004", OCTOBER - 1, cost_nano=10**12),
        records.exchange("ex_0005", NOVEMBER, cost_nano=10**12),
        records.exchange("ex_0006", OCTOBER + DAY, tenant=HOSTILE, user="=1+1", cost_nano=1),
        records.exchange("ex_0007", OCTOBER + DAY, tenant="", cost_nano=3),
        records.exchange("ex_0008", OCTOBER + DAY, tenant="../../etc/passwd", cost_nano=5),
    )


def document(run: Run, *more: str, **env: str) -> dict[str, Any]:
    done = run("invoice", "--tenant", "acme", "--month", "2026-10", "--json", *more, **env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.usefixtures("ledger")
def test_the_lines_are_the_total_and_the_total_is_the_ledgers(run: Run) -> None:
    found = document(run)
    assert found["total_usd"] == "9.500000001"
    assert sum(Decimal(line["amount_usd"]) for line in found["lines"]) == Decimal(found["total_usd"])
    assert [line["model"] for line in found["lines"]] == ["claude-opus-5-5", "claude-haiku-4-5"]
    assert (found["total"]["reported_usd"], found["total"]["estimated_usd"]) == ("9.000000001", "0.5")
    spent = run("usage", "--tenant", "acme", "--since", "2026-10-01", "--until", "2026-11-01", "--json")
    assert json.loads(spent.stdout)["total"]["cost_usd"] == found["total_usd"]
    assert found["total"]["input_tokens"] == json.loads(spent.stdout)["total"]["input_tokens"]
    assert not found["provisional"]


@pytest.mark.usefixtures("ledger")
def test_markup_and_minimum_are_the_tenants(run: Run) -> None:
    found = document(run, **TERMS)
    assert found["markup_percent"] == "12.5"
    assert found["total"]["markup_usd"] == "1.1875"
    assert found["total_usd"] == "10.687500001"
    assert sum(Decimal(line["markup_usd"]) for line in found["lines"]) == Decimal("1.1875")
    small = document(run, "--tenant", HOSTILE, **TERMS)
    assert (small["top_up_usd"], small["total_usd"]) == ("4.999999999", "5")
    assert document(run, "--tenant", "idle", **TERMS)["total_usd"] == "30"
    assert document(run, "--tenant", "unheard of")["total_usd"] == "0"


@pytest.mark.usefixtures("ledger")
def test_a_month_begins_where_the_zone_says(run: Run) -> None:
    # In Auckland, ex_0004 (a second before October in UTC) is in October, and ex_0005 is not.
    assert document(run, "--zone", "Pacific/Auckland")["total"]["exchanges"] == 4
    assert document(run, "--zone", "America/Los_Angeles")["total"]["exchanges"] == 4
    days = document(run, "--zone", "Europe/Berlin", "--by", "day,user")
    assert [(line["day"], line["user"]) for line in days["lines"]] == [
        ("2026-10-01", "ada"),
        ("2026-10-02", "ada"),
        ("2026-10-03", "ben"),
    ]
    berlin = datetime(2026, 10, 1, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    assert days["from"] == berlin.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.usefixtures("ledger")
def test_csv_adds_up_and_holds_no_formula(run: Run) -> None:
    done = run("invoice", "--tenant", HOSTILE, "--month", "2026-10", "--by", "user", "--format", "csv", **TERMS)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["line"] for row in rows] == ["usage", "minimum", "total"]
    assert rows[0]["user"] == "'=1+1"
    assert "\x1b" not in done.stdout
    amounts = [Decimal(row["amount_usd"]) for row in rows]
    assert sum(amounts[:-1]) == amounts[-1] == 5


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.usefixtures("ledger")
def test_the_page_holds_hostile_names_as_text_only(run: Run, tmp_path: Path) -> None:
    done = run("invoice", "--tenant", HOSTILE, "--month", "2026-10", "--by", "user", "--out", "a.html", **TERMS)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "works"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "Canal <Works>" in page.text
    assert not re.search("[\x00-\x08\x0e-\x1f\u202e]", text)
    assert "default-src 'none'" in text
    assert "@media print" in text
    assert "$5.000000000" in page.text


@pytest.mark.usefixtures("ledger")
def test_the_table_adds_up_as_it_is_shown(run: Run) -> None:
    done = run("invoice", "--tenant", "acme", "--month", "2026-10", "--by", "user", **TERMS)
    rows = [line.split() for line in done.stdout.splitlines() if "$" in line]
    shown = {row[0]: Decimal(row[-1].removeprefix("$")) for row in rows if row[0] in ("ada", "ben", "total")}
    assert shown["ada"] + shown["ben"] == shown["total"] == Decimal("10.687500001")
    assert "From: Canal <Works>" in done.stdout
    assert "$0.500000000 is estimated: of 1 exchange " in done.stdout
    assert "\x1b" not in run("invoice", "--tenant", HOSTILE, "--month", "2026-10").stdout


@pytest.mark.usefixtures("ledger")
def test_all_tenants_get_a_file_each_and_none_leads_elsewhere(run: Run, tmp_path: Path) -> None:
    done = run("invoice", "--tenant", "all", "--month", "2026-10", "--format", "json", "--out", "out/2026", **TERMS)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "out" / "2026").iterdir())
    told = {json.loads(path.read_text())["tenant"]: path for path in files}
    assert set(told) == {"acme", HOSTILE, "", "../../etc/passwd", "idle"}
    assert told["acme"].name == "2026-10-acme.json"
    assert "5 invoices" in done.stderr
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert sorted(p.name for p in tmp_path.iterdir() if "2026-10" in p.name) == []


@given(st.lists(st.text(max_size=60), max_size=8, unique=True))
def test_no_two_tenants_share_a_file_even_where_case_is_ignored(tenants: list[str]) -> None:
    names = [file_name(tenant, "2026-10") for tenant in tenants]
    assert len({name.lower() for name in names}) == len(tenants)
    assert all(re.fullmatch(r"2026-10-[a-z0-9._-]{1,70}", name) and ".." not in name for name in names)


def test_a_month_that_is_not_over_is_provisional(run: Run, tmp_path: Path) -> None:
    now = time.time()
    records.write(tmp_path / "headgate.db", records.exchange("ex_0001", now - 1))
    month = datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
    done = run("invoice", "--tenant", "acme", "--month", month, "--json")
    found = json.loads(done.stdout)
    assert found["provisional"]
    assert "the month was not over" in found["notes"][0]


def test_a_call_on_its_way_makes_it_provisional(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "headgate.db"
    ledger = SqliteLedger(f"sqlite:///{path}")
    ledger.open()
    going = records.exchange("ex_0001", OCTOBER + DAY)
    going.attempts[:] = going.attempts[:1]
    going.ending = None
    try:
        from headgate.engine.blocking import run_blocking

        run_blocking(ledger.blocking().intend(going, going.attempts[0]))
        found = document(run)
        assert found["provisional"]
        assert found["on_the_way"] == {"attempts": 1, "bound_usd": "0.002"}
        assert "1 call of the month still on the way" in found["notes"][0]
    finally:
        ledger.close()


def _simulated(name: str, **more: Any) -> Exchange:
    made = records.exchange(name, OCTOBER + DAY, **more)
    made.attempts[-1].simulated = True
    made.ending = Ending.COMPLETE
    return made


def test_what_the_simulator_answered_is_said_loudly(run: Run, tmp_path: Path) -> None:
    records.write(tmp_path / "headgate.db", _simulated("ex_0001"), records.exchange("ex_0002", OCTOBER + DAY))
    found = document(run)
    assert found["simulated_usd"] == "0.0015"
    assert "1 of 2 exchanges ($0.0015)" in found["notes"][-1]
    done = run("invoice", "--tenant", "acme", "--month", "2026-10", "--format", "html")
    assert '<div class="badge">Simulated</div>' in done.stdout


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--month", "2026-10"),
        ("--tenant", "acme"),
        ("--tenant", "acme", "--month", "2026-13"),
        ("--tenant", "acme", "--month", "10-2026"),
        ("--tenant", "acme", "--month", "2026-10", "--zone", "Mars/Olympus"),
        ("--tenant", "acme", "--month", "2026-10", "--zone", "../etc/passwd"),
        ("--tenant", "acme", "--month", "2026-10", "--by", "colour"),
        ("--tenant", "acme", "--month", "2026-10", "--by", ""),
        ("--tenant", "acme", "--month", "2026-10", "--by", "user,user"),
        ("--tenant", "acme", "--month", "2026-10", "--json", "--format", "csv"),
        ("--tenant", "acme", "--month", "2026-10", "--out", "no/such/folder/a.html"),
        ("--tenant", "all", "--month", "2026-10"),
    ],
)
def test_a_wrong_option_is_misuse(run: Run, arguments: tuple[str, ...]) -> None:
    done = run("invoice", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_there_is_no_ledger_yet(run: Run) -> None:
    done = run("invoice", "--tenant", "acme", "--month", "2026-10")
    assert done.returncode == 2
    assert "there is no ledger" in done.stderr


def test_the_dimensions_are_the_stores_own() -> None:
    assert set(command.DIMENSIONS) <= set(DIMENSIONS)
    assert {"tenant", "ending", *BUCKETS} >= set(DIMENSIONS) - set(command.DIMENSIONS)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", " =1", "\t=1", "\u200b=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text)[0] in "'\\"


NANO = st.integers(0, 10**14)
WORKS = st.lists(st.builds(Work, st.tuples(st.text(max_size=12)), st.integers(1, 99), cost_nano=NANO), max_size=8)


@given(WORKS, st.integers(0, 100_000), NANO, st.text(max_size=20), NANO)
def test_every_form_adds_up_for_any_names_and_amounts(
    works: list[Work], points: int, minimum: int, tenant: str, bound: int
) -> None:
    made: Invoice = make(
        works,
        tenant=tenant,
        month="2026-10",
        zone="UTC",
        start=OCTOBER,
        end=NOVEMBER,
        issued=NOVEMBER,
        by=("user",),
        markup_basis_points=points,
        minimum_nano=minimum,
        pending=Pending(1, bound),
        seller=tenant,
    )
    total = Decimal(made.total_nano) / 10**9
    told = json.loads(json_text(made))
    assert sum(Decimal(line["amount_usd"]) for line in told["lines"]) + Decimal(told["top_up_usd"]) == total
    rows = list(csv.DictReader(io.StringIO(csv_text(made))))
    assert sum(Decimal(row["amount_usd"]) for row in rows[:-1]) == Decimal(rows[-1]["amount_usd"]) == total
    shown = money(made)
    amounts = [line.amount_nano for line in made.lines] + [made.top_up_nano]
    assert sum(Decimal(shown(nano)[1:].replace(",", "")) for nano in amounts) == total
    assert table(made).isprintable() or "\x1b" not in table(made)
    page = Page(command._writer("html")(made))
    assert shown(made.total_nano) in page.text
    assert "script" not in page.tags
