"""One burst over one budget, through Headgate and through LiteLLM's own budgets, side by side.

    python -m benchmarks.peers.budgets [--callers 1000] [--budget 0.01 1] [--call chat messages] [--json FILE]

Each of the callers makes one call of about $0.002 at once and does not retry; the provider (our simulator) answers
after 200 ms. What was spent is the provider's invoice, not what the gateway under test believes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from benchmarks import paid_provider, report
from benchmarks.burst import CALLERS_KEY, CALLS, Call, Outcome, burst
from benchmarks.paid_provider import FREE_KEY, Provider
from benchmarks.peers import litellm
from benchmarks.processes import CannotRun

NANO = 10**9
HEADGATE = "headgate"
SYSTEMS = (HEADGATE, *(f"litellm {kind}" for kind in litellm.KINDS))
_CAPS = [NANO // 100, NANO]
_WARM_UP = 20  # calls without a budget, before the first burst: the first calls of a process cost seconds of imports


@dataclass(frozen=True, slots=True)
class Row:
    """One system, one burst. Money is nano-dollars.

    Attributes:
        billed: calls on the provider's invoice.
        spent: of the invoice.
        wrongly_refused: refused calls that the unused money would have paid.
        cpu_micros: CPU of the system's processes per call, refused ones included.
    """

    system: str
    call: str
    cap: int
    callers: int
    through: int
    refused: int
    failed: int
    billed: int
    spent: int
    wrongly_refused: int
    seconds: float
    cpu_micros: float
    note: str

    @property
    def of_cap(self) -> float:
        """Spent, as a multiple of the cap. Above 1 it is overspent."""
        return self.spent / self.cap

    @property
    def overspent(self) -> int:
        """Above the cap."""
        return max(0, self.spent - self.cap)

    @property
    def unused(self) -> int:
        """Left when every caller had its answer."""
        return max(0, self.cap - self.spent)


def row(system: str, call: Call, cap: int, outcome: Outcome, invoice: dict[str, int], cpu_seconds: float) -> Row:
    """What a burst came to."""
    callers = outcome.through + outcome.refused + outcome.failed
    spent = invoice["cost_nano"]
    affordable = max(0, cap - spent) // call.cost_nano
    return Row(
        system,
        call.name,
        cap,
        callers,
        outcome.through,
        outcome.refused,
        outcome.failed,
        invoice["lines"],
        spent,
        min(outcome.refused, affordable),
        outcome.seconds,
        cpu_seconds / callers * 1e6,
        f"failed: {outcome.failure}" if outcome.failed else "",
    )


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    head = (
        "system",
        "call",
        "budget",
        "through",
        "refused",
        "failed",
        "billed",
        "spent",
        "x of cap",
        "overspent",
        "unused",
        "wrongly refused",
        "wall",
        "CPU/call",
    )
    lines = [
        (
            each.system,
            each.call,
            _usd(each.cap),
            str(each.through),
            str(each.refused),
            str(each.failed),
            str(each.billed),
            _usd(each.spent),
            f"{each.of_cap:.3f}",
            _usd(each.overspent),
            _usd(each.unused),
            str(each.wrongly_refused),
            f"{each.seconds:.1f} s",
            f"{each.cpu_micros:.0f} us",
        )
        for each in rows
    ]
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *lines)]
    notes = sorted({f"{each.system}, {each.call}, {_usd(each.cap)}: {each.note}" for each in rows if each.note})
    return "\n".join([shown[0].rstrip(), "-" * len(shown[0].rstrip()), *(line.rstrip() for line in shown[1:]), *notes])


def _usd(nano: int) -> str:
    return f"${nano / NANO:.6f}".rstrip("0").rstrip(".")


def measure(root: Path, system: str, calls: Sequence[Call], caps: Sequence[int], callers: int) -> Iterator[Row]:
    """All bursts through one system.

    Raises:
        CannotRun: the system cannot run here.
    """
    with paid_provider.provider(root) as provider:
        if system == HEADGATE:
            for call in calls:
                for cap in caps:
                    yield _headgate(root / f"{call.name}-{cap}", provider, call, cap, callers)
            return
        kind = system.removeprefix("litellm ")
        with litellm.proxy(root, kind, provider, calls, caps) as proxy:
            for call in calls:
                if kind != "deployment":
                    _warm_up(proxy.port, call, provider, key=litellm.key(None, "warm"))
                for cap in caps:
                    yield _litellm(kind, proxy, provider, call, cap, callers)


def _warm_up(port: int, call: Call, provider: Provider, *, key: str) -> None:
    warmed = burst(port, call, _WARM_UP, key=key)
    if warmed.through != _WARM_UP:
        raise CannotRun(f"the warm-up failed: {warmed.failure or warmed.refusal}")
    provider.reset()


def _headgate(root: Path, provider: Provider, call: Call, cap: int, callers: int) -> Row:
    with paid_provider.gateway(root, provider.url, [{"usd": paid_provider.usd(cap)}]) as (port, child):
        _warm_up(port, call, provider, key=FREE_KEY)
        return _burst(HEADGATE, port, provider, call, cap, callers, child.settled_cpu)


def _litellm(kind: str, proxy: litellm.Proxy, provider: Provider, call: Call, cap: int, callers: int) -> Row:
    if kind == "deployment":
        key, model = litellm.key(None, call.name), litellm.alias(call, cap)
    else:
        key, model = litellm.key(cap, call.name), ""
    system = f"litellm {kind}"
    return _burst(system, proxy.port, provider, call, cap, callers, proxy.settled_cpu, key=key, model=model)


def _burst(
    system: str,
    port: int,
    provider: Provider,
    call: Call,
    cap: int,
    callers: int,
    cpu: Callable[[], float],
    *,
    key: str = CALLERS_KEY,
    model: str = "",
) -> Row:
    provider.reset()
    before = cpu()
    outcome = burst(port, call, callers, key=key, model=model)
    used = cpu() - before
    return row(system, call, cap, outcome, provider.invoice(), used)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.budgets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--system", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    made.add_argument("--callers", type=_positive, default=1000, help="at once (default 1000)")
    made.add_argument(
        "--budget", nargs="+", type=_cents, default=[NANO // 100, NANO], metavar="USD", help="default: 0.01 1"
    )
    made.add_argument("--call", nargs="+", choices=list(CALLS), default=list(CALLS), help="default: both")
    made.add_argument("--cap-tokens", type=_positive, help="the output cap that each call sends (250 or 500)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    return made


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _cents(text: str) -> int:
    """Nano-dollars of a whole number of cents."""
    try:
        nano = Decimal(text) * NANO
    except ArithmeticError:
        nano = Decimal(0)
    if not nano.is_finite() or nano <= 0 or nano % (NANO // 100):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of cents above 0")
    return int(nano)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if everything asked for ran; 1 if something could not."""
    told = parser().parse_args(arguments)
    calls = [CALLS[name] for name in told.call]
    if told.cap_tokens:
        calls = [dataclasses.replace(call, cap=told.cap_tokens) for call in calls]
    where = {**report.machine(), "litellm": litellm.version(), "callers": told.callers}
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in where.items()), flush=True)
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for system in told.system:
        print(f"{system} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="headgate-peers-") as directory:
            try:
                rows.extend(measure(Path(directory), system, calls, told.budget, told.callers))
            except CannotRun as error:
                skipped[system] = str(error)
    print(table(rows))
    for system, why in skipped.items():
        print(f"{system}: NOT MEASURED: {why}")
    if told.json is not None:
        found = [{**dataclasses.asdict(each), "overspent": each.overspent, "unused": each.unused} for each in rows]
        told.json.write_text(json.dumps({"machine": where, "rows": found, "not_measured": skipped}, indent=2) + "\n")
    return 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
