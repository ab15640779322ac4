"""The OpenAI SDK for Python, old or new: Chat Completions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai

from report import ASKED, CLIENT_SECONDS, HOLD, KEY, ONE_URL, TEXT, URL, check, control, main, squeezed, told_of

OPTIONS = {"api_key": KEY, "timeout": CLIENT_SECONDS}
client = openai.OpenAI(base_url=f"{URL}/v1", **OPTIONS)
alone = openai.OpenAI(base_url=f"{ONE_URL}/v1", max_retries=0, **OPTIONS)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": ASKED["schema"]}}
FORCED = {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
COUNTED = {"stream": True, "stream_options": {"include_usage": True}}


def asked(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": ASKED["gpt"], "messages": [{"role": "user", "content": content}], **more}


def create(told: dict[str, Any]) -> Any:
    return client.chat.completions.create(**told)


def seen(completion: Any) -> dict[str, Any]:
    choice, usage = completion.choices[0], completion.usage
    calls = choice.message.tool_calls or ()
    return {
        "text": choice.message.content or "",
        "tools": [{"name": c.function.name, "arguments": json.loads(c.function.arguments)} for c in calls],
        "stop": choice.finish_reason,
        **_usage(usage),
    }


def _usage(usage: Any) -> dict[str, Any]:
    return {
        "input": usage.prompt_tokens,
        "output": usage.completion_tokens,
        "read": usage.prompt_tokens_details.cached_tokens,
        "written": (usage.prompt_tokens_details.model_extra or {}).get(
            "cache_write_tokens", getattr(usage.prompt_tokens_details, "cache_write_tokens", None)
        ),
        "reasoning": usage.completion_tokens_details.reasoning_tokens,
    }


def gathered(chunks: Any) -> dict[str, Any]:
    """A whole answer from a stream's chunks."""
    text, calls, stop, usage, order = "", {}, None, None, []
    for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            text += delta.content or ""
            order.append("stop" if choice.finish_reason else "call" if delta.tool_calls else "text")
            stop = choice.finish_reason or stop
            for part in delta.tool_calls or ():
                call = calls.setdefault(part.index, {"name": part.function.name, "arguments": ""})
                call["arguments"] += part.function.arguments or ""
        if chunk.usage is not None:
            usage = chunk.usage
            order.append("usage" if not chunk.choices else "usage beside a choice")
    tools = [{"name": c["name"], "arguments": json.loads(c["arguments"])} for c in calls.values()]
    counted = _usage(usage) if usage is not None else {}
    return {"text": text, "tools": tools, "stop": stop, "order": sorted(set(order), key=order.index), **counted}


@check
def text() -> Any:
    return seen(create(asked("say: " + TEXT)))


@check
def stream() -> Any:
    return gathered(create(asked("say: " + TEXT, **COUNTED)))


@check
def stream_uncounted() -> Any:
    return gathered(create(asked("say: " + TEXT, stream=True)))


@check
async def stream_async() -> Any:
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", **OPTIONS) as mine:
        return gathered(
            [chunk async for chunk in await mine.chat.completions.create(**asked("say: " + TEXT, **COUNTED))]
        )


@check
def tool() -> Any:
    return seen(create(asked("What is the weather?", **FORCED)))


@check
def tool_stream() -> Any:
    return gathered(create(asked("What is the weather?", **FORCED, **COUNTED)))


@check
def tool_result() -> Any:
    first = create(asked("What is the weather?", **FORCED)).choices[0].message
    turns = [
        {"role": "user", "content": "What is the weather?"},
        first,
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "rain"},
    ]
    return seen(create({"model": ASKED["gpt"], "messages": turns, "tools": [TOOL]}))


@check
def structured() -> Any:
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": ASKED["schema"], "strict": True}}
    return {"value": json.loads(seen(create(asked("Where?", response_format=form)))["text"])}


@check
def large_body() -> Any:
    return seen(create(asked("say: " + "é" * 600_000, max_completion_tokens=300)))


