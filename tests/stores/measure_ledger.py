"""CPU per exchange of the ledger and the log: `python tests/stores/measure_ledger.py [concurrent] [exchanges]`.

Each task intends, waits as long as a quick provider takes, settles. What the same loop costs without a ledger is
subtracted. CPU is that of the whole process, so the writer thread counts.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from ledger_maker import Maker

from headgate.core.exchange import Attempt, Exchange
from headgate.stores.log import LineLog
from headgate.stores.sqlite import SqliteLedger

PROVIDER_SECONDS = 0.002


class Nothing:
    async def intend(self, exchange: Exchange, attempt: Attempt) -> None:
        await asyncio.sleep(0)

    def settle(self, exchange: Exchange) -> None:
        pass


async def drive(ledger, log, concurrent: int, exchanges: int) -> None:
    make = Maker()

    async def caller() -> None:
        for _ in range(exchanges // concurrent):
            exchange = make.exchange()
            await ledger.intend(exchange, make.attempt(exchange))
            await asyncio.sleep(PROVIDER_SECONDS)
            ledger.settle(make.answered(exchange))
            if log is not None:
                log.write(exchange)

    await asyncio.gather(*(caller() for _ in range(concurrent)))


def measured(ledger, log, concurrent: int, exchanges: int, finish=lambda: None) -> tuple[float, float]:
    began, wall = time.process_time(), time.perf_counter()
    uvloop.run(drive(ledger, log, concurrent, exchanges))
    finish()
    return (time.process_time() - began) / exchanges * 1e6, exchanges / (time.perf_counter() - wall)


def main() -> None:
    concurrent = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    exchanges = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    costs, logs = [], []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            bare, _ = measured(Nothing(), None, concurrent, exchanges)
            log = LineLog(Path(folder) / "log.jsonl", key_file=Path(folder) / "key")
            logged, _ = measured(Nothing(), log, concurrent, exchanges, log.flush)
            ledger = SqliteLedger(f"sqlite:///{folder}/headgate.db")
            ledger.open()
            cost, rate = measured(ledger.asynchronous(), None, concurrent, exchanges, ledger.flush)
            commits = ledger.health()["commits"]
            ledger.close()
        costs.append(cost - bare)
        logs.append(logged - bare)
        print(
            f"{concurrent} concurrent: loop alone {bare:.1f} us, ledger +{cost - bare:.1f} us, "
            f"log +{logged - bare:.1f} us per exchange; "
            f"{exchanges / commits:.1f} exchanges per commit, {rate:.0f} exchanges/s"
        )
    print(f"best of {len(costs)}: ledger +{min(costs):.1f} us, log +{min(logs):.1f} us CPU per exchange")


if __name__ == "__main__":
    main()
