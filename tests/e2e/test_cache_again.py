"""Calls that come again over a kept-alive connection, through a real gateway: fewer steps, the same records."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from e2e_world import Gateway  # it lies beside this file

from headgate.engine.again import Again
from headgate.gateway.auth import KeyRecord
from headgate.stores.limits import MemoryLimits
from headgate.testing.server import SimulatorServer

KEY = "-".join(("hg", "ada", "1" * 24))
OFF: dict[str, Any] = {"guards": {"profile": "off"}, "log": {"bodies": "off"}}
OWN = {"id", "started", "ended", "first_byte", "first_content", "latency_ms"}


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        server.load("healthy")
        yield server


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The exchanges that were answered in fewer steps."""
    seen: list[str] = []
    before, at_once = Again.answer, Again.answer_at_once

    def answer_at_once(self: Again, repeat: Any, stored: Any) -> Any:
        found = at_once(self, repeat, stored)
        if found is not None:
            seen.append(found[0].id)
        return found

    monkeypatch.setattr(Again, "answer_at_once", answer_at_once)

    async def answer(self: Again, exchange: Any, repeat: Any, stored: Any) -> Any:
        given = await before(self, exchange, repeat, stored)
        if given is not None:
            seen.append(exchange.id)
        return given

    monkeypatch.setattr(Again, "answer", answer)
    return seen


def gateway(sim: SimulatorServer, folder: Path, **more: Any) -> Gateway:
    keys = {KEY: KeyRecord(id="ada", name="ada", tenant="acme")}
    told = {"cache": {"default": "1h"}, **OFF, **more}
    return Gateway(folder, sim.url, sim.openai_url, keys=keys, overrides=told)


