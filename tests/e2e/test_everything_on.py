"""A bad day with everything switched on: both dialects, rules, weights, fallbacks by class, degradation, streams that
are mended, refusals that are followed, a budget. The ledger beside the simulator's invoice, and what is left over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from e2e_traffic import Callers, Trial  # it lies beside this file
from e2e_world import Gateway, rows  # it lies beside this file

from headgate import Gate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Match, Pace, Rule, Scenario, When

SEED, EACH = 20261122, 260
ATTEMPTS, STEPS = 3, 2
HAIKU, LUNA, OPUS = "anthropic/claude-haiku-4-5", "openai/gpt-6-luna", "anthropic/claude-opus-5"
CALM = {"breaker": "off"}  # every call is to meet its own fault
CONFIG: dict[str, object] = {
    "providers": {"anthropic": CALM, "openai": CALM},
    "models": {
        "fast": {
            "routes": [HAIKU, LUNA],
            "fallback": {"refusal": ["strong"], "context_length": [LUNA], "overload": [LUNA, "strong"]},
        },
        "strong": [OPUS],
        "spread": {"routes": [{"to": HAIKU, "weight": 1}, {"to": LUNA, "weight": 1}]},
        "cheap": {"prefer": "cost", "routes": [HAIKU, LUNA]},
        "auto": {"rules": [{"when": {"stream": True}, "use": "fast"}], "use": "cheap"},
    },
    "fallback": {"server": [LUNA, HAIKU], "refusal": [OPUS]},
    "degrade": [{"on": ["overload", "server", "timeout"], "model": "strong"}, {"say": "Later, please."}],
    "tasks": {"buffered": {"on_cut": "buffer"}, "anew": {"on_cut": "restart"}, "plain": {"degrade": "off"}},
    "budgets": [{"per": "user", "usd": "0.25", "every": "year", "then": "degrade cheap"}],
    "retry": {"attempts": ATTEMPTS, "budget": "off"},
    "timeouts": {"first_byte": "1s", "idle": "1s"},
}


def _rule(probability: float, fault: Fault, **match: Any) -> Rule:
    return Rule(fault, Match(**match), When(probability=probability))


TOO_LONG = Fault("error", status=400, type="invalid_request_error", message="prompt is too long: 9 > 8")
BAD_DAY = Scenario(
    name="bad day",
    pace=Pace(first_token_seconds=0.004, seconds_per_event=0.002),
    output_tokens=60,
    rules=(
        _rule(0.06, Fault("rate_limit", retry_after_ms=5)),
        _rule(0.06, Fault("overloaded")),
        _rule(0.03, Fault("server_error", status=500)),
        _rule(0.02, Fault("spend_limit")),
        _rule(0.02, Fault("auth")),
        _rule(0.03, TOO_LONG, dialect="anthropic"),
        _rule(0.02, Fault("drop")),
        _rule(0.02, Fault("drop", generated=True)),
        _rule(0.01, Fault("stall", after_events=5)),
        _rule(0.03, Fault("cut", after_events=1)),
        _rule(0.05, Fault("cut", after_events=6)),
        _rule(0.03, Fault("cut", after_events=5, how="fin")),
        _rule(0.03, Fault("no_terminal")),
        _rule(0.03, Fault("error_event", after_events=1)),
        _rule(0.03, Fault("error_event", after_events=5)),
        _rule(0.04, Fault("malformed_event", after_events=2)),
        _rule(0.06, Fault("malformed_event", after_events=6)),
        _rule(0.02, Fault("truncate")),
        _rule(0.05, Fault("refusal")),
        _rule(0.04, Fault("refusal", after_tokens=8)),
    ),
)


class Mixed(Trial):
    """A trial with a task, and a wish for streams that break off."""

    @property
    def headers(self) -> dict[str, str]:
        task = ("buffered", "anew", "plain", "")[self.number % 4]
        asks = {"x-headgate-on-cut": "restart"} if task == "anew" else {}
        return {**super().headers, "x-headgate-task": task, "x-headgate-session": f"s{self.number % 11}", **asks}


def draw(first: int) -> list[Trial]:
    rng = Random(SEED + first)
    made: list[Trial] = []
    for number in range(first, first + EACH):
        trial = Mixed(
            number,
            rng.choice(("anthropic", "openai")),
            rng.random() < 0.7,
            rng.random() < 0.7,
            rng.choice(("fast", "spread", "cheap", "auto", "strong", HAIKU, LUNA)),
            prompt=f"{'word ' * rng.randint(1, 60)}{rng.randrange(10**9)}",
            max_tokens=rng.choice((20, 200)),
            cached=rng.random() < 0.2,
        )
        trial.api = "messages" if trial.sdk == "anthropic" else "chat"
        if trial.streamed and rng.random() < 0.1:
            trial.abort, trial.abort_after = "after_events", rng.randint(1, 8)
        made.append(trial)
    return made


@dataclass
class Run:
    trials: list[Trial]
    invoice: dict[str, Any]
    requests: list[dict[str, Any]]
    exchanges: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    accounts: list[dict[str, Any]]


@pytest.fixture(scope="module", params=["gateway", "in-process"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder: Path = tmp_path_factory.mktemp("everything")
    trials = draw(0 if request.param == "gateway" else EACH)
    with SimulatorServer(BAD_DAY, seed=SEED) as sim:
        if request.param == "gateway":
            ledger = folder / "gateway.db"
            with Gateway(folder, sim.url, sim.openai_url, overrides=CONFIG) as gateway:
                callers = Callers(gateway.url, f"{gateway.url}/v1", lambda: httpx2.Client(timeout=30),
                                  lambda: httpx2.AsyncClient(timeout=30))  # fmt: skip
                callers.run(trials, tasks=16, threads=4, ended=lambda: None)
                invoice = sim.invoice(wait=10)
        else:
            ledger = folder / "own.db"
            env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url,
                   "ANTHROPIC_API_KEY": "of-anthropic", "OPENAI_API_KEY": "of-openai"}  # fmt: skip
            with Gate.load(env=env, storage=f"sqlite:///{ledger}", wait=lambda state: 0.0, **CONFIG) as gate:
                callers = Callers(sim.url, sim.openai_url, gate.client, gate.async_client)
                callers.run(trials, tasks=16, threads=4, ended=lambda: None)
                invoice = sim.invoice(wait=10)
        requests = sim.requests(wait=10)
    return Run(trials, invoice, requests, *(rows(ledger, name) for name in ("exchanges", "attempts", "accounts")))


def test_the_day_was_as_bad_as_meant(run: Run) -> None:
    assert not [trial.errors for trial in run.trials if trial.errors]
    assert len({request["fault"] for request in run.requests} & {rule.fault.kind for rule in BAD_DAY.rules}) >= 10
    assert sum(trial.outcome == "answered" for trial in run.trials) > EACH * 0.7
    assert len(run.exchanges) == EACH
    providers = {(row["dialect"], row["provider"]) for row in run.exchanges if row["provider"]}
    assert len(providers) == 4  # both dialects at both providers


def test_every_request_stands_in_one_attempt_and_nothing_was_sent_beyond_the_bound(run: Run) -> None:
    known = Counter(row["request_id"] for row in run.attempts if row["request_id"])
    assert not [name for name, count in known.items() if count > 1]
    assert set(known) <= {request["request_id"] for request in run.requests}
    asked = [request for request in run.requests if not request["path"].endswith("/count_tokens")]  # free, near a cap
    assert len(run.attempts) >= len(asked)
    each = Counter(row["exchange_id"] for row in run.attempts)
    assert max(each.values()) <= ATTEMPTS + STEPS


def test_no_attempt_is_booked_below_its_bill_and_what_was_counted_is_booked_exactly(run: Run) -> None:
    lines = {line["request_id"]: line for line in run.invoice["lines"]}
    pairs = [(row, lines.get(row["request_id"])) for row in run.attempts if row["request_id"]]
    off = [(row, line) for row, line in pairs if row["cost_nano"] != (line["cost_nano"] if line else 0)]
    assert not [each for each in off if not each[0]["estimated"]]
    below = [each for each in off if each[1] is not None and each[0]["cost_nano"] < each[1]["cost_nano"]]
    assert not below, below[:3]
    assert sum(row["cost_nano"] for row in run.attempts) >= run.invoice["total"]["cost_nano"]
    assert sum(row["cost_nano"] for row in run.exchanges) == sum(row["cost_nano"] for row in run.attempts)


def test_nothing_is_held_when_nothing_is_in_flight(run: Run) -> None:
    assert run.accounts
    assert {(row["held_nano"], row["held_tokens"]) for row in run.accounts} == {(0, 0)}
    spent = sum(row["spent_nano"] for row in run.accounts)
    assert spent == sum(row["cost_nano"] for row in run.exchanges)
