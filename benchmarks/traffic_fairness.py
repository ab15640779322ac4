"""Fairness: what a tenant that sends 100 times as much costs the others, who share one limited account with it.

Twice: by the engine in the lab's own time over real loopback HTTP, exact and the same for the same seed; and through
`headgate serve` in real time, a key per tenant. The quiet tenants' calls come at random (exponential gaps), the same
ones with the flood and without. The limit's burst is used up before the measurement begins: without a flood it never
is, so this is the flood at its worst. p95 is of the time from when a call came to its answer.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.burst import MESSAGES
from benchmarks.report import Number, percentile
from benchmarks.traffic_gateway import gateway, simulator
from headgate.cli.lab_governed import governed
from headgate.cli.lab_provider import Account, provider
from headgate.cli.lab_sending import ask_of
from headgate.cli.lab_time import LabLoop

TIMES = 100
LEAST_THROUGHPUT, MOST_P95 = 0.9, 2.0
_WARM = 64  # calls at once
_SLACK = 5.0  # seconds after the last call has come, in which it may still be answered


@dataclass(frozen=True, slots=True)
class Load:
    """What comes to one account.

    Attributes:
        per_minute: the account's limit, in requests.
        quiet: tenants beside the loud one.
        share: what each of them asks for, as a part of an even share.
        seconds: measured.
    """

    per_minute: int = 600
    quiet: int = 4
    share: float = 0.8
    latency: float = 1.0
    seconds: float = 60.0
    seed: int = 1

    @property
    def each(self) -> float:
        """Calls per second of one quiet tenant."""
        return self.share * self.per_minute / 60 / (self.quiet + 1)

    def quiet_calls(self) -> list[tuple[float, str]]:
        """(second, tenant), ascending."""
        draw = random.Random(self.seed)
        calls = []
        for number in range(self.quiet):
            at = draw.expovariate(self.each)
            while at < self.seconds:
                calls.append((at, f"quiet-{number}"))
                at += draw.expovariate(self.each)
        return sorted(calls)

    def loud_calls(self) -> list[tuple[float, str]]:
        """`TIMES` as many as one quiet tenant's, evenly, from when the burst is used up."""
        rate = TIMES * self.each
        return [(number / rate, "loud") for number in range(round(rate * self.seconds))]


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds until answered, of the quiet tenants' calls that were; and how many came."""

    took: Sequence[float]
    came: int

    @property
    def throughput(self) -> float:
        """Answered, as a part of what came."""
        return len(self.took) / self.came


Call = Callable[[str, int], Awaitable[bool]]
"""By a tenant, with a number; whether it was answered."""


async def _play(load: Load, call: Call, *, flood: bool) -> Seen:
    """The burst first, where there is a flood; then everybody, each when it comes. What still waits is left."""
    loop = asyncio.get_running_loop()
    for _ in range(2):  # the provider is known to both, and how many it takes at once
        await asyncio.gather(*(call("loud", number) for number in range(_WARM)))
    if flood:
        await asyncio.gather(*(call("loud", number) for number in range(load.per_minute - 2 * _WARM)))
    calls = sorted(load.quiet_calls() + (load.loud_calls() if flood else []))
    began, took = loop.time(), []

    async def one(at: float, tenant: str, number: int) -> None:
        await asyncio.sleep(began + at - loop.time())
        answered = await call(tenant, number)
        if answered and tenant != "loud":
            took.append(loop.time() - began - at)

    tasks = [asyncio.create_task(one(at, tenant, number)) for number, (at, tenant) in enumerate(calls)]
    await asyncio.sleep(load.seconds + load.latency + _SLACK)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Seen(took, len(load.quiet_calls()))


def measure(load: Load, seeds: int = 1) -> Iterator[Number]:
    """In the lab's time, without and with the flood.

    Args:
        seeds: runs whose calls are counted together, each with calls at other moments: a minute is a small sample, in
            which a tenant may ask for more than its share.
    """
    runs = [replace(load, seed=load.seed + number) for number in range(seeds)]
    alone, beside = (_together([_in_the_lab(run, flood=flood) for run in runs]) for flood in (False, True))
    yield from _numbers("engine", load, alone, beside)


def _together(runs: Sequence[Seen]) -> Seen:
    return Seen([seconds for run in runs for seconds in run.took], sum(run.came for run in runs))


def in_real_time(load: Load) -> Iterator[Number]:
    """Through the gateway."""
    alone, beside = (_through_the_gateway(load, flood=flood) for flood in (False, True))
    yield from _numbers("gateway, in real time", load, alone, beside)


def _numbers(where: str, load: Load, alone: Seen, beside: Seen) -> Iterator[Number]:
    name = f"{where}, {load.quiet} tenants at {load.share:g} of their share beside one that sends {TIMES}x"
    lost = 1 - beside.throughput / alone.throughput
    yield Number(
        "fairness",
        f"{name}: their throughput lost",
        100 * lost,
        "%",
        100 * (1 - LEAST_THROUGHPUT),
        note=f"{len(beside.took)} of {beside.came} calls answered, without it {len(alone.took)}",
    )
    mine, theirs = percentile(alone.took, 95), percentile(beside.took, 95)
    note = f"{theirs:.2f} s, without it {mine:.2f} s; {load.per_minute}/min, answers take {load.latency:g} s"
    yield Number("fairness", f"{name}: their p95", theirs / mine, "x", MOST_P95, note=note)


def _in_the_lab(load: Load, *, flood: bool) -> Seen:
    with asyncio.Runner(loop_factory=LabLoop) as runner:
        return runner.run(_lab(load, flood=flood))


async def _lab(load: Load, *, flood: bool) -> Seen:
    account = Account("anthropic", load.per_minute, load.latency, 0.05, load.seed)
    most = 10 * (load.per_minute + round((TIMES + load.quiet) * load.each * load.seconds))
    async with provider(account, most) as served, governed(served, 4, 10_000) as sender:

        async def call(tenant: str, number: int) -> bool:
            ask = replace(ask_of(served, number, 0), client="user", tenant=tenant)
            status, _ = await sender.send(ask)
            return status == 200

        return await _play(load, call, flood=flood)


def _through_the_gateway(load: Load, *, flood: bool) -> Seen:
    scenario = {
        "name": "limited",
        "limits": {"requests_per_minute": load.per_minute},
        "pace": {"first_token_seconds": load.latency},
    }
    tenants = ["loud", *(f"quiet-{number}" for number in range(load.quiet))]
    keys = {tenant: f"sk-bench-{tenant}-key" for tenant in tenants}
    with tempfile.TemporaryDirectory(prefix="headgate-fairness-") as directory:
        root = Path(directory)
        with simulator(root, scenario) as limited:
            config = {"providers": {"anthropic": {"base_url": limited.url, "api_key": "env:BENCH_PROVIDERS_KEY"}}}
            with gateway(root / "gateway", config, keys) as (url, _):
                return asyncio.run(_real(load, url, keys, flood=flood))


async def _real(load: Load, url: str, keys: dict[str, str], *, flood: bool) -> Seen:
    """Plain HTTP/1.1, a connection per call: nothing of a client's pool or retries is in the picture."""
    port = int(url.rpartition(":")[2])
    what = replace(MESSAGES, cap=20, output=8)
    body = what.body()
    requests = {tenant: what.head(body, f"127.0.0.1:{port}", key) + body for tenant, key in keys.items()}

    async def call(tenant: str, number: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(requests[tenant])
            return (await reader.read(-1)).startswith(b"HTTP/1.1 200 ")
        finally:
            writer.close()

    return await _play(load, call, flood=flood)
