"""`python -m benchmarks [imports|gateway|first-chunk|in-process|cache ...]` prints the numbers; a missed
target fails only with --check."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.processes import CannotRun
from benchmarks.report import Number

BENCHMARKS = ("imports", "gateway", "first-chunk", "in-process", "cache")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every benchmark asked for ran; 1 if one could not, or with --check a target is missed."""
    told = parser().parse_args(arguments)
    if told.profile:
        return _profile(told.seconds)
    where = report.machine()
    out = sys.stderr if told.markdown else sys.stdout
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in where.items()), file=out, flush=True)
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
        print(f"{name}: NOT MEASURED: {why}", file=out)
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
    elif name == "cache":
        from benchmarks import cache

        yield from cache.measure(told.seconds)
    else:
        from benchmarks import in_process

        yield from in_process.measure(told.seconds)


def _profile(seconds: float) -> int:
    from benchmarks import gateway

    for kind in ("json", "stream"):
        gateway.profile(kind, seconds, print)
    return 0


def _known(name: str) -> str:
    if name not in BENCHMARKS:  # not `choices`: that refuses an empty list
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(BENCHMARKS)}")
    return name


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("benchmark", nargs="*", type=_known, metavar="|".join(BENCHMARKS), help="default: all")
    made.add_argument("--seconds", type=float, default=15.0, help="of load per server and kind (default 15)")
    made.add_argument("--quick", action="store_true", help="leave out what needs a fresh installation")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    made.add_argument("--markdown", action="store_true", help="print the README's table instead")
    made.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    made.add_argument("--profile", action="store_true", help="profile the gateway under load instead")
    return made


if __name__ == "__main__":
    sys.exit(main())
