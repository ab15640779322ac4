"""Deferred jobs: a promise now, the answer when there is room, for its owner only."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
from batch_files import MakeGate, claude

from headgate import Gate
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.gateway.server import BackgroundServer
from headgate.jobs import deferred
from headgate.jobs.deferred import Deferred
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario, When

LADDER = [{"on": "any", "use": "defer"}, {"on": "budget", "use": "defer"}]
CALL = claude("", "hello")["params"]
ONE, TWO = ("-".join(("hg", name, str(n) * 24)) for n, name in enumerate(("one", "two"), 1))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred, "LOOK", 0.05)
    monkeypatch.setattr(deferred, "LONGEST", 0.2)


class World:
    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def serve(self, gate: Gate) -> str:
        ring = KeyRing(loopback=True)
        for name, key in (("acme", ONE), ("other", TWO)):
            ring.add(digest(key), KeyRecord(name, name, tenant=name))
        app = create(gate.built, ring=ring, admin_token=Secret("t" * 40))
        return self._stack.enter_context(BackgroundServer(app)).url


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack)


def ask(url: str, key: str = ONE, **headers: str) -> httpx2.Response:
    return httpx2.post(
        f"{url}/v1/messages", json=CALL, headers={"x-api-key": key, "anthropic-version": "2023-06-01", **headers}
    )


def look(url: str, job: str, key: str = ONE) -> httpx2.Response:
    return httpx2.get(f"{url}/v1/headgate/jobs/{job}", headers={"x-api-key": key})


def finished(seen: Callable[[], httpx2.Response]) -> httpx2.Response:
    end = time.monotonic() + 30
    while (answer := seen()).status_code == 202:
        assert time.monotonic() < end, answer.text
        time.sleep(0.05)
    return answer


def test_a_call_that_prefers_to_be_answered_later_is_and_only_its_owner_has_the_answer(
    make_gate: MakeGate, world: World
) -> None:
    gate = make_gate(degrade=LADDER)
    url = world.serve(gate)
    promised = ask(url, Prefer="respond-async")
    assert (promised.status_code, promised.headers["preference-applied"]) == (202, "respond-async")
    job = promised.json()["id"]
    assert promised.headers["location"] == f"/v1/headgate/jobs/{job}"
    answer = finished(lambda: look(url, job))
    assert (answer.status_code, answer.headers["x-headgate-job"]) == (200, "done")
    assert answer.json()["content"]
    assert look(url, job, TWO).status_code == 404
    assert look(url, "job_unknown").status_code == 404
    gate.flush()
    rows = gate.built.ledger.reader().recent(limit=10)
    assert [row["tenant"] for row in rows if row["correlation_id"] == job and row["cost_nano"] > 0] == ["acme"]


def test_without_the_step_the_preference_is_only_a_preference(gate: Gate, world: World) -> None:
    assert ask(world.serve(gate), Prefer="respond-async").status_code == 200


def test_a_call_that_the_provider_fails_is_promised_and_answered_when_the_provider_is_back(
    make_gate: MakeGate, world: World, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=[Rule(Fault("server_error", status=500), Match(), When(first=4))]))
    url = world.serve(make_gate(degrade=LADDER, retry={"attempts": 2}))
    promised = ask(url)
    assert (promised.status_code, promised.json()["status"]) == (202, "queued")
    assert "defer" in promised.headers["x-headgate-degraded"]
    assert finished(lambda: look(url, promised.json()["id"])).json()["content"]


def test_a_call_over_the_budget_waits_for_the_budget(
    make_gate: MakeGate, world: World, headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate(degrade=LADDER, budgets=[{"per": "tenant", "usd": "0.00001", "every": "day"}])
    url = world.serve(gate)
    promised = ask(url)
    assert promised.status_code == 202, promised.text
    job = promised.json()["id"]
    time.sleep(0.3)
    assert look(url, job).status_code == 202
    assert headgate_simulator.requests() == []
    gate.set_budget("tenant/day", usd=1, tenant="acme")
    assert finished(lambda: look(url, job)).status_code == 200


def test_news_that_come_with_the_end_do_not_hold_it_up(make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ended in the moment of the stop kept a gateway from ending (Python 3.11's `asyncio.wait_for`)."""
    monkeypatch.setattr(deferred, "LOOK", 60.0)
    work = Deferred(make_gate(degrade=LADDER).built)

    async def run() -> None:
        await work.start()
        while not _waits(work):
            await asyncio.sleep(0)
        work._news.set()
        async with asyncio.timeout(20):
            await work.stop()

    asyncio.run(run())


def _waits(work: Deferred) -> bool:
    return bool(getattr(work._news, "_waiters", None))


def test_the_same_request_with_the_same_idempotency_key_is_one_job(make_gate: MakeGate, world: World) -> None:
    url = world.serve(make_gate(degrade=LADDER))
    told: dict[str, Any] = {"Prefer": "respond-async", "Idempotency-Key": "once"}
    first, again = ask(url, **told).json()["id"], ask(url, **told).json()["id"]
    assert first == again
    assert ask(url, TWO, **told).json()["id"] != first


def test_a_promise_outlives_the_gateway_that_made_it(
    make_gate: MakeGate, world: World, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=[Rule(Fault("server_error", status=500), Match(), When(first=10**6))]))
    gate = make_gate(degrade=LADDER, retry={"attempts": 1})
    with ExitStack() as stack:
        job = ask(World(stack).serve(gate), Prefer="respond-async").json()["id"]
    gate.close()
    headgate_simulator.load(None)
    url = world.serve(make_gate(degrade=LADDER))
    assert finished(lambda: look(url, job)).json()["content"]
    assert httpx2.delete(f"{url}/v1/headgate/jobs/{job}", headers={"x-api-key": ONE}).json()["deleted"]
    assert look(url, job).status_code == 404


def test_a_mistake_of_the_callers_is_the_jobs_answer(make_gate: MakeGate, world: World) -> None:
    url = world.serve(make_gate(degrade=LADDER))
    wrong = {**CALL, "max_tokens": 10**9}
    headers = {"x-api-key": ONE, "anthropic-version": "2023-06-01", "Prefer": "respond-async"}
    job = httpx2.post(f"{url}/v1/messages", content=json.dumps(wrong), headers=headers).json()["id"]
    answer = finished(lambda: look(url, job))
    assert (answer.status_code, answer.headers["x-headgate-job"]) == (400, "failed")
