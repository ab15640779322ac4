"""The simulator as a provider that takes its time and keeps an invoice, and the real gateway in front of it.

Both are the product's own commands in processes of their own: `headgate simulate` and `headgate serve --config`.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.burst import CALLERS_KEY
from benchmarks.processes import CannotRun, Child, free_port, running, wait_for_port
from benchmarks.report import ROOT

NANO = 10**9
LATENCY_SECONDS = 0.2
FREE_KEY = "sk-bench-" + "free-key"
PROVIDERS_KEY = "sk-bench-" + "providers-key"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


def clean_env(**more: str) -> dict[str, str]:
    """An environment with nothing in it of whoever runs the benchmark: no keys, no proxies, no configuration."""
    return {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "NO_PROXY": "127.0.0.1",
        **more,
    }


def headgate(*arguments: str) -> list[str]:
    """The command line of a `headgate` command."""
    return [sys.executable, "-m", "headgate.cli.main", *arguments]


@dataclass(frozen=True, slots=True)
class Provider:
    """The simulator."""

    url: str

    def invoice(self) -> dict[str, int]:
        """What it would bill: its totals, once no request is open (at most 10 s later)."""
        for _ in range(100):
            total: dict[str, int] = self._ask("/_sim/invoice")["total"]
            if not total["open"]:
                return total
            time.sleep(0.1)
        raise CannotRun("the simulator still has open requests after 10 s")

    def reset(self) -> None:
        """Empty its books."""
        self._ask("/_sim/reset", post=True)

    def _ask(self, path: str, *, post: bool = False) -> dict[str, dict[str, int]]:
        asked = urllib.request.Request(self.url + path, data=b"" if post else None)
        with _OPENER.open(asked, timeout=10) as response:
            read: dict[str, dict[str, int]] = json.loads(response.read() or b"{}")
        return read


@contextlib.contextmanager
def provider(root: Path, latency: float = LATENCY_SECONDS) -> Iterator[Provider]:
    """The simulator in a process of its own; each answer takes `latency` seconds."""
    home = root / "provider"
    home.mkdir()
    command = headgate("simulate", "--port", "0", "--first-token", str(latency))
    with running(command, cwd=home, log=root / "provider.log", env=clean_env()) as child:
        found = _ADDRESS.search(child.first_line())
        if found is None:
            raise CannotRun("`headgate simulate` does not say where it listens")
        yield Provider(found.group())


def written_config(folder: Path, upstream: str, budgets: Sequence[Mapping[str, object]], port: int) -> Path:
    """A headgate.yaml: both providers are the simulator, and the callers' key has these budgets. Another has none."""
    config = {
        "providers": {
            "anthropic": {"base_url": upstream, "api_key": "env:BENCH_PROVIDERS_KEY"},
            "openai": {"base_url": f"{upstream}/v1", "api_key": "env:BENCH_PROVIDERS_KEY"},
        },
        "storage": "sqlite:///bench.db",
        "log": {"bodies": "off"},
        "guards": {"profile": "off"},
        "keys": [
            {"name": "bench", "key": "env:BENCH_CALLERS_KEY", "budgets": list(budgets)},
            {"name": "free", "key": "env:BENCH_FREE_KEY"},
        ],
        "server": {"port": port},
    }
    path = folder / "headgate.yaml"
    path.write_text(json.dumps(config, indent=1))  # JSON is YAML
    return path


def usd(nano: int) -> str:
    """Nano-dollars as decimal USD, without trailing zeros."""
    return f"{nano // NANO}.{nano % NANO:09d}".rstrip("0").rstrip(".")


@contextlib.contextmanager
def starting(root: Path, upstream: str, budgets: Sequence[Mapping[str, object]]) -> Iterator[tuple[int, Child]]:
    """`headgate serve --config` in `root` (made if need be), which may not listen yet; its port and process.

    An orderly stop is part of it: an exit code other than 0 spoils the run. A gateway that was killed on purpose is
    left alone.
    """
    root.mkdir(exist_ok=True)
    port = free_port()
    config = written_config(root, upstream, budgets, port)
    env = clean_env(BENCH_PROVIDERS_KEY=PROVIDERS_KEY, BENCH_CALLERS_KEY=CALLERS_KEY, BENCH_FREE_KEY=FREE_KEY)
    log = root / "gateway.log"
    command = headgate("serve", "--no-simulator", "--config", str(config), "--log", str(root / "log.jsonl"))
    with running(command, cwd=root, log=log, env=env) as child:
        yield port, child
    if child.process.returncode not in (0, -signal.SIGKILL):
        raise CannotRun(f"headgate ended with {child.process.returncode}: {log.read_text()[-2000:]}")


@contextlib.contextmanager
def gateway(root: Path, upstream: str, budgets: Sequence[Mapping[str, object]]) -> Iterator[tuple[int, Child]]:
    """As `starting`, once it listens."""
    with starting(root, upstream, budgets) as (port, child):
        child.first_line()  # raises what it says where it does not start
        wait_for_port(port, child.process, seconds=30)
        yield port, child
