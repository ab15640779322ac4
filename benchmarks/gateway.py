"""CPU per request of the governed gateway, as a multiple of a bare nginx proxy's in the same run (decisions 24).

CPU is user and system time of the whole server process tree, divided by the requests that wrk saw completed; what a
server does after its answer (the ledger, the log) is waited for and counted. Rounds alternate between the two servers,
so that whatever else the machine does hits both; the ratio is the median of the rounds' ratios. wrk, the provider and
the server share the machine, so requests per second and latencies are only information.
"""

from __future__ import annotations

import contextlib
import pstats
import sqlite3
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import headgate_server, nginx, payloads, wrk
from benchmarks.processes import CannotRun, Child, running
from benchmarks.report import ROOT, Number, median

TARGETS = {"json": (8.0, 6.0), "stream": (2.5, 2.2)}
ROUNDS = 7


@dataclass(slots=True)
class Server:
    """One of the two that are compared, and its rounds."""

    name: str
    url: str
    child: Child
    script: Path
    micros: list[float] = field(default_factory=list)  # CPU per completed request
    loop_micros: list[float] = field(default_factory=list)  # the part of it in the process's first thread
    loads: list[wrk.Load] = field(default_factory=list)

    def round(self, seconds: float) -> None:
        """One run of wrk.

        Raises:
            CannotRun: an answer was not right: such a round measures something else.
        """
        before, loop_before = self.child.settled_cpu(), self.child.loop_cpu()
        load = wrk.run(self.url, self.script, seconds=seconds)
        used = self.child.settled_cpu() - before
        if load.bad or load.broken or not load.requests:
            raise CannotRun(f"{self.name}: {load.bad} answers with an error status, {load.broken} broken connections")
        self.micros.append(used / load.requests * 1e6)
        self.loop_micros.append((self.child.loop_cpu() - loop_before) / load.requests * 1e6)
        self.loads.append(load)

    def forget(self) -> None:
        """Drop the round that was only to warm up; its requests are still in the ledger."""
        self.micros.clear()
        self.loop_micros.clear()


def measure(seconds: float) -> Iterator[Number]:
    """JSON, then streams.

    Args:
        seconds: of load per server, in all rounds together.
    """
    for kind in ("json", "stream"):
        with tempfile.TemporaryDirectory(prefix="headgate-bench-") as directory:
            yield from _compare(kind, Path(directory), max(1.0, seconds / ROUNDS))


def _compare(kind: str, root: Path, seconds: float) -> Iterator[Number]:
    bare, ours = beside_nginx(kind, root, seconds)
    rows = _rows(root / "gateway" / "bench.db")
    yield from _numbers(kind, bare, ours)
    yield _ledger_number(kind, rows, ours.loads)


def beside_nginx(kind: str, root: Path, seconds: float, *, cache: bool = False) -> tuple[Server, Server]:
    """nginx and the gateway after `ROUNDS` rounds by turns, of `seconds` each. `cache`: as for `headgate`."""
    body = payloads.request(stream=kind == "stream")
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(nginx.upstream(root))
        proxy = stack.enter_context(nginx.proxy(root, provider))
        url, child = stack.enter_context(headgate(root, f"{provider.url}/{kind}", cache=cache))
        script = wrk.script(root, kind, body=body, key=headgate_server.CALLERS_KEY)
        bare = Server("nginx", f"{proxy.url}/{kind}{payloads.PATH}", proxy.child, script)
        ours = Server("headgate", f"{url}{payloads.PATH}", child, script)
        for server in (bare, ours):
            check_answer(server.url, kind, body)
            server.round(1.0)
            server.forget()
        for _ in range(ROUNDS):
            bare.round(seconds)
            ours.round(seconds)
    return bare, ours


@contextlib.contextmanager
def headgate(
    root: Path, upstream: str, *, profile: Path | None = None, cache: bool = False, server: str = "headgate_server"
) -> Iterator[tuple[str, Child]]:
    """The gateway in a process of its own, in the folder `gateway`; its URL. With `cache` it keeps every answer."""
    home = root / "gateway"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", f"benchmarks.{server}", upstream]
    if profile is not None:
        command.append(str(profile))
    env = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"}
    if cache:
        env["BENCH_CACHE"] = "1h"
    with running(command, cwd=home, log=root / "headgate.log", env=env) as child:
        yield child.first_line(), child
    if child.process.returncode:
        raise CannotRun(
            f"headgate ended with {child.process.returncode}: {(root / 'headgate.log').read_text()[-2000:]}"
        )


