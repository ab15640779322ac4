"""pydantic-ai. HG_DIALECT says which of its models."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.exceptions import ModelHTTPError

from report import ASKED, HOLD, KEY, ONE_URL, TEXT, URL, check, control, main

ANTHROPIC = os.environ["HG_DIALECT"] == "anthropic"


class Weather(BaseModel):
    """The weather."""

    city: str
    days: int


def model(url: str = URL, responses: bool = False) -> Any:
    if ANTHROPIC:
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        return AnthropicModel(ASKED["claude"], provider=AnthropicProvider(api_key=KEY, base_url=url))
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    kind = OpenAIResponsesModel if responses else OpenAIChatModel
    return kind(ASKED["gpt"], provider=OpenAIProvider(api_key=KEY, base_url=f"{url}/v1"))


def agent(**more: Any) -> Any:
    return Agent(model(), **more)


def seen(result: Any, text: str) -> dict[str, Any]:
    usage = result.usage() if callable(result.usage) else result.usage
    return {"text": text, "input": usage.input_tokens, "output": usage.output_tokens}


@check
async def text() -> Any:
    result = await agent().run("say: " + TEXT)
    return seen(result, result.output)


@check
async def stream() -> Any:
    async with agent().run_stream("say: " + TEXT) as result:
        text = "".join([piece async for piece in result.stream_text(delta=True, debounce_by=None)])
        return seen(result, text)


@check
async def structured() -> Any:
    result = await agent(output_type=Weather).run("What is the weather?")
    return {"value": result.output.model_dump()}


@check
async def tool_run() -> Any:
    """A function of ours is called with the model's arguments, and its result goes back."""
    called = []
    mine = agent()

    @mine.tool_plain
    def weather(city: str, days: int) -> str:
        """The weather."""
        called.append({"city": city, "days": days})
        return "rain"

    result = await mine.run("Use weather.")
    return {"called": called, **seen(result, result.output)}


@check
async def image() -> Any:
    import base64

    content = BinaryContent(base64.b64decode(ASKED["png"]), media_type="image/png")
    return {"text": (await agent().run([content, "?"])).output}


@check
async def pdf() -> Any:
    import base64

    content = BinaryContent(base64.b64decode(ASKED["pdf"]), media_type="application/pdf")
    return {"text": (await agent().run([content, "?"])).output}


@check
async def http_errors() -> Any:
    found = {}
    for word in ("400", "401", "403", "404"):
        try:
            await Agent(model(ONE_URL)).run(f"fault:{word}")
        except ModelHTTPError as error:
            found[word] = error.status_code
    return found


@check
async def one_owner() -> Any:
    try:
        await agent().run("fault:busy")
    except ModelHTTPError as error:
        return {"status": error.status_code}
    return {}


@check
async def progress() -> Any:
    async with agent().run_stream(HOLD) as result:
        pieces = aiter(result.stream_text(delta=True, debounce_by=None))
        first = await anext(pieces)
        then = control("release")
        return {"first": first, "sent": then["sent"], "whole": first + "".join([piece async for piece in pieces])}


@check
async def keep_alive() -> Any:
    one = agent()
    return {"texts": [(await one.run(f"say: {n}")).output for n in range(5)]}


if not ANTHROPIC:

    @check
    async def responses() -> Any:
        one = Agent(model(responses=True))
        result = await one.run("say: " + TEXT)
        async with one.run_stream("say: " + TEXT) as streamed:
            text = "".join([piece async for piece in streamed.stream_text(delta=True, debounce_by=None)])
            return {"whole": seen(result, result.output), "streamed": seen(streamed, text)}


if __name__ == "__main__":
    main()
