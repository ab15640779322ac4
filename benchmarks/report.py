"""Numbers, their targets, and how they are shown."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Number:
    """One number.

    Attributes:
        target: what it must not exceed; None for information.
        goal: what it should not exceed later on.
        spread: the lowest and the highest of the rounds that `value` is the median of.
    """

    benchmark: str
    name: str
    value: float
    unit: str
    target: float | None = None
    goal: float | None = None
    spread: tuple[float, float] | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        """Above its target."""
        return self.target is not None and self.value > self.target


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def machine() -> dict[str, object]:
    """Where and on what the numbers were made."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks")
        return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+changes" if changed else "")
    except OSError:
        return "unknown"


def table(numbers: Sequence[Number]) -> str:
    """The numbers for people."""
    head = ("benchmark", "number", "value", "rounds", "target", "goal", "")
    rows = [
        (
            each.benchmark,
            each.name,
            f"{_short(each.value)} {each.unit}".strip(),
            "" if each.spread is None else f"{_short(each.spread[0])} to {_short(each.spread[1])}",
            "" if each.target is None else f"<= {_short(each.target)}",
            "" if each.goal is None else f"<= {_short(each.goal)}",
            _verdict(each) + (f" ({each.note})" if each.note else ""),
        )
        for each in numbers
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    top = "  ".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)).rstrip()
    return "\n".join([top, "-" * len(top), *lines])


def markdown(numbers: Sequence[Number], where: dict[str, object]) -> str:
    """The numbers for the README: those with a target, and where they come from."""
    lines = ["| number | measured | target |", "| --- | --- | --- |"]
    for each in numbers:
        if each.target is not None:
            goal = "" if each.goal is None else f", goal {_short(each.goal)}"
            missed = ", **missed**" if each.missed else ""
            value = f"{_short(each.value)} {each.unit}".strip()
            lines.append(f"| {each.benchmark}: {each.name} | {value} | <= {_short(each.target)}{goal}{missed} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Commit {where['commit']}, {where['date']}, {where['cpu']}, {where['cores']} cores, {where['python']}.",
        ]
    )


def _verdict(number: Number) -> str:
    if number.target is None:
        return ""
    if number.missed:
        return "MISSED"
    return "ok" if number.goal is None or number.value > number.goal else "ok, goal reached"


def _short(value: float) -> str:
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"


def write_json(path: Path, numbers: Sequence[Number], skipped: dict[str, str], where: dict[str, object]) -> None:
    """The numbers for programs."""
    found = [{**dataclasses.asdict(each), "missed": each.missed} for each in numbers]
    path.write_text(json.dumps({"machine": where, "numbers": found, "not_measured": skipped}, indent=2) + "\n")
