"""`headgate providers`, and what `explain` and `doctor` show of the gateway that is running."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_commands import Run
from rich.console import Console

from headgate.build import Built, build
from headgate.cli import providers as command
from headgate.cli import traffic_text
from headgate.cli.doctor_traffic import _of
from headgate.core.errors import Unavailable, UpstreamBroken, UpstreamError, UpstreamRejected
from headgate.core.exchange import Attempt, Exchange
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.settings import load
from headgate.testing.fakes import World

SECRET = "canary-" + "value"
ENV = {"ANTHROPIC_API_KEY": SECRET, "OPENAI_API_KEY": SECRET}
TOKEN = "t" * 40
CONFIG = """\
providers:
  anthropic: {requests_per_minute: 600, concurrency: 8, timeouts: {first_byte: 20s}, breaker: {slow: 9s}}
  openai: {pacing: off, breaker: off}
models:
  fast: [anthropic/claude-haiku-4-5, openai/gpt-5-mini]
retry: {budget: 30%}
degrade: [{on: overload, say: "Back soon."}]
"""
MONEY = UpstreamRejected("no", kind="money", status=402, elsewhere=True)
BROKEN = UpstreamBroken("no", kind="server", status=500, retryable=True)


class Running:
    """A gateway in this process, found by the command line through its ledger's lock file."""

    def __init__(self, folder: Path) -> None:
        (folder / "headgate.yaml").write_text(CONFIG)
        storage = f"sqlite:///{folder / 'headgate.db'}"
        settings = load(folder / "headgate.yaml", env=ENV, overrides={"storage": storage})
        self.built: Built = build(settings, env=ENV)
        self.built.ledger.open()
        app = create(self.built, ring=KeyRing(loopback=True), admin_token=Secret(TOKEN))
        self._server = BackgroundServer(app, ServerOptions(port=0, tune_gc=False)).start()
        self.built.ledger.publish(self._server.url, TOKEN)
        self.url = self._server.url

    def attempt(self, error: UpstreamError | None = None, *headers: tuple[bytes, bytes], last: bool = True) -> None:
        """As if a call had been sent to the first route of `fast`."""
        turns = self.built.turns
        port, now = turns.blocking(), turns.now()
        exchange = Exchange("ex", World().request(), now)
        attempt = Attempt(1, self.built.router.models["fast"][0], now)
        exchange.attempts.append(attempt)
        assert port.turn(exchange, attempt, until=now + 60) is None  # nobody waits
        turns.desk._provider("anthropic").headers.next_at = 0.0  # every answer is looked at
        attempt.turn.lane.read_at = 0.0  # type: ignore[attr-defined]  # and read
        port.answered(attempt, 200 if error is None else error.status, headers)
        attempt.sent, attempt.error = True, error
        attempt.first_content = now if error is None else None
        port.ended(exchange, attempt)
        if last:
            port.closed(exchange)

    def close(self) -> None:
        self._server.stop()
        self.built.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


def said(run: Run, *arguments: str, code: int = 0) -> Any:
    done = run(*arguments, "--json", **ENV)
    assert done.returncode == code, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return json.loads(done.stdout)


def lines(told: Any, step: str) -> list[tuple[str, str, str]]:
    return [(d["name"], d["value"], d["from"]) for d in told["decisions"] if d["step"] == step]


def test_without_a_gateway_nothing_is_to_be_seen_and_nothing_to_be_lifted(run: Run) -> None:
    assert "no gateway of this ledger is running" in run("providers").stdout
    assert said(run, "providers") == {"running": False, "url": None, "providers": []}
    refused = run("providers", "lift", "anthropic")
    assert refused.returncode == 1
    assert "nothing was lifted: no gateway of this ledger is running" in refused.stderr


def test_another_program_that_writes_the_ledger_is_said_to_be_no_gateway(run: Run, tmp_path: Path) -> None:
    env = {"HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'headgate.db'}"}
    built = build(load(env=env), env={})
    built.ledger.open()
    try:
        assert "writes this ledger, and is no gateway" in run("providers").stdout
    finally:
        built.close()


def test_an_account_without_money_is_shown_and_lifted(run: Run, gateway: Running) -> None:
    gateway.attempt()
    gateway.attempt(MONEY)
    done = run("providers", **ENV)
    assert done.returncode == 1
    assert (
        "anthropic  open      account (env:ANTHROPIC_API_KEY): its account has no money left; probed in" in done.stdout
    )
    assert "598 of 600 requests of your ceiling" not in done.stdout  # 10 s of it go at once
    assert "of 600 requests of your ceiling left, +10/s" in done.stdout
    assert "openai  now       nothing was sent yet" in done.stdout
    assert run("providers", "lift", "anthropic", **ENV).stdout == "anthropic: 1 breaker closed.\n"
    assert said(run, "providers", "lift", "anthropic") == {"provider": "anthropic", "lifted": 0}
    found = said(run, "providers")
    assert (found["running"], found["url"], found["providers"][0]["open"]) == (True, gateway.url, [])


