"""What a provider keeps: requests that refer to it go where it is, links to it lead back through us, and it is its
owner's alone."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anthropic
import openai
import pytest
from e2e_world import PROVIDER_KEYS, Gateway

from headgate.core.caller import Caller
from headgate.core.exchange import Facts, Request
from headgate.gateway.auth import KeyRecord, digest
from headgate.testing.server import SimulatorServer

KEY, OTHER = ("-".join(("hg", name, "0" * 24)) for name in ("acme", "globex"))
KEYS = {KEY: KeyRecord("one", "one", tenant="acme"), OTHER: KeyRecord("two", "two", tenant="globex")}


class World:
    """A gateway before two providers of each dialect that know nothing of each other's state."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.first = stack.enter_context(SimulatorServer())
        self.second = stack.enter_context(SimulatorServer())
        providers = {
            "openai": {"dialect": "openai", "base_url": self.first.openai_url, "api_key": "env:OPENAI_API_KEY"},
            "other": {"dialect": "openai", "base_url": self.second.openai_url, "api_key": "env:OPENAI_API_KEY"},
        }
        models = {
            "near": ["openai/gpt-6-luna", "other/gpt-6-luna"],
            "apart": ["openai/gpt-6-luna"],
            "both": ["other/gpt-6-luna", "openai/gpt-6-luna"],
        }
        self._overrides = {
            "providers": providers,
            "models": models,
            "prices": {"other/gpt-6-luna": {"input": 1, "output": 1}},
        }
        self.gateway = self._start()

    def _start(self) -> Gateway:
        urls = self.first.url, self.first.openai_url
        made = Gateway(self._folder, *urls, keys=KEYS, overrides=self._overrides, env=PROVIDER_KEYS)
        return self._stack.enter_context(made)

    def restart(self) -> None:
        """Another gateway on the same ledger."""
        self.gateway.__exit__(None, None, None)
        self.gateway = self._start()

    def openai(self, key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.gateway.url}/v1", api_key=key, max_retries=0)

    def anthropic(self, key: str = KEY, base: str = "") -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.gateway.url + base, api_key=key, max_retries=0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_follows_another_goes_to_the_provider_that_has_it(world: World, streamed: bool) -> None:
    client = world.openai()
    if streamed:
        *_, last = client.responses.create(model="both", input="hello", stream=True)
        first = last.response
    else:
        first = client.responses.create(model="both", input="hello")
    # `near` prefers the other provider, which has never heard of it.
    follower = client.responses.create(model="near", input="and now?", previous_response_id=first.id)
    assert follower.previous_response_id == first.id
    assert client.responses.retrieve(first.id).id == first.id
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_model_that_is_not_served_where_the_state_is_is_refused_with_the_reason(world: World) -> None:
    client = world.openai()
    first = client.responses.create(model="both", input="hello")
    with pytest.raises(openai.BadRequestError, match="provider other keeps"):
        client.responses.create(model="apart", input="and now?", previous_response_id=first.id)


def test_another_tenants_state_is_not_there(world: World) -> None:
    made = world.openai().responses.create(model="both", input="hello")
    stranger = world.openai(OTHER)
    with pytest.raises(openai.NotFoundError, match="there is nothing"):
        stranger.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        stranger.responses.create(model="both", input="?", previous_response_id=made.id)
    assert world.openai().responses.retrieve(made.id).id == made.id


def test_what_was_made_before_a_restart_is_found_where_it_is_and_stays_its_owners(world: World) -> None:
    first = world.openai().responses.create(model="both", input="say: one")
    world.restart()
    second = world.openai().responses.create(model="near", previous_response_id=first.id, input="say: two")
    assert second.output_text == "two"
    world.restart()
    with pytest.raises(openai.NotFoundError):
        world.openai(OTHER).responses.create(model="near", previous_response_id=first.id, input="say: three")


def test_a_file_and_its_batch_stay_at_one_provider(world: World) -> None:
    client = world.openai()
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "hi"}]},
    }
    file = client.files.create(file=("b.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    done = client.batches.retrieve(batch.id)
    assert done.output_file_id is not None
    assert "custom_id" in client.files.content(done.output_file_id).text


@pytest.mark.parametrize("base", ["", "/anthropic", "/p/anthropic"])
def test_the_results_of_a_batch_are_fetched_through_the_gateway(world: World, base: str) -> None:
    client = world.anthropic(base=base)
    params = {"model": "claude-haiku-4-5", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
    made = client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])  # type: ignore[typeddict-item]
    ended = client.messages.batches.retrieve(made.id)
    assert ended.results_url == f"{world.gateway.url}{base}/v1/messages/batches/{made.id}/results"
    assert [result.custom_id for result in client.messages.batches.results(made.id)] == ["a"]
    operator = "-".join(("hg", "operator", "3" * 24))
    world.gateway.ring.add(digest(operator), KeyRecord("op", "op", may_speak_for_tenants=True))
    listed = world.anthropic(operator, base).messages.batches.list().data
    assert [batch.results_url for batch in listed] == [ended.results_url]


def test_a_batch_that_is_made_costs_what_its_lines_cost_and_looking_at_it_is_free(world: World) -> None:
    client = world.anthropic()
    params = {"model": "claude-haiku-4-5", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
    made = client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])  # type: ignore[typeddict-item]
    client.messages.batches.retrieve(made.id)
    rows = [row for row in world.gateway.rows("exchanges") if row["way_in"] == "gateway"]
    assert [(row["price_version"], row["cost_nano"]) for row in rows] == [("free", 0), ("free", 0)]


