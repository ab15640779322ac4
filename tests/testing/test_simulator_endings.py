"""Every stop reason on request, redacted thinking, and usage as a provider must not send it."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario
from headgate.testing.simulator.wrongusage import STYLES

HAIKU = "claude-haiku-4-5"
LUNA = "gpt-6-luna"
TOOL: Any = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
USER: Any = [{"role": "user", "content": "tokens: 40"}]


@pytest.fixture
def claude(headgate_simulator: SimulatorServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=headgate_simulator.url, api_key="fake", max_retries=0)


@pytest.fixture
def gpt(headgate_simulator: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", max_retries=0)


def faulty(server: SimulatorServer, kind: str, path: str = "", **told: Any) -> None:
    server.load(Scenario(rules=(Rule(Fault(kind, **told), Match(path=path)),)))


def turn(text: str) -> Any:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("by", ["turn", "scenario"])
@pytest.mark.parametrize(
    "reason",
    [
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
        "compaction",
    ],
)
def test_every_anthropic_stop_reason_is_reached_streamed_and_not(
    claude: anthropic.Anthropic, headgate_simulator: SimulatorServer, by: str, reason: str
) -> None:
    text = f"stop: {reason}"
    if by == "scenario":
        faulty(headgate_simulator, "stop_reason", reason=reason)
        text = "anything"
    asked: Any = {"model": HAIKU, "max_tokens": 500, "tools": [TOOL], "messages": turn(text)}
    assert claude.messages.create(**asked).stop_reason == reason
    with claude.messages.stream(**asked) as stream:
        assert stream.get_final_message().stop_reason == reason


@pytest.mark.parametrize("by", ["turn", "scenario"])
@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
def test_every_finish_reason_is_reached_streamed_and_not(
    gpt: openai.OpenAI, headgate_simulator: SimulatorServer, by: str, reason: str
) -> None:
    text = f"stop: {reason}"
    if by == "scenario":
        faulty(headgate_simulator, "stop_reason", reason=reason)
        text = "anything"
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": TOOL["input_schema"]}}]
    asked: Any = {"model": LUNA, "messages": turn(text), "tools": tools}
    assert gpt.chat.completions.create(**asked).choices[0].finish_reason == reason
    chunks = list(gpt.chat.completions.create(**asked, stream=True))
    assert chunks[-1].choices[0].finish_reason == reason


def test_a_stop_reason_of_nobody_is_refused_with_the_known_ones(
    claude: anthropic.Anthropic, gpt: openai.OpenAI
) -> None:
    with pytest.raises(anthropic.BadRequestError, match="pause_turn"):
        claude.messages.create(model=HAIKU, max_tokens=50, messages=turn("stop: tool_calls"))
    with pytest.raises(openai.BadRequestError, match="tool_calls"):
        gpt.chat.completions.create(model=LUNA, messages=turn("stop: pause_turn"))


def test_redacted_thinking_goes_out_and_comes_back_unchanged_or_not_at_all(claude: anthropic.Anthropic) -> None:
    asked: Any = {
        "model": HAIKU,
        "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    first = claude.messages.create(**asked, messages=turn("redacted, please"))
    assert [block.type for block in first.content] == ["redacted_thinking", "text"]
    assert first.usage.output_tokens_details is not None
    assert first.usage.output_tokens_details.thinking_tokens > 0
    with claude.messages.stream(**asked, messages=turn("redacted, please")) as stream:
        assert [block.type for block in stream.get_final_message().content] == ["redacted_thinking", "text"]
    back: Any = [*turn("redacted, please"), {"role": "assistant", "content": first.content}, *turn("say: on")]
    assert claude.messages.create(**asked, messages=back).content[-1].text == "on"  # type: ignore[union-attr]
    forged: Any = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "forged"}]}
    with pytest.raises(anthropic.BadRequestError, match="redacted_thinking"):
        claude.messages.create(**asked, messages=[*turn("hi"), forged, *turn("on")])


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": ("/v1/messages", {"model": HAIKU, "max_tokens": 90, "messages": USER}),
    "chat": ("/v1/chat/completions", {"model": LUNA, "messages": USER, "stream_options": {"include_usage": True}}),
    "responses": ("/v1/responses", {"model": LUNA, "input": USER}),
}


class Told:
    """The usage that an API tells, in raw JSON: an SDK might set it right."""

    def __init__(self, server: SimulatorServer) -> None:
        headers = {"authorization": "Bearer fake", "anthropic-version": "2023-06-01"}
        self.anthropic = httpx2.Client(base_url=server.url, headers=headers)
        self.openai = httpx2.Client(base_url=server.url, headers={"authorization": "Bearer fake"})

    def _post(self, api: str, *, stream: bool) -> httpx2.Response:
        path, body = REQUESTS[api]
        client = self.anthropic if api == "messages" else self.openai
        return client.post(path, json={**body, "stream": stream})

    def whole(self, api: str) -> Any:
        return self._post(api, stream=False).json().get("usage", "gone")

    def streamed(self, api: str) -> tuple[Any, Any]:
        """The first and the last that is told."""
        lines = [line[6:] for line in self._post(api, stream=True).text.split("\n") if line.startswith("data: {")]
        frames = [json.loads(line) for line in lines]
        holders = [frame.get("message") or frame.get("response") or frame for frame in frames]
        last = holders[-2] if api == "messages" else holders[-1]
        return holders[0].get("usage", "gone"), last.get("usage", "gone")


OUTPUT = {"messages": "output_tokens", "chat": "completion_tokens", "responses": "output_tokens"}


@pytest.mark.parametrize("api", list(OUTPUT))
@pytest.mark.parametrize("style", STYLES)
def test_usage_goes_wrong_as_told_while_the_invoice_knows_the_truth(
    headgate_simulator: SimulatorServer, style: str, api: str
) -> None:
    faulty(headgate_simulator, "wrong_usage", usage=style)
    told, name = Told(headgate_simulator), OUTPUT[api]
    whole, (first, last) = told.whole(api), told.streamed(api)
    for usage in (whole, last):
        if style == "missing":
            assert usage == "gone"
        elif style == "null":
            assert usage is None
        else:
            expected = {"negative": -40, "absurd": 10**15 + 40, "lower": 20, "string": "40"}[style]
            assert usage[name] == expected
    if style == "lower":
        assert first[name] == 40
    for line in headgate_simulator.invoice()["lines"]:
        assert (line["usage"]["output_tokens"], line["reported"], line["ending"]) == (40, False, "complete")


def test_the_usage_of_embeddings_goes_wrong_too(headgate_simulator: SimulatorServer, gpt: openai.OpenAI) -> None:
    faulty(headgate_simulator, "wrong_usage", usage="negative")
    made = gpt.embeddings.create(model="text-embedding-3-small", input="a" * 40)
    assert made.usage.prompt_tokens == -10


def test_what_breaks_an_answer_breaks_those_that_are_not_billed_too(
    headgate_simulator: SimulatorServer, claude: anthropic.Anthropic
) -> None:
    for kind in ("drop", "truncate"):
        faulty(headgate_simulator, kind, path="/v1/models*")
        with pytest.raises(anthropic.APIConnectionError):
            claude.models.list()
        assert headgate_simulator.invoice()["lines"] == []


def test_images_and_pdfs_are_counted_at_a_flat_rate(claude: anthropic.Anthropic, gpt: openai.OpenAI) -> None:
    def tokens(*blocks: Any) -> int:
        content: Any = [{"type": "text", "text": "say: seen"}, *blocks]
        asked: Any = {"model": HAIKU, "messages": [{"role": "user", "content": content}]}
        counted = claude.messages.count_tokens(**asked).input_tokens
        assert claude.messages.create(max_tokens=50, **asked).usage.input_tokens == counted
        return counted

    bare = tokens()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
    assert tokens(image) == tokens(pdf) == bare + 1600
    assert tokens({"type": "document", "source": {"type": "file", "file_id": "file_1"}}) == bare + 1600


def test_models_are_paged_both_ways_and_need_a_version(claude: anthropic.Anthropic) -> None:
    ids = [model.id for model in claude.models.list(limit=3)]
    assert len(ids) == len(set(ids)) > 10
    assert [model.id for model in claude.models.list(limit=3, before_id=ids[5]).data] == ids[2:5]
    assert {model.lifecycle for model in claude.models.list(lifecycle=["deprecated"])} == {"deprecated"}
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version"):
        claude.models.list(extra_headers={"anthropic-version": "1999-01-01"})
