"""wrk: load over kept connections, and what it saw."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import CannotRun, need

CONNECTIONS = 32

_SCRIPT = """\
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["anthropic-version"] = "2023-06-01"
wrk.headers["x-api-key"] = "{key}"
local file = assert(io.open("{body}", "rb"))
wrk.body = file:read("*a")
file:close()

done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\\nRESULT {{"requests": %d, "micros": %d, "bytes": %d, "p50": %d, "p99": %d, "bad": %d, "broken": %d}}\\n',
        summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
        e.status, e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One run. Latencies in microseconds."""

    requests: int  # answers that were complete
    seconds: float
    bytes: int
    p50: int
    p99: int
    bad: int  # answers above 399
    broken: int  # connections refused, reset or timed out


def script(root: Path, name: str, *, body: bytes, key: str) -> Path:
    """Write wrk's script for one request."""
    (root / f"{name}.body").write_bytes(body)
    path = root / f"{name}.lua"
    path.write_text(_SCRIPT.format(key=key, body=root / f"{name}.body"))
    return path


def run(url: str, made: Path, *, seconds: float, connections: int = CONNECTIONS) -> Load:
    """POST to `url` as fast as it answers.

    Raises:
        CannotRun: wrk is missing or failed.
    """
    need("wrk")
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout",
        "10s",
        "-s",
        str(made),
        url,
    ]
    ended = subprocess.run(command, capture_output=True, text=True)
    line = next((line for line in ended.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise CannotRun(f"wrk failed: {ended.stderr or ended.stdout}")
    found = json.loads(line.removeprefix("RESULT "))
    return Load(
        requests=found["requests"],
        seconds=found["micros"] / 1e6,
        bytes=found["bytes"],
        p50=found["p50"],
        p99=found["p99"],
        bad=found["bad"],
        broken=found["broken"],
    )
