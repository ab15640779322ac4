"""Seeded traffic: trials drawn from a seed, each one call of a real SDK, some of which the caller gives up half-way."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import anthropic
import httpx2
import openai

PROVIDER_KEY = "obviously-not-a-real-key"
_ANTHROPIC = ("claude-haiku-4-5", "claude-sonnet-5-5")
_OPENAI = ("gpt-6-luna", "gpt-5-mini")
_EMBEDDINGS = ("text-embedding-3-small", "text-embedding-3-large")
_APIS = ("chat", "chat", "responses", "responses", "embeddings")  # of OpenAI
_SYSTEM = "The gate decides how much flows in from upstream, how fast, and what is kept out. " * 60
_ABORTS = ("after_events", "cancel", "at_headers")


@dataclass(slots=True)
class Trial:
    """One call that an application makes."""

    number: int
    sdk: str  # "anthropic" | "openai"
    asynchronous: bool
    streamed: bool
    model: str
    prompt: str
    max_tokens: int
    cached: bool  # a long prefix for the prompt cache
    api: str = "messages"  # | "chat" | "responses" | "embeddings"
    abort: str = ""  # "" | after_events | cancel | at_headers
    abort_after: float = 0.0  # events, or seconds
    exchange: str = ""  # the x-headgate-exchange we were given
    outcome: str = ""  # "answered", "aborted", or an exception's name
    errors: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"trial-{self.number}"

    @property
    def headers(self) -> dict[str, str]:
        return {"x-headgate-correlation-id": self.name, "x-trial": self.name, "x-headgate-user": f"u{self.number % 7}"}


def draw(seed: int, count: int, first: int = 0) -> list[Trial]:
    """Trials, the same for the same seed."""
    rng = random.Random(seed)
    trials = []
    for number in range(first, first + count):
        sdk = rng.choice(("anthropic", "openai"))
        model = rng.choice(_ANTHROPIC if sdk == "anthropic" else _OPENAI)
        streamed, asynchronous = rng.random() < 0.65, rng.random() < 0.7
        trial = Trial(
            number,
            sdk,
            asynchronous,
            streamed,
            model,
            prompt=f"{'word ' * rng.randint(1, 60)}{rng.randrange(10**9)}",
            max_tokens=rng.choice((1, 20, 200)),
            cached=rng.random() < 0.25,
        )
        if sdk == "openai":
            trial.api = rng.choice(_APIS)
            if trial.api == "embeddings":
                trial.model, trial.streamed = rng.choice(_EMBEDDINGS), False
        if rng.random() < 0.02:
            trial.model = "no-such-model"
        streamed = trial.streamed
        if rng.random() < 0.12:
            trial.abort = rng.choice(_ABORTS if streamed else _ABORTS[1:2]) if asynchronous else "after_events"
            trial.abort_after = rng.randint(1, 8) if trial.abort == "after_events" else rng.uniform(0.0, 0.06)
            if not asynchronous and not streamed:
                trial.abort = ""
        trials.append(trial)
    return trials


def _body(trial: Trial) -> dict[str, Any]:
    messages = [{"role": "user", "content": trial.prompt}]
    if trial.sdk == "anthropic":
        told: dict[str, Any] = {"model": trial.model, "max_tokens": trial.max_tokens, "messages": messages}
        if trial.cached:
            told["system"] = [{"type": "text", "text": _SYSTEM, "cache_control": {"type": "ephemeral"}}]
        return told
    if trial.api == "embeddings":
        return {"model": trial.model, "input": [trial.prompt, _SYSTEM] if trial.cached else trial.prompt}
    if trial.api == "responses":
        told = {"model": trial.model, "max_output_tokens": max(16, trial.max_tokens), "input": messages}
        return {**told, "instructions": _SYSTEM} if trial.cached else told
    if trial.cached:
        messages.insert(0, {"role": "system", "content": _SYSTEM})
    return {"model": trial.model, "max_completion_tokens": trial.max_tokens, "messages": messages}


class Callers:
    """SDK clients at their defaults, but for retries: one trial is at most one exchange.

    Args:
        anthropic_url, openai_url: base URLs.
        client, async_client: make the HTTP clients.
    """

    def __init__(
        self,
        anthropic_url: str,
        openai_url: str,
        client: Callable[[], httpx2.Client],
        async_client: Callable[[], httpx2.AsyncClient],
    ) -> None:
        self._urls = {"anthropic": anthropic_url, "openai": openai_url}
        self._client = client
        self._async_client = async_client

    def run(self, trials: Sequence[Trial], *, tasks: int, threads: int, ended: Callable[[], None]) -> None:
        """Make all the calls; `ended` is called after each, from several threads."""
        sync = [trial for trial in trials if not trial.asynchronous]
        rest = [trial for trial in trials if trial.asynchronous]
        waiting = threading.Thread(target=lambda: asyncio.run(self._all(rest, tasks, ended)))
        waiting.start()
        with self._client() as http, ThreadPoolExecutor(threads) as pool:
            made = {
                "anthropic": anthropic.Anthropic(
                    api_key=PROVIDER_KEY, base_url=self._urls["anthropic"], http_client=http, max_retries=0
                ),
                "openai": openai.OpenAI(
                    api_key=PROVIDER_KEY, base_url=self._urls["openai"], http_client=http, max_retries=0
                ),
            }
            list(pool.map(lambda trial: _noted(trial, lambda: _call(trial, made[trial.sdk]), ended), sync))
        waiting.join()

    async def _all(self, trials: Sequence[Trial], tasks: int, ended: Callable[[], None]) -> None:
        gate = asyncio.Semaphore(tasks)
        async with self._async_client() as http:
            made = {
                "anthropic": anthropic.AsyncAnthropic(
                    api_key=PROVIDER_KEY, base_url=self._urls["anthropic"], http_client=http, max_retries=0
                ),
                "openai": openai.AsyncOpenAI(
                    api_key=PROVIDER_KEY, base_url=self._urls["openai"], http_client=http, max_retries=0
                ),
            }

            async def one(trial: Trial) -> None:
                async with gate:
                    task = asyncio.ensure_future(_call_async(trial, made[trial.sdk]))
                    if trial.abort == "cancel":
                        asyncio.get_running_loop().call_later(trial.abort_after, task.cancel)
                    await asyncio.wait((task,))
                _noted(trial, lambda: None if task.cancelled() else task.result(), ended)
                if task.cancelled():
                    trial.outcome = "aborted"

            await asyncio.gather(*map(one, trials))


def _noted(trial: Trial, call: Callable[[], None], ended: Callable[[], None]) -> None:
    try:
        call()
        trial.outcome = trial.outcome or "answered"
    except (anthropic.APIStatusError, openai.APIStatusError) as error:
        trial.exchange = trial.exchange or error.response.headers.get("x-headgate-exchange", "")
        trial.outcome = type(error).__name__
    except (anthropic.AnthropicError, openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
        trial.outcome = type(error).__name__
    except BaseException as error:  # shown by the test, which expects none
        trial.errors.append(repr(error))
    finally:
        ended()


def _create(trial: Trial, client: Any) -> Any:
    told = {**_body(trial), "extra_headers": trial.headers}
    if trial.api == "embeddings":
        return client.embeddings.with_raw_response.create(**told)
    made = {"messages": "messages", "chat": "chat.completions", "responses": "responses"}[trial.api]
    return attrgetter(made)(client).with_raw_response.create(**told, stream=trial.streamed)


def _call(trial: Trial, client: Any) -> None:
    raw = _create(trial, client)
    trial.exchange = raw.headers["x-headgate-exchange"]
    answer = raw.parse()
    if not trial.streamed:
        return
    with answer:
        for count, _ in enumerate(answer):
            if trial.abort == "after_events" and count >= trial.abort_after:
                trial.outcome = "aborted"
                return


async def _call_async(trial: Trial, client: Any) -> None:
    raw = await _create(trial, client)
    trial.exchange = raw.headers["x-headgate-exchange"]
    answer = raw.parse()
    if inspect.isawaitable(answer):  # Anthropic's is, OpenAI's is not
        answer = await answer
    if not trial.streamed:
        return
    async with answer:
        if trial.abort == "at_headers":
            trial.outcome = "aborted"
            return
        count = 0
        async for _ in answer:
            count += 1
            if trial.abort == "after_events" and count >= trial.abort_after:
                trial.outcome = "aborted"
                return
