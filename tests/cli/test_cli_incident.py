"""`headgate incident`, and what `explain` says of incidents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_commands import Run, Serving

CONFIG = """\
models:
  fast: [anthropic/claude-haiku-4-5, openai/gpt-5-mini]
  mini: [openai/gpt-5-mini]
"""
KEYS = {"ANTHROPIC_API_KEY": "fake", "OPENAI_API_KEY": "fake"}


def said(run: Run, *arguments: str, code: int = 0) -> Any:
    done = run(*arguments, "--json", **KEYS)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_without_a_gateway_it_goes_into_the_ledger_and_is_listed_and_lifted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(CONFIG)
    made = said(run, "incident", "stop", "--model", "fast", "--for", "30m", "--why", "wrong answers", "--by", "ada")
    assert (made["scope"], made["value"], made["by"]) == ("model", "fast", "ada")
    assert made["expires"] - made["since"] == pytest.approx(1_800)
    said(run, "incident", "degrade", "--tenant", "acme", "--to", "mini")
    said(run, "incident", "slow", "--task", "nightly", "--rate", "6")
    listed = said(run, "incident", "list", code=1)["incidents"]
    assert [each["kind"] for each in listed] == ["slow", "degrade", "stop"]
    assert "slow task nightly to 6 requests per minute" in run("incident", "list").stdout
    assert "is lifted: stop model fast" in run("incident", "lift", made["id"]).stdout
    assert len(said(run, "incident", "lift", "--all")["lifted"]) == 2
    assert run("incident", "list").stdout == "No incident is on.\n"
    assert len(said(run, "incident", "list", "--ended")["incidents"]) == 3
    events = [json.loads(line) for line in (tmp_path / "headgate.db.log.jsonl").read_text().splitlines()]
    assert [each["event"] for each in events] == ["incident_set"] * 3 + ["incident_lifted"] * 3


@pytest.mark.parametrize(("model", "warned"), [("openai:gpt-5-mini", False), ("opnai:gpt-5-mini", True)])
def test_a_name_is_looked_up_as_the_incident_has_it(run: Run, tmp_path: Path, model: str, warned: bool) -> None:
    (tmp_path / "headgate.yaml").write_text(CONFIG)
    done = run("incident", "stop", "--model", model, **KEYS)
    assert (done.returncode, "typing error" in done.stderr) == (0, warned), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("stop",), 2, "name one of"),
        (("stop", "--tenant", "a", "--task", "b"), 2, "name one of"),
        (("stop", "--tenant", "a", "--for", "8d"), 2, "--for"),
        (("slow", "--tenant", "a"), 2, "--rate"),
        (("degrade", "--tenant", "a", "--to", "nothing"), 2, "no model to degrade to"),
        (("stop", "--provider", "nobody"), 2, "no provider named"),
        (("lift",), 2, "--all"),
        (("lift", "inc_nothing"), 2, "no incident"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(run: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run("incident", *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_explain_shows_what_an_incident_makes_of_a_call(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(CONFIG)
    stop = said(run, "incident", "stop", "--provider", "anthropic", "--why", "wrong answers")
    told = said(run, "explain", "--model", "fast", code=1)
    assert (told["refusal"], [bool(each["skipped"]) for each in told["routes"]]) == (None, [True, False])
    assert f"an incident is on: stop provider anthropic ({stop['id']})" in told["findings"]
    alone = said(run, "explain", "--model", "claude-haiku-4-5", code=1)
    assert (alone["refusal"]["code"], alone["refusal"]["status"]) == ("incident_stopped", 503)
    said(run, "incident", "slow", "--tenant", "acme", "--rate", "6")
    slowed = said(run, "explain", "--model", "mini", "--tenant", "acme", code=1)
    values = [each["value"] for each in slowed["decisions"] if each["step"] == "incident"]
    assert values == ["slow tenant acme to 6 requests per minute"]


def test_the_running_gateway_is_told(run: Run, serving: Serving) -> None:
    import urllib.error
    import urllib.request

    def ask() -> int:
        body = json.dumps(
            {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
        )
        request = urllib.request.Request(f"{serving.url}/v1/messages", body.encode(), method="POST")
        for name, value in (("content-type", "application/json"), ("anthropic-version", "2023-06-01")):
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert ask() == 200
    ledger = {"HEADGATE_STORAGE": f"sqlite:///{serving.folder / 'headgate.db'}"}
    made = json.loads(run("incident", "stop", "--model", "claude-haiku-4-5", "--json", **ledger).stdout)
    try:
        assert ask() == 503
    finally:
        lifted = run("incident", "lift", made["id"], **ledger)
    assert (lifted.returncode, ask()) == (0, 200)
