"""A gateway as a process of its own, put together as `headgate serve` does it, but with retries that do not wait."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class GatewayProcess:
    """Starts on a free port; `url` is known once it accepts connections.

    Args:
        env: HEADGATE_* settings and the providers' keys; the machine's own are not passed on.
        folder: where it runs, and where its output goes (`gateway.out`).
    """

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.output = folder / "gateway.out"
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("HEADGATE_", "ANTHROPIC_", "OPENAI_"))}
        with self.output.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, __file__], env={**plain, **env}, cwd=folder, stdout=subprocess.PIPE, stderr=errors
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().strip()
        assert self.url, self.output.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """`kill -9`: nothing is flushed."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Drain; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process.poll() is None:
            self._process.send_signal(how)
        code = self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


def main() -> int:
    """The process itself."""
    from headgate.build import build
    from headgate.cli.serve import fill
    from headgate.core.secret import Secret
    from headgate.gateway.app import create
    from headgate.gateway.auth import KeyRing
    from headgate.gateway.server import ServerOptions, run
    from headgate.settings import load

    settings = load(env=os.environ)
    built = build(settings, env=os.environ, wait=lambda state: 0.0)
    built.ledger.open()
    ring = KeyRing(loopback=True)
    fill(ring, settings, os.environ, built)
    app = create(built, ring=ring, admin_token=Secret("t" * 40))
    options = ServerOptions(
        port=0,
        keys_configured=ring.configured,
        lifespan="off",
        drain_seconds=5.0,
        on_ready=lambda url: print(url, flush=True),
        on_stop=lambda: asyncio.to_thread(built.close),
    )
    return run(app, options)


if __name__ == "__main__":
    sys.exit(main())
