"""End to end: a call of one vendor's SDK, answered by the simulator's side of the other's, translated in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from headgate.testing.server import SimulatorServer
from headgate.wire.translate import AnswerStream, LossPolicy, translate_answer, translate_error, translate_request

PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
HEADERS = {
    "anthropic": {"x-api-key": "not-a-key", "anthropic-version": "2026-10-21"},
    "openai": {"authorization": "Bearer not-a-key"},
}
MODELS = {"anthropic": "claude-sonnet-5-5", "openai": "gpt-6-luna"}
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
A_TOOL: Any = {"name": "look", "description": "Looks it up.", "input_schema": SCHEMA}
O_TOOL: Any = {"type": "function", "function": {"name": "look", "description": "Looks it up.", "parameters": SCHEMA}}
PIECE = 11  # bytes: every cut gives the same frames, and these cut in the middle of everything


class Bridge:
    """What the engine does on a route of the other dialect, in a few lines: translate, send, translate back."""

    def __init__(self, source: str, server: SimulatorServer) -> None:
        self.source = source
        self.target = "openai" if source == "anthropic" else "anthropic"
        self.server = server
        self.report: tuple[str, ...] = ()
        self.model = MODELS[self.target]
        self.http = httpx2.Client()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = request.read()
        told = translate_request(
            self.source,
            self.target,
            body,
            model=self.model,
            max_output_tokens_default=500,
            policy=LossPolicy("drop"),
        )
        self.report = told.report
        headers = {**HEADERS[self.target], "content-type": "application/json"}
        answer = self.http.post(self.server.url + PATHS[self.target], content=told.body, headers=headers)
        if answer.status_code != 200:
            error = translate_error(self.source, self.target, answer.status_code, answer.content)
            return httpx2.Response(error.status, content=error.body, headers={"content-type": "application/json"})
        if json.loads(told.body).get("stream"):
            return httpx2.Response(
                200, content=self._stream(answer.content, body), headers={"content-type": "text/event-stream"}
            )
        back = translate_answer(self.source, self.target, answer.content, created=1)
        self.report += back.report
        return httpx2.Response(200, content=back.body, headers={"content-type": "application/json"})

    def _stream(self, answer: bytes, asked: bytes) -> Iterator[bytes]:
        usage = (json.loads(asked).get("stream_options") or {}).get("include_usage") is True
        stream = AnswerStream(self.source, self.target, include_usage=usage, created=1)
        for at in range(0, len(answer), PIECE):
            yield stream.feed(answer[at : at + PIECE])
        yield stream.finish()
        self.report += stream.report


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=3) as running:
        yield running


@pytest.fixture
def healthy(server: SimulatorServer) -> SimulatorServer:
    server.load(None)
    return server


def anthropic_sdk(bridge: Bridge) -> anthropic.Anthropic:
    http = httpx2.Client(transport=httpx2.MockTransport(bridge))
    return anthropic.Anthropic(api_key="not-a-key", base_url="http://headgate.test", http_client=http, max_retries=0)


def openai_sdk(bridge: Bridge) -> openai.OpenAI:
    http = httpx2.Client(transport=httpx2.MockTransport(bridge))
    return openai.OpenAI(api_key="not-a-key", base_url="http://headgate.test/v1", http_client=http, max_retries=0)


SAY: Any = [{"role": "user", "content": 'say: Grüße, "Welt" 😀'}]
WORDS = 'Grüße, "Welt" 😀'


def test_the_anthropic_sdk_reads_an_answer_of_openais(healthy: SimulatorServer) -> None:
    bridge = Bridge("anthropic", healthy)
    message = anthropic_sdk(bridge).messages.create(
        model="claude-opus-5", max_tokens=200, system="Be kind.", messages=SAY, metadata={"user_id": "u1"}
    )
    assert message.content[0].type == "text"
    assert message.content[0].text == WORDS
    assert (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", "gpt-6-luna")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert bridge.report == ()


def test_the_openai_sdk_reads_an_answer_of_anthropics(healthy: SimulatorServer) -> None:
    bridge = Bridge("openai", healthy)
    completion = openai_sdk(bridge).chat.completions.create(
        model="gpt-5", temperature=0, messages=[{"role": "system", "content": "Be kind."}, *SAY]
    )
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason, choice.message.refusal) == (WORDS, "stop", None)
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
    assert completion.model == "claude-sonnet-5-5"
    assert bridge.report == ("temperature",)


def test_the_anthropic_sdk_reads_a_stream_of_openais(healthy: SimulatorServer) -> None:
    bridge = Bridge("anthropic", healthy)
    with anthropic_sdk(bridge).messages.stream(model="claude-opus-5", max_tokens=200, messages=SAY) as stream:
        told = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert told == WORDS
    assert message.stop_reason == "end_turn"
    whole = anthropic_sdk(bridge).messages.create(model="claude-opus-5", max_tokens=200, messages=SAY)
    assert [block.type for block in message.content] == [block.type for block in whole.content] == ["text"]
    assert message.usage.output_tokens == whole.usage.output_tokens
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 0


def test_the_openai_sdk_reads_a_stream_of_anthropics(healthy: SimulatorServer) -> None:
    bridge = Bridge("openai", healthy)
    client = openai_sdk(bridge)
    stream = client.chat.completions.create(
        model="gpt-5", messages=SAY, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == WORDS
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    plain = list(client.chat.completions.create(model="gpt-5", messages=SAY, stream=True))
    assert all(c.choices and c.usage is None for c in plain)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_of_anthropics_works_with_openais_tools(healthy: SimulatorServer, streamed: bool) -> None:
    client = anthropic_sdk(Bridge("anthropic", healthy))
    asked: Any = {"model": "claude-opus-5", "max_tokens": 300, "tools": [A_TOOL], "tool_choice": {"type": "any"}}
    turns: Any = [{"role": "user", "content": "please look"}]
    if streamed:
        with client.messages.stream(**asked, messages=turns) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**asked, messages=turns)
    assert message.stop_reason == "tool_use"
    use = next(block for block in message.content if block.type == "tool_use")
    assert (use.name, set(use.input)) == ("look", {"q"})
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "found"}
        for block in message.content
        if block.type == "tool_use"
    ]
    turns += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    final = client.messages.create(model="claude-opus-5", max_tokens=300, tools=[A_TOOL], messages=turns)
    assert final.stop_reason == "end_turn"
    assert final.content[0].type == "text"


@pytest.mark.parametrize("streamed", [False, True])
def test_an_agent_of_openais_works_with_anthropics_tools(healthy: SimulatorServer, streamed: bool) -> None:
    client = openai_sdk(Bridge("openai", healthy))
    turns: Any = [{"role": "user", "content": "please look"}]
    asked: Any = {"model": "gpt-5", "tools": [O_TOOL], "tool_choice": "required"}
    if streamed:
        with client.chat.completions.stream(**asked, messages=turns) as stream:
            choice = stream.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**asked, messages=turns).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    called: Any = choice.message.tool_calls[0]
    assert (called.function.name, set(json.loads(called.function.arguments))) == ("look", {"q"})
    results = [{"role": "tool", "tool_call_id": each.id, "content": "found"} for each in choice.message.tool_calls]
    kept = [{"id": c.id, "type": "function", "function": c.function.model_dump()} for c in choice.message.tool_calls]  # type: ignore[union-attr]  # they are functions
    turns += [{"role": "assistant", "content": None, "tool_calls": kept}, *results]
    final = client.chat.completions.create(model="gpt-5", tools=[O_TOOL], messages=turns).choices[0]
    assert (final.finish_reason, bool(final.message.content)) == ("stop", True)


def test_structured_output_comes_back_as_the_schema_says(healthy: SimulatorServer) -> None:
    ours: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = anthropic_sdk(Bridge("anthropic", healthy)).messages.create(
        model="claude-opus-5", max_tokens=100, messages=[{"role": "user", "content": "go"}], output_config=ours
    )
    assert message.content[0].type == "text"
    assert set(json.loads(message.content[0].text)) == {"q"}
    theirs: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    completion = openai_sdk(Bridge("openai", healthy)).chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": "go"}], response_format=theirs
    )
    assert set(json.loads(completion.choices[0].message.content or "")) == {"q"}


def test_images_and_thinking_go_through(healthy: SimulatorServer) -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    bridge = Bridge("anthropic", healthy)
    message = anthropic_sdk(bridge).messages.create(
        model="claude-opus-5",
        max_tokens=200,
        messages=[{"role": "user", "content": [image, {"type": "text", "text": "say: seen"}]}],
    )
    assert message.content[0].type == "text"
    assert message.content[0].text == "seen"
    bridge = Bridge("openai", healthy)
    stream = openai_sdk(bridge).chat.completions.create(
        model="gpt-5",
        reasoning_effort="high",
        stream=True,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                    {"type": "text", "text": "say: seen"},
                ],
            }
        ],
    )
    assert "".join(c.choices[0].delta.content or "" for c in stream) == "seen"


@pytest.mark.parametrize(
    ("stop", "finish"),
    [("max_tokens", "length"), ("stop_sequence", "stop"), ("refusal", "content_filter"), ("end_turn", "stop")],
)
def test_every_ending_of_anthropics_reaches_the_openai_sdk(healthy: SimulatorServer, stop: str, finish: str) -> None:
    client = openai_sdk(Bridge("openai", healthy))
    turns: Any = [{"role": "user", "content": f"stop: {stop}"}]
    assert client.chat.completions.create(model="gpt-5", messages=turns).choices[0].finish_reason == finish
    chunks = list(client.chat.completions.create(model="gpt-5", messages=turns, stream=True))
    assert chunks[-1].choices[0].finish_reason == finish


@pytest.mark.parametrize(
    ("finish", "stop"),
    [("length", "max_tokens"), ("stop", "end_turn"), ("content_filter", "refusal"), ("refusal", "refusal")],
)
def test_every_ending_of_openais_reaches_the_anthropic_sdk(healthy: SimulatorServer, finish: str, stop: str) -> None:
    client = anthropic_sdk(Bridge("anthropic", healthy))
    turns: Any = [{"role": "user", "content": f"stop: {finish}"}]
    assert client.messages.create(model="claude-opus-5", max_tokens=90, messages=turns).stop_reason == stop
    with client.messages.stream(model="claude-opus-5", max_tokens=90, messages=turns) as stream:
        assert stream.get_final_message().stop_reason == stop


def test_a_busy_provider_raises_what_the_callers_sdk_has_for_it(server: SimulatorServer) -> None:
    server.load("outage")
    with pytest.raises(anthropic.OverloadedError):
        anthropic_sdk(Bridge("anthropic", server)).messages.create(model="claude-opus-5", max_tokens=9, messages=SAY)
    with pytest.raises(openai.InternalServerError) as caught:
        openai_sdk(Bridge("openai", server)).chat.completions.create(model="gpt-5", messages=SAY)
    assert caught.value.code == "server_is_overloaded"


def test_an_error_in_the_middle_of_a_stream_is_raised_by_the_callers_sdk(server: SimulatorServer) -> None:
    server.load({"rules": [{"fault": {"kind": "error_event", "after_events": 3}}]})
    with (
        pytest.raises(anthropic.APIStatusError),
        anthropic_sdk(Bridge("anthropic", server)).messages.stream(
            model="claude-opus-5", max_tokens=99, messages=SAY
        ) as stream,
    ):
        stream.get_final_message()
    with pytest.raises(openai.APIError):
        list(openai_sdk(Bridge("openai", server)).chat.completions.create(model="gpt-5", messages=SAY, stream=True))
