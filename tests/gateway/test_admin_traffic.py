"""Traffic as operators see it: the control API, the health page, and who may see which."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.build import Built, build
from headgate.core.errors import UpstreamRejected
from headgate.core.exchange import Attempt, Exchange, Route
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.settings import load
from headgate.testing.fakes import World

TOKEN = "control-" + "t" * 32
PROVIDER_KEYS = {"ANTHROPIC_API_KEY": "canary-of-one", "SECOND_KEY": "canary-of-two"}
CONFIG = """\
providers:
  anthropic: {api_key: [env:ANTHROPIC_API_KEY, env:SECOND_KEY], requests_per_minute: 600}
"""
HEALTH = "/health/providers?probe=false"
BOSS, ADA = "hg-boss-" + "b" * 24, "hg-ada-" + "a" * 24


class Place:
    """A gateway's app, without a socket, and its parts."""

    def __init__(self, folder: Path) -> None:
        file = folder / "headgate.yaml"
        file.write_text(CONFIG)
        storage = f"sqlite:///{folder / 'headgate.db'}"
        self.built: Built = build(
            load(file, env=PROVIDER_KEYS, overrides={"storage": storage}),
            env=PROVIDER_KEYS,
            log_to=folder / "log.jsonl",
        )
        self.log = folder / "log.jsonl"
        self.ring = KeyRing(loopback=True)
        self.app = create(self.built, ring=self.ring, admin_token=Secret(TOKEN))

    def route(self, key: int = 0) -> Route:
        from dataclasses import replace

        router = self.built.router
        credential = router.keys["anthropic"][key]
        return replace(router.providers["anthropic"], model="claude-haiku-4-5", credential=credential)

    def attempt(self, error: UpstreamRejected | None = None, *, key: int = 0) -> None:
        """As if a call had been sent."""
        port = self.built.turns.blocking()
        now = self.built.turns.now()
        exchange = Exchange("ex", World().request(), now)
        attempt = Attempt(1, self.route(key), now)
        exchange.attempts.append(attempt)
        assert port.turn(exchange, attempt, until=now + 60) is None  # nobody waits
        port.answered(attempt, 200 if error is None else error.status, ())
        attempt.sent, attempt.error = True, error
        attempt.first_content = now if error is None else None
        port.ended(exchange, attempt)

    def ask(self, method: str, path: str, *headers: tuple[str, str], body: Any = None) -> tuple[int, Any]:
        sent: list[Any] = []
        path, _, query = path.partition("?")
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

        async def receive() -> Any:
            return {"type": "http.request", "body": data}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"127.0.0.1:8484"), *((n.encode(), v.encode()) for n, v in headers)],
            "client": ("127.0.0.1", 5),
        }
        asyncio.run(self.app(scope, receive, send))
        body_sent = b"".join(message.get("body", b"") for message in sent[1:])
        assert b"canary" not in body_sent
        return sent[0]["status"], json.loads(body_sent)

    def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.ask(method, f"/admin/api{path}", ("authorization", f"Bearer {TOKEN}"), body=body)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.built.close()


def no_money() -> UpstreamRejected:
    return UpstreamRejected("no", kind="money", status=402, elsewhere=True)


def test_a_provider_nothing_was_sent_to_is_listed_as_such(place: Place) -> None:
    status, said = place.control("GET", "/providers")
    assert (status, said["status"]) == (200, "ok")
    rows = {row["provider"]: row for row in said["providers"]}
    assert rows["anthropic"] == {"provider": "anthropic", "ready": True, "used": False}
    assert rows["openai"]["ready"] is False
    assert "OPENAI_API_KEY" in rows["openai"]["why"]


def test_what_is_open_is_told_with_the_credentials_reference_and_never_its_value(place: Place) -> None:
    place.attempt()
    place.attempt(no_money(), key=1)
    _, said = place.control("GET", "/providers?provider=anthropic")
    assert said["status"] == "degraded"
    (row,) = said["providers"]
    (opened,) = row["open"]
    assert (opened["what"], opened["cause"], opened["credential"]) == ("account", "money", "env:SECOND_KEY")
    assert 290 < opened["retry_after"] <= 375
    assert {pace["credential"] for pace in row["paces"]} == {"env:ANTHROPIC_API_KEY", "env:SECOND_KEY"}
    first = row["paces"][0]
    assert [(each["name"], each["limit"]) for each in first["limits"]] == [("requests_ceiling", 600)]
    assert (row["attempts"], row["cap"], row["in_flight"], row["waiting"]) == (1, 64, 0, 0)
    assert row["headers"] == {"answers": 1, "told": 0, "dropped": {}, "clock_ahead": 0.0}


