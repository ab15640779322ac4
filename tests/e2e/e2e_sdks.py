"""The official SDKs, in both colours, through each way in, behind one function: make a call, see everything."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai

from headgate import Gate

MODELS = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
ERRORS = {"anthropic": anthropic, "openai": openai}


@dataclass
class Seen:
    """What an application sees of one call."""

    headers: Any = None
    answer: Any = None  # the SDK's object; None for a stream
    events: list[Any] = field(default_factory=list)
    error: Any = None  # the SDK's exception

    def text(self) -> str:
        """What the model said."""
        if self.answer is not None:
            if hasattr(self.answer, "choices"):
                return self.answer.choices[0].message.content or ""
            return "".join(block.text for block in self.answer.content if block.type == "text")
        parts = []
        for event in self.events:
            if hasattr(event, "choices"):
                parts += [choice.delta.content or "" for choice in event.choices]
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                parts.append(event.delta.text)
        return "".join(parts)

    def stop(self) -> Any:
        """Why it stopped."""
        if self.answer is not None:
            return self.answer.choices[0].finish_reason if hasattr(self.answer, "choices") else self.answer.stop_reason
        for event in reversed(self.events):
            if hasattr(event, "choices"):
                if event.choices and event.choices[0].finish_reason:
                    return event.choices[0].finish_reason
            elif event.type == "message_delta":
                return event.delta.stop_reason
        return None

    def tokens(self) -> tuple[int, int]:
        """(prompt, output) as the SDK shows them at the end."""
        if self.answer is not None:
            usage = self.answer.usage
        else:
            usage = next(event.usage for event in reversed(self.events) if getattr(event, "usage", None))
        if hasattr(usage, "prompt_tokens"):
            return usage.prompt_tokens, usage.completion_tokens
        return usage.input_tokens, usage.output_tokens


@dataclass(frozen=True)
class Way:
    """Where a call goes: `url` as Anthropic's SDK takes it; through a gate, or not."""

    url: str
    gate: Gate | None = None
    key: str = "callers-own-key"

    def http(self, colour: str) -> Any:
        """The SDK's HTTP client."""
        if self.gate is not None:
            return self.gate.client() if colour == "sync" else self.gate.async_client()
        return httpx2.Client() if colour == "sync" else httpx2.AsyncClient()

    def client(self, sdk: str, colour: str, http: Any, **more: Any) -> Any:
        """An SDK client at its defaults."""
        told = {"api_key": self.key, "http_client": http, **more}
        if sdk == "anthropic":
            kind: Any = anthropic.Anthropic if colour == "sync" else anthropic.AsyncAnthropic
            return kind(base_url=self.url, **told)
        kind = openai.OpenAI if colour == "sync" else openai.AsyncOpenAI
        return kind(base_url=f"{self.url}/v1", **told)


def body(sdk: str, prompt: str, *, stream: bool = False, **more: Any) -> dict[str, Any]:
    """A request that both dialects understand."""
    told = {"model": MODELS[sdk], "messages": [{"role": "user", "content": prompt}], **more}
    if stream:
        told["stream"] = True
        if sdk == "openai":
            told.setdefault("stream_options", {"include_usage": True})
    if sdk == "anthropic":
        told.setdefault("max_tokens", 100)
    return told


def call(way: Way, sdk: str, colour: str, told: dict[str, Any], **client: Any) -> Seen:
    """Make one call; errors of the SDK are part of what is seen."""
    return (_call if colour == "sync" else _call_async)(way, sdk, told, client)


def _create(made: Any, sdk: str) -> Callable[..., Any]:
    return (made.messages if sdk == "anthropic" else made.chat.completions).with_raw_response.create


def _call(way: Way, sdk: str, told: dict[str, Any], client: dict[str, Any]) -> Seen:
    seen = Seen()
    with way.http("sync") as http:
        try:
            raw = _create(way.client(sdk, "sync", http, **client), sdk)(**told)
            seen.headers = raw.headers
            answer = raw.parse()
            if told.get("stream"):
                with answer:
                    for event in answer:
                        seen.events.append(event)
            else:
                seen.answer = answer
        except (anthropic.APIError, openai.APIError) as error:
            seen.error = error
    return seen


def _call_async(way: Way, sdk: str, told: dict[str, Any], client: dict[str, Any]) -> Seen:
    async def run() -> Seen:
        seen = Seen()
        async with way.http("async") as http:
            try:
                raw = await _create(way.client(sdk, "async", http, **client), sdk)(**told)
                seen.headers = raw.headers
                answer = raw.parse()
                if inspect.isawaitable(answer):  # Anthropic's is, OpenAI's is not
                    answer = await answer
                if told.get("stream"):
                    async with answer:
                        async for event in answer:
                            seen.events.append(event)
                else:
                    seen.answer = answer
            except (anthropic.APIError, openai.APIError) as error:
                seen.error = error
        return seen

    return asyncio.run(run())
