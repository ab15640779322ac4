"""Bytecodes and Python calls of a governed call through the gateway: `python -m benchmarks.bytecodes [json|stream]`.

CPU per request varies by tens of percent with whatever else a machine does; what the interpreter is asked to do hardly
varies at all. So this is where a change shows that makes every call a little dearer, and where to look for what does.
What C code does in one bytecode (a regular expression, a write to a socket) is not seen: `python -m benchmarks gateway`
measures the whole.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import counted_server, headgate_server, nginx, payloads, report, wrk
from benchmarks.gateway import check_answer, headgate
from benchmarks.processes import CannotRun

KINDS = ("json", "stream")
_LOOP = "MainThread"
_WARM_UP, _WORKED_OFF = 2.0, 1.0  # seconds
_TOP = 40


@dataclass(frozen=True, slots=True)
class Counted:
    """What one function of one thread did, per request."""

    thread: str
    file: str
    function: str
    bytecodes: float
    calls: float


def measure(kind: str, seconds: float) -> list[Counted]:
    """Load the gateway with requests of a kind for so long, tens of times slower than it is, and count.

    Raises:
        CannotRun: nginx or wrk is missing, or an answer was not right.
    """
    body = payloads.request(stream=kind == "stream")
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-bench-")))
        upstream = f"{stack.enter_context(nginx.upstream(root)).url}/{kind}"
        url, child = stack.enter_context(headgate(root, upstream, server="counted_server"))
        url, home = f"{url}{payloads.PATH}", root / "gateway"
        check_answer(url, kind, body)
        script = wrk.script(root, kind, body=body, key=headgate_server.CALLERS_KEY)
        wrk.run(url, script, seconds=_WARM_UP)
        time.sleep(_WORKED_OFF)
        (home / counted_server.COUNTING).touch()
        load = wrk.run(url, script, seconds=seconds)
        time.sleep(_WORKED_OFF)
        (home / counted_server.COUNTING).unlink()
        counted = home / counted_server.COUNTED
        while not counted.exists() and child.process.poll() is None:
            time.sleep(0.05)
        found = json.loads(counted.read_text())
    if load.bad or load.broken or not load.requests:
        raise CannotRun(f"{load.bad} answers with an error status, {load.broken} broken connections")
    asked = load.requests + wrk.CONNECTIONS / 2  # those in flight at the end got half way, more or less
    return [Counted(thread, _short(file), name, n / asked, calls / asked) for thread, file, name, n, calls in found]


def _short(file: str) -> str:
    inside = file.rpartition("/src/headgate/")[2]
    return inside.rpartition("site-packages/")[2].rpartition("/lib/")[2]


def show(kind: str, counted: Sequence[Counted], top: int) -> str:
    """For people: the sum, by thread, by file, by function."""
    lines = [
        f"{kind}: {_sum(counted):.0f} bytecodes per request, {sum(each.calls for each in counted):.0f} calls; "
        f"on the event loop {_sum([each for each in counted if each.thread == _LOOP]):.0f}"
    ]
    for title, key in (("thread", "thread"), ("file", "file")):
        sums: Counter[str] = Counter()
        for each in counted:
            sums[getattr(each, key)] += each.bytecodes  # type: ignore[assignment]
        lines.append(f"\n{'bytecodes':>10}  {title}")
        lines += [f"{count:10.1f}  {name}" for name, count in sums.most_common(top)]
    lines.append(f"\n{'bytecodes':>10}  {'calls':>6}  function")
    ordered = sorted(counted, key=lambda each: -each.bytecodes)[:top]
    lines += [f"{each.bytecodes:10.1f}  {each.calls:6.2f}  {each.file} {each.function}" for each in ordered]
    return "\n".join(lines)


def _sum(counted: Sequence[Counted]) -> float:
    return sum(each.bytecodes for each in counted)


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where it cannot be measured here."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.bytecodes", description=__doc__)
    made.add_argument("kind", nargs="?", choices=KINDS, help="default: both, one after the other")
    made.add_argument("--seconds", type=float, default=6.0, help="of load per kind (default 6)")
    made.add_argument("--top", type=int, default=_TOP, help=f"files and functions shown (default {_TOP})")
    told = made.parse_args(arguments)
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in report.machine().items()), flush=True)
    try:
        for kind in [told.kind] if told.kind else KINDS:
            print("\n" + show(kind, measure(kind, told.seconds), told.top), flush=True)
    except CannotRun as error:
        print(f"NOT MEASURED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
