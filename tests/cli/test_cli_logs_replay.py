"""`headgate logs replay`: what two SDKs asked, asked again of the simulator through the gate."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from cli_commands import apart, headgate

from headgate.core.errors import ConfigError
from headgate.gate import Gate
from headgate.logbook.asking import body_of
from headgate.logbook.cases import Case, read_cases
from headgate.logbook.judging import conditions, unmet
from headgate.policy.comparing import Said
from headgate.testing.server import SimulatorServer

ENV = {"SIM_KEY": "simulated"}
Replay = Callable[..., "subprocess.CompletedProcess[str]"]
TURN: Any = {"role": "user", "content": "Say <b>hello</b>"}
TOOL: Any = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("replay")
    with SimulatorServer() as server:
        (folder / "headgate.yaml").write_text(
            f"providers:\n  anthropic: {{api_key: env:SIM_KEY, base_url: {server.url}}}\n"
            f"  openai: {{api_key: env:SIM_KEY, base_url: {server.openai_url}}}\n"
            "log: {bodies: full, requests: on}\n"
            f"storage: sqlite:///{folder / 'headgate.db'}\n"
        )
        with Gate.load(folder / "headgate.yaml", env=ENV) as gate:
            claude = anthropic.Anthropic(api_key="x", base_url=server.url, http_client=gate.client(), max_retries=0)
            claude.messages.create(
                model="claude-haiku-4-5", max_tokens=30, system="Be brief.", messages=[TURN], tools=[TOOL]
            )
            gpt = openai.OpenAI(api_key="x", base_url=server.openai_url, http_client=gate.client(), max_retries=0)
            gpt.chat.completions.create(model="gpt-6-luna", max_completion_tokens=30, messages=[TURN])
        yield folder


@pytest.fixture
def replay(world: Path) -> Replay:
    return lambda *told: headgate("logs", "replay", *told, cwd=world, **ENV)


def test_both_sdks_exchanges_are_asked_again_of_another_model_and_compared_side_by_side(replay: Replay) -> None:
    done = replay("--model", "gpt-6-luna", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 calls: about $0.0" in done.stderr
    told = json.loads(done.stdout)
    assert {each["before"]["model"] for each in told["cases"]} > {"gpt-6-luna"}
    assert all(each["after"]["model"].startswith("gpt-6-luna") for each in told["cases"])
    assert all(each["after"]["output"] and float(each["after"]["cost_usd"]) > 0 for each in told["cases"])
    assert float(told["totals"]["cost_usd_after"]) > 0
    assert told["totals"]["latency_ms_after"] is not None


def test_the_calls_of_a_replay_are_in_the_ledger_under_its_name_and_are_not_replayed_again(
    replay: Replay, world: Path
) -> None:
    run_id = json.loads(replay("--json", "--user", "nobody", "--limit", "1").stdout or "{}").get("run")
    assert run_id is None
    run_id = json.loads(replay("--json", "--limit", "1").stdout)["run"]
    used = json.loads(headgate("usage", "--tag", f"replay={run_id}", "--json", cwd=world, **ENV).stdout)
    assert used["total"]["exchanges"] == 1
    assert "2 calls" in replay("--dry-run", "--limit", "9").stderr


def test_beside_a_gateway_that_has_the_ledger_a_replay_has_one_of_its_own(world: Path) -> None:
    own = f"sqlite:///{world / 'replays.db'}"
    with Gate.load(world / "headgate.yaml", env=ENV) as gate:
        gate.built.ledger.open()
        before = len(gate.built.ledger.reader().recent(limit=1000))
        refused = apart("logs", "replay", "--limit", "1", cwd=world, **ENV)
        assert (refused.returncode, "--storage" in refused.stderr) == (2, True), refused.stderr
        done = apart("logs", "replay", "--limit", "1", "--storage", own, "--json", cwd=world, **ENV)
        assert done.returncode == 0, done.stderr
        assert len(gate.built.ledger.reader().recent(limit=1000)) == before
    spent = headgate("usage", "--by", "feature", cwd=world, HEADGATE_STORAGE=own, **ENV)
    assert "replay" in spent.stdout


def test_nothing_is_sent_where_it_would_cost_more_than_it_may(replay: Replay) -> None:
    done = replay("--max-usd", "0.000001")
    assert done.returncode == 2
    assert "--max-usd" in done.stderr
    assert done.stdout == ""


def test_a_stricter_policy_changes_the_verdict_and_the_answer(replay: Replay, world: Path) -> None:
    text = (world / "headgate.yaml").read_text()
    (world / "strict.yaml").write_text(text + "guards: {limits: {characters: 3}}\n")
    done = replay("--policy", "strict.yaml")
    assert done.returncode == 1
    assert "→ block" in done.stdout
    assert "content_blocked" in done.stdout


def test_an_eval_set_fails_on_a_regression_alone_and_its_page_obeys_no_answer(replay: Replay, world: Path) -> None:
    asked = {"messages": [TURN]}
    good = {"id": "good", "input": asked, "metadata": {"model": "gpt-6-luna"}, "expect": {"regex": "."}}
    nobody = {"id": "unlabelled", "input": asked, "metadata": {"model": "gpt-6-luna"}, "label": None}
    (world / "good.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(nobody)}\n")
    done = replay("good.jsonl", "--expect")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 as expected" in done.stdout
    bad = {**good, "id": "<script>bad", "output": "<script>alert(1)</script>", "expect": {"contains": "zebra"}}
    (world / "bad.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    done = replay("bad.jsonl", "--expect", "--html", "report.html")
    assert done.returncode == 1
    assert 'it does not contain "zebra"' in done.stdout
    assert "<script" not in (world / "report.html").read_text()


@pytest.mark.parametrize(
    ("expect", "text", "why"),
    [
        ("yes  please", "yes\nplease", ""),
        ({"exact": "no"}, "yes", "it is not the expected text"),
        ({"contains": ["a", "b"]}, "only a", 'it does not contain "b"'),
        ({"not_contains": "sorry"}, "so sorry", 'it contains "sorry"'),
        ({"regex": "^[0-9]+$"}, "12", ""),
        ({"json_schema": {"type": "object", "required": ["x"]}}, '{"x": 1}', ""),
        ({"json_schema": {"type": "object", "required": ["x"]}}, "{}", "it does not fit the schema"),
        ({"json_schema": {}}, "no json", "it is no JSON"),
        ({"tool": "look"}, "", ""),
        ({"tool": "send"}, "", "it does not call send"),
        ({"judge": "the same"}, "anything", ""),
    ],
)
def test_a_condition_is_met_or_says_why_not(expect: Any, text: str, why: str) -> None:
    case = Case("c", "openai", "chat", {}, "", expect=expect)
    found = unmet(case, Said(text, (("look", "{}"),)), lambda _wanted, _said: True)
    assert (found[0] if found else "").startswith(why)
    assert bool(found) == bool(why)


def test_a_label_of_json_is_met_by_the_same_values_in_any_order() -> None:
    case = Case("c", "openai", "chat", {}, "", label={"a": 1, "b": "x"})
    assert unmet(case, Said('{"b": "x", "a": 1}'), lambda *_: None) == []
    assert unmet(case, Said('{"b": "x", "a": 2}'), lambda *_: None)


@pytest.mark.parametrize("expect", [{"sounds_like": "x"}, {}, {"regex": "("}, 7])
def test_an_expectation_that_cannot_be_looked_at_is_a_mistake(expect: Any) -> None:
    with pytest.raises(ConfigError):
        conditions(Case("c", "openai", "chat", {}, "", expect=expect))


def test_what_acts_on_the_world_is_not_asked_for_again() -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}, TOOL]
    told = {"max_tokens": 5, "messages": [TURN], "tools": tools, "mcp_servers": [{"url": "x"}], "container": "c"}
    body = body_of(Case("c", "anthropic", "messages", told, "", {"model": "m"}), "", "New.")
    assert body == {"max_tokens": 5, "messages": [TURN], "tools": [TOOL], "model": "m", "system": "New."}
    chat = Case("c", "openai", "chat", {"messages": [{"role": "developer", "content": "Old"}, TURN], "store": True}, "")
    assert body_of(chat, "m", "New.") == {"messages": [{"role": "system", "content": "New."}, TURN], "model": "m"}


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"input": 3}', b'{"input": {"endpoint": "images"}}'])
def test_a_line_that_is_no_case_is_named_with_its_number(line: bytes) -> None:
    with pytest.raises(ConfigError, match=r"set\.jsonl:2"):
        list(read_cases([b'{"input": "hi"}', line], "set.jsonl"))
