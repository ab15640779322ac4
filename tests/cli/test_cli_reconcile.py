"""`headgate reconcile`: real traffic agrees with the provider's report; what is broken on purpose is named."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anthropic
import cli_records as records
import httpx2
import openai
import pytest
from cli_commands import Run

from headgate import Gate
from headgate.core.errors import ConfigError
from headgate.settings import load
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Match, Pace, Rule, Scenario

FAKE = "obviously-not-a-real-key"
OTHER = "another-obviously-fake-key"


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as running:
        yield running


@pytest.fixture
def sim(server: SimulatorServer) -> SimulatorServer:
    server.load("healthy")
    return server


def env(sim: SimulatorServer, folder: Path, **more: str) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": sim.url,
        "OPENAI_BASE_URL": sim.openai_url,
        "ANTHROPIC_API_KEY": FAKE,
        "OPENAI_API_KEY": FAKE,
        "HEADGATE_STORAGE": f"sqlite:///{folder / 'headgate.db'}",
        "HEADGATE_PROVIDERS__ANTHROPIC__BASE_URL": sim.url,
        "HEADGATE_PROVIDERS__OPENAI__BASE_URL": sim.openai_url,
        **more,
    }


class Callers:
    """Both SDKs through a gate."""

    def __init__(self, sim: SimulatorServer, folder: Path, **more: str) -> None:
        self.gate = Gate(load(env=env(sim, folder, **more)))
        http: Any = self.gate.client()
        self.anthropic = anthropic.Anthropic(api_key=FAKE, base_url=sim.url, http_client=http, max_retries=0)
        self.openai = openai.OpenAI(api_key=FAKE, base_url=sim.openai_url, http_client=http, max_retries=0)

    def message(self, text: str = "tokens: 30", *, model: str = "claude-haiku-4-5") -> None:
        said: Any = [{"role": "user", "content": text}]
        self.anthropic.messages.create(model=model, max_tokens=200, messages=said)

    def chat(self, text: str = "tokens: 30", *, model: str = "gpt-6-luna") -> None:
        self.openai.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])

    def close(self) -> None:
        self.gate.close()


@pytest.fixture
def callers(sim: SimulatorServer, tmp_path: Path) -> Iterator[Callers]:
    made = Callers(sim, tmp_path)
    yield made
    made.close()


Reconciled = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def reconciled(run: Run, sim: SimulatorServer, tmp_path: Path) -> Reconciled:
    """The exit code and the document of `headgate reconcile` of today."""

    def ask(*more: str, **told: str) -> tuple[int, dict[str, Any]]:
        sim.invoice()  # waits until every request has ended
        arguments = ("reconcile", "--since", "1h", "--against", sim.url, "--json", *more)
        done = run(*arguments, **env(sim, tmp_path, **told))
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return ask


def causes(document: Mapping[str, Any], provider: str = "anthropic") -> set[str]:
    return {cause["code"] for row in document["providers"][provider]["rows"] for cause in row["causes"]}


def test_traffic_through_the_gate_agrees_with_both_providers(callers: Callers, reconciled: Reconciled) -> None:
    callers.message()
    callers.message(model="claude-opus-5-5")
    said: Any = [{"role": "user", "content": "hello"}]
    prefix: Any = [{"type": "text", "text": "word " * 9_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    for _ in range(2):
        callers.anthropic.messages.create(model="claude-sonnet-5-5", max_tokens=50, system=prefix, messages=said)
    with callers.anthropic.messages.stream(model="claude-haiku-4-5", max_tokens=90, messages=said) as stream:
        stream.until_done()
    for _ in range(2):
        callers.chat()
    callers.openai.responses.create(model="gpt-6.1-sol", input="word " * 3_000)
    callers.openai.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    callers.gate.flush()
    code, document = reconciled("--tolerance", "0%")
    assert code == 0, json.dumps(document, indent=1)
    assert document["agrees"]
    for provider, rows in (("anthropic", 3), ("openai", 3)):
        found = document["providers"][provider]
        assert found["compared"] == rows
        assert found["ledger_cost_usd"] == found["provider_cost_usd"] != "0"
    told = {row["model"]: row["names"] for row in document["providers"]["anthropic"]["rows"]}
    written = document["providers"]["anthropic"]["rows"]
    assert sum(row["ledger"]["cache_write_long_tokens"] for row in written) > 0
    assert sum(row["provider"]["cache_read_tokens"] for row in written) > 0
    assert len(told) == 3


def test_a_call_that_bypasses_headgate_is_named_with_its_key(
    sim: SimulatorServer, callers: Callers, reconciled: Reconciled
) -> None:
    callers.message()
    callers.gate.flush()
    said: Any = [{"role": "user", "content": "tokens: 40"}]
    direct = anthropic.Anthropic(api_key=OTHER, base_url=sim.url, max_retries=0)
    direct.messages.create(model="claude-haiku-4-5", max_tokens=200, messages=said)
    code, document = reconciled()
    assert code == 1
    assert causes(document) == {"not_through_headgate"}
    row = document["providers"]["anthropic"]["rows"][0]
    assert row["difference"]["output_tokens"] == 40
    assert len(row["provider"]["tokens_by_key"]) == 2
    ours = max(row["provider"]["tokens_by_key"], key=lambda key: row["provider"]["tokens_by_key"][key] < 60)
    assert any(ours in cause["text"] for cause in row["causes"])


def test_keys_that_are_named_are_compared_and_others_set_apart(
    sim: SimulatorServer, callers: Callers, reconciled: Reconciled
) -> None:
    callers.chat()
    callers.gate.flush()
    openai.OpenAI(api_key=OTHER, base_url=sim.openai_url).chat.completions.create(
        model="gpt-6-luna", messages=[{"role": "user", "content": "tokens: 9"}]
    )
    _, before = reconciled("--provider", "openai")
    keys = before["providers"]["openai"]["rows"][0]["provider"]["tokens_by_key"]
    ours = max(keys, key=lambda key: keys[key])
    code, document = reconciled("--provider", "openai", "--key", f"{ours}=openai")
    assert code == 0, json.dumps(document, indent=1)
    found = document["providers"]["openai"]
    assert found["rows"][0]["key"] == "openai"
    assert found["rows"][0]["difference"]["cost_usd"] == "0"
    assert [each["key"] for each in found["set_apart"]] == [key for key in keys if key != ours]


def test_another_price_here_than_there_names_the_rate(
    sim: SimulatorServer, tmp_path: Path, reconciled: Reconciled
) -> None:
    prices = {"HEADGATE_PRICES": "{anthropic/claude-haiku-4-5: {input: 1, output: 4}}"}
    callers = Callers(sim, tmp_path, **prices)
    callers.message()
    callers.close()
    code, document = reconciled(**prices)
    assert code == 1
    assert causes(document) == {"price"}
    row = document["providers"]["anthropic"]["rows"][0]
    assert "output tokens cost $5 per million there and $4 here" in row["causes"][0]["text"]
    assert row["differs"] == ["cost"]


def test_a_stream_that_broke_is_estimated_and_says_so(
    sim: SimulatorServer, callers: Callers, reconciled: Reconciled
) -> None:
    cut = Rule(Fault("cut", after_events=4), Match(dialect="anthropic"))
    sim.load(Scenario(pace=Pace(seconds_per_event=0.005), rules=(cut,)))
    said: Any = [{"role": "user", "content": "tokens: 150"}]
    opened = callers.anthropic.messages.stream(model="claude-haiku-4-5", max_tokens=200, messages=said)
    with suppress(anthropic.APIError, httpx2.HTTPError), opened as stream:
        stream.until_done()
    callers.gate.flush()
    code, document = reconciled("--tolerance", "0%")
    assert code == 1
    assert "estimated" in causes(document)
    difference = document["providers"]["anthropic"]["difference_usd"]
    assert difference.startswith("-")  # ours is never below


def test_usage_that_the_answer_did_not_tell_is_named(
    sim: SimulatorServer, callers: Callers, reconciled: Reconciled
) -> None:
    lie = Rule(Fault("wrong_usage", usage="lower"), Match(dialect="openai"))
    sim.load(Scenario(rules=(lie,)))
    callers.chat("tokens: 400")
    callers.gate.flush()
    code, document = reconciled("--provider", "openai")
    assert code == 1
    assert causes(document, "openai") == {"usage_untold"}


def test_a_report_that_lacks_a_key_is_named(sim: SimulatorServer, callers: Callers, reconciled: Reconciled) -> None:
    sim.load({"reports": {"hide_keys": "*"}})
    callers.message()
    callers.gate.flush()
    code, document = reconciled()
    assert code == 1
    assert causes(document) == {"not_reported"}


def test_a_report_that_tells_less_than_we_used_is_named(
    sim: SimulatorServer, callers: Callers, reconciled: Reconciled
) -> None:
    sim.load({"reports": {"percent": 90}})
    callers.message("tokens: 100")
    callers.gate.flush()
    code, document = reconciled()
    assert code == 1
    assert causes(document) == {"not_reported"}
    assert reconciled("--tolerance", "15%")[0] == 0


def test_a_provider_that_is_busy_is_asked_again(
    sim: SimulatorServer, callers: Callers, reconciled: Reconciled, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    busy = {
        "match": {"path": "/v1/organizations/*"},
        "when": {"first": 2},
        "fault": {"kind": "rate_limit", "retry_after": 7},
    }
    sim.load({"rules": [busy]})
    callers.message()
    callers.gate.flush()
    assert reconciled()[0] == 0
    assert waits[:2] == [7.0, 7.0]


def test_a_provider_that_stays_down_is_no_difference(
    run: Run, sim: SimulatorServer, callers: Callers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    sim.load({"rules": [{"match": {"path": "/v1/organization*"}, "fault": {"kind": "server_error"}}]})
    callers.message()
    callers.gate.flush()
    done = run("reconcile", "--since", "1h", "--against", sim.url, **env(sim, tmp_path))
    assert done.returncode == 2
    assert "answered 500" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_shows_the_difference_and_the_cause(
    run: Run, sim: SimulatorServer, callers: Callers, tmp_path: Path
) -> None:
    callers.message()
    callers.chat()
    callers.gate.flush()
    openai.OpenAI(api_key=OTHER, base_url=sim.openai_url).chat.completions.create(
        model="gpt-6-luna", messages=[{"role": "user", "content": "tokens: 9"}]
    )
    sim.invoice()
    done = run("reconcile", "--since", "1h", "--against", sim.url, **env(sim, tmp_path))
    assert done.returncode == 1
    assert "1 row (day and model), and all agree within 0.1%" in done.stdout
    assert "output_tokens" in done.stdout
    assert "+9" in done.stdout
    assert "bypass Headgate" in done.stdout
    assert "1 request more" in done.stdout
    every = run(
        "reconcile", "--since", "1h", "--against", sim.url, "--all", "--provider", "anthropic", **env(sim, tmp_path)
    )
    assert every.returncode == 0
    assert "claude-haiku-4-5" in every.stdout


def test_simulated_calls_are_not_held_against_a_real_provider(
    run: Run, callers: Callers, sim: SimulatorServer, tmp_path: Path
) -> None:
    callers.message()
    callers.gate.flush()
    report = tmp_path / "report.csv"
    today = datetime.now(UTC).date().isoformat()
    report.write_text(f"date,model,output_tokens\n{today},claude-haiku-4-5,0\n")
    done = run("reconcile", "--since", "1h", "--provider", "anthropic", "--against", str(report), **env(sim, tmp_path))
    assert done.returncode == 0, done.stdout


DAY = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()


@pytest.fixture
def ledger(tmp_path: Path) -> None:
    at = datetime.fromisoformat(f"{DAY}T12:00:00+00:00").timestamp()
    records.write(
        tmp_path / "headgate.db",
        records.exchange("ex_0001", at, cost_nano=1_500_000),
        records.exchange("ex_0002", at + 9, cost_nano=1_500_000),
    )


def against(run: Run, path: Path, text: str, *more: str) -> Any:
    path.write_text(text, encoding="utf-8")
    return run("reconcile", "--since", "7d", "--provider", "anthropic", "--against", str(path), *more)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    "text",
    [
        "date,model,key,input_tokens,cache_read_tokens,output_tokens,cost_usd\n{day},claude-haiku-4-5,k,200,40,60,0.003\n",
        "Cost;Output Tokens;Date;ignored;Model;Input-Tokens;cached_tokens\n"
        "$0.003;60;{day}T08:00:00Z;x;claude-haiku-4-5-20251001;200;40\n",
        "\ufeffmodel,day,input_tokens,cache_read_tokens,output_tokens\n\nclaude-haiku-4-5,{day},150,30,50\nclaude-haiku-4-5,{day},50,10,10\n",
    ],
)
def test_a_csv_in_any_order_is_understood(run: Run, tmp_path: Path, text: str) -> None:
    done = against(run, tmp_path / "r.csv", text.format(day=DAY))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("date,model,input_tokens\n", "no rows"),
        ("model,input_tokens\nm,1\n", "r.csv:2: no column for date"),
        ("date,model\n2026-11-20,m\n", "no column for a count or cost_usd"),
        ("date,model,input_tokens\n2026-13-20,m,1\n", "r.csv:2: date"),
        ("date,model,input_tokens\n2026-11-20,m,1\n2026-11-20,m,-5\n", "r.csv:3: input_tokens"),
        ("date,model,input_tokens\n2026-11-20,m,1.5\n", "r.csv:2: input_tokens"),
        ("date,model,cost_usd\n2026-11-20,m,NaN\n", "r.csv:2: cost_usd"),
        ("date,model,cost_usd\n2026-11-20,m,1e99\n", "r.csv:2: cost_usd"),
        ("date,model,cost_usd\n2026-11-20,,1\n", "r.csv:2: model"),
        ("date,model,input_tokens\n2026-11-20,m,1,234\n", "r.csv:2: more fields"),
        ("date,day,model,input_tokens\n2026-11-20,2026-11-20,m,1\n", "r.csv:1: two columns are date"),
    ],
)
def test_a_mistake_in_a_csv_has_its_line(run: Run, tmp_path: Path, text: str, said: str) -> None:
    done = against(run, tmp_path / "r.csv", text)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("ledger")
def test_all_mistakes_of_a_csv_are_told_at_once(run: Run, tmp_path: Path) -> None:
    done = against(run, tmp_path / "r.csv", "date,model,cost_usd\nx,m,1\n2026-11-20,m,y\n")
    assert "r.csv:2" in done.stderr
    assert "r.csv:3" in done.stderr


@pytest.mark.usefixtures("ledger")
def test_json_rows_and_saved_answers_of_the_vendors_are_read(run: Run, tmp_path: Path) -> None:
    rows = [
        {"date": DAY, "model": "claude-haiku-4-5", "input_tokens": 200, "cache_read_tokens": 40, "output_tokens": 60}
    ]
    assert against(run, tmp_path / "r.json", json.dumps({"rows": rows})).returncode == 0
    result = {
        "uncached_input_tokens": 200,
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
        "cache_read_input_tokens": 40,
        "output_tokens": 60,
        "server_tool_use": {"web_search_requests": 0},
        "model": "claude-haiku-4-5-20251001",
        "api_key_id": None,
    }
    usage = {"data": [{"starting_at": f"{DAY}T00:00:00Z", "results": [result]}], "has_more": False}
    amount = {"amount": "0.3", "currency": "USD", "model": "claude-haiku-4-5-20251001", "cost_type": "tokens"}
    costs = {"data": [{"starting_at": f"{DAY}T00:00:00Z", "results": [amount]}], "has_more": False}
    assert against(run, tmp_path / "r.json", json.dumps([usage, costs])).returncode == 0
    amount["amount"] = "0.4"
    assert against(run, tmp_path / "r.json", json.dumps([usage, costs])).returncode == 1
    for wrong in ("{", "[1]", '"x"', json.dumps([{"data": [{"starting_at": "x", "results": [result]}]}])):
        done = against(run, tmp_path / "r.json", wrong)
        assert done.returncode == 2
        assert "r.json" in done.stderr


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--month", "2026-11", "--since", "7d"),
        ("--month", "november"),
        ("--since", "7d", "--until", "8d"),
        ("--since", "2000-01-01"),
        ("--since", "1d", "--tolerance", "0.1"),
        ("--since", "1d", "--tolerance", "101%"),
        ("--since", "1d", "--provider", "acme"),
        ("--since", "1d", "--against", "nowhere.csv", "--provider", "openai"),
        ("--since", "1d", "--against", "report.csv"),
        ("--month", "2999-01"),
    ],
)
def test_a_wrong_option_is_misuse(run: Run, arguments: tuple[str, ...]) -> None:
    done = run("reconcile", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("ledger")
def test_without_an_admin_key_it_says_which_to_set(run: Run) -> None:
    done = run("reconcile", "--since", "1d")
    assert done.returncode == 2
    assert "ANTHROPIC_ADMIN_KEY or OPENAI_ADMIN_KEY" in done.stderr


def test_an_admin_key_goes_to_no_address_that_was_typed_and_is_never_shown(
    run: Run, sim: SimulatorServer, callers: Callers, tmp_path: Path
) -> None:
    canary = "sk-ant-" + "admin01-canary-0123456789"
    callers.message()
    callers.gate.flush()
    told = {**env(sim, tmp_path), "ANTHROPIC_ADMIN_KEY": canary}
    done = run("reconcile", "--since", "1h", "--provider", "anthropic", "--against", sim.url, "--json", **told)
    assert done.returncode == 0
    assert canary not in done.stdout + done.stderr
    import hashlib

    digests = {request["credential_sha256"] for request in sim.requests()}
    assert hashlib.sha256(canary.encode()).hexdigest() not in digests


def test_with_an_admin_key_the_vendors_own_address_is_asked(
    run: Run, sim: SimulatorServer, callers: Callers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headgate.upstream import report_client

    monkeypatch.setattr(report_client, "ANTHROPIC_URL", sim.url)
    callers.message()
    callers.gate.flush()
    key = {"ANTHROPIC_ADMIN_KEY": "sk-ant-" + "admin01-obviously-fake"}
    done = run("reconcile", "--since", "1h", "--json", **env(sim, tmp_path, **key))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["not_compared"] == ["openai"]
    ordinary = run("reconcile", "--since", "1h", **env(sim, tmp_path, ANTHROPIC_ADMIN_KEY=FAKE))
    assert ordinary.returncode == 2
    assert "refused the admin key (401)" in ordinary.stderr
    assert FAKE not in ordinary.stderr


def test_there_is_no_ledger_yet(run: Run) -> None:
    done = run("reconcile", "--since", "1d")
    assert done.returncode == 2
    assert "there is no ledger" in done.stderr


def test_what_is_read_from_files_never_breaks_otherwise_than_by_a_sentence(tmp_path: Path) -> None:
    from headgate.cli.reconcile_files import read_file

    path = tmp_path / "r.csv"
    for content in (b"\xff\xfe\x00", b"date,model,cost_usd\n\x00,\x00,\x00\n", bytes(range(256)) * 8, b'"' * 300_000):
        path.write_bytes(content)
        with pytest.raises(ConfigError):
            read_file(path)
