"""Pacing against the simulator's own limits, in fake time: `python -m benchmarks.pacing_model`.

`headgate.policy.pace` is the only consumer of an account whose limits are told in headers. Calls come evenly over a
minute at 0.5, 1, 3 and 10 times what the limit lets through, wait in one queue, and are sent when the pace says 0; a
call that is refused with a 429 goes back to the front. The provider is `testing/simulator/limits.py` itself; requests
take a while to get there and answers to come back, so the two clocks never agree about what is on its way.

The promise: fewer than 1 % of all requests see a 429, and the last answer is there within 10 % of
(N - burst) / rate + one latency (never sooner than the last call has come, and been answered).
No second passes in reality, so the numbers depend on the seed alone.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from headgate.core.usage import Usage
from headgate.policy.pace import Need, Pace
from headgate.testing.simulator.limits import AnthropicLimits, Limits, OpenAILimits
from headgate.wire.ratelimits import read_limits

OFFERED = 60.0
"""Seconds over which the calls come."""

OVERLOADS = (0.5, 1.0, 3.0, 10.0)
MOST_REFUSED, MOST_LATE = 0.01, 1.10
_EPOCH = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What calls look like, and how they are estimated."""

    name: str
    dialect: str
    limits: Limits
    latency: float = 2.0  # seconds from the provider's admission to the end of its answer
    spread: float = 0.0  # part of the latency and of the tokens that varies, 0 to 1
    network: float = 0.05  # seconds, one way
    prompt: int = 500
    cached: int = 0  # of the prompt, read from the cache
    output: int = 100
    cap: int = 400  # the caller's max_tokens
    streamed: bool = False  # headers come before the output instead of behind it
    estimate: float = 1.0  # what is told of prompt and output, as a multiple of what they are
    promised: bool = True  # False: shown all the same, because its first headers come too late to make it up

    @property
    def rate(self) -> float:
        """Calls per second of the tightest limit."""
        return min(limit / 60 / need for limit, need in self._needs())

    def _needs(self) -> list[tuple[int, int]]:
        told = zip(self.per_minute(), self.needs(self.prompt, self.output), strict=True)
        return [(limit, need) for limit, need in told if limit is not None]

    def per_minute(self) -> tuple[int | None, ...]:
        """The limits, in the order of `needs`."""
        limits = self.limits
        split = (limits.input_tokens_per_minute, limits.output_tokens_per_minute)
        if self.dialect == "anthropic":
            return (limits.requests_per_minute, *split, None)
        return limits.requests_per_minute, None, None, limits.tokens_per_minute

    def needs(self, prompt: int, output: int) -> tuple[int, int, int, int]:
        """What one call takes of each."""
        return 1, prompt - self.cached, output, prompt + self.cap


@dataclass(slots=True)
class Run:
    """What came of it. Times are seconds of the fake clock."""

    shape: str
    overload: float
    calls: int
    requests: int = 0
    refused: int = 0
    finished: float = 0.0
    ideal: float = 0.0
    promised: bool = True
    most_in_flight: int = 0
    first_in_flight: int = 0  # at most, until the first headers

    @property
    def refused_share(self) -> float:
        """429s per request sent."""
        return self.refused / max(1, self.requests)

    @property
    def lateness(self) -> float:
        """1.0 = ideal."""
        return self.finished / self.ideal

    @property
    def missed(self) -> bool:
        """The promise is not kept."""
        return self.promised and (self.refused_share >= MOST_REFUSED or self.lateness > MOST_LATE)


@dataclass(order=True, slots=True)
class _Event:
    at: float
    order: int
    act: Callable[[float], None] = field(compare=False)


