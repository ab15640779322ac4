"""A pipeline of three steps (extract, summarise, answer), run in three ways against the simulator, and their bills."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate.gate import Gate
    from headgate.testing.server import SimulatorServer

PROVIDER = "anthropic"
_KEY = "simulated"
_VARIABLE = "HEADGATE_SIMULATOR_CREDENTIAL"
_HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": _KEY}
_LINE = "The boat with the number {number} passed the upper lock at noon, paid its toll of 4.20, and went on north. "
_LINES = 70  # of a document: some 1,800 of the simulator's tokens


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the pipeline. `tokens`: how long its answers are; `simple`: a cheap model can do it."""

    name: str
    tokens: int
    order: str
    simple: bool


STEPS = (
    Step("extract", 220, "List every number, place and sum in this document.", True),
    Step("summarise", 120, "Summarise these facts.", True),
    Step(
        "answer",
        320,
        "Answer the customer's question from this summary: which boats have to pay again, and why?",
        False,
    ),
)


@dataclass(frozen=True, slots=True)
class Way:
    """How the pipeline is run."""

    name: str
    what: str
    hybrid: bool
    batched: bool


WAYS = (
    Way("one model", "the strong model for every step", hybrid=False, batched=False),
    Way("hybrid", "the cheap model for the simple steps", hybrid=True, batched=False),
    Way("batched", "the same, each step as a provider's batch", hybrid=True, batched=True),
)


@dataclass(slots=True)
class Bill:
    """What a way cost. Money is nano-dollars.

    Attributes:
        ours: by step, by Headgate's ledger.
        invoiced: by the simulator's own, all steps.
        tokens: by step, (input, output).
        models: by step.
    """

    way: Way
    calls: int = 0
    invoiced: int = 0
    ours: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """By Headgate's ledger."""
        return sum(self.ours.values())

    @property
    def agrees(self) -> bool:
        """To the nano-dollar."""
        return self.total == self.invoiced


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do, the same for every way."""

    documents: int
    strong: str
    cheap: str

    def model(self, way: Way, step: Step) -> str:
        """Who does a step."""
        return self.cheap if way.hybrid and step.simple else self.strong

    def texts(self) -> list[str]:
        """The documents."""
        return ["".join(_LINE.format(number=n * 1_000 + line) for line in range(_LINES)) for n in range(self.documents)]


def run(work: Work, way: Way, tell: Callable[[], None]) -> Bill:
    """Run the pipeline once, on a simulator and a ledger of its own.

    Args:
        tell: called whenever a call, or a batch's line, is answered.
    """
    from headgate.cli.simulated import spare_loopback
    from headgate.testing.server import SimulatorServer

    spare_loopback()
    bill = Bill(way, models={step.name: work.model(way, step) for step in STEPS})
    with SimulatorServer() as server, tempfile.TemporaryDirectory(prefix="headgate-lab-") as folder:
        _work(work, server, Path(folder), bill, tell)
        bill.invoiced = server.invoice()["total"]["cost_nano"]
    return bill


def _body(step: Step, text: str, model: str) -> dict[str, Any]:
    # The simulator answers with exactly so many tokens where a turn begins like this.
    asked = f"tokens: {step.tokens}\n{step.order}\n\n{text}"
    return {"model": model, "max_tokens": 1_000, "messages": [{"role": "user", "content": asked}]}


def _work(work: Work, server: SimulatorServer, folder: Path, bill: Bill, tell: Callable[[], None]) -> None:
    """Step after step through Headgate; which model does one is a line of configuration, and no change of code."""
    from headgate.gate import Gate

    tasks = {step.name: {"model": f"{PROVIDER}/{bill.models[step.name]}"} for step in STEPS}
    written = folder / "headgate.yaml"
    written.write_text("")
    gate = Gate.load(
        written,
        env={**os.environ, _VARIABLE: _KEY},
        providers={PROVIDER: {"base_url": server.url, "api_key": f"env:{_VARIABLE}"}},
        tasks=tasks if bill.way.hybrid else {},
        storage=f"sqlite:///{folder / 'lab.db'}",
        cache="off",
        prompt_caching="off",
        guards={"profile": "off"},
    )
    with gate:
        send = partial(_batched, gate) if bill.way.batched else partial(_called, gate, server.url)
        texts = work.texts()
        for step in STEPS:
            found = []
            for message in send(step, [_body(step, text, work.strong) for text in texts]):
                found.append(message["content"][0]["text"])
                bill.calls += 1
                tell()
            texts = found
        gate.flush()
        for row in gate.built.ledger.reader().usage(by=("task",)).rows:
            amounts = row.amounts
            bill.ours[row.by["task"]] = amounts.cost_nano
            bill.tokens[row.by["task"]] = (amounts.input_tokens, amounts.output_tokens)


def _called(gate: Gate, url: str, step: Step, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Each answer, call after call."""
    from headgate.transport.context import caller

    with gate.client(headers=_HEADERS, timeout=60.0) as client:
        for body in bodies:
            with caller(task=step.name, feature="pipeline"):
                response = client.post(f"{url}/v1/messages", json=body)
            response.raise_for_status()
            yield response.json()


def _batched(gate: Gate, step: Step, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """All answers of one of the provider's batches, in order."""
    from headgate.transport.context import caller

    lines = [{"custom_id": f"line-{number}", "params": body} for number, body in enumerate(bodies)]
    with caller(task=step.name, feature="pipeline"):
        job = gate.batch(lines, via="provider", dedupe="never")
    job.run()
    for result in job.results():
        yield result["result"]["message"]
