"""`headgate budgets`: what is left, and caps that change under a gateway that serves."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from cli_commands import LAST_WORDS, Run, apart, headgate, started
from rich.cells import cell_len
from rich.console import Console

from headgate import Gate
from headgate.cli import text
from headgate.cli.budgets_text import print_report
from headgate.core.budget import Budget
from headgate.core.errors import ConfigError
from headgate.policy.budget_scopes import claim_on
from headgate.settings import load
from headgate.settings.budgets import budgets_of
from headgate.stores.accounts_reader import AccountsReader, Wanted
from headgate.stores.reader import Reader
from headgate.stores.sqlite import SqliteLedger

HOSTILE = "\x1b]0;owned\x07\x1b[31m\u202eevil\u009b2J"
CONFIG = """\
budgets:
  - {per: user, usd: 10, soft_usd: 2, every: day}
  - {per: [tenant, user], usd: 40, tokens: 2000000, every: week, zone: Europe/Berlin}
  - {only: {tenant: acme}, usd: 500, every: month}
  - {usd: 200, every: day}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "headgate.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def budgets(config: Path) -> dict[str, Budget]:
    return {budget.id: budget for budget in budgets_of(load(config / "headgate.yaml", env={}))}


def spend(folder: Path, budget: Budget, scope: str, nano: int, tokens: int = 0) -> None:
    """As if calls had been settled on one account."""
    ledger = SqliteLedger(f"sqlite:///{folder / 'headgate.db'}")
    claim = claim_on(budget, scope, time.time())

    def write(connection: Any) -> None:
        connection.exec_driver_sql(
            "INSERT INTO accounts (id, budget, scope, period_start, period_end, spent_nano, spent_tokens) "
            "VALUES ((SELECT coalesce(max(id), 0) + 1 FROM accounts), ?, ?, ?, ?, ?, ?)",
            (budget.id, scope, claim.start, claim.end, nano, tokens),
        )

    ledger.call(write)
    ledger.close()


