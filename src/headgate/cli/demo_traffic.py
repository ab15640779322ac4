"""The demonstration's traffic: calls drawn from a seed, made with the official SDKs as an application makes them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from headgate.transport.context import caller

if TYPE_CHECKING:
    import anthropic
    import openai

IN_PROCESS = "in-process"
GATEWAY = "gateway"
WAYS_IN = (IN_PROCESS, GATEWAY)

_MODELS = {
    "anthropic": ("claude-haiku-4-5", "claude-sonnet-5-5"),
    "openai": ("gpt-6-luna", "gpt-6.1-sol"),
}
_TASKS = {"classify": (20, "Is this a complaint: "), "summarise": (200, "Summarise: "), "chat": (400, "")}
_USERS = tuple(
    f"{name}@{tenant}" for tenant in ("acme", "globex") for name in ("ada", "ben", "cy", "dee", "eve", "flo")
)
_TEXT = "The gate decides how much flows in from upstream, how fast, and what is kept out. "
_MANUAL = _TEXT * 40  # long enough for every model's prompt cache


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an application."""

    way_in: str
    sdk: str  # "anthropic" | "openai"
    asynchronous: bool
    streamed: bool
    model: str
    user: str
    tenant: str
    task: str
    max_tokens: int
    prompt: str
    with_manual: bool  # a long system prompt, the same every time, for the provider's prompt cache


def draw(rng: random.Random) -> Iterator[Call]:
    """Calls without end, the same for the same seed."""
    while True:
        sdk = rng.choice(("anthropic", "openai"))
        task, (cap, words) = rng.choice(tuple(_TASKS.items()))
        user = _USERS[min(int(rng.expovariate(0.35)), len(_USERS) - 1)]
        yield Call(
            way_in=rng.choice(WAYS_IN),
            sdk=sdk,
            asynchronous=rng.random() < 0.5,
            streamed=rng.random() < 0.6,
            model=rng.choices(_MODELS[sdk], (3, 2))[0],
            user=user,
            tenant=user.partition("@")[2],
            task=task,
            max_tokens=cap,
            prompt=f"{words}{_TEXT * rng.randint(1, 8)}{rng.randrange(10**6)}",
            with_manual=rng.random() < 0.3,
        )


@dataclass(slots=True)
class Outcomes:
    """What the application saw. Filled from several threads."""

    made: int = 0
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)  # (way in, model)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)  # of errors, by the exception's name
    _lock: Lock = field(default_factory=Lock, repr=False)

    def note(self, call: Call, error: BaseException | None) -> None:
        """One call has ended."""
        with self._lock:
            self.made += 1
            if error is None:
                self.answered[call.way_in, call.model] += 1
            else:
                self.failed[call.way_in, call.model] += 1
                self.kinds[type(error).__name__] += 1

    @property
    def errors(self) -> int:
        """Calls that ended in an exception."""
        return self.failed.total()


@dataclass(frozen=True, slots=True)
class Clients:
    """The SDKs' clients of one way in, with their own retries left as they come."""

    claude: anthropic.Anthropic
    async_claude: anthropic.AsyncAnthropic
    gpt: openai.OpenAI
    async_gpt: openai.AsyncOpenAI

    def make(self, call: Call, outcomes: Outcomes) -> None:
        """Make a call, and read its answer to the end."""
        try:
            with _attributed(call):
                if call.sdk == "anthropic":
                    _ask_anthropic(self.claude, call)
                else:
                    _ask_openai(self.gpt, call)
        except Exception as error:  # whatever an application would see, counted
            outcomes.note(call, error)
        else:
            outcomes.note(call, None)

    async def make_async(self, call: Call, outcomes: Outcomes) -> None:
        """The same with the asynchronous clients."""
        try:
            with _attributed(call):
                if call.sdk == "anthropic":
                    await _ask_anthropic_async(self.async_claude, call)
                else:
                    await _ask_openai_async(self.async_gpt, call)
        except Exception as error:  # whatever an application would see, counted
            outcomes.note(call, error)
        else:
            outcomes.note(call, None)


def _attributed(call: Call) -> AbstractContextManager[object]:
    """In process the caller is told by a context; the gateway gets it in headers."""
    if call.way_in != IN_PROCESS:
        return nullcontext()
    return caller(user=call.user, tenant=call.tenant, task=call.task)


def _headers(call: Call) -> dict[str, str]:
    if call.way_in == IN_PROCESS:
        return {}
    return {"x-headgate-user": call.user, "x-headgate-tenant": call.tenant, "x-headgate-task": call.task}


def _message(call: Call) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "model": call.model,
        "max_tokens": call.max_tokens,
        "messages": [{"role": "user", "content": call.prompt}],
        "extra_headers": _headers(call),
    }
    if call.with_manual:
        asked["system"] = [{"type": "text", "text": _MANUAL, "cache_control": {"type": "ephemeral"}}]
    return asked


def _completion(call: Call) -> dict[str, Any]:
    system = [{"role": "system", "content": _MANUAL}] if call.with_manual else []
    return {
        "model": call.model,
        "max_completion_tokens": call.max_tokens,
        "messages": [*system, {"role": "user", "content": call.prompt}],
        "extra_headers": _headers(call),
    }


def _ask_anthropic(client: anthropic.Anthropic, call: Call) -> None:
    if not call.streamed:
        client.messages.create(**_message(call))
        return
    with client.messages.stream(**_message(call)) as stream:
        for _ in stream.text_stream:
            pass


async def _ask_anthropic_async(client: anthropic.AsyncAnthropic, call: Call) -> None:
    if not call.streamed:
        await client.messages.create(**_message(call))
        return
    async with client.messages.stream(**_message(call)) as stream:
        async for _ in stream.text_stream:
            pass


def _ask_openai(client: openai.OpenAI, call: Call) -> None:
    if not call.streamed:
        client.chat.completions.create(**_completion(call))
        return
    with client.chat.completions.create(stream=True, **_completion(call)) as stream:
        for _ in stream:
            pass


async def _ask_openai_async(client: openai.AsyncOpenAI, call: Call) -> None:
    if not call.streamed:
        await client.chat.completions.create(**_completion(call))
        return
    async with await client.chat.completions.create(stream=True, **_completion(call)) as stream:
        async for _ in stream:
            pass
