"""The ledger beside the provider's invoice, over streams that end badly: `python -m benchmarks.metering`.

10,000 streams through the SDK's transport, in process, against the simulator: 30% are left by their caller at a random
place, 5% are cut by the provider, some are never read beyond their headers. Messages, Chat Completions and Responses;
short and long prompts, of which some come out of the provider's cache; plain answers, thinking, hidden reasoning, and
tool calls. The simulator bills what it has written to its socket, by code that shares nothing with ours.

The promise: over the run, the ledger is never below the invoice and at most 5% above.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Match, Pace, Rule, Scenario, When

if TYPE_CHECKING:
    import httpx2

KEY = "bench-" + "provider-key"
LEFT, CUT = 0.30, 0.05
MOST_ABOVE = 1.05
_TOOL = {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}}
_MANUAL = "The gate decides how much flows in from upstream, how fast, and what is kept out of the canal. " * 60
_WORDS = (
    "water",
    "gate",
    "canal",
    "ledger",
    "keeper",
    "débit",
    "шлюз",
    "水門",
    "how much,",
    "how fast",
    "and until when?",
)


@dataclass(slots=True)
class Call:
    """One call. `leave_after`: pieces after which its caller leaves; -1 = never, 0 = at the headers."""

    name: str
    path: str
    body: dict[str, Any]
    leave_after: int


@dataclass(slots=True)
class Sums:
    """Money of one kind of ending, in nano-dollars."""

    count: int = 0
    ledger: int = 0
    invoice: int = 0

    @property
    def ratio(self) -> float:
        return self.ledger / self.invoice if self.invoice else float(self.ledger == 0) or float("inf")


@dataclass(slots=True)
class Outcome:
    """What a run left behind: the total, by ending, by API, and how many calls are below their own invoice."""

    total: Sums = field(default_factory=Sums)
    endings: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    apis: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    estimated: Sums = field(default_factory=Sums)
    exact_but_wrong: int = 0
    below: int = 0


def scenario(seed: int, *, fast: bool = False) -> Scenario:
    """Answers of about 200 tokens, at 100 tokens per second; `fast`: at 400."""
    cuts = (
        Rule(Fault("cut", after_events=at, how=how), Match(stream=True), When(probability=CUT / 6))
        for at, how in ((2, "fin"), (5, "reset"), (9, "fin"), (16, "reset"), (22, "fin"), (30, "reset"))
    )
    pace = Pace(first_token_seconds=0.1, seconds_per_event=0.01 if fast else 0.04, tokens_per_event=4)
    return Scenario(name="metering", seed=seed, pace=pace, output_tokens=200, rules=tuple(cuts))


def draw(seed: int, count: int, *, whole: int = 0, plain: bool = False) -> list[Call]:
    """Calls, the same for the same seed; nobody leaves the first `whole`. `plain`: two models, and text only."""
    rng = random.Random(seed)
    calls = []
    for number in range(count):
        leaves = rng.random() < LEFT and number >= whole
        path, body = rng.choice((_messages, _messages, _chat, _chat, _responses)[: 4 if plain else None])(rng)
        if plain:
            body["model"] = "claude-haiku-4-5" if path == "/v1/messages" else "gpt-6-luna"
            for name in ("tools", "thinking", "reasoning_effort"):
                body.pop(name, None)
        after = rng.choice((0, rng.randint(1, 5), rng.randint(1, 60), rng.randint(1, 60))) if leaves else -1
        calls.append(Call(f"call-{number}", path, body, after))
    return calls


def _prompt(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.choice((20, 60, 200)))) + f" {rng.randrange(10**9)}"


def _messages(rng: random.Random) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": rng.choice(("claude-haiku-4-5", "claude-sonnet-5-5")),
        "max_tokens": 2_000,
        "stream": True,
        "messages": [{"role": "user", "content": _prompt(rng)}],
    }
    kind = rng.random()
    if kind < 0.3:
        body["system"] = [{"type": "text", "text": _MANUAL, "cache_control": {"type": "ephemeral"}}]
    elif kind < 0.4:
        body["tools"] = [{"name": "forecast", "input_schema": _TOOL}]
        body["messages"][0]["content"] += " use the forecast tool"
    elif kind < 0.5 and body["model"] == "claude-haiku-4-5":
        body["thinking"] = {"type": "enabled", "budget_tokens": 1_024}
    return "/v1/messages", body


def _chat(rng: random.Random) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": rng.choice(("gpt-6-luna", "gpt-5.4-mini")),
        "max_completion_tokens": 2_000,
        "stream": True,
        "messages": [{"role": "user", "content": _prompt(rng)}],
    }
    kind = rng.random()
    if kind < 0.3:
        body["messages"].insert(0, {"role": "system", "content": _MANUAL})
    elif kind < 0.4:
        body["tools"] = [{"type": "function", "function": {"name": "forecast", "parameters": _TOOL}}]
        body["messages"][-1]["content"] += " use the forecast tool"
    if body["model"] == "gpt-5.4-mini":
        body["reasoning_effort"] = "low"
    return "/v1/chat/completions", body


def _responses(rng: random.Random) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"model": "gpt-6-luna", "max_output_tokens": 2_000, "stream": True, "input": _prompt(rng)}
    if rng.random() < 0.3:
        body["instructions"] = _MANUAL
    return "/v1/responses", body


async def _make(calls: Sequence[Call], client: httpx2.AsyncClient, sim: SimulatorServer, at_once: int) -> None:
    turn = asyncio.Semaphore(at_once)

    async def one(call: Call) -> None:
        headers = {"x-headgate-correlation-id": call.name, "x-call": call.name, "authorization": f"Bearer {KEY}"}
        if call.path == "/v1/messages":
            headers["anthropic-version"] = "2023-06-01"
        async with turn, client.stream("POST", sim.url + call.path, json=call.body, headers=headers) as answer:
            if answer.status_code != 200:
                raise RuntimeError(f"{answer.status_code}: {(await answer.aread())[:300]!r}")
            if call.leave_after == 0:
                return
            read = 0
            async for _ in answer.aiter_raw():
                read += 1
                if read == call.leave_after:
                    return

    await asyncio.gather(*map(one, calls))


def run(calls: Sequence[Call], folder: Path, day: Scenario, *, at_once: int) -> Outcome:
    """Make the calls; compare what the ledger in `folder` says with the simulator's invoice.

    Raises:
        RuntimeError: a call was refused, or a stream of the provider has no attempt.
    """
    from headgate import Gate

    storage = folder / "metering.db"
    with SimulatorServer(day) as sim:
        env = {
            "ANTHROPIC_BASE_URL": sim.url,
            "OPENAI_BASE_URL": sim.openai_url,
            "HEADGATE_STORAGE": f"sqlite:///{storage}",
        }
        with Gate.load(env=env) as gate:

            async def all_of_them() -> None:
                async with gate.async_client(timeout=60) as client:
                    await _make(calls, client, sim, at_once)

            asyncio.run(all_of_them())
            requests, invoice = sim.requests(wait=30), sim.invoice(wait=30)
            gate.flush()
    return _compared(storage, requests, invoice)


def _compared(storage: Path, requests: Sequence[Mapping[str, Any]], invoice: Mapping[str, Any]) -> Outcome:
    with closing(sqlite3.connect(storage)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(
            "SELECT a.request_id, a.cost_nano, a.estimated, a.outcome FROM attempts a WHERE a.request_id != ''"
        ).fetchall()
    attempts = {row["request_id"]: row for row in rows}
    lines = {line["request_id"]: line for line in invoice["lines"]}
    made = Outcome()
    for request in requests:
        row = attempts.get(request["request_id"])
        if row is None:
            raise RuntimeError(f"the provider has seen {request['request_id']}, and the ledger has not")
        line = lines.get(request["request_id"])
        billed = 0 if line is None else line["cost_nano"]
        charged, estimated = row["cost_nano"], bool(row["estimated"])
        sums = [made.total, made.endings[row["outcome"]], made.apis[request["path"]]]
        if estimated:
            sums.append(made.estimated)
            made.below += charged < billed
        else:
            made.exact_but_wrong += charged != billed
        for each in sums:
            each.count += 1
            each.ledger += charged
            each.invoice += billed
    return made


def _table(made: Outcome) -> str:
    groups = {"all": made.total, "estimated": made.estimated, **made.endings, **made.apis}
    lines = [f"{'':24}{'streams':>9}{'invoice USD':>14}{'ledger USD':>14}{'ratio':>9}"]
    for name, sums in groups.items():
        lines.append(f"{name:24}{sums.count:>9}{sums.invoice / 1e9:>14.6f}{sums.ledger / 1e9:>14.6f}{sums.ratio:>9.4f}")
    lines.append(f"exact rows that differ from the invoice: {made.exact_but_wrong}")
    lines.append(f"estimated rows below their own line of the invoice: {made.below} of {made.estimated.count}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the promise holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metering", description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=10_000, help="default 10000")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--at-once", type=int, default=120, help="streams in flight (default 120)")
    told = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="headgate-metering-") as folder:
        made = run(draw(told.seed, told.streams), Path(folder), scenario(told.seed), at_once=told.at_once)
    print(_table(made))
    kept = made.total.invoice <= made.total.ledger <= made.total.invoice * MOST_ABOVE and not made.exact_but_wrong
    print("ledger never below the invoice, and at most 5% above:", "kept" if kept else "NOT KEPT")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