def test_one_family_of_models_is_found_among_others(place: Place) -> None:
    place.attempt()
    for family, number in (("claude-haiku-4", 1), ("claude-opus-4", 0)):
        _, said = place.control("GET", f"/providers?provider=anthropic&family={family}")
        assert len(said["providers"][0]["paces"]) == number


def test_a_lift_closes_what_is_open_is_on_record_and_may_be_said_twice(place: Place) -> None:
    place.attempt(no_money())
    assert place.control("POST", "/breakers/lift", {"provider": "anthropic"}) == (
        200,
        {"provider": "anthropic", "lifted": 1},
    )
    assert place.control("POST", "/breakers/lift", {"provider": "anthropic"})[1]["lifted"] == 0
    assert place.control("GET", "/providers")[1]["status"] == "ok"
    place.attempt()
    place.built.log.close()
    lifted = [json.loads(line) for line in place.log.read_text().splitlines() if "breakers_lifted" in line]
    assert [(each["provider"], each["lifted"], each["by"]) for each in lifted] == [("anthropic", 1, "gateway")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/breakers/lift", {"provider": "antropic"}, 404),
        ("POST", "/breakers/lift", {"provider": "anthropic", "now": True}, 400),
        ("POST", "/breakers/lift", {"provider": 3}, 400),
        ("POST", "/breakers/lift", {"provider": "\x1b[2J"}, 400),
        ("POST", "/breakers/lift", b"[" * 5000, 400),
        ("POST", "/breakers/lift", b"", 400),
        ("GET", "/breakers/lift", None, 404),
        ("DELETE", "/providers", None, 404),
        ("GET", "/providers?nothing=1", None, 400),
        ("GET", "/providers?provider=a&provider=b", None, 400),
        ("GET", "/providers?provider=%ff", None, 400),
    ],
)
def test_what_cannot_be_used_is_refused(place: Place, method: str, path: str, body: Any, status: int) -> None:
    assert place.control(method, path, body)[0] == status


def test_without_the_control_token_nothing_is_told_and_nothing_lifted(place: Place) -> None:
    place.attempt(no_money())
    assert place.ask("GET", "/admin/api/providers")[0] == 401
    assert place.ask("POST", "/admin/api/breakers/lift", body={"provider": "anthropic"})[0] == 401
    assert place.built.turns.providers()[0].opened


def test_the_health_page_is_for_whoever_is_here_alone_and_names_no_reference(place: Place) -> None:
    place.attempt(no_money(), key=1)
    status, said = place.ask("GET", HEALTH)
    assert (status, said["status"]) == (200, "degraded")
    rows = {row["provider"]: row for row in said["providers"]}
    assert rows["anthropic"]["open"][0]["credential"] == "key 2"
    assert "env:" not in json.dumps(said)
    assert rows["openai"] == {"provider": "openai", "ready": False, "used": False}


def test_with_several_keys_the_health_page_is_for_those_that_may_speak_for_tenants(place: Place) -> None:
    place.ring.add(digest(ADA), KeyRecord("1", "ada", "acme"))
    assert place.ask("GET", HEALTH)[0] == 401
    assert place.ask("GET", HEALTH, ("x-api-key", ADA))[0] == 200  # the only key there is: all is its own
    place.ring.add(digest(BOSS), KeyRecord("2", "boss", may_speak_for_tenants=True))
    status, said = place.ask("GET", HEALTH, ("x-api-key", ADA))
    assert status == 403
    assert "everybody" in said["error"]["message"]
    assert place.ask("GET", HEALTH, ("authorization", f"Bearer {BOSS}"))[0] == 200


def test_a_web_page_may_not_read_the_health_page(place: Place) -> None:
    assert place.ask("GET", HEALTH, ("origin", "https://evil.example"))[0] == 403
