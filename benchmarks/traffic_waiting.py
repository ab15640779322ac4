"""50,000 exchanges that wait for their turn, in the engine: memory, who goes next, and CPU per exchange queued.

No sockets: the provider is a canned answer in process, behind a ceiling of 60 requests per minute, so that all but the
first few wait. Each is a task of its own with the whole engine above it, as in the gateway. Memory is the process's
resident set (`/proc/self/statm`), which is what an operator sees; the tasks are asyncio's and count as well, and so do
the requests as read (`Request`, `Facts`, `Caller`). All have the same body, and no headers: those are the callers' own.

In a process of its own (`python -m benchmarks.traffic_waiting N`), so that nothing that ran before has left pages.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.paid_provider import clean_env
from benchmarks.processes import CannotRun
from benchmarks.report import ROOT, Number
from benchmarks.traffic_engine import Canned, Clock, built_for, request
from headgate.core.exchange import Exchange
from headgate.engine.engine import Engine
from headgate.engine.relay import Reply
from headgate.policy.fair_queue import Entry, FairQueue

EXCHANGES = 50_000
MOST_MB = 200.0
TENANTS = 100
"""One of them has half of what waits; the others have equally many each."""
GO = 1_000
"""Turns after which who has gone is counted."""
DAY = 86_400
_AT_ONCE = 10  # of a ceiling of 60 per minute: its burst
_SLACK = 2
"""Turns: what one tenant may be ahead of another by, after however many: one on its way, and one of the first few that
nobody had to wait for."""


def measure(exchanges: int) -> Iterator[Number]:
    """In a fresh interpreter.

    Raises:
        CannotRun: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.traffic_waiting", str(exchanges)]
    ended = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True)
    if ended.returncode:
        raise CannotRun(f"the queue could not be measured: {ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    if found["waiting"] != exchanges:
        raise CannotRun(f"{found['waiting']:,} exchanges were waiting, not {exchanges:,}: their memory says nothing")
    name = f"{exchanges:,} waiting"
    most = MOST_MB if exchanges >= EXCHANGES else None
    each = f"{found['grown'] / exchanges:,.0f} bytes each"
    yield Number("waiting", f"{name}: memory", found["grown"] / 1e6, "MB", most, note=each)
    yield Number(
        "waiting",
        f"{name}: turns by which tenants differ after {found['gone']:,} turns",
        found["most_gone"] - found["least_gone"],
        "",
        _SLACK,
        note=f"{found['tenants']} tenants, one of them with half of what waits: "
        f"{found['least_gone']} to {found['most_gone']} each",
    )
    yield Number("waiting", f"{name}: overtaken by a later one of the same user", found["disorder"], "", 0)
    yield Number("waiting", f"{name}: CPU until one waits, in all", found["come"] * 1e6, "us", note="the whole engine")
    yield Number("waiting", f"{name}: CPU per turn given, in all", found["go"] * 1e6, "us", note="until it is settled")
    yield Number("waiting", f"{name}: CPU to push into the queue", found["push"] * 1e6, "us")
    yield Number("waiting", f"{name}: CPU to pop from it", found["pop"] * 1e6, "us")


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Crowd:
    """The exchanges, in the order in which they came."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.exchanges: list[Exchange] = []

    def call(self, number: int, tenant: str) -> asyncio.Task[Reply]:
        """One exchange: a task of the engine's own, with nothing of the benchmark's above it."""
        exchange = self.engine.begin(request(tenant, f"user-{number % 3}"))
        self.exchanges.append(exchange)
        return asyncio.create_task(self.engine.open(exchange))

    def gone(self) -> list[Exchange]:
        """Those that had their turn, in the order in which they came."""
        return [each for each in self.exchanges if each.attempts and each.attempts[-1].sent]


def _tenant(number: int) -> str:
    return f"tenant-{number // 2 % (TENANTS - 1)}" if number % 2 else "loud"


def _overtaken(exchanges: list[Exchange]) -> int:
    """Exchanges that still wait while a later one of the same user has gone: their deadlines are in that order."""
    gone: set[tuple[str, str]] = set()
    found = 0
    for exchange in reversed(exchanges):
        caller = exchange.request.caller
        if exchange.attempts and exchange.attempts[-1].sent:
            gone.add((caller.tenant, caller.user))
        else:
            found += (caller.tenant, caller.user) in gone
    return found


async def _in_the_engine(exchanges: int, root: Path) -> dict[str, float]:
    clock = Clock()
    patient = {"retry": {"deadline": DAY}, "timeouts": {"total": DAY}}
    with built_for(root, {"requests_per_minute": 60}, **patient) as built:
        turns = built.turns
        assert turns is not None
        turns.now = clock.now  # the desk's time passes when we say so
        ports = replace(built.engine.ports, upstream=Canned(), clock=clock, turns=turns.asynchronous())
        crowd = _Crowd(Engine(ports, built.engine.policies))
        for number in range(_AT_ONCE):  # all that is made at the first call; and the burst of the ceiling is used up
            await crowd.call(number, f"first-{number}")
        crowd.exchanges.clear()
        before, began = _resident(), time.process_time()
        tasks = [crowd.call(number, _tenant(number)) for number in range(exchanges)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        come = (time.process_time() - began) / exchanges
        waiting = turns.desk.waiting
        grown = _resident() - before
        began = time.process_time()
        while turns.desk.waiting > waiting - min(GO, exchanges // 4):
            clock.passed += 5.0  # five turns' worth
            with turns as desk:
                told = desk.tick(clock.now())
            turns.wake(told)
            await asyncio.sleep(0.001)
        while len(crowd.gone()) < waiting - turns.desk.waiting:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(built.ledger.flush)
        gone = Counter(each.request.caller.tenant for each in crowd.gone())
        go = (time.process_time() - began) / gone.total()
        found = {
            "waiting": waiting,
            "grown": grown,
            "come": come,
            "go": go,
            "gone": gone.total(),
            "tenants": len(gone),
            "least_gone": min(gone.values()),
            "most_gone": max(gone.values()),
            "disorder": _overtaken(crowd.exchanges),
        }
        turns.close()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


def _in_the_queue(exchanges: int) -> dict[str, float]:
    queue: FairQueue[Entry] = FairQueue()
    entries = [Entry(_tenant(n), f"user-{n % 3}", deadline=1e9) for n in range(exchanges)]
    began = time.process_time()
    for entry in entries:
        queue.push(entry, 0.0)
    pushed = time.process_time()
    while queue.pop(1.0) is not None:
        pass
    return {"push": (pushed - began) / exchanges, "pop": (time.process_time() - pushed) / exchanges}


def main() -> int:
    """Print what was found, as JSON."""
    exchanges = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="headgate-waiting-") as directory:
        found = asyncio.run(_in_the_engine(exchanges, Path(directory)))
    print(json.dumps({**found, **_in_the_queue(exchanges)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