@check
def image() -> Any:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ASKED['png']}"}}
    return seen(create(asked([part, {"type": "text", "text": "?"}])))


@check
def pdf() -> Any:
    held = {"filename": "gate.pdf", "file_data": f"data:application/pdf;base64,{ASKED['pdf']}"}
    return seen(create(asked([{"type": "file", "file": held}, {"type": "text", "text": "?"}])))


@check
def reasoning() -> Any:
    return seen(create(asked("Consider.", reasoning_effort="high")))


@check
def cache() -> Any:
    turns = [{"role": "system", "content": "Rules of the gate. " * 600}, {"role": "user", "content": "say: " + TEXT}]
    told = {"model": ASKED["gpt"], "messages": turns}
    return {"first": seen(create(told)), "second": gathered(create({**told, **COUNTED}))}


@check
def stops() -> Any:
    wanted = {
        "stop": asked("say: one END two", stop=["END"]),
        "length": asked("tokens: 50", max_completion_tokens=5),
        "tool_calls": asked("What is the weather?", **FORCED),
        "content_filter": asked("refuse:empty"),
        "function_call": asked("say: stop:function_call"),
    }
    return {
        name: [seen(create(told))["stop"], gathered(create({**told, **COUNTED}))["stop"]]
        for name, told in wanted.items()
    }


@check
def refusal() -> Any:
    parts = [c.delta.refusal or "" for k in create(asked("refuse:message", stream=True)) for c in k.choices]
    return {"whole": create(asked("refuse:message")).choices[0].message.refusal, "streamed": "".join(parts)}


@check
def errors() -> Any:
    found = {}
    for word in ("429", "overloaded", "500", "400", "401", "403", "404", "413"):
        for streamed in (False, True):
            try:
                alone.chat.completions.create(**asked(f"fault:{word}"), stream=streamed)
            except openai.APIError as error:
                found[f"{word}{' streamed' if streamed else ''}"] = told_of(error)
    return found


@check
def gateways_retries() -> Any:
    return seen(create(asked("fault:twice hello")))


@check
def one_owner() -> Any:
    try:
        create(asked("fault:busy"))
    except openai.APIError as error:
        return told_of(error)
    return {}


@check
def wrong_key() -> Any:
    try:
        openai.OpenAI(base_url=f"{URL}/v1", api_key="wrong-" + "key").chat.completions.create(**asked("hello"))
    except openai.APIError as error:
        return told_of(error)
    return {}


def _broken(prompt: str) -> Any:
    text = ""
    try:
        for chunk in create(asked(prompt, stream=True)):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
    except Exception as error:
        return {"text": text, **told_of(error)}
    return {"text": text}


@check
def error_event() -> Any:
    return _broken("tokens: 120 fault:event")


@check
def cut() -> Any:
    return _broken("tokens: 120 fault:cut")


@check
def no_terminal() -> Any:
    return _broken("tokens: 120 fault:short")


def _texts(chunks: Any) -> Any:
    return (choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content)


@check
def progress() -> Any:
    pieces = _texts(create(asked(HOLD, stream=True)))
    first = next(pieces)
    then = control("release")
    return {"first": first, "sent": then["sent"], "whole": first + "".join(pieces)}


@check
def cancel_stream() -> Any:
    with create(asked(HOLD, stream=True)) as chunks:
        return {"first": next(_texts(chunks))}


@check
async def cancel_stream_async() -> Any:
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", **OPTIONS) as mine:
        chunks = await mine.chat.completions.create(**asked(HOLD, stream=True))
        async with chunks:
            texts = (chunk.choices[0].delta.content async for chunk in chunks if chunk.choices)
            return {"first": [await anext(texts), await anext(texts)][1]}  # the first is the role's, and empty


@check
async def cancel_whole() -> Any:
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", **OPTIONS) as mine:
        call = asyncio.create_task(mine.chat.completions.create(**asked("hold:answer")))
        await asyncio.to_thread(control, "arrived")
        call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            return {"cancelled": True}


