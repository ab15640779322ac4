"""The nightly job in front of the simulator: in a process of its own where it is killed, else in this one (quicker)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from headgate.core.money import usd
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Pace, Rule, Scenario, When

HERE = Path(__file__).parents[2] / "examples" / "nightly_job"
SECONDS = 180


Job = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def nightly(
    workplace: Path,
    example: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Job:
    """Runs the job's command line."""
    module = example("nightly_job/nightly.py")

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        told = command(*flags)
        monkeypatch.setattr(sys, "argv", told[1:])
        try:
            code, why = int(module.main()), ""
        except SystemExit as error:  # what it says goes to standard error, as Python does with it
            code, why = 1, str(error.code)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(told, code, out, err + why)

    return run


@pytest.fixture
def job(nightly: Job, example: Callable[[str], ModuleType]) -> Job:
    """Writes so many documents, and runs the job on them."""
    make = example("nightly_job/make_documents.py").documents

    def run(count: int, *flags: str) -> subprocess.CompletedProcess[str]:
        Path("documents.jsonl").write_text("".join(json.dumps(each) + "\n" for each in make(count)), encoding="utf-8")
        return nightly(*flags)

    return run


def command(*flags: str) -> list[str]:
    return [sys.executable, str(HERE / "nightly.py"), "documents.jsonl", "summaries.jsonl", *flags]


def summaries() -> list[dict[str, str]]:
    return [json.loads(line) for line in Path("summaries.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_a_thousand_documents_through_a_storm_cost_what_the_provider_bills(
    job: Job, headgate_simulator: SimulatorServer
) -> None:
    storm = Rule(Fault("rate_limit", retry_after_ms=1), when=When(every=50))
    headgate_simulator.load(Scenario(output_tokens=20, rules=(storm,)))
    done = job(1000, "--concurrency", "16")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1000 summarised, 0 were there already, 0 failed" in done.stdout
    found = summaries()
    assert len({each["id"] for each in found}) == len(found) == 1000
    billed = usd(headgate_simulator.invoice()["total"]["cost_nano"])
    assert sum(Decimal(each["cost_usd"]) for each in found) == billed
    said = re.search(r"this run: \$([0-9.]+) in (\d+) attempts", done.stdout)
    assert said is not None
    assert Decimal(said[1]) == billed
    assert int(said[2]) == len(headgate_simulator.requests()) == 1020


def test_never_more_calls_at_once_than_asked_for(
    job: Job,
    headgate_simulator: SimulatorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headgate_simulator.load(Scenario(output_tokens=20))
    simulator, most, begun, full = headgate_simulator.simulator, [0, 0], 0, asyncio.Event()
    serve = type(simulator).__call__

    async def counted(self: object, scope: object, receive: object, send: object) -> None:
        nonlocal begun
        begun += 1
        most[0] += 1
        most[1] = max(most)
        if most[1] == 4:
            full.set()
        try:
            if begun > 10:  # until then a gate feels its way; from here on the first four are all there, however slowly
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(60):
                        await full.wait()
            await serve(self, scope, receive, send)  # type: ignore[arg-type]  # passed on as they came
        finally:
            most[0] -= 1

    monkeypatch.setattr(type(simulator), "__call__", counted)
    assert job(40, "--concurrency", "4").returncode == 0
    assert most[1] == 4


def test_after_a_kill_it_goes_on_and_pays_for_no_document_twice(
    workplace: Path, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(output_tokens=20, pace=Pace(first_token_seconds=0.05)))
    output = workplace / "summaries.jsonl"
    lines = [json.dumps({"id": f"d{n}", "text": "water"}) + "\n" for n in range(60)]
    Path("documents.jsonl").write_text("".join(lines), encoding="utf-8")
    first = subprocess.Popen(command("--concurrency", "4"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + SECONDS
    while (not output.exists() or output.stat().st_size < 1000) and time.monotonic() < until:
        time.sleep(0.01)
    first.kill()
    first.wait()
    with output.open("a", encoding="utf-8") as torn:
        torn.write('{"id": "d5')  # as a crash in the middle of a write leaves it
    there = output.read_text(encoding="utf-8").count("\n")
    assert 0 < there < 60
    again = subprocess.run(command("--concurrency", "4"), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{60 - there} summarised, {there} were there already" in again.stdout
    assert sorted(each["id"] for each in summaries()) == sorted(f"d{n}" for n in range(60))
    assert len(headgate_simulator.requests()) <= 60 + 4  # what was on its way, at most


def test_a_wrong_key_stops_the_job_instead_of_failing_every_document(
    job: Job, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("auth")),)))
    done = job(50, "--concurrency", "2")
    assert done.returncode == 1
    assert "stopped early" in done.stdout
    assert len(headgate_simulator.requests()) <= 2


def test_what_failed_is_done_by_the_next_run_and_stops_nobody(job: Job, headgate_simulator: SimulatorServer) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("error", status=400), when=When(nth=(3, 5))),)))
    done = job(10)
    assert done.returncode == 1
    assert "8 summarised, 0 were there already, 2 failed\n" in done.stdout
    assert "2 x BadRequestError" in done.stdout
    again = job(10)
    assert again.returncode == 0
    assert "2 summarised, 8 were there already, 0 failed\n" in again.stdout


def test_a_mistake_in_the_input_is_named_before_anything_is_spent(
    nightly: Job, headgate_simulator: SimulatorServer
) -> None:
    Path("documents.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b"}\n', encoding="utf-8")
    done = nightly()
    assert done.returncode == 1
    assert "documents.jsonl:2: not a document" in done.stderr
    assert headgate_simulator.requests() == []
