"""A large batch against a limited provider: speed, memory, and `kill -9` at random moments.

    python -m benchmarks.batch [speed kills] [--lines 100000] [--per-minute 12000] [--kills 10] [--seed 7]
                               [--data benign.jsonl] [--quick] [--json FILE] [--check]

The provider is `headgate simulate` with a limit of requests per minute, of which it has a full minute's worth at the
beginning; the best that anybody can do is (lines - per_minute) / per_minute minutes. The batch is `headgate batch run`
in a process of its own. Memory is its resident set, sampled four times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from benchmarks import money_books, paid_provider
from benchmarks.paid_provider import Provider, clean_env, headgate
from benchmarks.parts import add_outputs, part_of, run
from benchmarks.processes import CannotRun, running
from benchmarks.report import Number, median

PARTS = ("speed", "kills")
MEGABYTE = 1024 * 1024
_WORDS = ["river", "gate", "level", "flow", "canal", "bank", "stone", "spring", "north", "field", "mill", "water"]


@dataclass(slots=True)
class Ran:
    """One process of `headgate batch run`, to its end or its death."""

    seconds: float = 0.0
    code: int = 0
    memory: list[int] = field(default_factory=list)  # bytes, in the order of time


def texts(data: Path | None) -> Iterator[str]:
    """Prompts without end: a file's rows with a `text`, over and over; or made ones."""
    if data is None:
        chance = random.Random(1)
        while True:
            yield " ".join(chance.choices(_WORDS, k=chance.randrange(5, 60)))
    rows = [json.loads(line) for line in data.read_text().splitlines() if line.strip()]
    found = [row["text"] for row in rows if isinstance(row.get("text"), str) and row["text"]]
    if not found:
        raise CannotRun(f"{data.name} has no rows with a text")
    yield from cycle(found)


def write_batch(path: Path, lines: int, data: Path | None) -> None:
    """The batch's file; no two lines ask the same."""
    with path.open("w") as file:
        for number, text in enumerate(islice(texts(data), lines)):
            params = {
                "model": "claude-haiku-4-5",
                "max_tokens": 16,
                "messages": [{"role": "user", "content": f"{number}: {text}"}],
            }
            file.write(json.dumps({"custom_id": f"line-{number}", "params": params}) + "\n")


@contextlib.contextmanager
def world(root: Path, per_minute: int | None, latency: float) -> Iterator[tuple[Provider, Path]]:
    """The provider, and a folder with a configuration that leads to it."""
    scenario = root / "scenario.json"
    limits = {} if per_minute is None else {"limits": {"requests_per_minute": per_minute}}
    scenario.write_text(json.dumps({**limits, "pace": {"first_token_seconds": latency}}))
    command = headgate("simulate", "--port", "0", "--scenario", str(scenario))
    with running(command, cwd=root, log=root / "provider.log", env=clean_env()) as child:
        found = paid_provider._ADDRESS.search(child.first_line())
        if found is None:
            raise CannotRun("`headgate simulate` does not say where it listens")
        home = root / "home"
        home.mkdir()
        config = {
            "providers": {"anthropic": {"base_url": found.group(), "api_key": "env:BENCH_PROVIDERS_KEY"}},
            "storage": "sqlite:///bench.db",
            "budgets": [{"usd": 1000}],
            "log": {"bodies": "off"},
            "guards": {"profile": "off"},
        }
        (home / "headgate.yaml").write_text(json.dumps(config))
        yield Provider(found.group()), home


