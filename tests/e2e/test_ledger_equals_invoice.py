"""The books against the bill: what the ledger says, and what the simulated provider would charge.

The simulator prices by code that shares nothing with ours (docs/simulator.md). Each trial's requests carry its name, so
that also the requests whose answers never arrived are found on both sides.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from e2e_gateway import GatewayProcess  # it lies beside this file
from e2e_traffic import PROVIDER_KEY, Callers, Trial, draw  # it lies beside this file

from headgate import Gate
from headgate.stores.reader import Reader
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Match, Pace, Rule, Scenario, When

SEED = 20261121
EACH = 600  # trials for each way in
KILL_AFTER = 200  # of the gateway's trials


def _rule(probability: float, fault: Fault, **match: Any) -> Rule:
    return Rule(fault, Match(**match), When(probability=probability))


BAD_DAY = Scenario(
    name="bad day",
    pace=Pace(first_token_seconds=0.004, seconds_per_event=0.002),
    output_tokens=60,
    rules=(
        # A storm: for a while every other request is turned away.
        Rule(Fault("rate_limit", retry_after_ms=2), when=When(every=2, after=200, times=60), name="storm"),
        _rule(0.02, Fault("rate_limit", retry_after_ms=5)),
        _rule(0.02, Fault("overloaded")),
        _rule(0.01, Fault("server_error", status=500)),
        _rule(0.01, Fault("server_error", status=502, html=True)),
        _rule(0.01, Fault("server_error", status=503)),
        _rule(0.003, Fault("spend_limit")),
        _rule(0.005, Fault("auth")),
        _rule(0.01, Fault("error", status=400, type="invalid_request_error")),
        _rule(0.01, Fault("drop")),
        _rule(0.01, Fault("drop", how="fin")),
        _rule(0.01, Fault("drop", generated=True)),
        _rule(0.01, Fault("drop", generated=True, how="fin")),
        _rule(0.004, Fault("slow_first_token", seconds=2.0)),
        _rule(0.004, Fault("slow_first_token", seconds=2.0, before="content")),
        _rule(0.01, Fault("slow_first_token", seconds=0.1)),
        _rule(0.003, Fault("stall", after_events=1)),
        _rule(0.003, Fault("stall", after_events=5)),
        _rule(0.01, Fault("stall", after_events=4, seconds=0.05)),
        _rule(0.01, Fault("cut", after_events=1)),
        _rule(0.015, Fault("cut", after_events=5)),
        _rule(0.01, Fault("cut", after_events=1, how="fin")),
        _rule(0.015, Fault("cut", after_events=5, how="fin")),
        _rule(0.01, Fault("no_terminal")),
        _rule(0.01, Fault("no_terminal", keep_usage=True)),
        _rule(0.01, Fault("error_event", after_events=0)),
        _rule(0.01, Fault("error_event", after_events=1)),
        _rule(0.01, Fault("error_event", after_events=5)),
        _rule(0.01, Fault("malformed_event", after_events=5)),
        _rule(0.01, Fault("truncate")),
        _rule(0.01, Fault("refusal")),
        _rule(0.01, Fault("refusal", after_tokens=8)),
        _rule(0.01, Fault("failed")),
        _rule(0.01, Fault("failed", after_tokens=8)),
    ),
)


@dataclass
class Run:
    """What one run left behind."""

    trials: list[Trial]
    requests: list[dict[str, Any]]
    invoice: dict[str, Any]
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    ledgers: list[Path] = field(default_factory=list)


def _settings(sim: SimulatorServer, storage: Path) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": sim.url,
        "OPENAI_BASE_URL": sim.openai_url,
        "ANTHROPIC_API_KEY": PROVIDER_KEY,
        "OPENAI_API_KEY": PROVIDER_KEY,
        "HEADGATE_STORAGE": f"sqlite:///{storage}",
        "HEADGATE_TIMEOUTS__FIRST_BYTE": "1.0s",
        "HEADGATE_TIMEOUTS__IDLE": "1.0s",
        # On this bad day every call is to meet its fault: nothing is left alone for a while because of the others'.
        "HEADGATE_PROVIDERS__ANTHROPIC__BREAKER": "off",
        "HEADGATE_PROVIDERS__OPENAI__BREAKER": "off",
        "HEADGATE_RETRY__BUDGET": "off",
    }


def _through_gateways(sim: SimulatorServer, folder: Path, trials: Sequence[Trial]) -> Path:
    """One gateway process is killed while calls are in flight; another goes on with its ledger."""
    storage = folder / "gateway.db"
    env = _settings(sim, storage)
    gateway = GatewayProcess(env, folder)
    left = threading.Semaphore(0)

    def run(part: Sequence[Trial], url: str) -> None:
        callers = Callers(url, f"{url}/v1", lambda: httpx2.Client(timeout=30), lambda: httpx2.AsyncClient(timeout=30))
        callers.run(part, tasks=24, threads=6, ended=left.release)

    first = trials[: KILL_AFTER * 4 // 3]
    caller = threading.Thread(target=run, args=(first, gateway.url))
    caller.start()
    for _ in range(KILL_AFTER):
        left.acquire()
    gateway.kill()
    caller.join()
    gateway = GatewayProcess(env, folder)
    try:
        run(trials[len(first) :], gateway.url)
        sim.invoice(wait=10)
    finally:
        code = gateway.stop()
    assert code == 0
    return storage


def _in_process(sim: SimulatorServer, folder: Path, trials: Sequence[Trial]) -> Path:
    storage = folder / "in-process.db"
    with Gate.load(env=_settings(sim, storage), wait=lambda state: 0.0) as gate:
        Callers(sim.url, sim.openai_url, gate.client, gate.async_client).run(
            trials, tasks=24, threads=6, ended=lambda: None
        )
        sim.invoice(wait=10)
        gate.flush()
    return storage


def _rows(storage: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(storage)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """1,200 trials, half through gateways and half in process, on one bad day at the provider."""
    folder = tmp_path_factory.mktemp("ledger-equals-invoice")
    trials = draw(SEED, 2 * EACH)
    with SimulatorServer(BAD_DAY, seed=SEED) as sim:
        ledgers = [_through_gateways(sim, folder, trials[:EACH]), _in_process(sim, folder, trials[EACH:])]
        made = Run(trials, sim.requests(wait=10), sim.invoice(wait=10), ledgers=ledgers)
    for storage in ledgers:
        made.exchanges += _rows(storage, "exchanges")
        made.attempts += _rows(storage, "attempts")
    return made


@dataclass
class Pair:
    """A request that the provider saw, and the attempt that stands for it."""

    trial: Trial
    request: dict[str, Any]
    line: dict[str, Any] | None
    attempt: dict[str, Any] | None

    @property
    def billed(self) -> int:
        return 0 if self.line is None else self.line["cost_nano"]


@pytest.fixture(scope="module")
def pairs(run: Run) -> list[Pair]:
    """By the provider's request id; the rest, trial by trial, in order."""
    lines = {line["request_id"]: line for line in run.invoice["lines"]}
    trial_of = {trial.name: trial for trial in run.trials}
    exchange_of = {row["id"]: row for row in run.exchanges}
    tried: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(run.attempts, key=lambda row: (row["exchange_id"], row["number"])):
        tried[exchange_of[row["exchange_id"]]["correlation_id"]].append(row)
    found: list[Pair] = []
    rest: list[Pair] = []
    for request in run.requests:
        trial = trial_of[request["headers"]["x-trial"]]
        same = [row for row in tried[trial.name] if row["request_id"] == request["request_id"]]
        pair = Pair(trial, request, lines.get(request["request_id"]), same[0] if same else None)
        found.append(pair)
        if same:
            tried[trial.name].remove(same[0])
        else:
            rest.append(pair)
    for pair in rest:
        nameless = [row for row in tried[pair.trial.name] if not row["request_id"]]
        if nameless:
            pair.attempt = nameless[0]
            tried[pair.trial.name].remove(nameless[0])
    return found