def test_a_provider_that_is_misspelt_is_named_rightly(run: Run, gateway: Running) -> None:
    refused = run("providers", "lift", "antropic", **ENV)
    assert refused.returncode == 2
    assert "did you mean 'anthropic'?" in refused.stderr


def test_explain_says_without_a_gateway_what_the_configuration_says_each_with_its_line(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "headgate.yaml").write_text(CONFIG)
    told = said(run, "explain", "--model", "fast")
    assert told["gateway"] is None
    assert lines(told, "now") == [
        ("not known", "no gateway of this ledger is running: only what the configuration says", "built in")
    ]
    assert lines(told, "pace") == [
        ("1", "at most 600 requests a minute", "headgate.yaml:2:15"),
        ("2", "off: only what the provider tells with a 429 is waited for", "headgate.yaml:3:12"),
    ]
    assert lines(told, "at once") == [
        ("anthropic", "8 calls", "headgate.yaml:2:41"),
        ("openai", "follows the provider's capacity", "default"),
    ]
    opens = "opens where 50% of at least 10 calls in 1m fail, or 90% take over 9s; for 5s at first"
    assert lines(told, "breaker") == [
        ("anthropic", opens, "headgate.yaml:2:96"),
        ("openai", "off", "headgate.yaml:3:25"),
    ]
    assert ("budget", "30% of a provider's successes", "headgate.yaml:6:9") in lines(told, "retry")
    assert ("", "first_byte at anthropic: 20s", "headgate.yaml:2:68") in lines(told, "timeouts")
    assert [route["now"] for route in told["routes"]] == [None, None]


