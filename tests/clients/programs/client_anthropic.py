"""The Anthropic SDK for Python, old or new."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic

from report import ASKED, CLIENT_SECONDS, HOLD, KEY, ONE_URL, TEXT, URL, check, control, main, squeezed, told_of

OPTIONS = {"api_key": KEY, "timeout": CLIENT_SECONDS}
client = anthropic.Anthropic(base_url=URL, **OPTIONS)
alone = anthropic.Anthropic(base_url=ONE_URL, max_retries=0, **OPTIONS)
TOOL = {"name": "weather", "description": "the weather", "input_schema": ASKED["schema"]}
FORCED = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}}


def asked(content: Any, **more: Any) -> dict[str, Any]:
    return {
        "model": ASKED["claude"],
        "max_tokens": 300,
        "messages": [{"role": "user", "content": content}],
        **more,
    }


def seen(message: Any) -> dict[str, Any]:
    usage = message.usage
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "tools": [{"name": b.name, "arguments": b.input} for b in message.content if b.type == "tool_use"],
        "stop": message.stop_reason,
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "written": usage.cache_creation_input_tokens,
        "read": usage.cache_read_input_tokens,
    }


@check
def text() -> Any:
    return seen(client.messages.create(**asked("say: " + TEXT)))


@check
def stream() -> Any:
    kinds = []
    with client.messages.stream(**asked("say: " + TEXT)) as events:
        for event in events:
            kinds.append(event.type)
        message = events.get_final_message()
    return {**seen(message), "events": squeezed([kind for kind in kinds if "_" in kind])}


@check
async def stream_async() -> Any:
    kinds, parts = [], []
    async with anthropic.AsyncAnthropic(base_url=URL, **OPTIONS) as mine:
        async for event in await mine.messages.create(**asked("say: " + TEXT), stream=True):
            kinds.append(event.type)
            if event.type == "content_block_delta":
                parts.append(event.delta.text)
    return {"text": "".join(parts), "events": squeezed(kinds)}


@check
def tool() -> Any:
    return seen(client.messages.create(**asked("What is the weather?", **FORCED)))


@check
def tool_stream() -> Any:
    with client.messages.stream(**asked("What is the weather?", **FORCED)) as events:
        return seen(events.get_final_message())


@check
def tool_result() -> Any:
    first = client.messages.create(**asked("What is the weather?", **FORCED))
    call = next(block for block in first.content if block.type == "tool_use")
    turns = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]},
    ]
    return seen(client.messages.create(model=ASKED["claude"], max_tokens=300, messages=turns, tools=[TOOL]))


@check
def large_body() -> Any:
    return seen(client.messages.create(**asked("say: " + "é" * 600_000, model=ASKED["claude_large"])))


@check
def image() -> Any:
    source = {"type": "base64", "media_type": "image/png", "data": ASKED["png"]}
    return seen(client.messages.create(**asked([{"type": "image", "source": source}, {"type": "text", "text": "?"}])))


@check
def pdf() -> Any:
    source = {"type": "base64", "media_type": "application/pdf", "data": ASKED["pdf"]}
    blocks = [{"type": "document", "source": source}, {"type": "text", "text": "?"}]
    return seen(client.messages.create(**asked(blocks)))


def _thought(first: Any) -> Any:
    block = next(block for block in first.content if block.type == "thinking")
    turns = [
        {"role": "user", "content": "Consider."},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "say: " + TEXT},
    ]
    again = client.messages.create(model=ASKED["claude"], max_tokens=2000, messages=turns)
    return {"thinking": block.thinking, "signature": block.signature, "again": seen(again)["text"]}


THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}


@check
def thinking() -> Any:
    return _thought(client.messages.create(**asked("Consider.", **THINKING)))


@check
def thinking_stream() -> Any:
    with client.messages.stream(**asked("Consider.", **THINKING)) as events:
        return _thought(events.get_final_message())


@check
def cache() -> Any:
    system = [{"type": "text", "text": "Rules of the gate. " * 300, "cache_control": {"type": "ephemeral"}}]
    told = asked("say: " + TEXT, model=ASKED["claude_large"], system=system)
    first = seen(client.messages.create(**told))
    with client.messages.stream(**told) as events:
        return {"first": first, "second": seen(events.get_final_message())}


@check
def stops() -> Any:
    wanted = {
        "end_turn": asked("say: done"),
        "max_tokens": asked("tokens: 50", max_tokens=5),
        "stop_sequence": asked("say: one END two", stop_sequences=["END"]),
        "tool_use": asked("What is the weather?", **FORCED),
        "refusal": asked("refuse:empty"),
        "pause_turn": asked("say: stop:pause_turn"),
        "model_context_window_exceeded": asked("say: stop:model_context_window_exceeded"),
    }
    found = {}
    for name, told in wanted.items():
        with client.messages.stream(**told) as events:
            streamed = events.get_final_message()
        found[name] = [client.messages.create(**told).stop_reason, streamed.stop_reason]
    return found


@check
def errors() -> Any:
    found = {}
    for word in ("429", "overloaded", "500", "400", "401", "403", "404", "413"):
        for streamed in (False, True):
            try:
                alone.messages.create(**asked(f"fault:{word}"), stream=streamed)
            except anthropic.APIError as error:
                found[f"{word}{' streamed' if streamed else ''}"] = told_of(error)
    return found


@check
def gateways_retries() -> Any:
    return seen(client.messages.create(**asked("fault:twice hello")))


@check
def one_owner() -> Any:
    try:
        client.messages.create(**asked("fault:busy"))
    except anthropic.APIError as error:
        return told_of(error)
    return {}


@check
def wrong_key() -> Any:
    try:
        anthropic.Anthropic(base_url=URL, api_key="wrong-" + "key").messages.create(**asked("hello"))
    except anthropic.APIError as error:
        return told_of(error)
    return {}


def _broken(prompt: str) -> Any:
    parts = []
    try:
        with client.messages.stream(**asked(prompt)) as events:
            for piece in events.text_stream:
                parts.append(piece)
            events.get_final_message()
    except Exception as error:
        return {"text": "".join(parts), **told_of(error)}
    return {"text": "".join(parts)}


@check
def error_event() -> Any:
    return _broken("tokens: 120 fault:event")


@check
def cut() -> Any:
    return _broken("tokens: 120 fault:cut")


@check
def no_terminal() -> Any:
    return _broken("tokens: 120 fault:end")


@check
def progress() -> Any:
    with client.messages.stream(**asked(HOLD)) as events:
        pieces = events.text_stream
        first = next(pieces)
        then = control("release")
        return {"first": first, "sent": then["sent"], "whole": first + "".join(pieces)}


@check
def cancel_stream() -> Any:
    with client.messages.stream(**asked(HOLD)) as events:
        return {"first": next(events.text_stream)}


@check
async def cancel_stream_async() -> Any:
    async with anthropic.AsyncAnthropic(base_url=URL, **OPTIONS) as mine, mine.messages.stream(**asked(HOLD)) as events:
        return {"first": await anext(aiter(events.text_stream))}


@check
async def cancel_whole() -> Any:
    async with anthropic.AsyncAnthropic(base_url=URL, **OPTIONS) as mine:
        call = asyncio.create_task(mine.messages.create(**asked("hold:answer")))
        await asyncio.to_thread(control, "arrived")
        call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            return {"cancelled": True}


@check
def keep_alive() -> Any:
    return {"texts": [seen(client.messages.create(**asked(f"say: {n}")))["text"] for n in range(5)]}


@check
def count_tokens() -> Any:
    told = {"model": ASKED["claude"], "messages": [{"role": "user", "content": TEXT}]}
    return {"input": client.messages.count_tokens(**told).input_tokens}


@check
def models() -> Any:
    listed = client.models.list(limit=5)
    return {"ids": [model.id for model in listed.data], "one": client.models.retrieve(listed.data[0].id).id}


if __name__ == "__main__":
    main()