def listed(run: Run, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = run("budgets", *arguments, "--json")
    assert done.returncode == code, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["budgets"]
    return found


@pytest.mark.usefixtures("config")
def test_before_anything_is_spent_every_cap_is_listed_with_its_line(run: Run) -> None:
    done = run("budgets")
    assert done.returncode == 0
    assert "There is no ledger at headgate.db yet" in done.stderr
    assert "user/day: $10, headgate.yaml:2:5; begins again 20" in done.stdout
    assert "(each user)" in done.stdout
    assert "user/day/soft: warns at $2" in done.stdout
    rows = listed(run)
    assert {row["budget"]: row["cap_usd"] for row in rows} == {
        "all/day": "200",
        "all/tenant=acme/month": "500",
        "tenant+user/week/Europe/Berlin": "40",
        "user/day": "10",
        "user/day/soft": "2",
    }


def test_a_hard_cap_that_is_used_up_ends_with_one_and_a_soft_one_does_not(
    run: Run, config: Path, budgets: dict[str, Budget]
) -> None:
    spend(config, budgets["user/day/soft"], "ada", 3 * 10**9)
    assert run("budgets").returncode == 0
    spend(config, budgets["user/day"], "ada", 10**10)
    spend(config, budgets["user/day"], "bob", 8 * 10**9 - 1)
    done = run("budgets", "list")
    assert done.returncode == 1
    assert "1 of these accounts is used up." in done.stdout
    assert [row["scope"] for row in listed(run, "list", "--near", "80%", code=1)] == ["ada", "ada"]
    assert [row["scope"] for row in listed(run, "--near", "79.99%", "--budget", "user/day", code=1)] == ["ada", "bob"]
    assert run("budgets", "--scope", "bob").returncode == 0
    capped = run("budgets", "set", "user/day", "--scope", "bob", "--usd", "7")
    assert capped.returncode == 0
    assert "calls are refused until 20" in capped.stdout


def test_both_caps_of_a_budget_have_a_line_and_the_share_is_the_higher(
    run: Run, config: Path, budgets: dict[str, Budget]
) -> None:
    spend(config, budgets["tenant+user/week/Europe/Berlin"], '["acme","ada"]', 10**9, 1_900_000)
    (row,) = listed(run, "--scope", "user=ada,tenant=acme")
    assert (row["share"], row["left_tokens"], row["left_usd"]) == (0.95, 100_000, "39")
    assert row["dimensions"] == {"tenant": "acme", "user": "ada"}
    shown = run("budgets", "--scope", "tenant=acme,user=ada").stdout.splitlines()
    assert shown[2].split() == ["tenant=acme,user=ada", "$40", "$1", "$39", "2%"]
    assert shown[3].split() == ["2,000,000", "tokens", "1,900,000", "100,000", "95%"]


@pytest.mark.usefixtures("config")
def test_a_cap_is_set_and_taken_back_where_no_gateway_runs_and_told_before_and_after(run: Run, tmp_path: Path) -> None:
    done = run("budgets", "set", "user/day", "--scope", "ada", "--usd", "20")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("user/day (user ada): $10 -> $20, from now on\n$0 spent, $0 held, $20 left; begins")
    assert "$20*" in run("budgets").stdout
    assert "for others it is $10" in run("budgets").stdout
    changed = json.loads(run("budgets", "set", "all/day", "--tokens", "1_000", "--json").stdout)
    assert (changed["after"]["cap_usd"], changed["after"]["cap_tokens"]) == ("200", 1000)
    done = run("budgets", "unset", "user/day", "--scope", "user=ada")
    assert "$20 -> $10 (headgate.yaml:2:5), from now on" in done.stdout
    again = run("budgets", "unset", "user/day", "--scope", "ada")
    assert (again.returncode, "was not set here" in again.stdout) == (0, True)
    log = (tmp_path / "headgate.db.log.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in log] == ["budget_changed"] * 3
    assert json.loads(log[0])["by"] == "cli"


@pytest.mark.usefixtures("config")
def test_a_cap_of_nothing_is_said_to_let_nothing_through(run: Run) -> None:
    done = run("budgets", "set", "user/day", "--scope", "ada", "--usd", "0")
    assert "lets nothing through" in done.stdout
    assert run("budgets").returncode == 0  # closed on purpose


def test_an_override_whose_budget_is_gone_is_listed_and_can_be_taken_back(run: Run, config: Path) -> None:
    run("budgets", "set", "user/day", "--scope", "ada", "--usd", "20")
    (config / "headgate.yaml").write_text("budgets: [{usd: 5}]\n")
    assert "user/day: not in the configuration" in run("budgets").stdout
    assert run("budgets", "set", "user/day", "--scope", "ada", "--usd", "30").returncode == 2
    assert run("budgets", "unset", "user/day", "--scope", "ada").returncode == 0
    assert "user/day" not in run("budgets").stdout


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("word", ["set", "unset"])
def test_an_unknown_id_is_misuse_with_the_nearest_and_the_list(run: Run, tmp_path: Path, word: str) -> None:
    done = run("budgets", word, "user/dya", "--scope", "ada", *(["--usd", "1"] if word == "set" else []))
    assert done.returncode == 2
    assert "Did you mean user/day?" in done.stderr
    for known in ("all/day", "all/tenant=acme/month", "tenant+user/week/Europe/Berlin", "user/day/soft"):
        assert known in done.stderr
    assert word == "unset" or not (tmp_path / "headgate.db").exists()


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "user/day", "--scope", "ada"),
        ("set", "user/day", "--usd", "1"),
        ("set", "all/day", "--scope", "ada", "--usd", "1"),
        ("set", "user/day", "--scope", "ada", "--usd", "-1"),
        ("set", "user/day", "--scope", "ada", "--usd", "ten"),
        ("set", "user/day", "--scope", "ada", "--tokens", "1.5"),
        ("set", "user/day", "--scope", "\udcff", "--usd", "1"),
        ("set", "tenant+user/week/Europe/Berlin", "--scope", "ada", "--usd", "1"),
        ("--near", "80"),
        ("list", "--budget", "user/dya"),
        ("--json", "set", "all/day", "--usd", "1"),
    ],
)
def test_what_means_no_cap_or_no_account_is_misuse_in_a_sentence(run: Run, arguments: tuple[str, ...]) -> None:
    done = run("budgets", *arguments)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_without_budgets_says_so(run: Run) -> None:
    done = run("budgets")
    assert (done.returncode, done.stdout) == (0, "The configuration has no budgets.\n")


