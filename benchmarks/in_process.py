"""What a governed SDK call costs beside a plain one, in the same process, against the same provider.

CPU is that of the whole process, so the ledger's and the log's threads are in it; each governed batch waits until what
it left to them is written. Batches alternate, and the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import nginx, payloads
from benchmarks.processes import CannotRun
from benchmarks.report import Number, median

if TYPE_CHECKING:
    import anthropic

    from headgate.gate import Gate

ASYNC_TARGET, SYNC_TARGET = 1.0, 1.10
_KEY = "bench-" + "sdk-key"
_MIN_ROUNDS = 5
_ASKED = json.loads(payloads.request(stream=False))
_TEXT = json.loads(payloads.answer())["content"][0]["text"]

Batch = Callable[[int], None]
"""Makes so many calls."""


@dataclass(frozen=True, slots=True)
class Case:
    """A plain and a governed way to make the same calls."""

    name: str
    calls: int  # per batch
    plain: Batch
    governed: Batch
    target: float | None = None


def measure(seconds: float) -> Iterator[Number]:
    """Asynchronous and synchronous, streamed and not.

    Args:
        seconds: for each case, both ways together.
    """
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-bench-")))
        provider = stack.enter_context(nginx.upstream(root))
        gate = stack.enter_context(_gate(root))
        runner = stack.enter_context(asyncio.Runner())
        made = 0
        for case in _cases(provider.url, gate, runner):
            plain, governed, calls = _rounds(case, gate, seconds)
            made += calls
            yield from _numbers(case, plain, governed)
        recorded = gate.usage().total.exchanges
    yield Number(
        "in-process", "exchanges missing from the ledger", made - recorded, "", 0, note=f"{made} calls, {recorded} rows"
    )


def _gate(root: Path) -> Gate:
    from headgate.gate import Gate
    from headgate.settings.model import GuardSettings, LogSettings, Settings

    settings = dataclasses.replace(
        Settings(),  # not `load`: nobody's headgate.yaml is part of a measurement
        storage=f"sqlite:///{root / 'bench.db'}",
        log=LogSettings(bodies="off"),
        guards=GuardSettings(profile="off"),
    )
    return Gate(settings, env={})


def _cases(provider: str, gate: Gate, runner: asyncio.Runner) -> Iterator[Case]:
    import anthropic

    for kind, calls in (("json", 100), ("stream", 20)):
        told: dict[str, Any] = {"base_url": f"{provider}/{kind}", "api_key": _KEY}
        call, blocking_call = (_call, _blocking_call) if kind == "json" else (_stream, _blocking_stream)
        what = "" if kind == "json" else ", stream of 100 events"
        for at_once in (1, 16):
            clients = (
                anthropic.AsyncAnthropic(**told),
                anthropic.AsyncAnthropic(http_client=gate.async_client(), **told),
            )
            plain, governed = (_async_batch(runner, call, client, at_once) for client in clients)
            name = f"async{what}, {at_once} at a time"
            yield Case(name, calls, plain, governed, None if what else ASYNC_TARGET)
        pair = anthropic.Anthropic(**told), anthropic.Anthropic(http_client=gate.client(), **told)
        plain, governed = (_blocking_batch(blocking_call, client) for client in pair)
        yield Case(f"sync{what}", calls, plain, governed, None if what else SYNC_TARGET)


def _async_batch(
    runner: asyncio.Runner,
    call: Callable[[anthropic.AsyncAnthropic], Coroutine[Any, Any, None]],
    client: anthropic.AsyncAnthropic,
    at_once: int,
) -> Batch:
    async def some(calls: int) -> None:
        for _ in range(calls):
            await call(client)

    async def batch(calls: int) -> None:
        shares = [len(range(start, calls, at_once)) for start in range(at_once)]
        await asyncio.gather(*(some(share) for share in shares))

    return lambda calls: runner.run(batch(calls))


def _blocking_batch(call: Callable[[anthropic.Anthropic], None], client: anthropic.Anthropic) -> Batch:
    def batch(calls: int) -> None:
        for _ in range(calls):
            call(client)

    return batch


async def _call(client: anthropic.AsyncAnthropic) -> None:
    _check((await client.messages.create(**_ASKED)).content[0].text)


def _blocking_call(client: anthropic.Anthropic) -> None:
    _check(client.messages.create(**_ASKED).content[0].text)


async def _stream(client: anthropic.AsyncAnthropic) -> None:
    count = 0
    async for _ in await client.messages.create(stream=True, **_ASKED):
        count += 1
    _check_events(count)


def _blocking_stream(client: anthropic.Anthropic) -> None:
    _check_events(sum(1 for _ in client.messages.create(stream=True, **_ASKED)))


def _check(text: str) -> None:
    if text != _TEXT:
        raise CannotRun(f"the SDK got another answer than the provider's: {text[:200]!r}")


def _check_events(count: int) -> None:
    if count not in (payloads.EVENTS, payloads.EVENTS - 1):  # the SDK may keep pings to itself
        raise CannotRun(f"the SDK got {count} events instead of {payloads.EVENTS}")


def _rounds(case: Case, gate: Gate, seconds: float) -> tuple[list[float], list[float], int]:
    """CPU per call of each batch in microseconds, plain and governed, and how many governed calls were made."""
    case.plain(case.calls)
    case.governed(case.calls)
    gate.flush()
    plain: list[float] = []
    governed: list[float] = []
    end = time.monotonic() + seconds
    while len(plain) < _MIN_ROUNDS or time.monotonic() < end:
        turns = [(plain, case.plain, _nothing), (governed, case.governed, gate.flush)]
        for cpu, batch, finish in turns if len(plain) % 2 else reversed(turns):
            cpu.append(_cpu(batch, case.calls, finish))
    return plain, governed, case.calls * (1 + len(governed))


def _nothing() -> None:
    """What a plain batch has to finish."""


def _cpu(batch: Batch, calls: int, finish: Callable[[], None]) -> float:
    gc.collect()  # neither pays for the other's garbage
    before = time.process_time()
    batch(calls)
    finish()
    return (time.process_time() - before) / calls * 1e6


def _numbers(case: Case, plain: list[float], governed: list[float]) -> Iterator[Number]:
    ratios = [ours / theirs for ours, theirs in zip(governed, plain, strict=True)]
    note = f"{median(governed):.0f} us governed, {median(plain):.0f} us plain, {len(ratios)} rounds"
    spread = (min(ratios), max(ratios))
    yield Number("in-process", f"{case.name}: CPU, x plain SDK", median(ratios), "x", case.target, None, spread, note)