class Line:
    """One connection of one caller, who sends the same head each time, in one piece with the body."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)

    def ask(self, prompt: str = "tokens: 5", **more: Any) -> tuple[int, dict[str, str], bytes]:
        message = {"role": "user", "content": prompt}
        body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [message], **more}).encode()
        head = (
            f"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)
        answer = http.client.HTTPResponse(self._socket, method="POST")
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def __del__(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_comes_again_is_answered_and_recorded_as_the_hit_before_it(
    sim: SimulatorServer, tmp_path: Path, again: list[str], stream: bool
) -> None:
    limits = [{"per": "key", "requests_per_minute": 6, "tokens_per_minute": 10**6}]
    with gateway(sim, tmp_path, limits=limits) as served:
        line, before = Line(served.url), len(sim.requests())
        answers = [line.ask(stream=stream) for _ in range(4)]
        assert len(sim.requests()) == before + 1
        assert [headers["x-headgate-cache"] for _, headers, _ in answers] == ["miss", "hit", "hit", "hit"]
        bodies = [body.split(b": x-headgate-exchange")[0] for _, _, body in answers]
        assert bodies[0] == bodies[1] == bodies[2] == bodies[3] != b""
        assert len(again) == 2
        names = [sorted(headers) for _, headers, _ in answers]
        assert names[1] == names[2] == names[3]
        rows = sorted(served.rows("exchanges"), key=lambda row: str(row["started"]))
        kept = [{n: v for n, v in row.items() if n not in OWN} for row in rows]
        assert kept[1] == kept[2] == kept[3]
        told = [{n: v for n, v in line.items() if not n.endswith(("_id", "_ms")) and n != "timestamp"}
                for line in served.lines() if line["event"] == "exchange"]  # fmt: skip
        assert told[1] == told[2] == told[3]
        assert [headers["x-headgate-exchange"] for _, headers, _ in answers] == [row["id"] for row in rows]
        if stream:
            assert all(body.endswith(b"x-headgate-cache=hit\n\n") for _, _, body in answers[1:])
            assert all(b"=%b " % headers["x-headgate-exchange"].encode() in body for _, headers, body in answers[1:])
        assert [headers["x-ratelimit-remaining-requests"] for _, headers, _ in answers] == ["5", "4", "3", "2"]
        assert len({headers["x-ratelimit-remaining-tokens"] for _, headers, _ in answers[2:]}) == 1


def test_a_call_that_comes_again_is_refused_where_its_caller_is_over_a_limit(
    sim: SimulatorServer, tmp_path: Path, again: list[str]
) -> None:
    with gateway(sim, tmp_path, limits=[{"per": "key", "requests_per_minute": 3}]) as served:
        line = Line(served.url)
        assert [line.ask()[0] for _ in range(5)] == [200, 200, 200, 429, 429]
        assert len(again) == 1
        endings = sorted(row["ending"] for row in served.rows("exchanges"))
        assert endings == ["complete"] * 3 + ["refused"] * 2


def test_what_was_kept_of_a_call_says_nothing_once_its_answer_or_its_key_is_gone(
    sim: SimulatorServer, tmp_path: Path, again: list[str]
) -> None:
    with gateway(sim, tmp_path) as served:
        line, before = Line(served.url), len(sim.requests())
        assert [line.ask("say: once more")[1]["x-headgate-cache"] for _ in range(3)] == ["miss", "hit", "hit"]
        entries = served.built.caching._front._entries  # type: ignore[union-attr]  # what the control API forgets
        entries.clear()
        assert [line.ask("say: once more")[1]["x-headgate-cache"] for _ in range(2)] == ["miss", "hit"]
        assert len(sim.requests()) == before + 2
        assert line.ask("say: something else")[1]["x-headgate-cache"] == "miss"
        served.ring.revoke("ada")
        assert line.ask("say: once more")[0] == 401


@pytest.mark.parametrize("more", [{"guards": {"profile": "standard"}}, {"log": {"bodies": "redacted"}}])
def test_where_something_looks_at_every_call_it_looks_at_those_that_come_again(
    sim: SimulatorServer, tmp_path: Path, again: list[str], more: dict[str, Any]
) -> None:
    with gateway(sim, tmp_path, **more) as served:
        line = Line(served.url)
        assert [line.ask("say: looked at")[1]["x-headgate-cache"] for _ in range(3)] == ["miss", "hit", "hit"]
        assert again == []


def test_an_answer_in_the_read_that_asks_for_it_is_the_one_that_a_task_gives(
    sim: SimulatorServer, tmp_path: Path, again: list[str]
) -> None:
    limits = [{"per": "key", "requests_per_minute": 10**6}]
    with gateway(sim, tmp_path, limits=limits) as served:
        line = Line(served.url)
        answers = []
        for at_once in (False, False, True, False, True):
            served.built.engine.again.at_once = at_once
            _, headers, body = line.ask("say: the same")
            del headers["x-headgate-exchange"], headers["date"]
            for name in [name for name in headers if name.startswith("x-ratelimit-re")]:
                del headers[name]  # they tell the time
            answers.append((list(headers.items()), body))
        assert answers[1] == answers[2] == answers[3] == answers[4] != answers[0]
        assert len(again) == 3


def test_what_an_unmodified_sdk_sends_again_is_answered_in_the_read_that_brings_it(
    sim: SimulatorServer, tmp_path: Path, again: list[str]
) -> None:
    with gateway(sim, tmp_path) as served, anthropic.Anthropic(api_key=KEY, base_url=served.url) as client:
        asked: Any = {"model": "claude-haiku-4-5", "max_tokens": 50}
        asked["messages"] = [{"role": "user", "content": "say: by the SDK"}]
        raw = [client.messages.with_raw_response.create(**asked) for _ in range(4)]
        assert [each.headers["x-headgate-cache"] for each in raw] == ["miss", "hit", "hit", "hit"]
        assert [each.headers["x-headgate-exchange"] for each in raw[2:]] == again
        assert len({each.parse().to_json() for each in raw}) == 1


def test_where_limits_are_shared_a_call_that_comes_again_waits_for_them_in_a_task(
    sim: SimulatorServer, tmp_path: Path, again: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Elsewhere(MemoryLimits):
        def __init__(self, *told: Any) -> None:
            super().__init__(*told)
            self.at_once = None

        async def ask(self, caller: Any, *, tokens: int, **more: Any) -> Any:
            await asyncio.sleep(0)  # as one that asks a Redis
            asked.append(tokens)
            return await super().ask(caller, tokens=tokens, **more)

    monkeypatch.setattr("headgate.stores.sharing.MemoryLimits", Elsewhere)
    with gateway(sim, tmp_path, limits=[{"per": "key", "requests_per_minute": 100}]) as served:
        line = Line(served.url)
        assert [line.ask("say: shared")[1]["x-headgate-cache"] for _ in range(4)] == ["miss", "hit", "hit", "hit"]
        assert len(again) == 2
        assert len(asked) == 4


def test_a_mistake_of_ours_in_the_read_is_an_error_without_a_trace_and_others_are_served(
    sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gateway(sim, tmp_path) as served:
        line = Line(served.url)
        assert [line.ask("say: broken")[0] for _ in range(2)] == [200, 200]

        def broken(self: Again, repeat: Any, stored: Any) -> Any:
            raise ValueError("of the caller's data")

        monkeypatch.setattr(Again, "answer_at_once", broken)
        status, headers, body = line.ask("say: broken")
        assert (status, headers["connection"], json.loads(body)["error"]["code"]) == (500, "close", "internal_error")
        assert b"caller's" not in body
        del line  # closes it: the server would wait for that
        assert Line(served.url).ask("say: broken")[0] == 200


def test_a_gateway_that_drains_answers_a_call_that_comes_again_and_closes_behind_it(
    sim: SimulatorServer, tmp_path: Path, again: list[str]
) -> None:
    with gateway(sim, tmp_path) as served:
        line = Line(served.url)
        assert [line.ask("say: the last")[0] for _ in range(2)] == [200, 200]
        assert served._server._server is not None
        served._server._server.state.draining = True  # as in a shutdown, but that idle connections stay open
        status, headers, _ = line.ask("say: the last")
        assert (status, headers["connection"], headers["x-headgate-cache"]) == (200, "close", "hit")
        assert len(again) == 1
