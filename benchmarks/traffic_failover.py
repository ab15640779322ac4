"""Failover: how long until the first content of another route, where the preferred one is broken.

A virtual model with two routes, `headgate serve` with its defaults, the anthropic SDK with its own, streamed calls.
The second route is a simulator that answers at once. `breaker: off` makes every call meet the broken route; with
Headgate's default the first calls do, and then the breaker passes it over.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import Number, percentile
from benchmarks.traffic_gateway import black_hole, gateway, refusing, resetting, simulator

if TYPE_CHECKING:
    import anthropic

AT_ONCE = 8
MOST_SECONDS = 1.0
CONNECT_SECONDS = 5.0
"""`timeouts.connect`, by default."""
_KEY = "sk-bench-" + "callers-key"
_MODEL = "claude-haiku-4-5"


@contextlib.contextmanager
def _failing(status: int) -> Iterator[str]:
    fault = {"kind": "overloaded"} if status == 529 else {"kind": "server_error", "status": status}
    scenario = {"name": f"failing-{status}", "rules": [{"fault": fault}]}
    directory = tempfile.TemporaryDirectory(prefix="headgate-failing-")
    with directory as root, simulator(Path(root), scenario) as provider:
        yield provider.url


BROKEN: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "refuses connections": refusing,
    "resets connections": resetting,
    "answers 500": lambda: _failing(500),
    "answers 529": lambda: _failing(529),
}


def measure(calls: int, *, hole: bool = True) -> Iterator[Number]:
    """Each way to be broken, with the breaker and without; then a black hole.

    Args:
        calls: of each.
        hole: whether there is one: it takes as long as its timeout.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-failover-") as directory:
        root = Path(directory)
        with simulator(root, {"name": "healthy"}) as healthy:
            yield from _numbers("nothing", _took(root / "none", healthy.url, healthy.url, calls), target=None)
            for what, made in BROKEN.items():
                for breaker in ("off", "on"):
                    with made() as broken:
                        took = _took(root / f"{what} {breaker}", broken, healthy.url, calls, breaker=breaker)
                    name = f"{what}" if breaker == "off" else f"{what}, with the breaker"
                    yield from _numbers(name, took, target=MOST_SECONDS)
            if hole:
                with black_hole() as broken:
                    took = _took(root / "hole", broken, healthy.url, calls)
                yield from _hole(took)


def _numbers(name: str, took: list[float], *, target: float | None) -> Iterator[Number]:
    yield Number(
        "failover",
        f"{name}: first content, the slowest of {len(took)} calls",
        max(took),
        "s",
        target,
        note=f"p50 {percentile(took, 50) * 1e3:.0f} ms, p99 {percentile(took, 99) * 1e3:.0f} ms",
    )


def _hole(took: list[float]) -> Iterator[Number]:
    paid = [each for each in took if each >= CONNECT_SECONDS]
    more = max(took) - CONNECT_SECONDS
    name = f"black hole: first content, the slowest of {len(took)} calls, beyond one connect timeout"
    yield Number("failover", name, more, "s", MOST_SECONDS, note=f"timeouts.connect is {CONNECT_SECONDS:g} s")
    free = [each for each in took if each < CONNECT_SECONDS]
    note = f"{AT_ONCE} at once; the others: p99 {percentile(free, 99) * 1e3:.0f} ms" if free else ""
    yield Number("failover", "black hole: calls that met it before the breaker", len(paid), "", 2 * AT_ONCE, note=note)


def _took(root: Path, first: str, second: str, calls: int, breaker: str = "on") -> list[float]:
    """Seconds to the first content of each call."""
    config = {
        "providers": {
            "first": {"dialect": "anthropic", "base_url": first, "api_key": "env:BENCH_PROVIDERS_KEY", "price": "free"},
            "other": {
                "dialect": "anthropic",
                "base_url": second,
                "api_key": "env:BENCH_PROVIDERS_KEY",
                "price": "free",
            },
        },
        "models": {"m": [f"first/{_MODEL}", f"other/{_MODEL}"]},
    }
    config["providers"]["first"]["breaker"] = breaker
    with gateway(root, config, {"bench": _KEY}) as (url, _):
        return asyncio.run(_call(url, calls))


async def _call(url: str, calls: int) -> list[float]:
    import anthropic

    took: list[float] = []
    async with anthropic.AsyncAnthropic(base_url=url, api_key=_KEY) as client:
        await asyncio.gather(*(_some(client, took, len(range(start, calls, AT_ONCE))) for start in range(AT_ONCE)))
    return took


async def _some(client: anthropic.AsyncAnthropic, took: list[float], calls: int) -> None:
    for _ in range(calls):
        began = time.perf_counter()
        told = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "tokens: 8"}]}
        async with client.messages.stream(**told) as stream:
            async for _text in stream.text_stream:
                took.append(time.perf_counter() - began)
                break
            await stream.until_done()
