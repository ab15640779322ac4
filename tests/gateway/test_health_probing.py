"""`/health/providers` asks each provider, cheaply, for itself, and at most every so often."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from e2e_upstream import RawUpstream, Received, whole

from headgate.build import build
from headgate.core.errors import UpstreamBroken, UpstreamTimeout
from headgate.core.exchange import Route
from headgate.core.ports import Outgoing
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.probing import FAILED_SECONDS, FRESH_SECONDS, Probes, with_probes
from headgate.policy.routing import Router
from headgate.settings import load


class Now:
    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


class Answer:
    headers = ()

    def __init__(self, status: int) -> None:
        self.status = status
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Upstream:
    """Answers by host: a status, an exception, or never."""

    def __init__(self, **told: int | Exception | None) -> None:
        self.told = told
        self.sent: list[Outgoing] = []
        self.answers: list[Answer] = []

    async def send(self, outgoing: Outgoing) -> Any:
        self.sent.append(outgoing)
        await asyncio.sleep(0)
        found = self.told[outgoing.url.partition("//")[2].partition(".")[0]]
        if isinstance(found, Exception):
            raise found
        if found is None:
            await asyncio.Event().wait()
        self.answers.append(Answer(found))  # type: ignore[arg-type]
        return self.answers[-1]


def router(*names: str, unready: dict[str, str] | None = None) -> Router:
    routes = {
        name: Route(name, "", "anthropic" if name == "a" else "openai", f"https://{name}.example", Secret("canary"))
        for name in names
    }
    return Router(routes, {}, {}, unready=unready or {})


def probed(upstream: Upstream, now: Now, *names: str, unready: dict[str, str] | None = None) -> Probes:
    return Probes(router(*names, unready=unready), upstream, now, patience=0.05)


def test_each_provider_is_asked_for_its_models_with_its_key_and_nothing_is_read() -> None:
    upstream = Upstream(a=200, b=200)
    found = asyncio.run(probed(upstream, Now(), "a", "b").all())
    assert {name: probe.state for name, probe in found.items()} == {"a": "ok", "b": "ok"}
    assert [each.url for each in upstream.sent] == ["https://a.example/v1/models?limit=1", "https://b.example/models"]
    assert [each.method for each in upstream.sent] == ["GET", "GET"]
    assert (b"x-api-key", b"canary") in upstream.sent[0].headers
    assert [each.closed for each in upstream.answers] == [1, 1]


@pytest.mark.parametrize(
    ("told", "state", "usable"),
    [
        (200, "ok", True),
        (404, "ok", True),
        (429, "busy", True),
        (401, "refused", False),
        (403, "refused", False),
        (500, "failing", False),
        (529, "failing", False),
        (UpstreamBroken("no", kind="connect"), "unreachable", False),
        (UpstreamTimeout("no", kind="timeout"), "unreachable", False),
        (None, "unreachable", False),
    ],
)
def test_what_comes_is_told_in_a_word(told: int | Exception | None, state: str, usable: bool) -> None:
    (probe,) = asyncio.run(probed(Upstream(b=told), Now(), "b").all()).values()
    assert (probe.state, probe.usable) == (state, usable)
    assert bool(probe.error) is (state == "unreachable")


def test_one_that_hangs_holds_up_no_longer_than_its_own_patience_and_no_other() -> None:
    found = asyncio.run(asyncio.wait_for(probed(Upstream(b=None, c=200), Now(), "b", "c").all(), 10))
    assert (found["b"].error, found["c"].state) == ("timeout", "ok")


def test_it_is_asked_again_only_after_a_while_and_sooner_where_it_failed() -> None:
    now, upstream = Now(), Upstream(b=200, c=500)
    probes = probed(upstream, now, "b", "c")

    async def look() -> int:
        await asyncio.gather(probes.all(), probes.all())  # at once: asked once
        return len(upstream.sent)

    assert asyncio.run(look()) == 2
    now.time += FAILED_SECONDS
    assert asyncio.run(look()) == 3
    now.time += FRESH_SECONDS - FAILED_SECONDS
    assert asyncio.run(look()) == 5


def test_whoever_leaves_does_not_take_the_answer_from_others() -> None:
    upstream = Upstream(b=200)
    probes = probed(upstream, Now(), "b")

    async def both() -> str:
        first, second = asyncio.ensure_future(probes.all()), asyncio.ensure_future(probes.all())
        await asyncio.sleep(0)
        first.cancel()
        return (await second)["b"].state

    assert asyncio.run(both()) == "ok"
    assert len(upstream.sent) == 1


def test_degraded_is_not_down_and_a_provider_without_a_key_is_neither() -> None:
    def status(**told: int) -> str:
        probes = probed(Upstream(**told), Now(), *told, "keyless", unready={"keyless": "no key"})
        rows = [{"provider": name} for name in (*told, "keyless")]
        said = with_probes({"status": "ok", "providers": rows}, asyncio.run(probes.all()), 1_000.0)
        assert "probe" not in rows[-1]
        return str(said["status"])

    assert status(b=200, c=200) == "ok"
    assert status(b=200, c=500) == status(b=200, c=429) == "degraded"
    assert status(b=500, c=401) == "down"


def test_the_page_of_a_gateway_tells_it_and_leaks_no_key(tmp_path: Path) -> None:
    def answer(received: Received) -> bytes:
        return whole("200 OK", b'{"data": []}')

    with RawUpstream(answer) as upstream:
        env = {
            "OPENAI_API_KEY": "canary-key",
            "OPENAI_BASE_URL": f"{upstream.url}/canary-path/v1",
            "HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'h.db'}",
        }
        built = build(load(env=env), env=env)
        app = create(built, ring=KeyRing(loopback=True), admin_token=Secret("t" * 40))
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        path = "/health/providers"
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 5)}
        asyncio.run(app(scope, receive, send))
        built.close()
    assert b"canary" not in sent[1]["body"]
    rows = {row["provider"]: row for row in json.loads(sent[1]["body"])["providers"]}
    assert (rows["openai"]["probe"]["state"], rows["openai"]["probe"]["status"]) == ("ok", 200)
    assert "probe" not in rows["anthropic"]
    assert upstream.received[0].values(b"authorization") == [b"Bearer canary-key"]