def _shown(pairs: Sequence[Pair]) -> str:
    """The first few, for whoever has to find out why."""
    keys = ("outcome", "status", "error_kind", "cost_nano", "bound_nano", "estimated", "output_tokens")
    return "\n".join(
        f"{p.trial.api} stream={p.trial.streamed} abort={p.trial.abort} {p.trial.outcome} fault={p.request['fault']!r}"
        f" {p.request['ending']} line={p.line} attempt={p.attempt and {k: p.attempt[k] for k in keys}}"
        for p in pairs[:5]
    )


def test_the_bad_day_had_every_fault_and_every_kind_of_caller(run: Run) -> None:
    assert not [trial.errors for trial in run.trials if trial.errors]
    struck = {request["fault"] for request in run.requests if request["fault"]}
    assert {"storm", *(rule.fault.kind for rule in BAD_DAY.rules if not rule.name)} <= struck
    assert sum(trial.outcome == "answered" for trial in run.trials) > EACH
    assert sum(trial.outcome == "aborted" for trial in run.trials) > 80
    served = Counter((trial.api, trial.streamed) for trial in run.trials if trial.outcome == "answered")
    assert len(served) == 7, served  # each API, streamed and not; embeddings have no stream
    assert min(served.values()) > EACH // 25, served
    endings = Counter(row["ending"] for row in run.exchanges)
    assert set(endings) == {"complete", "refused", "failed", "cut", "abandoned", "cancelled", "killed"}, endings


