"""CPU per exchange of the ledger's and the log's threads: `python tests/stores/measure_ledger.py [together] [rounds]`.

In each round `together` exchanges intend at once, then settle and are logged; the event loop rests while the threads
work, so this is their own cost, without the fight for the interpreter that a busy gateway adds. Printed is the least of
several runs, beside what `json.loads` of 1 KB costs here (about 5.3 us on the machine of the figures in the history).
Linux only: a thread's time is read from /proc.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Sequence
from pathlib import Path

import uvloop
from ledger_maker import Maker

from headgate.core.exchange import Exchange
from headgate.stores.log import LineLog
from headgate.stores.sqlite import SqliteLedger

RUNS = 8
KILOBYTE = json.dumps({"messages": [{"role": "user", "content": "word " * 20}] * 8, "max_tokens": 100})


def thread_times() -> dict[str, float]:
    """Microseconds of CPU so far, by the thread's name."""
    found: dict[str, float] = {}
    for thread in threading.enumerate():
        stat = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
        found[thread.name] = int(stat.split()[0]) / 1e3
    return found


def made(make: Maker, together: int) -> list[Exchange]:
    exchanges = [make.exchange(system=b"You are kind." * 20) for _ in range(together)]
    for exchange in exchanges:
        exchange.started = 1_800_000_000 + make.made * 0.0003
        make.attempt(exchange)
    return exchanges


async def drive(ledger: SqliteLedger, log: LineLog, make: Maker, batches: Sequence[list[Exchange]]) -> dict[str, float]:
    port = ledger.asynchronous()
    loop_side = dict.fromkeys(("intend", "settle", "log.write"), 0.0)
    for exchanges in batches:
        times = [time.thread_time()]
        await asyncio.gather(*(port.intend(exchange, exchange.attempts[0]) for exchange in exchanges))
        times.append(time.thread_time())
        for exchange in exchanges:
            make.answered(exchange)
        start = time.thread_time()
        for exchange in exchanges:
            port.settle(exchange)
        times.append(times[1] + time.thread_time() - start)
        start = time.thread_time()
        for exchange in exchanges:
            log.write(exchange)
        times.append(times[2] + time.thread_time() - start)
        for index, name in enumerate(loop_side):
            loop_side[name] += (times[index + 1] - times[index]) * 1e6
    return loop_side


def measured(together: int, rounds: int) -> dict[str, float]:
    """Microseconds per exchange."""
    make = Maker()
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(f"sqlite:///{folder}/headgate.db")
        log = LineLog(Path(folder) / "log.jsonl", key_file=Path(folder) / "key")
        ledger.open()
        log.event("started")
        log.flush()
        for _ in range(2):  # the first warms up
            batches = [made(make, together) for _ in range(rounds)]
            before = thread_times()
            loop_side = uvloop.run(drive(ledger, log, make, batches))
            ledger.flush()
            log.flush()
            after = thread_times()
        log.close()
        ledger.close()
    spent = {name: after[name] - before[name] for name in ("headgate-ledger", "headgate-log")} | loop_side
    return {name: value / (together * rounds) for name, value in spent.items()}


def main() -> None:
    together = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    runs = [measured(together, rounds) for _ in range(RUNS)]
    scale = min(timeit.repeat(lambda: json.loads(KILOBYTE), number=1_000, repeat=5)) * 1e3
    print(f"json.loads of {len(KILOBYTE)} bytes: {scale:.1f} us")
    for name in runs[0]:
        print(f"{name:16} {min(run[name] for run in runs):6.2f} us per exchange, {together} together")


if __name__ == "__main__":
    main()
