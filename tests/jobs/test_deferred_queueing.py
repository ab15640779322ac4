"""`then: queue`, webhooks, and what operators do with jobs: through a real gateway in front of the simulator."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import httpx2
import pytest
from batch_files import MakeGate, claude
from click.testing import CliRunner

from headgate import Gate
from headgate.cli.jobs import jobs as command
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.gateway.server import BackgroundServer
from headgate.jobs import deferred, telling
from headgate.stores.job_rows import RUNNING
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario, When

CALL = claude("", "hello")["params"]
KEY = "-".join(("hg", "one", "1" * 24))
SECRET = "s" * 32
TOKEN = "t" * 40


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred, "LOOK", 0.05)
    monkeypatch.setattr(deferred, "LONGEST", 0.2)
    monkeypatch.setattr(telling, "LOOK", 0.05)
    monkeypatch.setattr(telling, "FIRST_WAIT", 0.01)


@pytest.fixture
def serve() -> Iterator[Callable[[Gate], str]]:
    with ExitStack() as stack:

        def serving(gate: Gate) -> str:
            ring = KeyRing(loopback=True)
            ring.add(digest(KEY), KeyRecord("acme", "acme", tenant="acme"))
            gate.built.ledger.open()
            url = stack.enter_context(BackgroundServer(create(gate.built, ring=ring, admin_token=Secret(TOKEN)))).url
            gate.built.ledger.publish(url, TOKEN)
            return url

        yield serving


class Receiver:
    """A webhook that answers as it is told to, and remembers what it got."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        left, receiver = list(statuses), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(left.pop(0) if left else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"


def ask(url: str, **headers: str) -> httpx2.Response:
    told = {"x-api-key": KEY, "anthropic-version": "2023-06-01", **headers}
    return httpx2.post(f"{url}/v1/messages", json=CALL, headers=told)


def look(url: str, job: str) -> httpx2.Response:
    return httpx2.get(f"{url}/v1/headgate/jobs/{job}", headers={"x-api-key": KEY})


def until(true: Callable[[], Any]) -> Any:
    end = time.monotonic() + 30
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def finished(url: str, job: str) -> httpx2.Response:
    until(lambda: look(url, job).status_code != 202)
    return look(url, job)


BUDGET = {"per": "tenant", "usd": 1, "every": "day", "then": "queue"}


