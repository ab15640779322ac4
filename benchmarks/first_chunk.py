"""How long the gateway keeps a piece of a stream: paced streams, one connection, through the gateway and past it.

A provider writes the time into each event; the difference to its arrival here is its way. What the gateway adds is its
way through the gateway less the direct way, percentile by percentile. Streams alternate between the two.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import headgate_server, payloads
from benchmarks.gateway import headgate
from benchmarks.paced_provider import PACE, PIECES
from benchmarks.processes import CannotRun, running
from benchmarks.report import ROOT, Number, percentile

_STAMP = re.compile(rb"t(\d{20})")
_END = b"0\r\n\r\n"
_WARM_UP = 5


class Way:
    """A kept connection to the provider or to the gateway, and what was measured on it, in microseconds."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = payloads.request(stream=True)
        self._request = (
            b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"anthropic-version: 2023-06-01\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n%b"
        ) % (headgate_server.CALLERS_KEY.encode(), len(body), body)
        self.opening: list[float] = []
        self.first: list[float] = []
        self.later: list[float] = []

    def stream(self, *, keep: bool) -> None:
        """One streamed answer; `keep` its measurements.

        Raises:
            CannotRun: the answer is not the provider's.
        """
        self._socket.sendall(self._request)
        seen: list[float] = []
        data = b""
        while not data.endswith(_END):
            more = self._socket.recv(65536)
            now = time.perf_counter_ns()
            if not more:
                raise CannotRun(f"the stream ended early: {data[-500:]!r}")
            data += more
            stamps = _STAMP.findall(data)
            seen.extend((now - int(stamp)) / 1000 for stamp in stamps[len(seen) :])
        if len(seen) != PIECES + 1:
            raise CannotRun(f"{len(seen)} pieces instead of {PIECES + 1}: {data[:500]!r}")
        if keep:
            self.opening.append(seen[0])
            self.first.append(seen[1])
            self.later.extend(seen[2:])

    def close(self) -> None:
        self._socket.close()


def measure(seconds: float) -> Iterator[Number]:
    """First content, every later piece, and the opening event.

    Args:
        seconds: of streaming on each way.
    """
    streams = max(20, round(seconds / (PACE * (PIECES + 2))))
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-bench-")))
        command = [sys.executable, "-m", "benchmarks.paced_provider"]
        provider = stack.enter_context(running(command, cwd=ROOT, log=root / "provider.log")).first_line()
        url, _ = stack.enter_context(headgate(root, provider))
        direct, through = Way(provider), Way(url)
        stack.callback(direct.close)
        stack.callback(through.close)
        for number in range(_WARM_UP + streams):
            direct.stream(keep=number >= _WARM_UP)
            through.stream(keep=number >= _WARM_UP)
    yield _added("first content, p50 added", through.first, direct.first, 50, target=1.0)
    yield _added("first content, p95 added", through.first, direct.first, 95)
    yield _added("later pieces, p50 added", through.later, direct.later, 50)
    yield _added("later pieces, p95 added", through.later, direct.later, 95)
    note = f"not content: may wait for the first content, {PACE * 1000:g} ms later here"
    yield _added("opening event, p50 added", through.opening, direct.opening, 50, note=note)


def _added(
    name: str,
    through: list[float],
    direct: list[float],
    percent: float,
    *,
    target: float | None = None,
    note: str = "",
) -> Number:
    ours, theirs = percentile(through, percent) / 1000, percentile(direct, percent) / 1000
    note = note or f"{ours:.3f} ms through, {theirs:.3f} ms direct, {len(through)} pieces"
    return Number("first-chunk", name, ours - theirs, "ms", target, note=note)
