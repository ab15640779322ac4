"""`python -m benchmarks.soak --minutes 30`: a gateway's memory under a day's mix, at the beginning and at the end.

`headgate serve` as a process of its own with everything on (guards, bodies, cache, budgets, limits, the log store,
metrics that are read, traces that are sent), and callers who stream, ask the same again, leave in the middle, come up
against budgets and hit a provider that fails now and then; a thousand users, new sessions all the time. The cache is
small enough to be full before minute 5, so that answers go all the time, too. What counts is the resident memory of the
gateway's process: the median of the last half minute over that of half a minute around minute 5. The target is 1.05.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.observe import collector
from benchmarks.processes import free_port, running
from benchmarks.report import ROOT, machine, median
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Rule, Scenario, When

TARGET = 1.05
PAGE = os.sysconf("SC_PAGE_SIZE")
CLAUDE = ("claude-haiku-4-5", "claude-sonnet-5-5", "no-such-model")
GPT = ("gpt-6-luna", "gpt-6.1-sol")
WORDS = ["river", "gate", "canal", "water", "lock", "level", "flow", "stone", "field", "mill", "spring", "rain"]
FAULTS = [
    Rule(Fault("overloaded"), when=When(every=23)),
    Rule(Fault("server_error"), when=When(every=97)),
    Rule(Fault("cut", after_events=6), when=When(every=151)),
]
CONFIG = """\
storage: sqlite:///{folder}/headgate.db
providers:
  anthropic: {{base_url: "{sim}", api_key: env:SOAK_KEY}}
  openai: {{base_url: "{sim}/v1", api_key: env:SOAK_KEY}}
budgets:
  - {{per: user, usd: 0.5, every: day}}
  - {{per: session, usd: 0.1}}
  - {{usd: 1000, every: day}}
limits:
  - {{per: user, requests_per_minute: 600}}
cache: {{default: 1h, bytes: 2MiB}}
log: {{bodies: redacted}}
metrics: on
traces: {{to: "{collector}", sample: 10%}}
server: {{port: {port}}}
"""


class Callers:
    """Everybody who calls, at a steady rate."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._random = random.Random(seed)
        self._sessions = itertools.count()
        self.seen: Counter[str] = Counter()

    async def run(self, rate: float, until: float) -> None:
        """Call at `rate` per second until the monotonic time `until`."""
        limits = httpx2.Limits(max_connections=250, max_keepalive_connections=32)
        running: set[asyncio.Task[None]] = set()
        async with httpx2.AsyncClient(limits=limits, timeout=30.0, trust_env=False) as client:
            following = time.monotonic()
            while time.monotonic() < until:
                self.seen["most at once"] = max(self.seen["most at once"], len(running))
                if len(running) >= 200:
                    self.seen["not made: too many are waiting"] += 1
                else:
                    task = asyncio.create_task(self._call(client))
                    running.add(task)
                    task.add_done_callback(running.discard)
                following += 1.0 / rate
                await asyncio.sleep(max(0.0, following - time.monotonic()))
                if self._random.random() < 1 / (rate * 10):
                    await self._scrape(client)
            await asyncio.gather(*running, return_exceptions=True)

    async def _scrape(self, client: httpx2.AsyncClient) -> None:
        try:
            answer = await client.get(f"{self._url}/metrics")
            self.seen[f"metrics {answer.status_code}"] += 1
        except httpx2.HTTPError as error:
            self.seen[f"metrics {type(error).__name__}"] += 1

    async def _call(self, client: httpx2.AsyncClient) -> None:
        draw = self._random
        claude, streamed = draw.random() < 0.6, draw.random() < 0.5
        again = draw.random() < 0.2  # a question that was asked before
        number = draw.randrange(200)
        words = [f"question {number}"] if again else draw.choices(WORDS, k=draw.randrange(5, 300))
        text = " ".join(words) + f" tokens: {20 + number if again else draw.randrange(20, 400)}"
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "stream": streamed}
        if claude:
            model = draw.choices(CLAUDE, (70, 28, 2))[0]
            body |= {"model": model, "max_tokens": 500, "system": "You are a helpful assistant. " * 20}
            path = "/v1/messages"
        else:
            body |= {"model": draw.choice(GPT), "max_completion_tokens": 500}
            path = "/v1/chat/completions"
        if again:
            body["temperature"] = 0
        session = next(self._sessions) // 20 if draw.random() < 0.9 else draw.randrange(500)
        headers = {
            "x-headgate-user": f"user-{draw.randrange(1000)}",
            "x-headgate-session": f"session-{session}",
            "x-headgate-task": f"task-{draw.randrange(12)}",
        }
        if claude:
            headers["anthropic-version"] = "2023-06-01"
        leaves = streamed and draw.random() < 0.05
        try:
            async with client.stream("POST", self._url + path, json=body, headers=headers) as answer:
                self.seen[f"{'stream' if streamed else 'json'} {answer.status_code}"] += 1
                async for _ in answer.aiter_raw():
                    if leaves:
                        self.seen["left"] += 1
                        break
        except httpx2.HTTPError as error:
            self.seen[type(error).__name__] += 1


