"""`kill -9` at the worst moments: nothing is submitted twice, each line is once in the ledger, the rest is marked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from batch_files import MakeGate, claude, gpt

from headgate import Gate
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer
from headgate.jobs import provider
from headgate.stores.job_rows import JobStore
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Batching, Fault, Match, Rule, Scenario

MAKE = {"anthropic": claude, "openai": gpt}
CREATE = {"anthropic": "/v1/messages/batches", "openai": "/v1/batches"}

CHILD = """
import json, os, signal, sys
from headgate import Gate
from headgate.jobs import provider
from headgate.jobs.vendor import Vendor

told = json.loads(sys.argv[1])
provider._STEP = 0.02
step = getattr(Vendor, told["behind"])

async def killed(*arguments, **options):
    await step(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)  # the provider has it, and nobody here has written that down

setattr(Vendor, told["behind"], killed)
gate = Gate.load(env={"KEY": "fake"}, **told["settings"])
gate.open_batch(told["batch"]).run()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "poll_wait", lambda asked: 0.02)
    monkeypatch.setattr(provider, "_STEP", 0.02)


def settings_of(gate: Gate) -> dict[str, Any]:
    """The same gate in another process."""
    settings = gate.built.settings
    return {
        "storage": settings.storage,
        "providers": {
            name: {"base_url": settings.providers[name].base_url, "api_key": "env:KEY"}
            for name in ("anthropic", "openai")
        },
        "budgets": [{"usd": 1, "every": "day"}],
    }


@pytest.mark.parametrize(("dialect", "behind"), [("anthropic", "create"), ("openai", "create"), ("openai", "upload")])
def test_a_batch_that_was_submitted_right_before_a_kill_is_found_and_paid_once(
    dialect: str, behind: str, make_gate: MakeGate, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(batches=Batching(start_seconds=0.3)))
    gate = make_gate(budgets=[{"usd": 1, "every": "day"}])
    job = gate.batch([MAKE[dialect](f"name {n}", f"say {n}") for n in range(20)], via="provider")
    told = {"behind": behind, "settings": settings_of(gate), "batch": job.id}
    gate.close()
    died = subprocess.run([sys.executable, "-c", CHILD, json.dumps(told)], capture_output=True, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-2000:]
    again = make_gate(budgets=[{"usd": 1, "every": "day"}])
    status = again.open_batch(job.id).run()
    again.flush()
    assert (status.state, status.succeeded) == ("ended", 20)
    sent = [each for each in headgate_simulator.requests() if each["method"] == "POST"]
    assert sum(each["path"] == CREATE[dialect] for each in sent) == 1
    rows = again.built.ledger.reader().recent(limit=100)
    lines = Counter(row["correlation_id"] for row in rows if row["correlation_id"].startswith(f"{job.id}:"))
    assert (len(lines), set(lines.values())) == (20, {1})
    bill = headgate_simulator.invoice()["total"]
    assert (bill["lines"], bill["cost_nano"]) == (20, again.usage().total.cost_nano)
    left = again.budget()[0]
    assert (int(left.spent_usd.scaleb(9)), left.held_usd) == (bill["cost_nano"], 0)


def test_a_deferred_job_that_was_under_way_at_a_kill_is_made_again_and_marked(
    tmp_path: Path, make_gate: MakeGate, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=[Rule(Fault("slow_first_token", seconds=60), Match())]))
    config = {
        **settings_of(make_gate()),
        "storage": "sqlite:///killed.db",
        "degrade": [{"on": "any", "use": "defer"}],
    }
    (tmp_path / "headgate.yaml").write_text(json.dumps(config))
    with serving(tmp_path) as (process, url):
        headers = {"anthropic-version": "2023-06-01", "Prefer": "respond-async"}
        job = httpx2.post(f"{url}/v1/messages", json=claude("", "hello")["params"], headers=headers).json()["id"]
        _until(lambda: headgate_simulator.requests(0))
        process.kill()
        process.wait()
    headgate_simulator.load(None)
    gate = make_gate(storage=f"sqlite:///{tmp_path / 'killed.db'}", degrade=[{"on": "any", "use": "defer"}])
    store = JobStore(gate.built.jobs)
    app = create(gate.built, ring=KeyRing(loopback=True), admin_token=Secret("t" * 40))
    with BackgroundServer(app):
        _until(lambda: (found := store.get(job)) and found.state == "done")
    found = store.get(job)
    assert found is not None
    assert (found.status, found.tries, found.twice) == (200, 2, 1)
    gate.flush()
    endings = {row["ending"] for row in gate.built.ledger.reader().recent(limit=10) if row["correlation_id"] == job}
    assert endings == {"complete", "killed"}


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`headgate serve` in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADGATE_", "ANTHROPIC_", "OPENAI_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "headgate.cli.main", "serve", "--port", "0"],
        cwd=folder,
        env={**kept, "KEY": "fake"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = next(line for line in process.stdout if "http://" in line)
        yield process, f"http://{told.partition('http://')[2].split()[0]}".rstrip(".,;/")
    finally:
        process.kill()
        process.communicate()


def _until(true: Any) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
