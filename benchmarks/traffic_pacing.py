"""Pacing as the only consumer of a limit that is told in headers: how many 429s, and how late the last answer is.

`headgate lab retries` without the strategies it is compared with: Headgate's engine, ledger and log over real loopback
HTTP to the simulator, in the experiment's own time, so two minutes take seconds and depend on the seed alone. Every
call has a client of its own (nobody waits for another call's answer before it comes), and a deadline beyond the end.

One short run in real time checks that the machine's time shows the same: the official SDK over `gate.async_client()`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import CannotRun
from benchmarks.report import Number
from benchmarks.traffic_gateway import simulator
from headgate.cli.lab_provider import Account
from headgate.cli.lab_run import Outcome, Work, run
from headgate.cli.lab_strategies import STRATEGIES

OVERLOADS = (0.5, 1.0, 3.0, 10.0)
MOST_REFUSED, MOST_LATE = 0.01, 1.10
_PACED = next(strategy for strategy in STRATEGIES if strategy.paced)
_NETWORK = 0.05
_KEY = "sk-bench-" + "sdk-key"


@dataclass(frozen=True, slots=True)
class Case:
    """An account, and over how many seconds calls come to it."""

    dialect: str
    requests_per_minute: int
    latency: float
    seconds: float

    def work(self, overload: float, seed: int) -> Work:
        """What there is to do."""
        account = Account(self.dialect, self.requests_per_minute, self.latency, _NETWORK, seed)
        calls = max(1, round(overload * self.requests_per_minute / 60 * self.seconds))
        return Work(account, clients=calls, calls=calls, seconds=self.seconds, attempts=4)


CASES = (
    Case("anthropic", 120, 1.0, 60),
    Case("openai", 120, 1.0, 60),
    Case("anthropic", 300, 3.0, 60),
    Case("openai", 300, 3.0, 60),
)


def measure(cases: Sequence[Case] = CASES, overloads: Sequence[float] = OVERLOADS, seed: int = 1) -> Iterator[Number]:
    """Each case at each overload, in the experiment's time."""
    for case in cases:
        for overload in overloads:
            work = case.work(overload, seed)
            yield from _numbers(
                f"{case.dialect}, {case.requests_per_minute}/min, {overload:g}x", run(_PACED, work, _quiet)
            )


def _quiet() -> None:
    """Nobody watches."""


def _numbers(name: str, outcome: Outcome) -> Iterator[Number]:
    work, late = outcome.work, outcome.times_ideal
    note = f"{outcome.refused} of {outcome.upstream} requests for {work.calls} calls"
    yield Number("pacing", f"{name}: share of 429s", outcome.refused_share * 100, "%", MOST_REFUSED * 100, note=note)
    yield Number(
        "pacing",
        f"{name}: time to the last answer",
        float("inf") if late is None else late,
        "x ideal",
        MOST_LATE,
        note=f"{outcome.finished:.1f} s, ideal {work.ideal:.1f} s, {outcome.completed} of {work.calls} answered",
    )


def in_real_time(per_minute: int = 120, over: float = 0.25, latency: float = 0.5) -> Iterator[Number]:
    """The burst and `over` times as much, all at once, through the official SDK, in process.

    Raises:
        CannotRun: not every call was answered.
    """
    calls = per_minute + round(per_minute * over)
    ideal = (calls - per_minute) / (per_minute / 60) + latency
    scenario = {
        "name": "limited",
        "limits": {"requests_per_minute": per_minute},
        "pace": {"first_token_seconds": latency},
    }
    with tempfile.TemporaryDirectory(prefix="headgate-pacing-") as directory:
        root = Path(directory)
        with simulator(root, scenario) as provider:
            seconds = asyncio.run(_through_the_sdk(root, provider.url, calls))
            refused, seen = provider.refused()
    name = f"in real time, anthropic SDK in process, {per_minute}/min, {calls} at once"
    yield Number(
        "pacing", f"{name}: share of 429s", refused / seen * 100, "%", MOST_REFUSED * 100, note=f"{refused} of {seen}"
    )
    note = f"{seconds:.1f} s, ideal {ideal:.1f} s"
    yield Number("pacing", f"{name}: time to the last answer", seconds / ideal, "x ideal", MOST_LATE, note=note)


async def _through_the_sdk(root: Path, url: str, calls: int) -> float:
    import anthropic

    from headgate.gate import Gate
    from headgate.settings import load

    storage = {"storage": f"sqlite:///{root / 'bench.db'}", "log": {"bodies": "off"}}
    with Gate(load(env={}, overrides=storage), env={}) as gate:
        told: dict[str, Any] = {"base_url": url, "api_key": _KEY, "http_client": gate.async_client(trust_env=False)}
        async with anthropic.AsyncAnthropic(**told) as client:
            asked: dict[str, Any] = {
                "model": "claude-haiku-4-5",
                "max_tokens": 20,
                "messages": [{"role": "user", "content": "tokens: 8"}],
            }
            began = time.monotonic()
            answers = await asyncio.gather(
                *(client.messages.create(**asked) for _ in range(calls)), return_exceptions=True
            )
            seconds = time.monotonic() - began
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    if failed:
        raise CannotRun(f"{len(failed)} of {calls} calls were not answered, the first: {failed[0]!r}")
    return seconds