def tree(root: int) -> dict[int, int]:
    """Resident bytes of a process and those that it has started."""
    found, pids = {}, [root]
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
    return found


async def watch(root: int, until: float, began: float, samples: list[tuple[float, int, int]]) -> None:
    """A sample every two seconds: when, the gateway's own, all of them."""
    shown = 0.0
    while time.monotonic() < until:
        await asyncio.sleep(2.0)
        found = tree(root)
        now = time.monotonic() - began
        samples.append((now, found.get(root, 0), sum(found.values())))
        if now - shown >= 60.0:
            shown = now
            own, whole = samples[-1][1] / 2**20, samples[-1][2] / 2**20
            print(f"{now / 60:5.1f} min  gateway {own:6.1f} MiB  with its children {whole:6.1f} MiB", flush=True)


@contextlib.contextmanager
def gateway(folder: Path, sim: str, told: str) -> Iterator[tuple[str, int]]:
    """The gateway's URL and process id."""
    port = free_port()
    (folder / "headgate.yaml").write_text(CONFIG.format(folder=folder, sim=sim, collector=told, port=port))
    env = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "SOAK_KEY": "soak-" + "key"}
    command = [sys.executable, "-m", "headgate.cli.main", "serve", "--config", str(folder / "headgate.yaml")]
    with running(command, cwd=folder, log=folder / "serve.log", env=env) as child:
        child.first_line()
        yield f"http://127.0.0.1:{port}", child.process.pid


def ratio(samples: list[tuple[float, int, int]], seconds: float, column: int) -> tuple[float, float]:
    """(MiB at minute 5, MiB at the end): medians of half a minute."""
    early = [each[column] for each in samples if abs(each[0] - _early(seconds)) <= 15]
    late = [each[column] for each in samples if each[0] >= seconds - 30]
    return median(early) / 2**20, median(late) / 2**20


def _early(seconds: float) -> float:
    """Minute 5; of a run that is hardly longer, its half."""
    return min(300.0, seconds / 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=40.0, help="calls per second")
    parser.add_argument("--seed", type=int, default=7)
    told = parser.parse_args()
    seconds = told.minutes * 60
    print(", ".join(f"{key} {value}" for key, value in machine().items()), flush=True)
    samples: list[tuple[float, int, int]] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-soak-")))
        sim = stack.enter_context(SimulatorServer(Scenario(name="soak", rules=FAULTS)))
        where = stack.enter_context(collector())
        url, pid = stack.enter_context(gateway(folder, sim.url, where))
        callers, began = Callers(url, told.seed), time.monotonic()

        async def both() -> None:
            until = began + seconds
            await asyncio.gather(callers.run(told.rate, until), watch(pid, until, began, samples))

        asyncio.run(both())
    print(dict(sorted(callers.seen.items())))
    early, late = ratio(samples, seconds, 1)
    print(f"gateway: {early:.1f} MiB at {_early(seconds) / 60:.1f} min, {late:.1f} MiB at the end: {late / early:.3f}x")
    both_early, both_late = ratio(samples, seconds, 2)
    print(f"with its children: {both_early:.1f} MiB, {both_late:.1f} MiB: {both_late / both_early:.3f}x")
    print(f"target {TARGET}x: {'met' if late / early <= TARGET else 'MISSED'}")
    return 0 if late / early <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
