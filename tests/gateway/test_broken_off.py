"""A server that stops does not wait for ever: whoever is still waiting then is told so, and booked as that."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import anthropic
import openai
import pytest

from headgate import Gate
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario

MODEL = "claude-haiku-4-5"
TURNS: Any = [{"role": "user", "content": "tokens: 50"}]
CALLERS = ("messages", "same", "chat", "responses", "whole")


class Broken:
    """What callers of a gateway saw that stopped under them: errors, and the events of a stream that is read raw.

    Two of them ask for the same: with a cache, one of them follows the other.
    """

    def __init__(self, url: str, sim: SimulatorServer, server: BackgroundServer) -> None:
        self.errors: dict[str, Exception] = {}
        self.events: list[Any] = []
        self._url = url
        self._streaming = threading.Barrier(len(CALLERS))  # all but "whole", and we
        threads = [threading.Thread(target=self._see, args=(name,)) for name in CALLERS]
        for thread in threads:
            thread.start()
        self._streaming.wait(120)
        while all(each["stream"] for each in sim.requests()):
            time.sleep(0.01)
        server.stop()
        for thread in threads:
            thread.join(120)

    def _see(self, name: str) -> None:
        try:
            getattr(self, f"_{name}")()
        except Exception as error:
            self.errors[name] = error

    def _messages(self) -> None:
        with anthropic.Anthropic(base_url=self._url, api_key="k", max_retries=0) as client:
            self._read(client.messages.create(model=MODEL, max_tokens=500, stream=True, messages=TURNS))

    _same = _messages

    def _responses(self) -> None:
        with openai.OpenAI(base_url=f"{self._url}/v1", api_key="k", max_retries=0) as client:
            raw = client.responses.with_streaming_response
            with raw.create(model="gpt-6.1-terra", stream=True, store=False, input="tokens: 50") as answer:
                self._read(self._told(answer.iter_lines()))

    def _told(self, lines: Iterable[str]) -> Iterator[None]:
        for line in lines:
            if line.startswith("data: "):
                self.events.append(json.loads(line.removeprefix("data: ")))
                yield

    def _chat(self) -> None:
        with openai.OpenAI(base_url=f"{self._url}/v1", api_key="k", max_retries=0) as client:
            self._read(client.chat.completions.create(model="gpt-6-luna", stream=True, messages=TURNS))

    def _whole(self) -> None:
        with anthropic.Anthropic(base_url=self._url, api_key="k", max_retries=0) as client:
            client.messages.create(model="claude-sonnet-5", max_tokens=500, messages=TURNS)

    def _read(self, stream: Any) -> None:
        for place, _ in enumerate(stream):
            if place == 2:
                self._streaming.wait(120)


@pytest.fixture(scope="module", params=[{}, {"cache": {"default": "1h"}}], ids=["plain", "cached"])
def broken(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Broken, dict[str, dict[str, Any]]]]:
    folder = tmp_path_factory.mktemp("broken")
    with ExitStack() as stack:
        sim = stack.enter_context(SimulatorServer())
        stalls = Rule(Fault("stall", seconds=60, after_events=6), Match(stream=True))
        slow = Rule(Fault("slow_first_token", seconds=60), Match(stream=False))
        sim.load(Scenario(rules=(stalls, slow)))
        told = {
            "providers": {
                "anthropic": {"base_url": sim.url, "api_key": "env:KEY"},
                "openai": {"base_url": f"{sim.url}/v1", "api_key": "env:KEY"},
            },
            "storage": f"sqlite:///{folder / 'headgate.db'}",
            **request.param,
        }
        gate = stack.enter_context(Gate.load(env={"KEY": "k"}, **told))
        app = create(gate.built, ring=KeyRing(loopback=True), admin_token=Secret("t" * 40))
        server = BackgroundServer(app, ServerOptions(port=0, drain_seconds=0.05, tune_gc=False))
        stack.enter_context(server)
        seen = Broken(server.url, sim, server)
        gate.flush()
        with closing(sqlite3.connect(folder / "headgate.db")) as database:
            database.row_factory = sqlite3.Row
            rows = database.execute("SELECT * FROM exchanges ORDER BY cost_nano")  # who follows pays nothing
            yield seen, {row["model_asked"]: dict(row) for row in rows}


def test_a_stream_ends_in_the_dialects_own_error(broken: Any) -> None:
    errors = broken[0].errors
    for name in ("messages", "same"):
        assert isinstance(errors[name], anthropic.APIStatusError)
        assert errors[name].body["headgate"]["code"] == "headgate_unavailable"
    assert isinstance(errors["chat"], openai.APIError)
    assert errors["chat"].code == "headgate_unavailable"


def test_a_stream_of_responses_ends_in_the_next_event_of_its_own_form(broken: Any) -> None:
    *_, last, told = broken[0].events
    assert (told["type"], told["sequence_number"]) == ("error", last["sequence_number"] + 1)
    assert told["error"]["code"] == told["headgate"]["code"] == "headgate_unavailable"


def test_an_answer_that_has_not_begun_is_a_503_of_ours(broken: Any) -> None:
    error = broken[0].errors["whole"]
    assert isinstance(error, anthropic.APIStatusError)
    assert (error.status_code, error.body["headgate"]["code"]) == (503, "headgate_unavailable")
    assert "shut down" in error.message


def test_the_books_name_the_shutdown_and_charge_what_was_sent(broken: Any) -> None:
    rows = broken[1]
    found = {model: (row["ending"], row["error_code"], row["status"]) for model, row in rows.items()}
    assert found == {
        MODEL: ("cut", "headgate_unavailable", 200),
        "gpt-6-luna": ("cut", "headgate_unavailable", 200),
        "gpt-6.1-terra": ("cut", "headgate_unavailable", 200),
        "claude-sonnet-5": ("cancelled", "headgate_unavailable", 503),
    }
    assert all(row["cost_nano"] > 0 for row in rows.values())
