"""`python -m benchmarks [imports|gateway|first-chunk|in-process ...]` prints the numbers; a missed target fails only
with --check."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.processes import CannotRun
from benchmarks.report import Number

BENCHMARKS = ("imports", "gateway", "first-chunk", "in-process")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every benchmark asked for ran; 1 if one could not, or with --check a target is missed."""
    told = _parser().parse_args(arguments)
    if told.profile:
        return _profile(told.seconds)
    where = report.machine()
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in where.items()), flush=True)
    numbers: list[Number] = []
    skipped: dict[str, str] = {}
    for name in told.benchmark or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            for number in _run(name, told):
                numbers.append(number)
        except CannotRun as error:
            skipped[name] = str(error)
    print(report.markdown(numbers, where) if told.markdown else report.table(numbers))
    for name, why in skipped.items():
        print(f"{name}: NOT MEASURED: {why}")
    if told.json is not None:
        report.write_json(told.json, numbers, skipped, where)
    return 1 if skipped or (told.check and any(number.missed for number in numbers)) else 0


def _run(name: str, told: argparse.Namespace) -> Iterator[Number]:
    # Imported one by one: `imports` alone needs neither nginx nor an SDK.
    if name == "imports":
        from benchmarks import imports

        yield from imports.measure(quick=told.quick)
    elif name == "gateway":
        from benchmarks import gateway

        yield from gateway.measure(told.seconds)
    elif name == "first-chunk":
        from benchmarks import first_chunk

        yield from first_chunk.measure(told.seconds)
    else:
        from benchmarks import in_process

        yield from in_process.measure(told.seconds)


def _profile(seconds: float) -> int:
    from benchmarks import gateway

    for kind in ("json", "stream"):
        gateway.profile(kind, seconds, print)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benchmark", nargs="*", choices=BENCHMARKS, metavar="|".join(BENCHMARKS), help="default: all")
    parser.add_argument("--seconds", type=float, default=15.0, help="of load per server and kind (default 15)")
    parser.add_argument("--quick", action="store_true", help="leave out what needs a fresh installation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", action="store_true", help="print the README's table instead")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--profile", action="store_true", help="profile the gateway under load instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
