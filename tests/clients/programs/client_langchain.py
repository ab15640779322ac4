"""LangChain's chat models. HG_DIALECT says which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage

from report import ASKED, CLIENT_SECONDS, HOLD, KEY, ONE_URL, TEXT, URL, check, control, main, told_of

ANTHROPIC = os.environ["HG_DIALECT"] == "anthropic"
SCHEMA = {"title": "weather", "description": "the weather", **ASKED["schema"]}


def model(url: str = URL, **more: Any) -> Any:
    told = {"api_key": KEY, "timeout": CLIENT_SECONDS, **more}
    if ANTHROPIC:
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(**{"model": ASKED["claude"], "max_tokens": 300, "base_url": url, **told})
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(**{"model": ASKED["gpt"], "base_url": f"{url}/v1", "stream_usage": True, **told})


def seen(message: Any) -> dict[str, Any]:
    told = message.response_metadata
    return {
        "text": message.text,
        "tools": [{"name": call["name"], "arguments": call["args"]} for call in message.tool_calls],
        "stop": told.get("stop_reason") or told.get("finish_reason"),
        "input": message.usage_metadata["input_tokens"],
        "output": message.usage_metadata["output_tokens"],
    }


def gathered(pieces: Iterator[Any]) -> Any:
    whole = next(pieces)
    for piece in pieces:
        whole += piece
    return whole


@check
def text() -> Any:
    return seen(model().invoke("say: " + TEXT))


@check
def stream() -> Any:
    return seen(gathered(model().stream("say: " + TEXT)))


@check
async def stream_async() -> Any:
    whole = None
    async for piece in model().astream("say: " + TEXT):
        whole = piece if whole is None else whole + piece
    return seen(whole)


@check
def tool() -> Any:
    return _without_stop(seen(model().bind_tools([SCHEMA], tool_choice="weather").invoke("What is the weather?")))


@check
def tool_stream() -> Any:
    calling = model().bind_tools([SCHEMA], tool_choice="weather")
    return _without_stop(seen(gathered(calling.stream("What is the weather?"))))


def _without_stop(saw: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in saw.items() if name != "stop"}


@check
def tool_result() -> Any:
    asked = HumanMessage("What is the weather?")
    called = model().bind_tools([SCHEMA], tool_choice="weather").invoke([asked])
    result = ToolMessage("rain", tool_call_id=called.tool_calls[0]["id"])
    return seen(model().bind_tools([SCHEMA]).invoke([asked, called, result]))


@check
def structured() -> Any:
    return {"value": model().with_structured_output(SCHEMA).invoke("Where? Use the weather tool.")}


@check
def image() -> Any:
    block = {"type": "image", "base64": ASKED["png"], "mime_type": "image/png"}
    saw = seen(model().invoke([HumanMessage([block, {"type": "text", "text": "?"}])]))
    return {"text": saw["text"]}


@check
def pdf() -> Any:
    block = {"type": "file", "base64": ASKED["pdf"], "mime_type": "application/pdf", "filename": "gate.pdf"}
    saw = seen(model().invoke([HumanMessage([block, {"type": "text", "text": "?"}])]))
    return {"text": saw["text"]}


@check
def large_body() -> Any:
    large = model(model=ASKED["claude_large" if ANTHROPIC else "gpt"], max_tokens=300)
    return seen(large.invoke("say: " + "é" * 600_000))


@check
def errors() -> Any:
    alone = model(ONE_URL, max_retries=0)
    found = {}
    for word in ("429", "overloaded", "500", "400", "401", "403", "404", "413"):
        for streamed in (False, True):
            try:
                list(alone.stream(f"fault:{word}")) if streamed else alone.invoke(f"fault:{word}")
            except Exception as error:
                told = told_of(error)
                told.pop("family")  # LangChain's own classes, derived from the SDK's
                found[f"{word}{' streamed' if streamed else ''}"] = told
    return found


@check
def one_owner() -> Any:
    try:
        model().invoke("fault:busy")
    except Exception as error:
        return told_of(error)
    return {}


@check
def cut() -> Any:
    text = ""
    try:
        for piece in model().stream("tokens: 120 fault:cut"):
            text += piece.text
    except Exception as error:
        return {"text": text, **told_of(error)}
    return {"text": text}


def _texts(pieces: Any) -> Any:
    return (piece.text for piece in pieces if piece.text)


@check
def progress() -> Any:
    pieces = _texts(model().stream(HOLD))
    first = next(pieces)
    then = control("release")
    return {"first": first, "sent": then["sent"], "whole": first + "".join(pieces)}


@check
def keep_alive() -> Any:
    one = model()
    return {"texts": [one.invoke(f"say: {n}").text for n in range(5)]}


if not ANTHROPIC:

    @check
    def responses() -> Any:
        one = model(use_responses_api=True)
        whole = seen(one.invoke("say: " + TEXT))
        return {"whole": whole, "streamed": seen(gathered(one.stream("say: " + TEXT)))}


if __name__ == "__main__":
    main()
