"""`headgate serve`, as a newcomer meets it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from cli_commands import LAST_WORDS, Run, Serving, clean_env, headgate, started

from headgate.cli.banner import Trial, curl_line, snippet
from headgate.core.errors import ConfigError


def _fake_key() -> str:
    return "-".join(("sk", "ant", "fake", "0" * 24))


def _printed_snippet(out: str) -> str:
    return out[out.index("import anthropic") : out.index("What it did:")]


def test_without_a_key_it_says_loudly_that_answers_are_simulated(serving: Serving) -> None:
    assert "SIMULATED ANSWERS" in serving.out
    assert "\x1b" not in serving.out


def test_the_dashboards_address_is_printed_and_answers(serving: Serving) -> None:
    line = next(line for line in serving.out.splitlines() if line.startswith("Dashboard: "))
    with urllib.request.urlopen(line.removeprefix("Dashboard: "), timeout=60) as answer:
        assert answer.status == 200
        assert b"<title>" in answer.read()


def test_the_printed_curl_line_works_as_pasted(serving: Serving) -> None:
    line = next(line for line in serving.out.splitlines() if line.startswith("curl "))
    done = subprocess.run(["sh", "-c", line], env=clean_env(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "200 OK" in done.stdout.splitlines()[0]
    assert "x-headgate-simulated: true" in done.stdout
    assert '"type":"message"' in done.stdout


def test_the_printed_python_is_five_lines_and_works_as_pasted(serving: Serving) -> None:
    code = _printed_snippet(serving.out)
    assert len(code.strip().splitlines()) == 5
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_env(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("dialect", "keys"), [("openai", False), ("anthropic", True)])
def test_the_lines_for_the_other_dialect_and_with_keys_work_too(serving: Serving, dialect: str, keys: bool) -> None:
    found = Trial(dialect, {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}[dialect])
    python = [sys.executable, "-c", snippet(serving.url, found, keys=keys)]
    shell = ["sh", "-c", curl_line(serving.url, found, keys=keys)]
    for command in (python, shell):
        env = clean_env(HEADGATE_KEY="anything")
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    assert "200 OK" in done.stdout


def test_what_was_served_is_in_the_ledger_and_marked_as_simulated(serving: Serving) -> None:
    body = b'{"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}'
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-headgate-user": "served"}
    request = urllib.request.Request(f"{serving.url}/v1/messages", body, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        exchange = response.headers["x-headgate-exchange"]
        cost = response.headers["x-headgate-cost-usd"]
    end = time.monotonic() + 60
    while time.monotonic() < end:  # until the ledger's writer has committed it, with others, some milliseconds later
        shown = json.loads(headgate("logs", "show", exchange, "--json", cwd=serving.folder).stdout)
        if shown["exchange"]:
            break
    assert shown["exchange"]["simulated"] is True
    assert shown["exchange"]["user"] == "served"
    usage = json.loads(headgate("usage", "--user", "served", "--json", cwd=serving.folder).stdout)
    assert usage["total"]["cost_usd"] == cost


def test_sigterm_ends_it_with_0_and_gives_the_ledger_back(tmp_path: Path) -> None:
    with started("serve", "--port", "0", cwd=tmp_path, until=LAST_WORDS) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
    assert (tmp_path / "headgate.db.lock").read_bytes() == b""


def test_a_second_gateway_on_the_same_ledger_is_told_its_choices(serving: Serving) -> None:
    done = headgate("serve", "--port", "0", cwd=serving.folder)
    assert done.returncode == 2
    assert "SQLite takes one writer" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_log_can_go_to_standard_output_and_the_words_then_go_elsewhere(tmp_path: Path) -> None:
    with started("serve", "--port", "0", "--log", "-", cwd=tmp_path, until='"event":"started"') as gateway:
        assert [json.loads(line)["event"] for line in gateway.out.splitlines()] == ["started"]


def test_with_one_providers_key_it_serves_that_one_and_names_the_other(tmp_path: Path) -> None:
    with started("serve", "--port", "0", cwd=tmp_path, until=LAST_WORDS, ANTHROPIC_API_KEY=_fake_key()) as gateway:
        assert "SIMULATED" not in gateway.out
        assert "anthropic.Anthropic(" in gateway.out
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(30)
        assert gateway.process.stderr is not None
        said = gateway.process.stderr.read()
    assert "openai has no key (env:OPENAI_API_KEY is not set)" in said
    assert _fake_key() not in said + gateway.out


def test_other_machines_are_never_given_invented_answers_unasked(run: Run) -> None:
    done = run("serve", "--port", "0", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "--simulator" in done.stderr


def test_off_loopback_it_does_not_start_without_a_key(run: Run) -> None:
    done = run("serve", "--port", "0", "--host", "0.0.0.0", ANTHROPIC_API_KEY=_fake_key())
    assert done.returncode == 2
    assert "no key is configured" in done.stderr


def test_the_simulator_can_be_ruled_out(run: Run) -> None:
    done = run("serve", "--port", "0", "--no-simulator")
    assert done.returncode == 2
    assert "no provider has a key" in done.stderr


def test_a_configured_key_that_cannot_be_read_stops_the_start(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("keys: [{name: a, key: env:A_KEY}, {name: b, key: env:B_KEY}]\n")
    done = run("serve", "--port", "0")
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if "headgate.yaml:1:" in line]) == 2


def test_a_keyless_local_provider_is_served_for_real() -> None:
    from headgate.cli.serve import simulator_for
    from headgate.settings import load

    local = {"providers": {"local": {"dialect": "openai", "base_url": "http://127.0.0.1:1/v1", "price": "free"}}}
    settings = load(None, env={}, overrides=local)
    assert simulator_for(settings, {}, None) is False
    assert simulator_for(settings, {}, True) is True
    with pytest.raises(ConfigError):
        simulator_for(load(None, env={}), {}, False)
