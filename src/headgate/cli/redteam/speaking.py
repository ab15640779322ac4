"""Conversations as requests of each dialect, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from headgate.cli.redteam.attack import DOCUMENT, USER, Conversation, Turn, Way

MODELS = {"anthropic": "claude-haiku-4-5", "openai": "gpt-4.1-mini"}
"""What is asked for, where a task does not say otherwise; the simulator answers in any case."""
PATHS = {"anthropic": "/v1/messages", "openai": "/chat/completions"}
_HEADERS: dict[str, list[tuple[bytes, bytes]]] = {
    "anthropic": [(b"x-api-key", b"simulated"), (b"anthropic-version", b"2023-06-01")],
    "openai": [(b"authorization", b"Bearer simulated")],
}
_MOST_TOKENS = 4000


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call as the caller got it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as the caller got it."""

    text: str
    calls: tuple[Called, ...] = ()


def headers(way: Way) -> list[tuple[bytes, bytes]]:
    """Of a request."""
    return [*_HEADERS[way.dialect], (b"content-type", b"application/json")]


def body(way: Way, conversation: Conversation) -> bytes:
    """Of a request."""
    made = _anthropic(conversation) if way.dialect == "anthropic" else _openai(conversation)
    made |= {"model": MODELS[way.dialect], "max_tokens": _MOST_TOKENS, "stream": way.streamed}
    return json.dumps(made, ensure_ascii=False).encode()


def read(way: Way, answer: bytes) -> Said:
    """What an answer says, whole or streamed. What is broken counts for as much as can be read."""
    read = _READERS[way.dialect, way.streamed]
    return read(answer)


def _anthropic(conversation: Conversation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "system": conversation.system,
        "messages": [_anthropic_turn(turn) for turn in conversation.turns],
    }
    if conversation.tools:
        made["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
            for tool in conversation.tools
        ]
    return made


def _anthropic_turn(turn: Turn) -> dict[str, Any]:
    content: Any
    if turn.kind == USER:
        return {"role": "user", "content": turn.text}
    if turn.kind == DOCUMENT:
        source = {"type": "text", "media_type": "text/plain", "data": turn.text}
        content = [{"type": "document", "source": source}, {"type": "text", "text": turn.question}]
        return {"role": "user", "content": content}
    if turn.kind == "call":
        content = [{"type": "tool_use", "id": turn.id, "name": turn.name, "input": json.loads(turn.text)}]
        return {"role": "assistant", "content": content}
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": turn.id, "content": turn.text}]}


def _openai(conversation: Conversation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "messages": [{"role": "system", "content": conversation.system}, *map(_openai_turn, conversation.turns)]
    }
    if conversation.tools:
        made["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
            }
            for tool in conversation.tools
        ]
    return made


def _openai_turn(turn: Turn) -> dict[str, Any]:
    if turn.kind == USER:
        return {"role": "user", "content": turn.text}
    if turn.kind == DOCUMENT:  # chat has no block for a text: applications paste it
        return {"role": "user", "content": f"{turn.question}\n\n<document>\n{turn.text}\n</document>"}
    if turn.kind == "call":
        function = {"name": turn.name, "arguments": turn.text}
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": turn.id, "type": "function", "function": function}],
        }
    return {"role": "tool", "tool_call_id": turn.id, "content": turn.text}


def _data(answer: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a stream's events."""
    for line in answer.decode("utf-8", "replace").splitlines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def _whole_message(answer: bytes) -> Said:
    texts, calls = [], []
    for block in json.loads(answer).get("content", ()):
        if block["type"] == "text":
            texts.append(block["text"])
        elif block["type"] == "tool_use":
            calls.append(Called(block["id"], block["name"], json.dumps(block["input"])))
    return Said("\n".join(texts), tuple(calls))


def _streamed_message(answer: bytes) -> Said:
    texts, calls = [], dict[int, list[str]]()
    for event in _data(answer):
        block, delta = event.get("content_block") or {}, event.get("delta") or {}
        if block.get("type") == "tool_use":
            calls[event["index"]] = [block["id"], block["name"], ""]
        elif block.get("type") == "text":
            texts.append(block.get("text", ""))
        if "partial_json" in delta:
            calls[event["index"]][2] += delta["partial_json"]
        elif isinstance(delta.get("text"), str):
            texts.append(delta["text"])
    return Said("".join(texts), tuple(Called(*each) for each in calls.values()))


def _whole_chat(answer: bytes) -> Said:
    texts, calls = [], []
    for choice in json.loads(answer).get("choices", ()):
        message = choice["message"]
        texts += [message.get("content") or "", message.get("refusal") or ""]
        calls += [
            Called(call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        ]
    return Said("\n".join(texts), tuple(calls))


def _streamed_chat(answer: bytes) -> Said:
    texts, calls = [], dict[int, list[str]]()
    for event in _data(answer):
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            texts += [delta.get("content") or "", delta.get("refusal") or ""]
            for call in delta.get("tool_calls") or ():
                told, function = calls.setdefault(call["index"], ["", "", ""]), call.get("function") or {}
                told[0] = told[0] or call.get("id") or ""
                told[1] = told[1] or function.get("name") or ""
                told[2] += function.get("arguments") or ""
    return Said("".join(texts), tuple(Called(*each) for each in calls.values()))


_READERS: dict[tuple[str, bool], Callable[[bytes], Said]] = {
    ("anthropic", False): _whole_message,
    ("anthropic", True): _streamed_message,
    ("openai", False): _whole_chat,
    ("openai", True): _streamed_chat,
}
