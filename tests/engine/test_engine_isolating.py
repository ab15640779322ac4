"""Isolation of a request by its caller's session, and through the real SDKs to a provider."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import openai
import pytest

import headgate
from headgate.core.caller import Caller
from headgate.core.exchange import Request
from headgate.engine.isolating import isolated
from headgate.testing import World
from headgate.testing.canned import message
from headgate.testing.server import SimulatorServer

KEY = b"k" * 32
BODY: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 9,
    "messages": [
        {"role": "user", "content": "weather?"},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "sunny"}]},
    ],
}


def request(caller: Caller | None = None, body: dict[str, Any] | None = None) -> Request:
    return World().request(json.dumps(body or BODY).encode(), caller=caller)


def number(found: Request) -> bytes:
    return found.body.split(b"</untrusted-")[1][:12]


def test_the_same_session_has_the_same_delimiters_and_another_has_others() -> None:
    ada = Caller(tenant="acme", user="ada", session="s-1")
    one = number(isolated(request(ada), "xml", KEY))
    assert number(isolated(request(ada), "xml", KEY)) == one
    others = [replace(ada, session="s-2"), replace(ada, tenant="other"), replace(ada, user="bob"), Caller()]
    assert one not in {number(isolated(request(each), "xml", KEY)) for each in others}
    assert number(isolated(request(ada), "xml", b"l" * 32)) != one


def test_without_a_session_a_conversation_keeps_its_delimiters_while_it_grows() -> None:
    longer = BODY | {"messages": [*BODY["messages"], {"role": "assistant", "content": "Sunny."}]}
    other = BODY | {"messages": [{"role": "user", "content": "news?"}, BODY["messages"][1]]}
    one = number(isolated(request(), "xml", KEY))
    assert number(isolated(request(body=longer), "xml", KEY)) == one
    assert number(isolated(request(body=other), "xml", KEY)) != one


def test_a_request_with_nothing_to_mark_is_the_same_object() -> None:
    plain = request(body={"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
    assert isolated(plain, "xml", KEY) is plain
    assert isolated(replace(plain, endpoint="other"), "xml", KEY).body is plain.body


def test_an_isolated_request_is_bounded_by_the_bytes_that_are_sent(run: Any) -> None:
    sent = [request(), isolated(request(), "datamark", KEY)]
    worlds = [World(message()), World(message())]
    for world, each in zip(worlds, sent, strict=True):
        run(world.call(each))
        assert world.upstream.sent[0].body == each.body
    plain, marked = (world.ledger.intents[0][2] for world in worlds)
    assert plain is not None
    assert marked is not None
    assert marked > plain


class Isolating(httpx2.BaseTransport):
    """A real SDK's requests, isolated on their way to a provider."""

    def __init__(self, dialect: str, endpoint: str, mode: str) -> None:
        self.said = (dialect, endpoint, mode)
        self.sent: list[bytes] = []
        self._inner = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        dialect, endpoint, mode = self.said
        body = request.read()
        path = "/responses" if endpoint == "responses" else ""
        came = World().request(body, dialect=dialect, path=path, caller=Caller(session="s-1"))
        self.sent.append(isolated(came, mode, KEY).body)
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
        return self._inner.handle_request(
            httpx2.Request(request.method, request.url, headers=headers, content=self.sent[-1])
        )


@pytest.mark.parametrize("mode", ["xml", "datamark", "encode"])
def test_a_provider_takes_the_anthropic_sdks_request_and_bills_what_is_sent(
    headgate_simulator: SimulatorServer, mode: str
) -> None:
    transport = Isolating("anthropic", "messages", mode)
    with httpx2.Client(transport=transport) as http:
        client = anthropic.Anthropic(base_url=headgate_simulator.url, api_key="fake", http_client=http)
        page = headgate.untrusted("a page", "web")
        answer = client.messages.create(
            model="claude-haiku-4-5",
            max_tokens=50,
            system=[{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
            messages=[
                {"role": "user", "content": f"weather? {page}"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "w", "input": {"c": "Rome"}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "sunny"}]},
            ],
            tools=[{"name": "w", "description": "weather", "input_schema": {"type": "object"}}],
        )
    assert answer.content
    (record,) = headgate_simulator.requests()
    assert (record["status"], record["body_bytes"]) == (200, len(transport.sent[0]))
    body = json.loads(transport.sent[0])
    assert body["messages"][0]["content"] == f"weather? {page}"
    assert body["messages"][2]["content"][0]["content"].startswith("<untrusted-")
    assert body["system"][0] == {"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}
    assert "is data to work on" in body["system"][1]["text"]


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_a_provider_takes_the_openai_sdks_request(headgate_simulator: SimulatorServer, endpoint: str) -> None:
    transport = Isolating("openai", endpoint, "xml")
    with httpx2.Client(transport=transport) as http:
        client = openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", http_client=http)
        if endpoint == "chat":
            call: Any = {"id": "c", "type": "function", "function": {"name": "w", "arguments": "{}"}}
            client.chat.completions.create(
                model="gpt-6-luna",
                max_completion_tokens=50,
                messages=[
                    {"role": "system", "content": "be kind"},
                    {"role": "user", "content": "weather?"},
                    {"role": "assistant", "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "c", "content": "sunny"},
                ],
            )
        else:
            client.responses.create(
                model="gpt-6-luna",
                max_output_tokens=50,
                input=[
                    {"role": "user", "content": "weather?"},
                    {"type": "function_call", "call_id": "c", "name": "w", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c", "output": "sunny"},
                ],
            )
    (record,) = headgate_simulator.requests()
    assert record["status"] == 200
    assert transport.sent[0].count(b"</untrusted-") == 1
    assert b"sunny</untrusted-" in transport.sent[0]
    assert b"is data to work on" in transport.sent[0]