@pytest.mark.parametrize("form", [(), ("--json",), ("--all-periods",)])
def test_scopes_made_of_terminal_commands_reach_no_terminal(
    run: Run, config: Path, budgets: dict[str, Budget], form: tuple[str, ...]
) -> None:
    spend(config, budgets["user/day"], HOSTILE, 1)
    done = run("budgets", *form)
    told = run("budgets", "set", "user/day", "--scope", HOSTILE, "--usd", "1").stdout
    for said in (done.stdout, told):
        assert "owned" in said
        for forbidden in ("\x1b", "\x07", "\u202e", "\u009b"):
            assert forbidden not in said


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_long_and_wide_scopes_without_losing_a_figure(
    config: Path, budgets: dict[str, Budget], monkeypatch: pytest.MonkeyPatch, capsys: Any, width: int
) -> None:
    for scope in ("x" * 256, "日本語の利用者名" * 8, HOSTILE, "a\r\nb"):
        spend(config, budgets["user/day"], scope, 1_234_567_891)
        spend(config, budgets["tenant+user/week/Europe/Berlin"], json.dumps(["t", scope]), 1_234_567_891)
    report = AccountsReader(Reader(config / "headgate.db")).accounts(budgets.values(), time.time())
    out = io.StringIO()
    window = Console(file=out, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(text, "console", lambda *_: window)
    monkeypatch.setattr(click, "echo", lambda line="", **_: out.write(f"{line}\n"))
    print_report(report, Wanted())
    shown = out.getvalue()
    assert shown.count("$1.234567891") == 8
    assert shown.count("$8.765432109") == 4
    assert shown.count("2,000,000 tokens") == 4 + 1  # and the title's
    assert max(cell_len(line) for line in shown.splitlines()) <= width


def test_of_many_accounts_the_fullest_are_shown_and_the_rest_counted(
    run: Run, config: Path, budgets: dict[str, Budget]
) -> None:
    for number in range(5):
        spend(config, budgets["user/day"], f"u{number}", number)
    shown = run("budgets", "--budget", "user/day", "--limit", "2").stdout.splitlines()
    assert [line.split()[0] for line in shown[2:]] == ["u4", "u3", "and"]
    assert shown[-1].startswith("and 3 more: --limit 0")
    assert len(run("budgets", "--budget", "user/day", "--limit", "0").stdout.splitlines()) == 2 + 5
    assert len(listed(run, "--budget", "user/day", "--limit", "2")) == 5


def _ask(url: str, user: str) -> tuple[int, str, str]:
    """(Status, the error's body, the cost) of one call of `user`."""
    body = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "say: hello"}]}
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-headgate-user": user}
    request = urllib.request.Request(f"{url}/v1/messages", json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return response.status, "", response.headers["x-headgate-cost-usd"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), ""


def _until_refused(url: str, user: str) -> int:
    for calls in range(200):
        status, said, _ = _ask(url, user)
        if status != 200:
            assert status == 429
            assert "budget_exceeded" in said
            return calls
    raise AssertionError("the cap refuses nobody")


def test_a_user_at_his_cap_goes_on_once_it_is_raised_and_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("budgets: [{per: user, usd: 0.002, every: year}]\n")
    with started("serve", "--port", "0", cwd=tmp_path, until=LAST_WORDS) as gateway:
        assert _until_refused(gateway.url, "ada") > 0
        assert _ask(gateway.url, "bob")[0] == 200
        raised = headgate("budgets", "set", "user/year", "--scope", "ada", "--usd", "1", cwd=tmp_path)
        assert raised.returncode == 0, raised.stderr
        assert "user/year (user ada): $0.002 -> $1, from now on" in raised.stdout
        assert _ask(gateway.url, "ada")[0] == 200
        rows = json.loads(headgate("budgets", "--json", cwd=tmp_path).stdout)["budgets"]
        assert [(row["scope"], row["cap_usd"]) for row in rows] == [("bob", "0.002"), ("ada", "1")]
        for wrong in (("user/yaer", "--scope", "ada"), ("user/year",)):
            refused = headgate("budgets", "set", *wrong, "--usd", "1", cwd=tmp_path)
            assert refused.returncode == 2
            assert "user/year" in refused.stderr
    with started("serve", "--port", "0", cwd=tmp_path, until=LAST_WORDS) as gateway:
        assert _ask(gateway.url, "ada")[0] == 200
        assert headgate("budgets", "unset", "user/year", "--scope", "ada", cwd=tmp_path).returncode == 0
        assert _ask(gateway.url, "ada")[0] == 429
    events = (tmp_path / "headgate.db.log.jsonl").read_text().splitlines()
    changes = [json.loads(line) for line in events if '"event":"budget_changed"' in line]
    assert [(change["scope"], change["after_usd"], change["by"]) for change in changes] == [
        ("ada", "1", "gateway"),
        ("ada", "0.002", "gateway"),
    ]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    budgets = [{"per": "user", "usd": 10, "every": "day"}, {"per": ["tenant", "user"], "tokens": 100}]
    with Gate.load(env={}, storage=f"sqlite:///{tmp_path / 'headgate.db'}", budgets=budgets) as made:
        yield made


def test_a_program_changes_its_own_caps(gate: Gate) -> None:
    for told in ("20.5", 20.5):
        left = gate.set_budget("user/day", usd=told, user="ada", tenant="ignored")
        assert (str(left.cap_usd), left.overridden, left.scope) == ("20.5", True, "ada")
    assert gate.set_budget("tenant+user/total", tokens=5, tenant="a", user="b").left_tokens == 5
    assert [each.overridden for each in gate.budget(user="ada")] == [True]
    assert gate.unset_budget("user/day", user="ada").cap_usd == 10
    assert [each.overridden for each in gate.budget(user="ada")] == [False]


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("user/dya", {"usd": 1, "user": "ada"}),
        ("user/day", {"usd": 1}),
        ("user/day", {"user": "ada"}),
        ("user/day", {"usd": float("nan"), "user": "ada"}),
        ("user/day", {"usd": -1, "user": "ada"}),
        ("user/day", {"usd": True, "user": "ada"}),
        ("tenant+user/total", {"tokens": 1.5, "user": "ada", "tenant": "acme"}),
        ("tenant+user/total", {"tokens": 1, "user": "ada"}),
    ],
)
def test_a_program_that_names_no_account_or_no_cap_gets_a_config_error(
    gate: Gate, budget: str, told: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        gate.set_budget(budget, **told)


def test_a_program_that_holds_the_ledger_is_pointed_to_its_own_door(config: Path) -> None:
    with Gate.load(config / "headgate.yaml", env={}, storage=f"sqlite:///{config / 'headgate.db'}") as made:
        made.flush()
        done = apart("budgets", "set", "all/day", "--usd", "1", cwd=config)
        assert done.returncode == 2
        assert "gate.set_budget" in done.stderr
        assert apart("budgets", cwd=config).returncode == 0