def check_answer(url: str, kind: str, body: bytes) -> None:
    """One request, whose answer must be the provider's to the byte.

    Raises:
        CannotRun: it is not.
    """
    headers = {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": headgate_server.CALLERS_KEY,
    }
    asked = urllib.request.Request(url, data=body, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=10) as response:
            found = response.read()
    except urllib.error.HTTPError as error:
        raise CannotRun(f"{url} answers {error.code}: {error.read()[:500]!r}") from None
    expected = payloads.answer() if kind == "json" else b"".join(payloads.events())
    if kind == "stream":
        # Headgate's own last line: an SSE comment with what is known only at the end.
        found = b"\n\n".join(part for part in found.split(b"\n\n") if not part.startswith(b":"))
    if found.strip() != expected.strip():
        raise CannotRun(f"{url} does not answer as the provider: {found[:500]!r}")


def _numbers(kind: str, bare: Server, ours: Server) -> Iterator[Number]:
    target, goal = TARGETS[kind]
    ratios = [mine / theirs for mine, theirs in zip(ours.micros, bare.micros, strict=True)]
    spread = (min(ratios), max(ratios))
    yield Number("gateway", f"{kind}: CPU, x bare nginx", median(ratios), "x", target, goal, spread)
    for server in (bare, ours):
        spread = (min(server.micros), max(server.micros))
        yield Number("gateway", f"{kind}: CPU per request, {server.name}", median(server.micros), "us", spread=spread)
    yield Number("gateway", f"{kind}: of that, headgate's event loop", median(ours.loop_micros), "us")
    for server in (bare, ours):
        loads = server.loads[1:]
        yield Number(
            "gateway",
            f"{kind}: requests per second, {server.name}",
            round(median([load.requests / load.seconds for load in loads])),
            "/s",
            note=f"p50 {median([load.p50 for load in loads]) / 1000:.1f} ms, "
            f"p99 {median([load.p99 for load in loads]) / 1000:.1f} ms, {wrk.CONNECTIONS} connections",
        )


def _rows(ledger: Path) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT coalesce(ending, ''), count(*) FROM exchanges GROUP BY 1").fetchall())


def _ledger_number(kind: str, rows: dict[str, int], loads: list[wrk.Load]) -> Number:
    """Answers that are not in the ledger, or rows for which there was no request.

    wrk leaves what is in flight when its time is up: those exchanges may be in the ledger as anything but twice.
    """
    answered = sum(load.requests for load in loads) + 1  # and the one that was compared
    in_flight = wrk.CONNECTIONS * len(loads)
    total = sum(rows.values())
    complete = rows.get("complete", 0)
    wrong = max(0, answered - complete) + max(0, total - answered - in_flight)
    endings = ", ".join(f"{count} {ending or 'open'}" for ending, count in sorted(rows.items()))
    return Number(
        "gateway",
        f"{kind}: exchanges missing from the ledger or too many in it",
        wrong,
        "",
        0,
        note=f"{answered} answered; rows: {endings}",
    )


def profile(kind: str, seconds: float, show: Callable[[str], object]) -> None:
    """Load the gateway under cProfile, and show where it spends its time. Percentages matter, not seconds."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as directory:
        root = Path(directory)
        stats = root / "profile"
        body = payloads.request(stream=kind == "stream")
        with contextlib.ExitStack() as stack:
            provider = stack.enter_context(nginx.upstream(root))
            url, child = stack.enter_context(headgate(root, f"{provider.url}/{kind}", profile=stats))
            script = wrk.script(root, kind, body=body, key=headgate_server.CALLERS_KEY)
            server = Server("headgate", f"{url}{payloads.PATH}", child, script)
            check_answer(server.url, kind, body)
            server.round(seconds)
        show(f"{kind}: {server.loads[0].requests} requests under cProfile")
        pstats.Stats(str(stats)).strip_dirs().sort_stats("tottime").print_stats(45)
