"""What turns cost: CPU that they add to an exchange, with limits told in headers and without.

The same engine, ledger and log with turns (pace, queue, breaker, cap on concurrency, retry budget) and with none, 32
exchanges at a time, over a canned answer in process; alternating rounds, CPU of the whole process with the ledger's
queue worked off, and the difference between the quietest quarters of both: what else the machine does only ever adds.
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

from benchmarks.money_cost import quiet
from benchmarks.report import Number
from benchmarks.traffic_engine import LIMITED, UNLIMITED, Canned, built_for, request
from headgate.build import Built
from headgate.core.exchange import Headers
from headgate.engine.engine import Engine
from headgate.gateway.server import GC_THRESHOLDS

AT_ONCE = 32
EXCHANGES = 3200
"""Per round."""
_USERS = 50


@dataclass(slots=True)
class _Way:
    """With turns or without."""

    built: Built
    engine: Engine
    micros: list[float] = field(default_factory=list)  # CPU per exchange of each round

    async def round(self, exchanges: int) -> None:
        """So many, `AT_ONCE` at a time."""
        gc.collect()
        before = time.process_time()
        await asyncio.gather(*(self._some(range(start, exchanges, AT_ONCE)) for start in range(AT_ONCE)))
        await self.built.engine.ports.ledger.flush()
        self.micros.append((time.process_time() - before) / exchanges * 1e6)

    async def _some(self, numbers: range) -> None:
        engine = self.engine
        for number in numbers:
            reply = await engine.open(engine.begin(request(user=f"user-{number % _USERS}")))
            while await reply.read():
                pass
            reply.close()


@contextlib.contextmanager
def _way(root: Path, headers: Headers, *, turns: bool) -> Iterator[_Way]:
    with built_for(root, {}) as built:
        ports = replace(built.engine.ports, upstream=Canned(headers))
        if not turns:
            ports = replace(ports, turns=None)
        yield _Way(built, Engine(ports, built.engine.policies))


def measure(rounds: int, exchanges: int = EXCHANGES) -> Iterator[Number]:
    """`rounds` with turns and as many without, in turn: for answers that tell limits, and for those that do not."""
    before, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(0.0005)  # as `headgate serve`, and so is the collector
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        for name, headers in (("no limits told", UNLIMITED), ("three limits told", LIMITED)):
            yield _measure(name, headers, rounds, exchanges)
    finally:
        sys.setswitchinterval(before)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _measure(name: str, headers: Headers, rounds: int, exchanges: int) -> Number:
    import uvloop

    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-cost-")))
        without = stack.enter_context(_way(root / "without", headers, turns=False))
        governed = stack.enter_context(_way(root / "with", headers, turns=True))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        for number in range(rounds + 1):
            for way in (without, governed) if number % 2 else (governed, without):
                runner.run(way.round(exchanges))
            if not number:  # to warm up
                for way in (without, governed):
                    way.micros.clear()
    added = [mine - theirs for mine, theirs in zip(governed.micros, without.micros, strict=True)]
    mine, theirs = quiet(governed.micros), quiet(without.micros)
    return Number(
        "cost",
        f"{name}: CPU that turns add to an exchange, {AT_ONCE} at a time",
        mine - theirs,
        "us",
        spread=(min(added), max(added)),
        note=f"{mine:.0f} us with, {theirs:.0f} us without, in the quietest quarter of the rounds",
    )
