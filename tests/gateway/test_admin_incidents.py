"""The control API's incidents, and what real SDKs and the command line see of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import headgate
from headgate.build import build
from headgate.core.errors import IncidentStopped
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.settings import load
from headgate.testing.server import SimulatorServer

TOKEN = "t" * 40
MODELS = {"fast": ["anthropic/claude-haiku-4-5", "openai/gpt-6-luna"], "mini": ["openai/gpt-6-luna"]}


class Running:
    """A gateway before a simulator."""

    def __init__(self, folder: Path, simulator: SimulatorServer) -> None:
        env = {"ANTHROPIC_BASE_URL": simulator.url, "OPENAI_BASE_URL": simulator.openai_url}
        env |= {"ANTHROPIC_API_KEY": "fake", "OPENAI_API_KEY": "fake"}
        settings = load(env=env, overrides={"storage": f"sqlite:///{folder / 'headgate.db'}", "models": MODELS})
        self.built = build(settings, env=env)
        self.built.ledger.open()
        self.app = create(self.built, ring=KeyRing(loopback=True), admin_token=Secret(TOKEN))
        self._server = BackgroundServer(self.app, ServerOptions(port=0, tune_gc=False)).start()
        self.url = self._server.url

    def call(self, method: str, path: str = "", body: Any = None, *, room: str = "incidents") -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/admin/api/{room}{path}", data, method=method)
        request.add_header("authorization", f"Bearer {TOKEN}")
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def ask(self, model: str = "fast", **headers: str) -> Any:
        client = anthropic.Anthropic(base_url=self.url, api_key="none", default_headers=headers)
        say = [{"role": "user", "content": "say: hello"}]
        return client.messages.with_raw_response.create(model=model, max_tokens=20, messages=say)  # type: ignore[call-overload]

    def close(self) -> None:
        self._server.stop()
        self.built.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with SimulatorServer() as simulator:
        made = Running(tmp_path_factory.mktemp("incidents"), simulator)
        yield made
        made.close()


@pytest.fixture(autouse=True)
def lifted(gateway: Running) -> Iterator[None]:
    yield
    for each in gateway.built.incidents.all():
        gateway.built.incidents.lift(each.id)


def test_it_is_set_listed_and_lifted_through_the_api(gateway: Running) -> None:
    told = {"kind": "slow", "scope": "tenant", "value": "acme", "rate": 30, "seconds": 60, "why": "a loop", "by": "ada"}
    status, made = gateway.call("POST", body=told)
    assert (status, made["kind"], made["rate"], made["by"], made["on"]) == (201, "slow", 30, "ada", True)
    assert made["expires"] - made["since"] == 60
    assert [each["id"] for each in gateway.call("GET")[1]["incidents"]] == [made["id"]]
    status, gone = gateway.call("DELETE", f"/{made['id']}?by=bob")
    assert (status, gone["on"], gone["lifted_by"]) == (200, False, "bob")
    assert gateway.call("GET")[1]["incidents"] == []
    assert made["id"] in [each["id"] for each in gateway.call("GET", "?ended=true")[1]["incidents"]]
    assert gateway.call("DELETE", f"/{made['id']}")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        {"kind": "stop"},
        {"kind": "stop", "scope": "tenant", "value": 5},
        {"kind": "slow", "scope": "tenant", "value": "acme", "rate": True},
        {"kind": "slow", "scope": "tenant", "value": "acme", "rate": "30"},
        {"kind": "stop", "scope": "tenant", "value": "acme", "seconds": "60"},
        {"kind": "stop", "scope": "provider", "value": "nobody"},
        {"kind": "stop", "scope": "tenant", "value": "acme", "colour": "red"},
    ],
)
def test_what_cannot_be_set_is_a_400_with_a_sentence(gateway: Running, body: Any) -> None:
    status, answer = gateway.call("POST", body=body)
    assert (status, bool(answer["error"]["message"])) == (400, True)
    assert gateway.built.incidents.all() == []


def test_an_unknown_path_method_or_parameter_changes_nothing(gateway: Running) -> None:
    assert [gateway.call("PUT")[0], gateway.call("DELETE")[0], gateway.call("GET", "?x=1")[0]] == [404, 404, 400]
    assert gateway.call("GET", "?ended=maybe")[0] == 400


def test_both_sdks_see_a_stop_as_their_own_error_with_our_refusal_in_it_and_do_not_retry(gateway: Running) -> None:
    made = gateway.built.incidents.set("stop", "tenant", "acme", why="canary-why")
    with pytest.raises(anthropic.APIStatusError) as raised:
        gateway.ask(**{"x-headgate-tenant": "acme"})
    refused = headgate.refusal(raised.value)
    assert isinstance(refused, IncidentStopped)
    assert made.id in refused.message
    assert "canary" not in str(raised.value)
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", default_headers={"x-headgate-tenant": "acme"})
    with pytest.raises(openai.APIStatusError) as told:
        client.chat.completions.create(model="mini", messages=[{"role": "user", "content": "hi"}])
    assert isinstance(headgate.refusal(told.value), IncidentStopped)


def test_a_stopped_provider_leaves_the_other_route_and_a_degraded_model_says_so(gateway: Running) -> None:
    gateway.built.incidents.set("stop", "provider", "anthropic")
    assert gateway.ask().headers["x-headgate-model"].startswith("gpt-6-luna")
    gateway.built.incidents.lift(gateway.built.incidents.all()[0].id)
    gateway.built.incidents.set("degrade", "model", "fast", to="mini")
    answer = gateway.ask()
    assert answer.headers["x-headgate-degraded"].startswith("incident: mini")
    assert answer.headers["x-headgate-model"].startswith("gpt-6-luna")


def test_alerts_are_listed_and_acknowledged_through_the_api(gateway: Running) -> None:
    from headgate.policy.alert_rules import RULES
    from headgate.policy.alert_states import Change, Reading
    from headgate.stores.alerts import Recording, record

    seen = Change("opened", RULES["disk_full"], Reading("disk_full", "ledger", 0.95, summary="full"), 1.0, 1)
    how = Recording("one", (), 3_600.0)
    now = gateway.built.engine.ports.clock.now()
    (told,) = gateway.built.ledger.call(lambda sql: record(sql, [seen], how, now))
    alert = told.alert.id
    status, listed = gateway.call("GET", room="alerts")
    assert (status, [each["id"] for each in listed["alerts"]]) == (200, [alert])
    status, done = gateway.call("POST", f"/{alert}/acknowledge", {"by": "ada"}, room="alerts")
    assert (status, done["state"], done["acknowledged_by"]) == (200, "acknowledged", "ada")
    assert gateway.call("GET", "?ended=true&limit=1", room="alerts")[1]["alerts"][0]["id"] == alert
    for method, rest, body, code in (
        ("POST", "/al_nothing/acknowledge", None, 404),
        ("POST", f"/{alert}/acknowledge", {"by": ""}, 400),
        ("POST", f"/{alert}/acknowledge", b"[", 400),
        ("POST", f"/{alert}/dance", None, 404),
        ("GET", "?limit=0", None, 400),
    ):
        assert gateway.call(method, rest, body, room="alerts")[0] == code, rest