@check
def keep_alive() -> Any:
    return {"texts": [seen(create(asked(f"say: {n}")))["text"] for n in range(5)]}


@check
def models() -> Any:
    ids = [model.id for model in client.models.list()]
    return {"ids": ids, "one": client.models.retrieve(ids[0]).id}


def answered(response: Any) -> dict[str, Any]:
    """A Responses answer."""
    calls = [item for item in response.output if item.type == "function_call"]
    return {
        "text": response.output_text,
        "tools": [{"name": call.name, "arguments": json.loads(call.arguments)} for call in calls],
        "status": response.status,
        "input": response.usage.input_tokens,
        "output": response.usage.output_tokens,
    }


def streamed_answer(**told: Any) -> dict[str, Any]:
    kinds, text, numbers = [], "", []
    with client.responses.stream(model=ASKED["gpt"], **told) as events:
        for event in events:
            kinds.append(event.type)
            numbers.append(event.sequence_number)
            text += event.delta if event.type == "response.output_text.delta" else ""
        final = events.get_final_response()
    kinds = squeezed(kinds)
    return {**answered(final), "pieces": text, "events": kinds, "in_order": numbers == sorted(set(numbers))}


@check
def responses() -> Any:
    whole = client.responses.create(model=ASKED["gpt"], input="say: " + TEXT)
    return {"whole": answered(whole), "streamed": streamed_answer(input="say: " + TEXT)}


FUNCTION = {"type": "function", "name": "weather", "parameters": ASKED["schema"], "strict": True}
CALLED = {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "weather"}, "input": "What is the weather?"}


@check
def responses_tool() -> Any:
    whole = client.responses.create(model=ASKED["gpt"], **CALLED)
    call = next(item for item in whole.output if item.type == "function_call")
    output = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    again = client.responses.create(model=ASKED["gpt"], previous_response_id=whole.id, input=output, tools=[FUNCTION])
    return {"whole": answered(whole), "streamed": streamed_answer(**CALLED), "again": answered(again)["text"]}


@check
def responses_stops() -> Any:
    cut = client.responses.create(model=ASKED["gpt"], input="tokens: 100", max_output_tokens=20)
    refused = client.responses.create(model=ASKED["gpt"], input="refuse:message")
    part = refused.output[-1].content[0]
    return {"status": cut.status, "why": cut.incomplete_details.reason, "refusal": [part.type, part.refusal]}


@check
def responses_errors() -> Any:
    found = {}
    for word in ("429", "overloaded", "500", "400", "401", "403", "404", "413"):
        try:
            alone.responses.create(model=ASKED["gpt"], input=f"fault:{word}")
        except openai.APIError as error:
            found[word] = told_of(error)
    return found


@check
def responses_cut() -> Any:
    text, wrong = "", ""
    try:
        for event in client.responses.create(model=ASKED["gpt"], input="tokens: 120 fault:cut", stream=True):
            text += event.delta if event.type == "response.output_text.delta" else ""
            wrong = event.type if event.type in ("error", "response.failed") else wrong
    except openai.APIError as error:
        wrong = type(error).__name__
    return {"text": text, "error": wrong}


@check
def responses_cancel() -> Any:
    with client.responses.create(model=ASKED["gpt"], input=HOLD, stream=True) as events:
        return {"first": next(event.delta for event in events if event.type == "response.output_text.delta")}


@check
def embeddings() -> Any:
    """The SDK asks for base64 where it is not told, and makes floats of it."""
    told = {"model": ASKED["embedding"], "input": ["a gate", "a canal"]}
    packed = client.embeddings.create(**told)
    plain = client.embeddings.create(**told, encoding_format="float")
    near = max(abs(a - b) for a, b in zip(packed.data[1].embedding, plain.data[1].embedding, strict=True))
    return {"length": len(packed.data[0].embedding), "apart": near, "input": packed.usage.prompt_tokens}


if __name__ == "__main__":
    main()
