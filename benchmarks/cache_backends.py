"""A hit in each place where answers may be kept, from an event loop and from a thread (`-m benchmarks.cache_backends`).

Redis and Memcached are private servers on loopback, from the system's packages; what is not installed is left out. The
number to reach: a hit from Redis within 2 ms for 99 of 100.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.processes import free_port
from headgate.core.cache import Stored, sealed
from headgate.core.ports import Cache
from headgate.core.usage import Usage
from headgate.engine.blocking import run_blocking
from headgate.stores.caching import Caching

KEY = f"{'a' * 16}:{'1' * 64}"
GOAL_MS = 2.0


@contextmanager
def server(*told: str) -> Iterator[None]:
    """A server while the block runs, once it takes connections on the port that follows its `--port` or `-p`."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(told, stdout=quiet, stderr=quiet)
    try:
        port = int(told[next(told.index(flag) for flag in ("--port", "-p") if flag in told) + 1])
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def places(stack: ExitStack) -> Iterator[tuple[str, str]]:
    """(name, backend) of what there is on this machine."""
    yield "memory", "memory"
    yield "sqlite", "sqlite"
    redis = shutil.which("redis-server") or shutil.which("valkey-server")
    if redis:
        port = str(free_port())
        stack.enter_context(server(redis, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"))
        yield "redis", f"redis://127.0.0.1:{port}"
    memcached = shutil.which("memcached")
    if memcached:
        port = str(free_port())
        stack.enter_context(server(memcached, "-l", "127.0.0.1", "-p", port, "-u", "root"))
        yield "memcached", f"memcached://127.0.0.1:{port}"


def an_answer(size: int) -> Stored:
    """Like a chat completion: text that may be deflated."""
    now = time.time()
    text = "".join(f"{number} things that a model has said, and why. " for number in range(size // 40 + 1))[:size]
    headers = ((b"content-type", b"application/json"), (b"request-id", b"req_0123456789"))
    body = json.dumps({"content": text}).encode()
    return sealed(KEY, Stored("whole", 200, headers, body, now, now + 3600, usage=Usage(100, output_tokens=500)))


def in_threads(port: Cache, rounds: int) -> list[float]:
    """Seconds of each hit, one after the other."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        there = run_blocking(port.get(KEY))
        found.append(time.perf_counter() - began)
        if there is None:
            raise SystemExit("a miss: the place is too slow")
    return found


async def in_loop(port: Cache, rounds: int) -> list[float]:
    """As `in_threads`, on an event loop."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        there = await port.get(KEY)
        found.append(time.perf_counter() - began)
        if there is None:
            raise SystemExit("a miss: the place is too slow")
    return found


def bare(backend: str, rounds: int) -> list[float]:
    """Seconds of a PING on a plain socket: what this machine does to the simplest round trip."""
    _, _, port = backend.rpartition(":")
    found = []
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            began = time.perf_counter()
            connection.sendall(b"PING\r\n")
            connection.recv(64)
            found.append(time.perf_counter() - began)
    return found


def percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"p{each}_ms": round(ordered[int(len(ordered) * each / 100)] * 1000, 3) for each in (50, 99)}


def measure(backend: str, folder: Path, rounds: int, size: int) -> dict[str, Any]:
    told: list[str] = []
    caching = Caching(
        backend, file=folder / "cache", now=time.time, tell=lambda name, **_: told.append(name), memory_seconds=0
    )
    try:
        runs: dict[str, Callable[[], list[float]]] = {
            "loop": lambda: asyncio.run(in_loop(caching.port(blocking=False), rounds)),
            "threads": lambda: in_threads(caching.port(blocking=True), rounds),
        }
        caching.port(blocking=True).put(KEY, an_answer(size))
        in_threads(caching.port(blocking=True), 20)
        return {name: percentiles(run()) for name, run in runs.items()}
    finally:
        caching.close()
        if told:
            print(f"  told: {told}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5000)
    parser.add_argument("--size", type=int, default=3000, help="characters of the answer")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        for name, backend in places(stack):
            found[name] = measure(backend, Path(folder), asked.rounds, asked.size)
            if name == "redis":
                found[name]["bare"] = percentiles(bare(backend, 10 * asked.rounds))
            if not asked.json:
                line = "   ".join(
                    f"{way}: p50 {f['p50_ms']:.3f} p99 {f['p99_ms']:.3f} ms" for way, f in found[name].items()
                )
                print(f"{name:10} {line}")
    if asked.json:
        print(json.dumps(found))
    return int(any(way["p99_ms"] > GOAL_MS for way in found.get("redis", {}).values()))


if __name__ == "__main__":
    sys.exit(main())
