"""What budgets cost an exchange: the same engine, ledger and log with two budgets and without, 32 at a time.

No network: the provider is a canned answer in process, so that what is compared is most of what there is. CPU is the
whole process's, threads included, with the ledger's queue worked off. Saturated means that the answer is there at once,
as in the gateway's benchmark; paced, that it takes 20 ms: commits are smaller then, and what is left of a call's time
is what it waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.canned_answer import CannedAnswer
from benchmarks.report import Number, median, percentile
from headgate.build import Built, build
from headgate.core.caller import Caller
from headgate.core.exchange import Headers, Request
from headgate.core.ports import Incoming, Outgoing
from headgate.engine.engine import Engine
from headgate.gateway.server import GC_THRESHOLDS
from headgate.settings import load
from headgate.testing.canned import JSON, message, messages_request
from headgate.wire import DIALECTS

AT_ONCE = 32
PACED_SECONDS = 0.02
CPU_TARGET = 20.0
"""Microseconds of CPU per exchange."""
P99_TARGET = 3.0
"""Milliseconds."""
_EXCHANGES = {"saturated": 3200, "paced": 1600}  # per round
_USERS = 50
_BUDGETS = [{"usd": 100000, "every": "day"}, {"per": "user", "usd": 10000, "every": "day"}]
_JSON: Headers = ((b"content-type", JSON),)
_KEY = {"BENCH_PROVIDERS_KEY": "sk-bench-" + "providers-key"}


@dataclass(slots=True)
class _Upstream:
    """A provider in process. See `core.ports.Upstream`."""

    seconds: float
    body: bytes = field(default_factory=lambda: b"".join(message("The gate is open. " * 20)))

    async def send(self, outgoing: Outgoing) -> Incoming:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return CannedAnswer(_JSON, self.body)


@dataclass(slots=True)
class Way:
    """With budgets or without."""

    built: Built
    engine: Engine
    micros: list[float] = field(default_factory=list)  # CPU per exchange of each round
    p99s: list[float] = field(default_factory=list)  # of an exchange's seconds, of each round
    latencies: list[float] = field(default_factory=list)

    async def round(self, exchanges: int) -> None:
        """So many, `AT_ONCE` at a time."""
        gc.collect()
        self.latencies = []
        before = time.process_time()
        await asyncio.gather(*(self._some(range(start, exchanges, AT_ONCE)) for start in range(AT_ONCE)))
        await self.built.engine.ports.ledger.flush()
        self.micros.append((time.process_time() - before) / exchanges * 1e6)
        self.p99s.append(percentile(self.latencies, 99))

    async def _some(self, numbers: range) -> None:
        engine = self.engine
        for number in numbers:
            began = time.perf_counter()
            exchange = engine.begin(_request(number))
            reply = await engine.open(exchange)
            while await reply.read():
                pass
            reply.close()
            self.latencies.append(time.perf_counter() - began)


def _request(number: int) -> Request:
    speaks = DIALECTS["anthropic"]
    body = messages_request()
    return Request(
        dialect="anthropic",
        endpoint="messages",
        method="POST",
        path="/v1/messages",
        headers=(),
        body=body,
        facts=speaks.read_request("messages", body),
        caller=Caller(key="bench", tenant="bench", user=f"user-{number % _USERS}"),
        way_in="in-process",
    )


@contextlib.contextmanager
def _way(root: Path, seconds: float, *, budgets: bool) -> Iterator[Way]:
    root.mkdir()
    settings = load(
        env={},
        overrides={
            "providers": {"anthropic": {"api_key": "env:BENCH_PROVIDERS_KEY"}},
            "storage": f"sqlite:///{root / 'bench.db'}",
            "log": {"bodies": "off"},
            "guards": {"profile": "off"},
            "budgets": _BUDGETS if budgets else [],
        },
    )
    built = build(settings, env=_KEY)
    try:
        built.ledger.open()
        ports = replace(built.engine.ports, upstream=_Upstream(seconds))
        yield Way(built, Engine(ports, built.engine.policies))
    finally:
        built.close()


def measure(rounds: int) -> Iterator[Number]:
    """`rounds` with budgets and as many without, in turn, saturated and paced."""
    before, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(0.0005)  # as `headgate serve`, and so is the collector
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        for load_name, seconds in (("saturated", 0.0), ("paced", PACED_SECONDS)):
            yield from _measure(load_name, seconds, rounds)
    finally:
        sys.setswitchinterval(before)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _measure(name: str, seconds: float, rounds: int) -> Iterator[Number]:
    import uvloop

    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-cost-")))
        without = stack.enter_context(_way(root / "without", seconds, budgets=False))
        governed = stack.enter_context(_way(root / "with", seconds, budgets=True))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        for number in range(rounds + 1):
            for way in (without, governed) if number % 2 else (governed, without):
                runner.run(way.round(_EXCHANGES[name]))
            if not number:  # to warm up
                for way in (without, governed):
                    way.micros.clear()
                    way.p99s.clear()
    yield from _numbers(name, without, governed)


def quiet(micros: list[float]) -> float:
    """The mean of the lowest quarter. What else the machine does only ever adds, and by far more than what is asked."""
    lowest = sorted(micros)[: max(1, len(micros) // 4)]
    return sum(lowest) / len(lowest)


def _numbers(name: str, without: Way, governed: Way) -> Iterator[Number]:
    cpu = [mine - theirs for mine, theirs in zip(governed.micros, without.micros, strict=True)]
    mine, theirs = quiet(governed.micros), quiet(without.micros)
    yield Number(
        "cost",
        f"{name}: CPU that two budgets add to an exchange, {AT_ONCE} at a time",
        mine - theirs,
        "us",
        CPU_TARGET,
        spread=(min(cpu), max(cpu)),
        note=f"{mine:.0f} us with, {theirs:.0f} us without, in the quietest quarter of the rounds",
    )
    waits = [(mine - theirs) * 1e3 for mine, theirs in zip(governed.p99s, without.p99s, strict=True)]
    yield Number(
        "cost",
        f"{name}: p99 that they add",
        median(waits),
        "ms",
        P99_TARGET,
        spread=(min(waits), max(waits)),
        note=f"{median(governed.p99s) * 1e3:.1f} ms with, {median(without.p99s) * 1e3:.1f} ms without",
    )
