"""What the benchmarks of several parts share: their options, and running what was asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks import report
from benchmarks.processes import CannotRun
from benchmarks.report import Number


def part_of(parts: Iterable[str]) -> Callable[[str], str]:
    """An argument's type: the name of one of the parts."""
    known = tuple(parts)

    def part(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(known)}")
        return text

    return part


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The options that say where the numbers go, and whether a missed target fails."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", action="store_true", help="print the README's table instead")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")


def run(told: argparse.Namespace, parts: Mapping[str, Callable[[], Iterator[Number]]]) -> int:
    """Measure the parts that `told.part` names, or all, and print them.

    Returns:
        0 if every part asked for ran; 1 if one could not, or with --check a target is missed.
    """
    where = report.machine()
    out = sys.stderr if told.markdown else sys.stdout
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in where.items()), file=out, flush=True)
    numbers: list[Number] = []
    skipped: dict[str, str] = {}
    for name in told.part or parts:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            for number in parts[name]():
                numbers.append(number)
        except CannotRun as error:
            skipped[name] = str(error)
    print(report.markdown(numbers, where) if told.markdown else report.table(numbers))
    for name, why in skipped.items():
        print(f"{name}: NOT MEASURED: {why}", file=out)
    if told.json is not None:
        report.write_json(told.json, numbers, skipped, where)
    return 1 if skipped or (told.check and any(number.missed for number in numbers)) else 0
