"""instructor over the official SDKs. HG_DIALECT says which."""

from __future__ import annotations

import os
from typing import Any

import instructor
from pydantic import BaseModel

from report import ASKED, CLIENT_SECONDS, KEY, TEXT, URL, check, main, told_of

ANTHROPIC = os.environ["HG_DIALECT"] == "anthropic"


class Weather(BaseModel):
    """The weather."""

    city: str
    days: int


if ANTHROPIC:
    import anthropic

    raw = anthropic.Anthropic(base_url=URL, api_key=KEY, timeout=CLIENT_SECONDS)
    client = instructor.from_anthropic(raw)
    MORE = {"model": ASKED["claude"], "max_tokens": 300}
else:
    import openai

    raw = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, timeout=CLIENT_SECONDS)
    client = instructor.from_openai(raw)
    MORE = {"model": ASKED["gpt"]}


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "max_retries": 1, **MORE, **more}


@check
def structured() -> Any:
    return {"value": client.create(response_model=Weather, **asked("What is the weather?")).model_dump()}


@check
def structured_usage() -> Any:
    value, completion = client.create_with_completion(response_model=Weather, **asked("What is the weather?"))
    usage = completion.usage
    counted = (usage.input_tokens, usage.output_tokens) if ANTHROPIC else (usage.prompt_tokens, usage.completion_tokens)
    return {"value": value.model_dump(), "input": counted[0], "output": counted[1]}


@check
def structured_stream() -> Any:
    last = None
    for value in client.create_partial(response_model=Weather, **asked("What is the weather?")):
        last = value.model_dump()
    return {"value": last}


@check
def one_owner() -> Any:
    try:
        client.create(response_model=Weather, **asked("fault:busy"))
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)[:300]}
    return {}


@check
def wrong_request() -> Any:
    try:
        client.create(response_model=Weather, **asked("fault:400 " + TEXT))
    except Exception as error:
        cause = error.__cause__ or error
        return told_of(cause)
    return {}


if __name__ == "__main__":
    main()
