"""Scenario files, rules, the shipped scenarios, the control doors and determinism."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headgate.core.errors import ConfigError
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import SHIPPED, Fault, Match, Rule, When, load_scenario
from headgate.testing.simulator.scenario import Script, Seen

BODY = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "tokens: 40"}]}
BEARER = {"authorization": "Bearer fake"}


def seen(**more: Any) -> Seen:
    told: dict[str, Any] = {
        "dialect": "openai",
        "path": "/v1/chat/completions",
        "generates": True,
        "model": "gpt-6-luna",
        "stream": False,
        "headers": {b"x-team": b"red"},
        "body": b'{"messages":[{"content":"the weather"}]}',
    }
    return Seen(**(told | more))


def struck(when: When, count: int = 12, seed: int = 0) -> list[int]:
    script = Script([Rule(Fault("rate_limit"), when=when)], seed)
    return [n for n in range(1, count + 1) if script.strike(seen()) is not None]


@pytest.mark.parametrize(
    ("when", "hits"),
    [
        (When(), list(range(1, 13))),
        (When(nth=(2, 5)), [2, 5]),
        (When(every=4), [4, 8, 12]),
        (When(every=4, offset=1), [1, 5, 9]),
        (When(first=3), [1, 2, 3]),
        (When(after=10), [11, 12]),
        (When(every=2, after=4, times=2), [6, 8]),
        (When(probability=0.0), []),
        (When(probability=1.0, first=1), [1]),
    ],
)
def test_a_rule_strikes_exactly_the_requests_it_says(when: When, hits: list[int]) -> None:
    assert struck(when) == hits


def test_lots_are_drawn_from_the_seed() -> None:
    half = When(probability=0.5)
    assert struck(half, 200) == struck(half, 200)
    assert struck(half, 200) != struck(half, 200, seed=1)
    assert 70 < len(struck(half, 200)) < 130


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        (Match(model="gpt-*"), True),
        (Match(model="claude-*"), False),
        (Match(dialect="anthropic"), False),
        (Match(stream=True), False),
        (Match(header={"X-Team": "red"}), True),
        (Match(header={"x-team": "blue"}), False),
        (Match(prompt_contains="weather"), True),
        (Match(prompt_contains="tides"), False),
        (Match(path="/v1/models*"), False),
        (Match(path="/v1/chat/*", model="gpt-6-luna", stream=False), True),
    ],
)
def test_a_rule_looks_only_at_what_it_matches(match: Match, holds: bool) -> None:
    assert match.holds(seen()) is holds


def test_a_rule_without_a_path_leaves_models_and_count_tokens_alone() -> None:
    assert not Match().holds(seen(path="/v1/models", generates=False))


def test_a_scenario_file_says_everything_that_objects_can(tmp_path: Path) -> None:
    text = """
    name: bad-day
    seed: 7
    output_tokens: 30
    pace: {first_token_seconds: 0.1, seconds_per_event: 0.02, tokens_per_event: 8}
    limits: {requests_per_minute: 50, tokens_per_minute: 30000}
    rules:
      - name: refuse the third
        match: {model: "claude-*", header: {x-team: red}}
        when: {nth: 3}
        fault: {kind: rate_limit, retry_after: 2, should_retry: false}
      - fault: drop
    """
    path = tmp_path / "bad-day.yaml"
    path.write_text(text)
    scenario = load_scenario(path)
    assert scenario == load_scenario(str(path)) == load_scenario(text)
    assert (scenario.name, scenario.seed, scenario.output_tokens) == ("bad-day", 7, 30)
    assert scenario.pace.tokens_per_event == 8
    assert scenario.limits.requests_per_minute == 50
    assert scenario.rules[0] == Rule(
        Fault("rate_limit", retry_after=2, should_retry=False),
        Match(model="claude-*", header={"x-team": "red"}),
        When(nth=(3,)),
        "refuse the third",
    )
    assert scenario.rules[1].fault == Fault("drop")


def test_every_mistake_in_a_scenario_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_scenario(
            {
                "nam": "x",
                "output_tokens": "many",
                "pace": {"seconds_per_event": -1},
                "rules": [
                    {"fault": "explode"},
                    {"fault": {"kind": "cut", "retry_after": 1}},
                    {"when": {"sometimes": 1}, "fault": {"kind": "error"}},
                    {"fault": {"kind": "drop", "how": "loudly"}},
                    "x",
                ],
            }
        )
    text = str(caught.value)
    for words in (
        "unknown key 'nam'",
        "scenario.output_tokens: expected a number",
        "scenario.pace.seconds_per_event: expected a number",
        "rules[0].fault: unknown fault 'explode'",
        "rules[1].fault: a cut fault takes no 'retry_after'",
        "rules[2].when: unknown key 'sometimes'",
        "rules[2].fault: an error fault needs a status",
        "rules[3].fault: how is one of reset, fin",
        "rules[4]: expected a mapping",
    ):
        assert words in text


@pytest.mark.parametrize("text", ["[1]\n", "{a: [\n", "nonsense\n"])
def test_text_that_is_no_scenario_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        load_scenario(text)


def test_the_standard_storm_refuses_exactly_one_request_in_five() -> None:
    script = Script(SHIPPED["storm"].rules, 0)
    kinds = Counter(rule.name if (rule := script.strike(seen())) else "" for _ in range(1500))
    assert kinds == {
        "": 1200,
        "429 with retry-after": 100,
        "429 with retry-after-ms": 100,
        "429 without a wait": 100,
    }


def test_the_shipped_scenarios_load_by_name_over_http_and_reset_empties_the_books() -> None:
    with SimulatorServer("outage") as server, httpx2.Client(base_url=server.url, headers=BEARER) as client:
        assert client.post("/v1/chat/completions", json=BODY).status_code == 503
        for name in SHIPPED:
            assert client.post("/_sim/scenario", content=name).json() == {"scenario": name}
        assert client.post("/_sim/scenario", json={"name": "mine", "rules": []}).json() == {"scenario": "mine"}
        assert client.post("/v1/chat/completions", json=BODY).status_code == 200
        assert len(client.get("/_sim/requests").json()["requests"]) == 1
        client.post("/_sim/reset")
        assert client.get("/_sim/requests").json() == {"requests": []}
        wrong = client.post("/_sim/scenario", content="rules: 5")
        assert wrong.status_code == 400
        assert "rules: expected a list" in wrong.json()["error"]
        assert client.post("/_sim/scenario", content="/some/where.yaml").status_code == 400
        assert client.post("/_sim/scenario", content=b"\xff").status_code == 400
        assert client.get("/_sim/what").status_code == 404


class Hasty:
    """A clock on which every sleep is over at once."""

    time = 1_795_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def _day(seed: int) -> list[tuple[Any, ...]]:
    clock = Hasty()
    with (
        SimulatorServer("mixed", seed=seed, clock=clock) as server,
        httpx2.Client(base_url=server.url, headers=BEARER) as client,
    ):
        answers = []
        for number in range(60):
            body = {**BODY, "messages": [{"role": "user", "content": f"hello {number}"}]}
            try:
                response = client.post("/v1/chat/completions", json=body)
                text = response.json()["choices"][0]["message"]["content"] if response.status_code == 200 else ""
                answers.append((response.status_code, response.headers["x-request-id"], text))
            except httpx2.TransportError:
                answers.append(("broken",))
            except json.JSONDecodeError:
                answers.append(("malformed",))
        bill = server.invoice()["total"]["cost_nano"]
        return [*answers, (bill,)]


def test_a_seed_fixes_the_whole_day_and_another_seed_changes_it() -> None:
    assert _day(3) == _day(3)
    assert _day(3) != _day(4)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe{}", b'{"model": 5}', b"[" * 100_000])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/messages/count_tokens"])
def test_bad_bodies_are_400s_in_the_dialect(headgate_simulator: SimulatorServer, path: str, body: bytes) -> None:
    headers = {**BEARER, "anthropic-version": "2026-10-21"} if "messages" in path else BEARER
    response = httpx2.post(headgate_simulator.url + path, content=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_other_paths_and_a_missing_version_are_refused(headgate_simulator: SimulatorServer) -> None:
    with httpx2.Client(base_url=headgate_simulator.url, headers=BEARER) as client:
        assert client.post("/v1/completions", json={}).status_code == 404
        assert client.get("/v1/messages").status_code == 404
        assert "anthropic-version" in client.post("/v1/messages", json={"model": "x"}).json()["error"]["message"]
        assert client.post("/v1/messages", json={}, headers={"anthropic-version": "2020-01-01"}).status_code == 400


def test_credentials_are_kept_nowhere(headgate_simulator: SimulatorServer) -> None:
    canary = "sk-" + "canary-0123456789"
    headers = {"authorization": f"Bearer {canary}", "x-api-key": canary, "cookie": canary, "x-kept": "yes"}
    httpx2.post(f"{headgate_simulator.url}/v1/chat/completions", json=BODY, headers=headers)
    everything = json.dumps([headgate_simulator.requests(), headgate_simulator.invoice()])
    assert canary not in everything
    assert '"x-kept": "yes"' in everything
    assert headgate_simulator.requests()[0]["credential_present"]


def test_the_example_in_the_documentation_is_a_scenario() -> None:
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    made = load_scenario(text.partition("```yaml\n")[2].partition("```")[0])
    assert (made.name, len(made.rules), len(made.tls)) == ("bad-day", 3, 2)
    assert made.batches.seconds_per_request == 2
