"""A 429 storm under SDKs left at their defaults: upstream calls per logical call, bare, in process, and by the gateway.

Every client retries by itself (two times, as both SDKs do by default), so whatever Headgate did on top would multiply.
Calls are made 20 at a time, without a pause. What reached the provider is counted in the simulator's own books. Storms:

- standard: the simulator's `storm`; exactly every fifth request is refused, in turn with `retry-after: 1`, with
  `retry-after-ms: 250`, and without a wait.
- 60 %: drawn from a seed, so many requests are refused, without a wait.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import Number
from benchmarks.traffic_gateway import Provider, gateway, simulator

AT_ONCE = 20
MOST_PER_CALL = 1.3
_KEY = "sk-bench-" + "callers-key"
STORMS: Mapping[str, Mapping[str, object]] = {
    "standard": {
        "name": "standard",
        "rules": [
            {"when": {"every": 15, "offset": 5}, "fault": {"kind": "rate_limit", "retry_after": 1}},
            {"when": {"every": 15, "offset": 10}, "fault": {"kind": "rate_limit", "retry_after_ms": 250}},
            {"when": {"every": 15}, "fault": "rate_limit"},
        ],
    },
    "60 %": {"name": "heavy", "rules": [{"when": {"probability": 0.6}, "fault": "rate_limit"}]},
}
SDKS = ("anthropic, threads", "anthropic, async", "openai, threads", "openai, async")
WAYS = ("bare", "in process", "gateway")


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a storm."""

    calls: int
    answered: int
    upstream: int
    seconds: float

    @property
    def per_call(self) -> float:
        """Upstream calls per logical call."""
        return self.upstream / self.calls


def measure(
    calls: int, storms: Sequence[str] = tuple(STORMS), sdks: Sequence[str] = SDKS, ways: Sequence[str] = WAYS
) -> Iterator[Number]:
    """Each SDK in each way through each storm. Those of one storm run side by side: they mostly wait."""
    for storm in storms:
        cases = [(STORMS[storm], sdk, way, calls) for sdk in sdks for way in ways]
        with ThreadPoolExecutor(len(ways)) as pool:
            for (_, sdk, way, _), came in zip(cases, pool.map(lambda case: _storm(*case), cases), strict=True):
                yield Number(
                    "storm",
                    f"{storm} storm, {sdk}, {way}: upstream calls per logical call",
                    came.per_call,
                    "",
                    None if way == "bare" else MOST_PER_CALL,
                    note=f"{came.answered} of {came.calls} answered in {came.seconds:.0f} s",
                )


def _storm(scenario: Mapping[str, object], sdk: str, way: str, calls: int) -> Came:
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-storm-")))
        provider = stack.enter_context(simulator(root, scenario))
        url, client = provider.url, None
        if way == "gateway":
            url, _ = stack.enter_context(gateway(root / "gateway", _config(provider), {"bench": _KEY}))
        elif way == "in process":
            client = _clients(stack, root)
        began = time.monotonic()
        answered = _calls(sdk, url, client, calls)
        return Came(calls, answered, provider.refused()[1], time.monotonic() - began)


def _config(provider: Provider) -> dict[str, object]:
    key = "env:BENCH_PROVIDERS_KEY"
    return {
        "providers": {
            "anthropic": {"base_url": provider.url, "api_key": key},
            "openai": {"base_url": f"{provider.url}/v1", "api_key": key},
        }
    }


def _clients(stack: ExitStack, root: Path) -> Callable[[bool], Any]:
    from headgate.gate import Gate
    from headgate.settings import load

    told = {"storage": f"sqlite:///{root / 'bench.db'}", "log": {"bodies": "off"}}
    gate = stack.enter_context(Gate(load(env={}, overrides=told), env={}))
    return lambda threads: gate.client(trust_env=False) if threads else gate.async_client(trust_env=False)


def _calls(sdk: str, url: str, client: Callable[[bool], Any] | None, calls: int) -> int:
    """So many, and how many were answered."""
    import anthropic
    import openai

    name, _, how = sdk.partition(", ")
    threads = how == "threads"
    told: dict[str, Any] = {"base_url": url if name == "anthropic" else f"{url}/v1", "api_key": _KEY}
    if client is not None:
        told["http_client"] = client(threads)
    if name == "anthropic":
        made: Any = anthropic.Anthropic(**told) if threads else anthropic.AsyncAnthropic(**told)
        create, asked = made.messages.create, {"model": "claude-haiku-4-5", "max_tokens": 20}
        wrong: type[Exception] = anthropic.APIError
    else:
        made = openai.OpenAI(**told) if threads else openai.AsyncOpenAI(**told)
        create, asked = made.chat.completions.create, {"model": "gpt-6-luna", "max_completion_tokens": 20}
        wrong = openai.APIError
    asked["messages"] = [{"role": "user", "content": "tokens: 8"}]
    if threads:
        with made, ThreadPoolExecutor(AT_ONCE) as pool:
            return sum(pool.map(lambda _: _blocking(create, asked, wrong), range(calls)))
    return asyncio.run(_asynchronous(made, create, asked, wrong, calls))


def _blocking(create: Callable[..., Any], asked: dict[str, Any], wrong: type[Exception]) -> bool:
    try:
        create(**asked)
    except wrong:
        return False
    return True


async def _asynchronous(
    made: Any, create: Callable[..., Any], asked: dict[str, Any], wrong: type[Exception], calls: int
) -> int:
    async def some(numbers: range) -> int:
        answered = 0
        for _ in numbers:
            try:
                await create(**asked)
            except wrong:
                continue
            answered += 1
        return answered

    async with made:
        return sum(await asyncio.gather(*(some(range(start, calls, AT_ONCE)) for start in range(AT_ONCE))))