def test_a_call_over_a_budget_that_queues_is_promised_where_its_caller_takes_promises_and_refused_elsewhere(
    make_gate: MakeGate, serve: Callable[[Gate], str], headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate(budgets=[{**BUDGET, "usd": "0.003"}])
    url = serve(gate)
    assert ask(url, Prefer="respond-async").status_code == 200  # there is room: it is answered at once
    while (refused := ask(url)).status_code == 200:
        pass
    sent = len(headgate_simulator.requests())
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
    with pytest.raises(anthropic.RateLimitError):
        anthropic.Anthropic(base_url=url, api_key=KEY).messages.create(**CALL)
    promised = ask(url, Prefer="respond-async")
    assert (promised.status_code, promised.headers["x-headgate-degraded"]) == (202, "budget: defer")
    job = promised.json()["id"]
    why = until(lambda: look(url, job).json().get("why"))
    assert "has no room" in why
    assert len(headgate_simulator.requests()) == sent
    gate.set_budget("tenant/day", usd=1, tenant="acme")
    assert finished(url, job).json()["content"]


def test_jobs_that_wait_for_the_same_budget_do_not_all_find_out_each_time(
    make_gate: MakeGate, serve: Callable[[Gate], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred, "LONGEST", 3600.0)
    gate = make_gate(
        budgets=[{**BUDGET, "usd": "0.0000001"}], tasks={"t": {"degrade": [{"on": "budget", "use": "defer"}]}}
    )
    url = serve(gate)
    ids = [ask(url, **{"x-headgate-task": "t"}).json()["id"] for _ in range(6)]
    until(lambda: all("why" in look(url, each).json() for each in ids))
    time.sleep(0.3)
    gate.flush()
    tried = [row for row in gate.built.ledger.reader().recent(limit=50) if row["correlation_id"] in ids]
    assert len(tried) <= 12  # once each, and one of them for all afterwards
    before = len(tried)
    time.sleep(0.3)
    gate.flush()
    assert len([r for r in gate.built.ledger.reader().recent(limit=50) if r["correlation_id"] in ids]) - before <= 1


def test_a_kept_kind_of_answer_queues_just_as_well(make_gate: MakeGate, serve: Callable[[Gate], str]) -> None:
    url = serve(make_gate(budgets=[{**BUDGET, "usd": "0.003"}], cache="1h"))
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "Prefer": "respond-async"}
    for number in range(50):
        other = {**CALL, "messages": [{"role": "user", "content": f"say {number}"}]}
        answer = httpx2.post(f"{url}/v1/messages", json=other, headers=headers)
        if answer.status_code != 200:
            break
    assert answer.status_code == 202, answer.text


def test_a_call_over_a_limit_that_queues_runs_when_the_limit_has_room(
    make_gate: MakeGate, serve: Callable[[Gate], str], headgate_simulator: SimulatorServer
) -> None:
    limit = {"per": "tenant", "requests_per_minute": 60, "then": "queue"}
    url = serve(make_gate(limits=[limit]))
    answers = []
    with httpx2.Client() as client:
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "Prefer": "respond-async"}
        for _ in range(150):
            answers.append(client.post(f"{url}/v1/messages", json=CALL, headers=headers))
            if answers[-1].status_code != 200:
                break
    last = answers[-1]
    assert (last.status_code, last.headers["x-headgate-degraded"]) == (202, "limit: defer")
    assert finished(url, last.json()["id"]).json()["content"]