def batch_command(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`headgate batch ...`, beginning."""
    env = clean_env(BENCH_PROVIDERS_KEY=paid_provider.PROVIDERS_KEY)
    log = (home / "batch.log").open("ab")
    with log:
        return subprocess.Popen(headgate("batch", *arguments), cwd=home, env=env, stdout=subprocess.PIPE, stderr=log)


def submitted(home: Path, file: Path) -> str:
    """The id of a new batch."""
    child = batch_command(home, "submit", str(file), "--via", "paced", "--json")
    out, _ = child.communicate()
    if child.returncode:
        raise CannotRun(f"`headgate batch submit` ended with {child.returncode}")
    told: str = json.loads(out)["batch"]["id"]
    return told


def ran(home: Path, batch_id: str, *, kill_at: int | None = None) -> Ran:
    """`headgate batch run`; killed once so many lines are over, on record, unless it has ended before."""
    found = Ran()
    began = time.perf_counter()
    child = batch_command(home, "run", batch_id, "--json")
    while child.poll() is None:
        found.memory.append(resident(child.pid))
        if kill_at is not None and over(home / "bench.db.jobs") >= kill_at:
            child.send_signal(signal.SIGKILL)
            child.wait()
            break
        time.sleep(0.25 if kill_at is None else 0.01)
    if child.stdout is not None:
        child.stdout.close()
    found.seconds, found.code = time.perf_counter() - began, child.returncode
    return found


def over(items: Path) -> int:
    """Lines that are over, as they are on record."""
    with contextlib.closing(sqlite3.connect(f"file:{items}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM batch_items WHERE state = 'done'").fetchone()
    return int(count)


def resident(pid: int) -> int:
    """Bytes of a process that are in memory; 0 where it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def speed(lines: int, per_minute: int, data: Path | None) -> Iterator[Number]:
    """One run, start to end."""
    with tempfile.TemporaryDirectory(prefix="headgate-batch-") as directory:
        root = Path(directory)
        file = root / "in.jsonl"
        write_batch(file, lines, data)
        with world(root, per_minute, 0.1) as (provider, home):
            batch_id = submitted(home, file)
            found = ran(home, batch_id)
            invoice = provider.invoice()
            books = money_books.read(home / "bench.db")
    if found.code:
        raise CannotRun(f"`headgate batch run` ended with {found.code}")
    ideal = max(0.0, (lines - per_minute) / per_minute * 60)
    settled = [each for each in found.memory[len(found.memory) // 4 :] if each] or [0]
    fifth = max(1, len(settled) // 5)
    growth = median(settled[-fifth:]) - median(settled[:fifth])
    name = f"{lines} lines at {per_minute}/min"
    share = found.seconds / ideal * 100 if ideal else 0.0
    yield Number("batch", f"{name}: time, of the ideal", share, "%", 100 / 0.95, note=f"{found.seconds:.1f} s")
    yield Number("batch", f"{name}: memory, at most", max(found.memory) / MEGABYTE, "MB", 300)
    yield Number("batch", f"{name}: memory, growth after the first quarter", growth / MEGABYTE, "MB", 30)
    yield Number("batch", f"{name}: lines without an answer", abs(lines - invoice["lines"]), "", 0)
    yield Number("batch", f"{name}: ledger off the invoice", abs(books.cost - invoice["cost_nano"]), "nano-USD", 0)


def kills(lines: int, times: int, seed: int, data: Path | None) -> Iterator[Number]:
    """Runs that are killed at random moments, and one that ends."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="headgate-batch-") as directory:
        root = Path(directory)
        file = root / "in.jsonl"
        write_batch(file, lines, data)
        with world(root, None, 0.05) as (provider, home):
            batch_id = submitted(home, file)
            for number in range(times):
                ran(home, batch_id, kill_at=int(lines * (number + chance.random()) / (times + 1)))
            last = ran(home, batch_id)
            child = batch_command(home, "status", batch_id, "--json")
            told = json.loads(child.communicate()[0])
            out = home / "out.jsonl"
            batch_command(home, "results", batch_id, "-o", str(out)).communicate()
            billed = provider.invoice()["cost_nano"]
            books = money_books.read(home / "bench.db")
            rows, again = ledger_lines(home / "bench.db", batch_id)
            said = (home / "batch.log").read_text(errors="replace")[-2000:]
            order = [json.loads(line)["custom_id"] for line in out.read_text().splitlines()]
    if last.code:
        raise CannotRun(f"the last `headgate batch run` ended with {last.code}: {told}\n{said}")
    name = f"{lines} lines, {times} x kill -9"
    note = f"{again} lines sent again, {told['maybe_twice']} marked"
    yield Number("batch", f"{name}: lines not in the ledger", lines - rows, "", 0, note=note)
    yield Number(
        "batch", f"{name}: lines twice in the ledger and not marked", max(0, again - told["maybe_twice"]), "", 0
    )
    yield Number("batch", f"{name}: lines without a result", lines - told["succeeded"], "", 0)
    yield Number("batch", f"{name}: results out of order", sum(a != f"line-{n}" for n, a in enumerate(order)), "", 0)
    yield Number("batch", f"{name}: on the invoice and not in the ledger", max(0, billed - books.cost), "nano-USD", 0)
    yield Number("batch", f"{name}: held after the end", books.held, "nano-USD", 0)
    yield Number("batch", f"{name}: budgets off the ledger", abs(books.accounts - books.cost), "nano-USD", 0)


def ledger_lines(ledger: Path, batch_id: str) -> tuple[int, int]:
    """Lines that have a row in the ledger, and those that have more than one."""
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        found = connection.execute(
            "SELECT correlation_id FROM exchanges WHERE attempts > 0 AND correlation_id LIKE ?", (f"{batch_id}:%",)
        )
        counted = Counter(row[0] for row in found)
    return len(counted), sum(count > 1 for count in counted.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if everything asked for ran; 1 if something could not, or with --check a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("part", nargs="*", type=part_of(PARTS), metavar="|".join(PARTS), help="default: all")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--per-minute", type=int, default=12_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, help="JSONL whose rows have a `text`: the prompts")
    parser.add_argument("--quick", action="store_true", help="800 lines and 3 kills; and speed without a limit's wait")
    add_outputs(parser)
    told = parser.parse_args(arguments)
    if told.quick:
        told.lines, told.kills = 800, 3
    per_minute = told.per_minute
    return run(
        told,
        {
            "speed": lambda: speed(told.lines, per_minute, told.data),
            "kills": lambda: kills(told.lines, told.kills, told.seed, told.data),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
