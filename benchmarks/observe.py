"""`python -m benchmarks.observe cost`: what the log, metrics and a tenth of all traces add to an exchange, in CPU.

Three gateways in the same run, by turns: one that writes nothing, one with the log, one with log, metrics and traces
at 10%. Then the same in process, and what the log's thread does by itself, part by part. The target is 15 us for all
of it together.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import http.server
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import nginx, payloads, wrk
from benchmarks.gateway import Server, check_answer
from benchmarks.headgate_server import CALLERS_KEY
from benchmarks.observed_server import MODES, made
from benchmarks.processes import CannotRun, running
from benchmarks.report import ROOT, Number, machine, median, table

TARGET = 15.0
CALLS = 400  # per batch in process
EXCHANGES = 2_000


@contextlib.contextmanager
def collector() -> Iterator[str]:
    """Takes everything and looks at nothing, in a thread of this process."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    threading.Thread(target=found.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{found.server_port}"
    finally:
        found.shutdown()
        found.server_close()


def gateways(rounds: int, seconds: float) -> Iterator[Number]:
    """Through the gateway."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-bench-")))
        provider = stack.enter_context(nginx.upstream(root))
        told = stack.enter_context(collector())
        script = wrk.script(root, "json", body=payloads.request(stream=False), key=CALLERS_KEY)
        servers = []
        for mode in MODES:
            home = root / mode
            home.mkdir()
            command = [sys.executable, "-m", "benchmarks.observed_server", f"{provider.url}/json", mode, told]
            env = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"}
            child = stack.enter_context(running(command, cwd=home, log=root / f"{mode}.log", env=env))
            server = Server(mode, f"{child.first_line()}{payloads.PATH}", child, script)
            check_answer(server.url, "json", payloads.request(stream=False))
            server.round(1.0)
            server.forget()
            servers.append(server)
        for turn in range(rounds):
            for server in servers if turn % 2 else servers[::-1]:
                server.round(seconds)
        yield from _numbers("gateway", {server.name: server.micros for server in servers})


def in_process(rounds: int) -> Iterator[Number]:
    """Through the transport, without an SDK, whose own work would hide the difference."""
    with contextlib.ExitStack() as stack:
        import httpx2

        from headgate.transport.httpx2 import Transport

        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-bench-")))
        provider = stack.enter_context(nginx.upstream(root))
        told = stack.enter_context(collector())
        url, body = f"{provider.url}/json{payloads.PATH}", payloads.request(stream=False)
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "k"}
        ways: dict[str, Callable[[], None]] = {}
        for mode in MODES:
            built = made(f"{provider.url}/json", mode, told, f"sqlite:///{root / mode}.db")
            stack.callback(built.close)
            client = stack.enter_context(httpx2.Client(transport=Transport(built, built.blocking_engine)))

            def batch(client: httpx2.Client = client, built: object = built) -> None:
                for _ in range(CALLS):
                    client.post(url, content=body, headers=headers).raise_for_status()
                built.ledger.flush()  # type: ignore[attr-defined]
                built.log.flush()  # type: ignore[attr-defined]

            batch()
            ways[mode] = batch
        found: dict[str, list[float]] = {mode: [] for mode in MODES}
        for turn in range(rounds):
            for mode in MODES if turn % 2 else MODES[::-1]:
                before = time.process_time()
                ways[mode]()
                found[mode].append((time.process_time() - before) / CALLS * 1e6)
        yield from _numbers("in process", found)


def parts() -> Iterator[Number]:
    """What is done in the log's thread for one exchange, and in the sender's, by this thread alone."""
    from headgate.core.caller import Caller
    from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
    from headgate.core.ids import id_maker
    from headgate.core.usage import Usage
    from headgate.gateway.server import GC_THRESHOLDS
    from headgate.policy.tracing import Tracing
    from headgate.stores.log_line import LineMaker
    from headgate.telemetry.counting import Counts
    from headgate.telemetry.otlp import traces
    from headgate.telemetry.spans import SpanRules, spans_of

    numbers = iter(range(1, 10**9))
    new_id = id_maker(lambda _: next(numbers) * 0x9E3779B97F4A7C15 & (1 << 64) - 1)
    route = Route("anthropic", "", "anthropic", "https://api.anthropic.example")
    headers = [(b"accept", b"application/json"), (b"anthropic-version", b"2023-06-01"), (b"user-agent", b"x")] * 4
    exchanges = []
    for n in range(EXCHANGES):
        now = 1_800_000_000.0 + n / 100
        caller = Caller("key-1", "acme", f"user-{n % 500}", f"s-{n % 900}", ("greet", "sum")[n % 2])
        request = Request(
            "anthropic",
            "messages",
            "POST",
            "/v1/messages",
            headers,
            b"{}",
            Facts("claude-haiku-4-5", stream=n % 2 == 0),
            caller,
            "gateway",
        )
        attempt = Attempt(1, route, now, 5_000, sent=True, first_byte=now + 0.2, first_content=now + 0.3)
        attempt.ended, attempt.status, attempt.usage = now + 0.9, 200, Usage(10, 20, output_tokens=50)
        attempt.model_served, attempt.cost_nano, attempt.stop_reason = "claude-haiku-4-5-20251001", 1_234, "end_turn"
        exchange = Exchange(new_id(now), request, now, [attempt], Ending.COMPLETE, ended=now + 0.95, status=200)
        exchanges.append(exchange)
    maker, counts, tracing, rules = LineMaker(b"k" * 32, with_bodies=False), Counts(), Tracing(1_000), SpanRules()
    lines: list[bytes] = []
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)  # as a gateway does

    def told() -> None:
        made = []
        for exchange in exchanges:
            if tracing.samples(exchange):
                made += spans_of(exchange, tracing.trace(exchange), rules)
        traces(made, {}, ("headgate", "1"))

    for name, work in (
        ("a line of the log", lambda: lines.extend(maker.line(each, 0.0) for each in exchanges)),
        ("counting", lambda: counts.look(exchanges)),
        ("every tenth trace, encoded", told),
    ):
        work()
        took = []
        for _ in range(7):
            lines.clear()
            before = time.thread_time()
            work()
            took.append((time.thread_time() - before) / EXCHANGES * 1e6)
        yield Number("observe", name, median(took), "us", spread=(min(took), max(took)))


def _numbers(where: str, micros: dict[str, list[float]]) -> Iterator[Number]:
    off = micros["off"]
    for mode in MODES:
        found = micros[mode]
        yield Number(
            "observe", f"{where}: CPU per exchange, {mode}", median(found), "us", spread=(min(found), max(found))
        )
    for mode, said, target in (("log", "the log", None), ("all", "log, metrics and traces at 10%", TARGET)):
        more = [mine - theirs for mine, theirs in zip(micros[mode], off, strict=True)]
        yield Number("observe", f"{where}: {said} adds", median(more), "us", target, spread=(min(more), max(more)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cost"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load, per gateway and round")
    told = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    numbers: list[Number] = []
    for measured in (parts(), in_process(told.rounds), gateways(told.rounds, told.seconds)):
        try:
            numbers += measured
        except CannotRun as error:
            print(f"NOT MEASURED: {error}")
    print(table(numbers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