def test_a_key_that_is_new_owns_nothing_of_the_old_ones(world: World) -> None:
    made = world.openai().responses.create(model="both", input="hello")
    fresh = "-".join(("hg", "fresh", "2" * 24))
    world.gateway.ring.add(digest(fresh), KeyRecord("three", "three"))
    with pytest.raises(openai.NotFoundError):
        world.openai(fresh).responses.retrieve(made.id)


def _raw(world: World, key: str, request: bytes, *more: bytes) -> bytes:
    """An answer's first line; the request goes out in as many segments as there are pieces."""
    host, _, port = world.gateway.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head, mark, body = request.partition(b"\r\n\r\n")
        length = len(body) + sum(map(len, more))
        lines = f"\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: {length}".encode()
        connection.sendall(head + lines + mark + body)
        for piece in more:
            assert not select.select([connection], [], [], 0.05)[0]  # until it has gone out by itself
            connection.sendall(piece)
        return connection.makefile("rb").readline()


JSON_HEAD = b"\r\ncontent-type: application/json\r\n\r\n"


@pytest.mark.parametrize("segments", [1, 2])
def test_another_tenants_file_is_not_there_for_a_batch_however_the_body_arrives(world: World, segments: int) -> None:
    file = world.openai().files.create(file=("b.jsonl", b"{}"), purpose="batch")
    told = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    start, body = b"POST /v1/batches HTTP/1.1" + JSON_HEAD, json.dumps(told).encode()
    pieces = (start + body,) if segments == 1 else (start, body)
    assert b" 404 " in _raw(world, OTHER, *pieces)


@pytest.mark.parametrize("hidden", ["value", "key", "far", "decoy", "array"])
def test_another_tenants_response_is_not_there_however_it_is_written(world: World, hidden: str) -> None:
    made = world.openai().responses.create(model="both", input="hello").id
    own = world.openai(OTHER).responses.create(model="both", input="hello").id
    name, value, before = "previous_response_id", f'"{made}"', ""
    if hidden == "value":
        value = value.replace("_", "\\u005f")
    elif hidden == "key":
        name = name.replace("_", "\\u005f")
    elif hidden == "far":
        before = f'"instructions":"{"x" * 2_000_000}",'
    elif hidden == "decoy":
        before = f'"conversation":"{own}",'
    elif hidden == "array":
        name, value = "tools", f'[{{"type":"file_search","vector_store_ids":["{made}"]}}]'
    body = f'{{"model":"both","input":"?",{before}"{name}":{value}}}'.encode()
    assert b" 404 " in _raw(world, OTHER, b"POST /v1/responses HTTP/1.1" + JSON_HEAD + body)


@pytest.mark.parametrize("path", ["/v1/responses/resp%5F{}", "/v1/%72esponses/resp_{}", "/v1/responses/%72esp_{}"])
def test_a_path_with_needless_escapes_is_refused(world: World, path: str) -> None:
    made = world.openai().responses.create(model="both", input="hello").id
    line = f"GET {path.format(made.removeprefix('resp_'))} HTTP/1.1\r\n\r\n".encode()
    assert b" 400 " in _raw(world, OTHER, line)


def test_what_a_batch_wrote_is_its_owners_and_lists_of_the_whole_account_are_not_for_tenants(world: World) -> None:
    client, stranger = world.openai(), world.openai(OTHER)
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "hi"}]}
    file = client.files.create(file=("b.jsonl", json.dumps({**line, "body": body}).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    done = client.batches.retrieve(batch.id)
    assert done.output_file_id is not None
    with pytest.raises(openai.PermissionDeniedError, match="shows everything"):
        stranger.files.list()
    with pytest.raises(openai.NotFoundError):
        stranger.files.content(done.output_file_id)
    assert client.files.content(done.output_file_id).text


def test_trace_is_not_forwarded_with_the_providers_key(world: World) -> None:
    assert b" 405 " in _raw(world, KEY, b"TRACE /v1/files/f HTTP/1.1\r\n\r\n")


def test_a_follow_up_goes_to_the_model_that_made_what_it_follows(tmp_path: Path) -> None:
    with SimulatorServer() as sim:
        overrides = {"models": {"two": ["openai/gpt-6-luna", "openai/gpt-6.1-sol"]}}
        with Gateway(tmp_path, sim.url, sim.openai_url, overrides=overrides) as gateway:
            route = gateway.built.router.models["two"][1]
            gateway.built.router.remember(["resp_made_by_sol"], route, Caller())
            request = Request("openai", "responses", "POST", "/responses", [], b"", _facts(), Caller(), "gateway")
            assert [r.model for r in gateway.built.router.routes(request)] == ["gpt-6.1-sol"]


def _facts() -> Facts:
    return Facts(model="two", state=("resp_made_by_sol",), keeps=True)
