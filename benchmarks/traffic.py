"""Promises 5 to 7 in numbers: pacing, retries, fairness, failover, and what they cost.

    python -m benchmarks.traffic [pacing storm fairness failover waiting cost] [--quick] [--markdown] [--json FILE]

Against the real engine, gateway and SDKs, over real HTTP to the simulator. pacing: 429s and lateness as the only
consumer of a limit. storm: upstream calls per logical call. fairness: what a flood costs the others. failover: how long
until another route answers. waiting: 50,000 exchanges in the queue. cost: CPU that turns add to an exchange.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.processes import CannotRun
from benchmarks.report import Number

PARTS = ("pacing", "storm", "fairness", "failover", "waiting", "cost")


def pacing(*, quick: bool) -> Iterator[Number]:
    """See `traffic_pacing`."""
    from benchmarks import traffic_pacing

    cases, overloads = traffic_pacing.CASES, traffic_pacing.OVERLOADS
    yield from traffic_pacing.measure(cases[:2] if quick else cases, overloads[:3] if quick else overloads)
    if not quick:
        yield from traffic_pacing.in_real_time()


def storm(*, quick: bool) -> Iterator[Number]:
    """See `traffic_storm`."""
    from benchmarks import traffic_storm

    if quick:
        yield from traffic_storm.measure(30, ("standard",), ("anthropic, async",))
    else:
        yield from traffic_storm.measure(200)


def fairness(*, quick: bool) -> Iterator[Number]:
    """See `traffic_fairness`."""
    from benchmarks.traffic_fairness import Load, in_real_time, measure

    if quick:
        yield from measure(Load(seconds=10, per_minute=300))
        return
    for share in (0.5, 0.8):
        yield from measure(Load(share=share), seeds=4)
    # Half of it in real time: caller, gateway and provider share the machine, and a busy one measures only itself.
    yield from in_real_time(Load(per_minute=300, share=0.5, seconds=30))


def failover(*, quick: bool) -> Iterator[Number]:
    """See `traffic_failover`."""
    from benchmarks import traffic_failover

    yield from traffic_failover.measure(16 if quick else 200, hole=not quick)


def waiting(*, quick: bool) -> Iterator[Number]:
    """See `traffic_waiting`."""
    from benchmarks import traffic_waiting

    yield from traffic_waiting.measure(2_000 if quick else traffic_waiting.EXCHANGES)


def cost(*, quick: bool) -> Iterator[Number]:
    """See `traffic_cost`."""
    from benchmarks import traffic_cost

    yield from traffic_cost.measure(*((1, 320) if quick else (15,)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.traffic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("part", nargs="*", type=_part, metavar="|".join(PARTS), help="default: all")
    made.add_argument("--quick", action="store_true", help="small sizes, for a look: a minute in place of twelve")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    made.add_argument("--markdown", action="store_true", help="print the README's table instead")
    made.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    return made


def _part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(PARTS)}")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every part asked for ran; 1 if one could not, or with --check a target is missed."""
    told = parser().parse_args(arguments)
    where = report.machine()
    out = sys.stderr if told.markdown else sys.stdout
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in where.items()), file=out, flush=True)
    parts: dict[str, Callable[..., Iterator[Number]]] = {
        "pacing": pacing,
        "storm": storm,
        "fairness": fairness,
        "failover": failover,
        "waiting": waiting,
        "cost": cost,
    }
    numbers: list[Number] = []
    skipped: dict[str, str] = {}
    for name in told.part or PARTS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            for number in parts[name](quick=told.quick):
                numbers.append(number)
        except CannotRun as error:
            skipped[name] = str(error)
    print(report.markdown(numbers, where) if told.markdown else report.table(numbers))
    for name, why in skipped.items():
        print(f"{name}: NOT MEASURED: {why}", file=out)
    if told.json is not None:
        report.write_json(told.json, numbers, skipped, where)
    return 1 if skipped or (told.check and any(number.missed for number in numbers)) else 0


if __name__ == "__main__":
    sys.exit(main())
