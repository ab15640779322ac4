"""What the recognisers of personal data and of secrets find, and what they take for it, on labelled lines (`pii.jsonl`)
and on ordinary prompts (`benign.jsonl`), and what it costs: `python -m benchmarks.guards_pii --data DIR`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import parts
from benchmarks.processes import CannotRun
from benchmarks.report import Number, median
from headgate.core.guards import Span
from headgate.policy.guards.pii import find_pii
from headgate.policy.guards.secrets import find_secrets

PARTS = ("spans", "plain", "speed")
DATA = "HEADGATE_GUARD_DATA"
ROUNDS = 5
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every part asked for ran; 1 if one could not, or with --check a target is missed."""
    told = parser().parse_args(arguments)
    measured: dict[str, Callable[[], Iterator[Number]]] = {
        "spans": lambda: spans(rows(told.data, "pii.jsonl")),
        "plain": lambda: plain(rows(told.data, "benign.jsonl")),
        "speed": lambda: speed(rows(told.data, "benign.jsonl")),
    }
    return parts.run(told, measured)


def rows(data: Path | None, name: str) -> list[Row]:
    """The lines of one file; secret-shaped texts, which are kept in pieces, put together.

    Raises:
        CannotRun: there is no such file.
    """
    if data is None:
        raise CannotRun(f"where is the data? --data DIR, or {DATA}")
    try:
        read = [json.loads(line) for line in (data / name).read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise CannotRun(f"{name}: {error.strerror}") from error
    for row in read:
        if row["text"] is None:
            row["text"] = "".join(row["text_parts"])
    return read


def found(text: str) -> list[Span]:
    """What either recogniser finds."""
    return [*find_pii(text), *find_secrets(text)]


def spans(labelled: list[Row]) -> Iterator[Number]:
    """A labelled span is covered when the spans found cover every character of it, whatever their type."""
    total: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for row in labelled:
        covered = {place for span in found(row["text"]) for place in range(span.start, span.end)}
        for span in row["spans"]:
            total[span["type"]] += 1
            missed[span["type"]] += not covered.issuperset(range(span["start"], span["end"]))
    negative = [row for row in labelled if row["kind"] == "negative"]
    flagged = sum(bool(found(row["text"])) for row in negative)
    note = f"{total.total()} spans"
    yield Number("pii", "labelled spans not covered", _percent(missed.total(), total.total()), "%", 5, note=note)
    yield Number(
        "pii", "negative lines flagged", _percent(flagged, len(negative)), "%", 2, note=f"{len(negative)} lines"
    )
    for kind in sorted(total):
        yield Number("pii", f"{kind} not covered", _percent(missed[kind], total[kind]), "%", note=f"of {total[kind]}")


def plain(prompts: list[Row]) -> Iterator[Number]:
    """The share of ordinary prompts in which anything is found: some do hold an address or a date of birth."""
    for name, find in (("personal data", find_pii), ("a secret", find_secrets)):
        kinds: Counter[str] = Counter()
        flagged = 0
        for row in prompts:
            met = find(row["text"])
            flagged += bool(met)
            kinds.update(span.type for span in met)
        note = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        yield Number("pii", f"ordinary prompts with {name}", _percent(flagged, len(prompts)), "%", note=note)


def speed(prompts: list[Row]) -> Iterator[Number]:
    """CPU time per KB of ordinary prompts, and of one text of a megabyte."""
    texts = [row["text"] for row in prompts]
    whole = "\n\n".join(texts)
    megabyte = (whole * (1_000_000 // len(whole) + 1))[:1_000_000]
    found(megabyte)  # imports what is imported late
    for name, sample in (("prompts", texts), ("a megabyte in one", [megabyte])):
        kilobytes = sum(len(text.encode()) for text in sample) / 1024
        costs = [_cost(sample) / kilobytes * 1e6 for _ in range(ROUNDS)]
        spread = min(costs), max(costs)
        yield Number("pii", f"CPU time per KB, {name}", median(costs), "us", 1000, spread=spread)


def _cost(texts: list[str]) -> float:
    begun = time.process_time()
    for text in texts:
        found(text)
    return time.process_time() - begun


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.guards_pii", description=__doc__)
    made.add_argument("part", nargs="*", type=parts.part_of(PARTS), metavar="|".join(PARTS), help="default: all")
    told = os.environ.get(DATA)
    made.add_argument(
        "--data", type=Path, default=Path(told) if told else None, metavar="DIR",
        help=f"where pii.jsonl and benign.jsonl are (default: ${DATA})",
    )  # fmt: skip
    parts.add_outputs(made)
    return made


if __name__ == "__main__":
    sys.exit(main())
