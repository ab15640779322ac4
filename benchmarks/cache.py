"""The cache in numbers: `python -m benchmarks cache`.

An exact hit in process, through the SDKs' transport and through the engine alone; a hit through the gateway in CPU, as
a multiple of a bare nginx proxy's in the same run (as `gateway`); how many upstream calls a thousand identical calls
at once make. Governed as decisions 24 means it: guards and bodies are off.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gateway import ROUNDS, beside_nginx
from benchmarks.report import Number, median
from headgate import Gate
from headgate.core.caller import Caller
from headgate.core.exchange import Request
from headgate.engine.blocking import run_blocking
from headgate.testing.canned import messages_request
from headgate.testing.server import SimulatorServer
from headgate.wire import DIALECTS

HITS = 5_000
AT_ONCE = 1_000
_HEADERS = ((b"anthropic-version", b"2023-06-01"), (b"content-type", b"application/json"))
_BODY = messages_request(system="You keep the gate of a canal. " * 30)
_KEY = "bench-" + "sdk-key"


def measure(seconds: float) -> Iterator[Number]:
    """Hits in process, single flight, and hits through the gateway.

    Args:
        seconds: of load per server, in all rounds together.
    """
    with SimulatorServer() as sim, tempfile.TemporaryDirectory(prefix="headgate-bench-") as directory:
        yield from _in_process(sim, Path(directory))
        yield _together(sim, Path(directory))
    for kind in ("json", "stream"):
        with tempfile.TemporaryDirectory(prefix="headgate-bench-") as directory:
            yield _gateway(kind, Path(directory), max(1.0, seconds / ROUNDS))


def _gate(sim: SimulatorServer, folder: Path, name: str) -> Gate:
    env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url, "ANTHROPIC_API_KEY": _KEY}
    told: dict[str, Any] = {"log": {"bodies": "off"}, "guards": {"profile": "off"}, "cache": {"default": "1h"}}
    return Gate.load(env=env, storage=f"sqlite:///{folder / name}.db", **told)


def _request(body: bytes) -> Request:
    facts = DIALECTS["anthropic"].read_request("messages", body)
    return Request(
        "anthropic", "messages", "POST", "/v1/messages", _HEADERS, body, facts, Caller(tenant="bench"), "gateway"
    )


def _in_process(sim: SimulatorServer, folder: Path) -> Iterator[Number]:
    with _gate(sim, folder, "hits") as gate, gate.client() as client:
        body = _BODY
        headers = {"x-api-key": _KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}
        engine = gate.built.blocking_engine

        def through_the_transport() -> str:
            answer = client.post(f"{sim.url}/v1/messages", content=body, headers=headers)
            return str(answer.headers.get("x-headgate-cache", answer.text))

        def through_the_engine() -> str:
            reply = run_blocking(engine.open(engine.begin(_request(bytes(memoryview(body))))))
            return dict(reply.headers)[b"x-headgate-cache"].decode()

        for name, hit in (("an SDK's transport", through_the_transport), ("the engine", through_the_engine)):
            hit()  # a miss
            took, used = [], []
            for _ in range(HITS):
                began, worked = time.perf_counter(), time.thread_time()
                said = hit()
                used.append(time.thread_time() - worked)
                took.append(time.perf_counter() - began)
                assert said == "hit", said
            took.sort()
            used.sort()
            p99, p50 = took[int(HITS * 0.99)] * 1e3, took[HITS // 2] * 1e3
            cpu = used[int(HITS * 0.99)] * 1e3  # of this thread: what a machine that does other things leaves as it is
            note = f"p50 {p50:.3f} ms; p99 of its CPU time {cpu:.3f} ms"
            yield Number("cache", f"an exact hit through {name}, p99", p99, "ms", 1.0, note=note)


def _together(sim: SimulatorServer, folder: Path) -> Number:
    """A thousand tasks with one question, while its answer takes half a second."""
    sim.load({"pace": {"first_token_seconds": 0.5}})
    before = len(sim.requests())

    async def all_at_once(gate: Gate) -> list[bytes]:
        engine, body = gate.built.engine, _BODY

        async def one() -> bytes:
            reply = await engine.open(engine.begin(_request(body)))
            return dict(reply.headers)[b"x-headgate-cache"]

        return await asyncio.gather(*(one() for _ in range(AT_ONCE)))

    with _gate(sim, folder, "together") as gate:
        said = asyncio.run(all_at_once(gate))
    made = len(sim.requests()) - before
    return Number(
        "cache",
        f"upstream calls of {AT_ONCE:,} identical calls at once",
        made,
        "",
        1,
        note=f"{said.count(b'hit')} hits",
    )


def _gateway(kind: str, root: Path, seconds: float) -> Number:
    bare, ours = beside_nginx(kind, root, seconds, cache=True)
    ratios = [mine / theirs for mine, theirs in zip(ours.micros, bare.micros, strict=True)]
    note = f"{median(ours.micros):.0f} us against {median(bare.micros):.0f} us"
    spread = (min(ratios), max(ratios))
    return Number(
        "cache", f"a hit through the gateway, {kind}: CPU, x bare nginx", median(ratios), "x", 4.0, None, spread, note
    )