def test_a_webhook_gets_the_answer_signed_and_again_until_it_has_heard_it(
    make_gate: MakeGate, serve: Callable[[Gate], str]
) -> None:
    receiver = Receiver(500, 302, 204)
    hooks = {"webhooks": {"reports": {"to": receiver.url, "secret": "env:KEY"}}}
    url = serve(make_gate(degrade=[{"on": "any", "use": "defer"}], jobs=hooks))
    unknown = ask(url, Prefer="respond-async", **{"x-headgate-webhook": "http://169.254.169.254/"})
    assert (unknown.status_code, "jobs.webhooks" in unknown.text) == (400, True)
    job = ask(url, Prefer="respond-async", **{"x-headgate-webhook": "reports"}).json()["id"]
    until(lambda: len(receiver.got) == 3)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    headers, body = receiver.got[-1]
    told = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.digest(b"fake", told, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    said = json.loads(body)
    assert (said["type"], said["data"]["id"], said["data"]["http_status"]) == ("job.done", job, 200)
    assert said["data"]["answer"] == look(url, job).json()


def test_a_webhook_that_wants_nothing_more_is_lost_and_that_is_told(
    make_gate: MakeGate, serve: Callable[[Gate], str]
) -> None:
    receiver = Receiver(410)
    hooks = {"webhooks": {"reports": {"to": receiver.url, "secret": "env:KEY"}}}
    gate = make_gate(degrade=[{"on": "any", "use": "defer"}], jobs=hooks)
    url = serve(gate)
    job = ask(url, Prefer="respond-async", **{"x-headgate-webhook": "reports"}).json()["id"]
    shown = until(lambda: (found := cli(gate, "show", job)["webhook"])["state"] == "lost" and found)
    assert (shown["said"], len(receiver.got)) == ("410", 1)


def cli(gate: Gate, *arguments: str, code: int = 0) -> Any:
    """`headgate jobs`, beside the gateway that writes the file."""
    env = {"HEADGATE_STORAGE": gate.built.settings.storage, "HEADGATE_CONFIG": ""}
    result = CliRunner().invoke(command, [*arguments, "--json"], env=env, standalone_mode=False)
    if code:
        return result.exception
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_operators_see_jobs_and_cancel_and_retry_them_beside_the_gateway(
    make_gate: MakeGate, serve: Callable[[Gate], str]
) -> None:
    gate = make_gate(budgets=[BUDGET], degrade=[{"on": "budget", "use": "defer"}])
    gate.set_budget("tenant/day", usd="0.000001", tenant="acme")
    url = serve(gate)
    job = ask(url).json()["id"]
    listed = cli(gate, "list", "--state", "queued", "--owner", "acme")
    assert [each["id"] for each in listed["jobs"]] == [job]
    assert listed["queue"]["oldest"] is not None
    assert cli(gate, "cancel", job)["state"] == "cancelled"
    assert look(url, job).status_code == 410
    assert "is over" in str(cli(gate, "cancel", job, code=2))
    gate.set_budget("tenant/day", usd=1, tenant="acme")
    assert cli(gate, "retry", job)["state"] in ("queued", "running", "done")
    assert finished(url, job).json()["content"]
    assert "has not failed" in str(cli(gate, "retry", job, code=2))
    assert "there is no job" in str(cli(gate, "show", "job_0", code=2))


def test_a_job_that_was_under_way_when_its_process_died_is_marked_where_something_was_sent(
    make_gate: MakeGate, serve: Callable[[Gate], str], headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=[Rule(Fault("server_error", status=500), Match(), When(first=1))]))
    gate = make_gate(degrade=[{"on": "any", "use": "defer"}], retry={"attempts": 1})
    with ExitStack() as stack:
        app = create(gate.built, ring=KeyRing(loopback=True), admin_token=Secret(TOKEN))
        url = stack.enter_context(BackgroundServer(app)).url
        sent, unsent = (
            httpx2.post(
                f"{url}/v1/messages", json=CALL, headers={"anthropic-version": "2023-06-01", "Prefer": "respond-async"}
            ).json()["id"]
            for _ in range(2)
        )
        for each in (sent, unsent):
            until(lambda each=each: httpx2.get(f"{url}/v1/headgate/jobs/{each}").status_code == 200)
        deferring = gate.built.engine.ports.substitutes["defer"]
        store = deferring.store  # type: ignore[attr-defined]  # it is `Deferring`
        body = json.dumps(CALL).encode()
        for each in (sent, unsent):
            store.place.run(
                lambda c, each=each: c.exec_driver_sql(
                    "UPDATE deferred_jobs SET state = ?, body = ?, answer = NULL WHERE id = ?", (RUNNING, body, each)
                )
            )
        gate.flush()
        gate.built.ledger.call(
            lambda c: c.exec_driver_sql(
                "UPDATE exchange_rows SET correlation_id = '' WHERE correlation_id = ?", (unsent,)
            )
        )
    again = make_gate_anew(gate, make_gate)
    url = serve(again)
    for each, marked in ((sent, True), (unsent, False)):
        until(lambda each=each: cli(again, "show", each)["state"] == "done")
        assert cli(again, "show", each)["maybe_paid_twice"] is marked


def make_gate_anew(gate: Gate, make_gate: MakeGate) -> Gate:
    gate.close()
    return make_gate(degrade=[{"on": "any", "use": "defer"}], retry={"attempts": 1})


def test_a_job_waits_while_an_incident_stops_it(make_gate: MakeGate, serve: Callable[[Gate], str]) -> None:
    gate = make_gate(degrade=[{"on": "any", "use": "defer"}])
    url = serve(gate)
    incident = gate.incidents.set("stop", "tenant", "acme")
    job = ask(url, Prefer="respond-async").json()["id"]
    assert "paused on purpose" in until(lambda: look(url, job).json().get("why"))
    gate.incidents.lift(incident.id)
    assert finished(url, job).json()["content"]