def test_every_request_that_the_provider_saw_stands_in_exactly_one_attempt(run: Run, pairs: list[Pair]) -> None:
    missing = [pair for pair in pairs if pair.attempt is None]
    assert not missing, _shown(missing)
    known = Counter(row["request_id"] for row in run.attempts if row["request_id"])
    assert not {name: count for name, count in known.items() if count > 1}
    assert set(known) <= {request["request_id"] for request in run.requests}


def test_every_exchange_has_exactly_one_row_and_none_is_made_up(run: Run) -> None:
    assert len({row["id"] for row in run.exchanges}) == len(run.exchanges)
    by_trial = Counter(row["correlation_id"] for row in run.exchanges)
    assert set(by_trial.values()) == {1}
    assert set(by_trial) <= {trial.name for trial in run.trials}
    rows = {row["correlation_id"]: row["id"] for row in run.exchanges}
    for trial in run.trials:
        if trial.exchange:
            assert rows.get(trial.name) == trial.exchange
    seen = {request["headers"]["x-trial"] for request in run.requests}
    assert seen <= set(rows)


def test_an_attempt_whose_usage_was_reported_costs_what_the_invoice_says_to_the_nano_dollar(pairs: list[Pair]) -> None:
    exact = [p for p in pairs if p.attempt is not None and not p.attempt["estimated"]]
    wrong = [p for p in exact if p.attempt is not None and p.attempt["cost_nano"] != p.billed]
    assert not wrong, _shown(wrong)
    assert sum(p.billed > 0 for p in exact) > EACH


def test_only_calls_whose_usage_did_not_arrive_are_estimated(pairs: list[Pair]) -> None:
    estimated = [p for p in pairs if p.attempt is not None and p.attempt["estimated"]]
    # The provider wrote it, but the caller, the killed process or our timer had closed the connection by then.
    excused = {"abandoned", "cancelled", "killed"}
    wrong = [
        p
        for p in estimated
        if p.line is not None
        and p.line["reported"]
        and p.attempt is not None
        and p.attempt["outcome"] not in excused
        and p.attempt["error_kind"] != "timeout"
    ]
    assert not wrong, _shown(wrong)


def test_what_is_charged_by_estimate_is_not_below_the_invoice(pairs: list[Pair]) -> None:
    """In its sum; a single estimate may miss by a few tokens (docs/metering.md), and rarely does."""
    estimated = [p for p in pairs if p.attempt is not None and p.attempt["estimated"]]
    assert sum(p.attempt["cost_nano"] for p in estimated if p.attempt) >= sum(p.billed for p in estimated)
    below = [p for p in estimated if p.attempt is not None and p.attempt["cost_nano"] < p.billed]
    assert len(below) <= len(estimated) // 20, _shown(below)
    far = [p for p in below if p.attempt is not None and p.attempt["cost_nano"] < p.billed * 0.75]
    assert not far, _shown(far)


def test_no_attempt_costs_more_than_its_bound(run: Run) -> None:
    assert not [row for row in run.attempts if row["bound_nano"] is None or row["cost_nano"] > row["bound_nano"]]


def test_the_sums_agree_and_nothing_stays_held(run: Run) -> None:
    spent: Counter[str] = Counter()
    for row in run.attempts:
        spent[row["exchange_id"]] += row["cost_nano"]
    assert {row["id"]: row["cost_nano"] for row in run.exchanges if row["attempts"]} == {
        row["id"]: spent[row["id"]] for row in run.exchanges if row["attempts"]
    }
    assert all(row["outcome"] for row in run.attempts)
    totals = [Reader(storage).usage().total for storage in run.ledgers]
    assert sum(total.exchanges for total in totals) == len(run.exchanges)
    assert sum(total.attempts for total in totals) == len(run.attempts)
    assert sum(total.cost_nano for total in totals) == sum(spent.values())
    assert sum(total.held_nano for total in totals) == 0
    assert sum(total.cost_nano for total in totals) >= run.invoice["total"]["cost_nano"]


def test_the_killed_gateway_left_a_row_for_every_call_it_had_sent(run: Run) -> None:
    killed = [row for row in run.attempts if row["outcome"] == "killed"]
    assert killed
    assert all(row["cost_nano"] == row["bound_nano"] and row["estimated"] for row in killed)