def test_explain_says_what_recovery_would_do_by_class_of_failure(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(CONFIG)
    found = {name: text for name, text, _ in lines(said(run, "explain", "--model", "fast"), "recovery")}
    first, second = "anthropic/claude-haiku-4-5", "openai/gpt-5-mini"
    assert found["overload"] == f'a 529: {first} twice, {second} twice; then say "Back soon."'
    assert found["server"] == f"a 500: {first} twice, {second} twice; then the caller gets a 503"
    assert found["timeout"] == f"no answer in time: {first}, {second}; then the caller gets a 504"
    assert found["auth"] == f"a 401: {first}, {second}; then the caller gets a 503"
    assert found["context_length"] == f"too long: {first}; then the caller gets the provider's 400"
    assert found["refusal"] == "is an answer like any other"


def test_explain_follows_the_fallbacks_and_the_other_keys_of_a_provider(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(
        "providers: {anthropic: {api_key: [env:ANTHROPIC_API_KEY, env:SECOND]}}\n"
        "models: {m: {routes: [anthropic/claude-haiku-4-5], fallback: {server: anthropic/claude-opus-4-8,\n"
        "  refusal: anthropic/claude-opus-4-8}}}\n"
    )
    done = run("explain", "--model", "m", "--json", **ENV, SECOND="obviously-another")
    found = {name: text for name, text, _ in lines(json.loads(done.stdout), "recovery")}
    haiku, opus = "anthropic/claude-haiku-4-5", "anthropic/claude-opus-4-8"
    assert found["money"].startswith(f"no money: {haiku}, another key of it; then")
    assert found["server"].startswith(f"a 500: {haiku}, {opus} 3 times; then")
    assert found["refusal"] == f"{haiku}, {opus}; then the caller gets the refusal"


def test_explain_shows_how_the_running_gateway_stands_and_passes_over_what_is_open(run: Run, gateway: Running) -> None:
    gateway.attempt()
    told = said(run, "explain", "--model", "fast")
    assert told["gateway"] == gateway.url
    here = "the gateway, now"
    assert lines(told, "now") == [
        ("anthropic", "in 5 minutes 0.0% of 1 attempts failed, and 0.0% of 1 exchanges", here),
        ("openai", "nothing was sent yet", here),
    ]
    assert ("", "0 in flight (of 8, fixed), 0 waiting", here) in lines(told, "at once")
    assert ("", "nothing is open", here) in lines(told, "breaker")
    assert ("", "anthropic: 5 retries left now", here) in lines(told, "retry")
    assert told["routes"][0]["now"]["cap"] == 8
    gateway.attempt(MONEY)
    told = said(run, "explain", "--model", "fast", code=1)
    (opened,) = [text for _, text, _ in lines(told, "breaker") if text.startswith("OPEN")]
    assert opened.startswith("OPEN: account (env:ANTHROPIC_API_KEY): its account has no money left; probed in")
    assert [bool(route["open"]) for route in told["routes"]] == [True, False]
    assert any(text.startswith("anthropic/claude-haiku-4-5 is passed over now") for text in told["findings"])
    assert "The call would go to openai/gpt-5-mini." in run("explain", "--model", "fast", **ENV).stdout


def test_explain_goes_on_where_the_running_gateway_does_not_answer(
    run: Run, gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object) -> None:
        raise Unavailable("the gateway is busy")

    monkeypatch.setattr("headgate.cli.control.ask", ask)
    told = said(run, "explain", "--model", "fast")
    assert lines(told, "now") == [("not known", "the gateway is busy: only what the configuration says", "built in")]


def test_explain_of_a_call_in_process_asks_no_gateway(run: Run, gateway: Running) -> None:
    gateway.attempt(MONEY)
    told = said(run, "explain", "--model", "claude-haiku-4-5", "--in-process")
    assert told["gateway"] is None
    assert lines(told, "now")[0][1].startswith("each process that calls in process has its own")


def test_doctor_reports_what_the_running_gateway_has_met(run: Run, gateway: Running) -> None:
    def found() -> list[tuple[str, str]]:
        done = run("doctor", "--offline", "--history", "0", "--json", **ENV)
        rows = json.loads(done.stdout)["findings"]
        return [(row["level"], row["what"]) for row in rows if row["check"] == "traffic"]

    assert found() == [("ok", f"the gateway at {gateway.url}: nothing was sent yet, and no breaker is open")]
    past = (b"anthropic-ratelimit-requests-reset", b"2020-01-01T00:00:00Z")
    for _ in range(3):
        gateway.attempt(None, past, (b"anthropic-ratelimit-requests-limit", b"50"))
    assert found() == [("warning", "anthropic: 3 of 3 answers had a reset in the past")]
    gateway.attempt(MONEY)
    assert found()[0][1].startswith("anthropic: account (env:ANTHROPIC_API_KEY): its account has no money left")


def test_doctor_without_a_gateway_says_that_it_does_not_know(run: Run) -> None:
    rows = json.loads(run("doctor", "--offline", "--history", "0", "--json").stdout)["findings"]
    (row,) = [row for row in rows if row["check"] == "traffic"]
    assert (row["level"], row["what"]) == ("skipped", "not known: no gateway of this ledger is running")


ROW: dict[str, Any] = {
    "provider": "anthropic",
    "open": [],
    "hidden": False,
    "attempts": 400,
    "attempt_error_rate": 0.12,
    "exchanges": 350,
    "exchange_error_rate": 0.01,
    "headers": {"answers": 400, "told": 400, "dropped": {}, "clock_ahead": 0.0},
}


def headers(**more: Any) -> dict[str, Any]:
    return {**ROW, "headers": {**ROW["headers"], **more}}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (ROW, []),
        (
            headers(dropped={"past": 31}, clock_ahead=-42.0),
            [("warning", "anthropic: 31 of 400 answers had a reset in the past; its clock is 42 s behind ours")],
        ),
        (
            headers(dropped={"contradictory": 1}),
            [("note", "anthropic: 1 of 400 answers had more left than their limit")],
        ),
        (headers(clock_ahead=5.0), [("note", "anthropic: its clock is 5.0 s ahead of ours")]),
        (
            headers(told=0),
            [
                (
                    "note",
                    "anthropic: none of 400 answers told a rate limit: only ceilings, 429s and caps slow calls down",
                )
            ],
        ),
        (headers(told=0, answers=19), []),
        (
            {**ROW, "hidden": True},
            [
                (
                    "warning",
                    "anthropic: in 5 minutes 12.0% of 400 attempts failed, and 1.0% of 350 exchanges: retries hide it, "
                    "and each of them costs time",
                )
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_providers_headers_and_errors_is_said(
    row: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert [(each.level, each.what) for each in _of(row)] == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (252.0, "4 min 12 s"), (3600.0, "1 h 0 min"), (300.0, "5 min")],
)
def test_durations_are_said_in_the_units_of_people(seconds: float, text: str) -> None:
    assert traffic_text.time_text(seconds) == text


def test_in_a_terminal_of_80_columns_every_line_fits_and_hostile_names_are_harmless(
    monkeypatch: pytest.MonkeyPatch, gateway: Running
) -> None:
    gateway.attempt()
    gateway.attempt(MONEY)
    from headgate.traffic_report import providers_report

    rows = providers_report(gateway.built, told=True)["providers"]
    rows[0]["paces"][0]["family"] = "\x1b[2Jevil" + "x" * 100
    out = io.StringIO()
    monkeypatch.setattr(command, "console", lambda: Console(file=out, width=80, force_terminal=True, no_color=True))
    command._print(rows)
    assert "\x1b[2J" not in out.getvalue()
    plain = [
        line.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") for line in out.getvalue().split("\n")
    ]
    assert max(len(line.replace("\x1b[1;31m", "")) for line in plain) <= 80