class World:
    """A clock, an account, and whoever sends to it."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        self.random = random.Random(seed)
        kind = AnthropicLimits if shape.dialect == "anthropic" else OpenAILimits
        self.limits = kind(shape.limits, _EPOCH)
        self.needed = [0, 0, 0, 0]
        self._events: list[_Event] = []
        self._order = 0

    def later(self, at: float, act: Callable[[float], None]) -> None:
        """Call `act` at a moment."""
        self._order += 1
        heapq.heappush(self._events, _Event(at, self._order, act))

    def least(self) -> float:
        """Seconds until the limits have let through all that was needed: (N - burst) / rate of the tightest."""
        told = zip(self.shape.per_minute(), self.needed, strict=True)
        return max((needed - limit) / (limit / 60) for limit, needed in told if limit is not None)

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            event = heapq.heappop(self._events)
            event.act(event.at)


@dataclass(slots=True)
class _Call:
    prompt: int
    output: int
    latency: float
    need: Need


class Client:
    """One process that paces, with its own queue."""

    def __init__(self, world: World, run: Run) -> None:
        self.world, self.outcome = world, run
        self.pace = Pace(world.shape.dialect, 0.0)
        self.waiting: deque[_Call] = deque()
        self.done: list[float] = []
        self._wakes = float("inf")
        self._answered = False

    def offer(self, calls: int, seconds: float) -> None:
        """So many calls, evenly over so many seconds."""
        for number in range(calls):
            self.world.later(number * seconds / calls, self._come)

    def _come(self, now: float) -> None:
        shape, draw = self.world.shape, self.world.random
        vary = 1 + shape.spread * draw.uniform(-1, 1)
        prompt, output = int(shape.prompt * vary), max(1, int(shape.output * (1 + shape.spread * draw.uniform(-1, 1))))
        told = shape.estimate
        needs = shape.needs(prompt, output)
        self.world.needed = [sum(pair) for pair in zip(self.world.needed, needs, strict=True)]
        need = Need(int((prompt - shape.cached) * told), int(output * told), prompt + shape.cap)
        latency = shape.latency * (1 + shape.spread * draw.uniform(-1, 1))
        self.waiting.append(_Call(prompt, output, latency, need))
        self._pump(now)

    def _pump(self, now: float) -> None:
        while self.waiting:
            wait = self.pace.ask(self.waiting[0].need, now)
            if wait > 0:
                if now + wait < self._wakes:
                    self._wakes = now + wait
                    self.world.later(now + wait, self._wake)
                return
            self._send(self.waiting.popleft(), now)

    def _wake(self, now: float) -> None:
        if now >= self._wakes:
            self._wakes = float("inf")
        self._pump(now)

    def _send(self, call: _Call, now: float) -> None:
        outcome, world = self.outcome, self.world
        outcome.requests += 1
        outcome.most_in_flight = max(outcome.most_in_flight, self.pace.in_flight)
        if not self._answered:
            outcome.first_in_flight = max(outcome.first_in_flight, self.pace.in_flight)
        there = now + world.shape.network * world.random.uniform(0.5, 1.5)
        world.later(there, lambda at: self._arrive(call, at))

    def _arrive(self, call: _Call, now: float) -> None:
        """At the provider."""
        world, shape = self.world, self.world.shape
        counted = call.prompt - shape.cached if shape.dialect == "anthropic" else call.prompt
        refused = world.limits.admit(counted, shape.cap, _EPOCH + now)
        back = shape.network * world.random.uniform(0.5, 1.5)
        if refused is not None:
            headers = [*world.limits.headers(_EPOCH + now), (b"retry-after", b"%d" % max(1, ceil(refused[1])))]
            world.later(now + back, lambda at: self._answer(call, 429, headers, at))
            return
        begins = now + call.latency * (0.2 if shape.streamed else 1.0)
        ends = now + call.latency

        def begin(at: float) -> None:
            if not shape.streamed:
                world.limits.produced(call.output, _EPOCH + at)
            headers = world.limits.headers(_EPOCH + at)
            world.later(at + back, lambda there: self._answer(call, 200, headers, there))

        def end(at: float) -> None:
            if shape.streamed:
                world.limits.produced(call.output, _EPOCH + at)
            world.later(at + back + 1e-6, lambda there: self._finish(call, there))

        world.later(begins, begin)
        world.later(ends, end)

    def _answer(self, call: _Call, status: int, headers: list[tuple[bytes, bytes]], now: float) -> None:
        self._answered = True
        facts = read_limits(self.world.shape.dialect, headers, _EPOCH + now)
        self.pace.observe(facts, status, now, need=call.need)
        if status == 429:
            self.outcome.refused += 1
            self.waiting.appendleft(call)
        self._pump(now)

    def _finish(self, call: _Call, now: float) -> None:
        shape = self.world.shape
        self.pace.correct(call.need, Usage(call.prompt - shape.cached, shape.cached, 0, 0, call.output), now)
        self.outcome.finished = max(self.outcome.finished, now)
        self.done.append(now)
        self._pump(now)


def simulate_shared(shape: Shape, clients: int, overload: float, seed: int = 1) -> list[Run]:
    """Several processes that know nothing of each other on one account; `overload` is that of all together."""
    calls = max(1, round(shape.rate * OFFERED * overload / clients))
    world = World(shape, seed)
    runs = [Run(shape.name, overload, calls) for _ in range(clients)]
    for run in runs:
        Client(world, run).offer(calls, OFFERED)
    world.run()
    latency = shape.latency * (1 + shape.spread) + 2 * shape.network
    for run in runs:
        run.ideal = max(OFFERED, world.least()) + latency
    return runs


def simulate(shape: Shape, overload: float, seed: int = 1, *, at_once: bool = False) -> Run:
    """One run: calls at `overload` times the rate over a minute, or all of them in its first moment."""
    calls = max(1, round(shape.rate * OFFERED * overload))
    world = World(shape, seed)
    run = Run(shape.name, overload, calls, promised=shape.promised)
    client = Client(world, run)
    client.offer(calls, 0.001 if at_once else OFFERED)
    world.run()
    if len(client.done) != calls or client.pace.in_flight:
        raise AssertionError(f"{len(client.done)} of {calls} calls were answered")
    last = 0.0 if at_once else OFFERED * (calls - 1) / calls
    latency = shape.latency * (1 + shape.spread) + 2 * shape.network
    run.ideal = max(last, world.least()) + latency
    return run


_HAIKU = Limits(requests_per_minute=50, input_tokens_per_minute=50_000, output_tokens_per_minute=10_000)
_GPT = Limits(requests_per_minute=500, tokens_per_minute=200_000)

SHAPES = (
    Shape("anthropic, requests bind", "anthropic", replace(_HAIKU, output_tokens_per_minute=None)),
    Shape("anthropic, input binds, cache", "anthropic", _HAIKU, prompt=4_000, cached=1_000, output=50, spread=0.5),
    Shape("anthropic, output binds, stream", "anthropic", _HAIKU, output=400, latency=8, spread=0.5, streamed=True),
    Shape("anthropic, estimates 3x", "anthropic", _HAIKU, output=400, latency=8, spread=0.5, estimate=3.0),
    Shape("anthropic, slow, stream", "anthropic", Limits(600, 400_000, 80_000), latency=30, spread=0.3, streamed=True),
    Shape(
        "anthropic, slow, whole *", "anthropic", Limits(600, 400_000, 80_000), latency=30, spread=0.3, promised=False
    ),
    Shape("openai, requests bind", "openai", replace(_GPT, tokens_per_minute=2_000_000)),
    Shape("openai, tokens bind", "openai", _GPT, spread=0.5),
    Shape(
        "openai, large and fast", "openai", Limits(requests_per_minute=5_000, tokens_per_minute=4_000_000), latency=1
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every run; 1 with --check where one misses the promise."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.pacing_model", description=__doc__)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--check", action="store_true", help="exit 1 if a run misses the promise")
    told = made.parse_args(arguments)
    print(
        f"{'shape':<34}{'load':>6}{'calls':>7}{'429s':>6}{'share':>8}{'done s':>9}{'ideal s':>9}{'ratio':>7}{'most':>6}"
    )
    missed = promised = 0
    for shape in SHAPES:
        for overload in OVERLOADS:
            run = simulate(shape, overload, told.seed)
            missed += run.missed
            promised += run.promised
            print(
                f"{run.shape:<34}{overload:>5g}x{run.calls:>7}{run.refused:>6}{run.refused_share:>8.2%}"
                f"{run.finished:>9.1f}{run.ideal:>9.1f}{run.lateness:>7.3f}{run.most_in_flight:>6}"
                f"{'  MISSED' if run.missed else ''}",
                flush=True,
            )
    print(f"{missed} of {promised} runs miss the promise (< 1 % of requests refused, <= 10 % late)")
    print(
        "* outside the promise: two in flight until the first headers, which here take 30 s; shown because it happens"
    )
    return 1 if told.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
