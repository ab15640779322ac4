"""Summarise every document of a JSONL file, once: bounded, resumable, and with its cost at the end.

    python nightly.py documents.jsonl summaries.jsonl --concurrency 8

Each line of the input is {"id": "...", "text": "..."}; each line of the output {"id", "summary", "cost_usd"}. Run it
again after a crash, a Ctrl-C or failures: what is in the output already is not paid for twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TextIO

import anthropic

import headgate

MODEL = "claude-haiku-4-5"
TASK = "nightly-summary"
MAX_TOKENS = 200
# The next document would fail the same way: a wrong key, or a refusal of Headgate's that is not about this document.
STOPS_ALL = (anthropic.AuthenticationError, anthropic.PermissionDeniedError)
ABOUT_ONE_DOCUMENT = {"content_blocked", "request_too_large", "invalid_request"}
FAILURES_IN_A_ROW = 20
NANO = 10**9  # nano-dollars in a dollar


@dataclass(frozen=True, slots=True)
class Document:
    """What is to be summarised."""

    id: str
    text: str


@dataclass(slots=True)
class Run:
    """What this run has done so far. `session` is its name in the ledger, and `total` what there is to do in all."""

    session: str
    total: int = 0
    done: int = 0
    skipped: int = 0
    cost_usd: Decimal = Decimal(0)  # of what succeeded; the ledger knows all of it
    failed: Counter[str] = field(default_factory=Counter)
    in_a_row: int = 0
    stopped: str = ""  # why the rest was not tried


def read_documents(path: Path) -> Iterator[Document]:
    """One at a time: the file may be larger than memory."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                told = json.loads(line)
                yield Document(str(told["id"]), str(told["text"]))
            except (ValueError, KeyError, TypeError) as error:
                raise SystemExit(f"{path}:{number}: not a document: {error!r}") from error


def already_done(path: Path) -> set[str]:
    """The ids in the output. A last line that a crash has torn is cut off."""
    done: set[str] = set()
    if not path.exists():
        return done
    with path.open("r+b") as output:
        good = 0
        for line in output:
            if not line.endswith(b"\n"):
                break
            done.add(json.loads(line)["id"])
            good += len(line)
        output.truncate(good)
    return done


async def summarise(client: anthropic.AsyncAnthropic, document: Document) -> str:
    """One call. Retries, waits and timeouts are Headgate's."""
    message = await client.messages.create(
        model=MODEL,
        max_tokens=MAX_TOKENS,
        system="Summarise the document in two sentences.",
        messages=[{"role": "user", "content": document.text}],
    )
    if message.stop_reason == "refusal":
        raise ValueError("the model refused")
    return "".join(block.text for block in message.content if block.type == "text")


async def work(client: anthropic.AsyncAnthropic, documents: Iterator[Document], output: TextIO, run: Run) -> None:
    """One of the workers: takes the next document until there is none, or no point in going on."""
    for document in documents:
        if run.stopped:
            return
        try:
            with headgate.caller(task=TASK, session=run.session):
                summary = await summarise(client, document)
        except Exception as error:
            note_failure(run, error)
            continue
        last = headgate.last()  # this worker's own call: each task has its own
        cost = last.cost_usd if last is not None else Decimal(0)
        run.done += 1
        run.in_a_row = 0
        run.cost_usd += cost
        line = {"id": document.id, "summary": summary, "cost_usd": f"{cost:f}"}
        output.write(json.dumps(line, ensure_ascii=False) + "\n")
        output.flush()  # a crash loses at most what is on its way
        progress(run)


def note_failure(run: Run, error: Exception) -> None:
    """Count it, and stop where the next document would fail the same way."""
    refused = headgate.refusal(error)
    run.failed[refused.code if refused else type(error).__name__] += 1
    run.in_a_row += 1
    if isinstance(error, STOPS_ALL) or (refused is not None and refused.code not in ABOUT_ONE_DOCUMENT):
        run.stopped = str(error)
    elif run.in_a_row >= FAILURES_IN_A_ROW:
        run.stopped = f"{run.in_a_row} failures in a row, the last one: {error}"


def progress(run: Run) -> None:
    """On a terminal only, so that a cron mail stays short."""
    if sys.stderr.isatty():
        print(
            f"\r{run.skipped + run.done} of {run.total}, {run.failed.total()} failed, ${run.cost_usd:.4f}",
            end="",
            file=sys.stderr,
        )


async def summarise_all(gate: headgate.Gate, source: Path, target: Path, concurrency: int) -> Run:
    """Never more than `concurrency` calls at once, and never more documents in memory than that."""
    run = Run(datetime.now(UTC).strftime("nightly-%Y%m%dT%H%M%S.%fZ"))
    run.total = sum(1 for _ in read_documents(source))  # a mistake in the input shows before anything is spent
    done = already_done(target)
    run.skipped = len(done)
    todo = (document for document in read_documents(source) if document.id not in done)
    async with anthropic.AsyncAnthropic(http_client=gate.async_client()) as client:
        with target.open("a", encoding="utf-8") as output:
            async with asyncio.TaskGroup() as workers:
                for _ in range(concurrency):
                    workers.create_task(work(client, todo, output, run))
    return run


def report(run: Run, gate: headgate.Gate) -> str:
    """What the mail of the night says."""
    spent = gate.usage(task=TASK, session=run.session).total
    cost = Decimal(spent.cost_nano) / NANO
    each = cost / run.done if run.done else Decimal(0)
    month = Decimal(gate.usage(task=TASK, days=30).total.cost_nano) / NANO
    lines = [
        f"{run.done} summarised, {run.skipped} were there already, {run.failed.total()} failed",
        f"this run: ${cost:f} in {spent.attempts} attempts (${each:.6f} a document)",
        f"{TASK}, 30 days: ${month:f}",
    ]
    lines += [f"  {count} x {why}" for why, count in run.failed.most_common()]
    if run.stopped:
        lines.append(f"stopped early: {run.stopped}")
    return "\n".join(lines)


def main() -> int:
    """0 when every document has its summary, 1 when a later run has something left to do."""
    parser = argparse.ArgumentParser(description="Summarise every document of a JSONL file, once.")
    parser.add_argument("documents", type=Path)
    parser.add_argument("summaries", type=Path)
    parser.add_argument("--concurrency", type=int, default=8, help="calls at once (default 8)")
    told = parser.parse_args()
    if told.concurrency < 1:
        parser.error("--concurrency must be at least 1")
    with headgate.Gate.load() as gate:
        try:
            run = asyncio.run(summarise_all(gate, told.documents, told.summaries, told.concurrency))
        except KeyboardInterrupt:
            print("\ninterrupted; run it again to go on from here", file=sys.stderr)
            return 130
        print(report(run, gate))
    return 1 if run.failed or run.stopped else 0


if __name__ == "__main__":
    sys.exit(main())
