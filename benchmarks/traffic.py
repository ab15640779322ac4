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
from functools import partial

from benchmarks.parts import add_outputs, part_of, run
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
    made.add_argument("part", nargs="*", type=part_of(PARTS), metavar="|".join(PARTS), help="default: all")
    made.add_argument("--quick", action="store_true", help="small sizes, for a look: a minute in place of twelve")
    add_outputs(made)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every part asked for ran; 1 if one could not, or with --check a target is missed."""
    told = parser().parse_args(arguments)
    measures: dict[str, Callable[..., Iterator[Number]]] = {
        "pacing": pacing,
        "storm": storm,
        "fairness": fairness,
        "failover": failover,
        "waiting": waiting,
        "cost": cost,
    }
    return run(told, {name: partial(measure, quick=told.quick) for name, measure in measures.items()})


if __name__ == "__main__":
    sys.exit(main())
