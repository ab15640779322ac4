"""What a provider keeps: requests that refer to it go where it is, links to it lead back through us, and it is its
owner's alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anthropic
import openai
import pytest
from e2e_world import PROVIDER_KEYS, Gateway

from headgate.gateway.auth import KeyRecord, digest
from headgate.testing.server import SimulatorServer

KEY, OTHER = ("-".join(("hg", name, "0" * 24)) for name in ("acme", "globex"))
KEYS = {KEY: KeyRecord("one", "one", tenant="acme"), OTHER: KeyRecord("two", "two", tenant="globex")}


class World:
    """A gateway before two providers of each dialect that know nothing of each other's state."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
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
        overrides = {
            "providers": providers,
            "models": models,
            "prices": {"other/gpt-6-luna": {"input": 1, "output": 1}},
        }
        self.gateway = stack.enter_context(
            Gateway(folder, self.first.url, self.first.openai_url, keys=KEYS, overrides=overrides, env=PROVIDER_KEYS)
        )

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
    listed = client.messages.batches.list().data
    assert [batch.results_url for batch in listed] == [ended.results_url]


def test_a_batch_that_is_made_is_logged_as_unpriced_and_looking_at_it_is_free(world: World) -> None:
    client = world.anthropic()
    params = {"model": "claude-haiku-4-5", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
    made = client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])  # type: ignore[typeddict-item]
    client.messages.batches.retrieve(made.id)
    rows = world.gateway.rows("exchanges")
    assert [row["price_version"] for row in rows] == ["unpriced", "free"]


def test_a_key_that_is_new_owns_nothing_of_the_old_ones(world: World) -> None:
    made = world.openai().responses.create(model="both", input="hello")
    fresh = "-".join(("hg", "fresh", "2" * 24))
    world.gateway.ring.add(digest(fresh), KeyRecord("three", "three"))
    with pytest.raises(openai.NotFoundError):
        world.openai(fresh).responses.retrieve(made.id)
