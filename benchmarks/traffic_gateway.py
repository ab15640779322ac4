"""`headgate serve` in front of providers that a benchmark breaks, and simulators in processes of their own."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import paid_provider
from benchmarks.paid_provider import PROVIDERS_KEY, clean_env, headgate
from benchmarks.processes import CannotRun, Child, free_port, running, wait_for_port

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


class Provider(paid_provider.Provider):
    """The simulator, and what it has seen."""

    def statuses(self) -> list[int]:
        """Of every request that came, in their order (of the newest 10,000: what the simulator keeps)."""
        with OPENER.open(f"{self.url}/_sim/requests", timeout=10) as response:
            return [each["status"] for each in json.loads(response.read())["requests"]]

    def refused(self) -> tuple[int, int]:
        """(429s, requests)."""
        seen = self.statuses()
        return sum(status == 429 for status in seen), len(seen)


@contextlib.contextmanager
def simulator(root: Path, scenario: Mapping[str, object]) -> Iterator[Provider]:
    """`headgate simulate` with a scenario of ours, in a process of its own."""
    home = root / str(scenario.get("name", "simulator"))
    home.mkdir(parents=True)
    path = home / "scenario.yaml"
    path.write_text(json.dumps(scenario))  # JSON is YAML
    command = headgate("simulate", "--port", "0", "--scenario", str(path))
    with running(command, cwd=home, log=home / "simulator.log", env=clean_env()) as child:
        found = _ADDRESS.search(child.first_line())
        if found is None:
            raise CannotRun("`headgate simulate` does not say where it listens")
        yield Provider(found.group())


@contextlib.contextmanager
def gateway(root: Path, config: Mapping[str, object], keys: Mapping[str, str]) -> Iterator[tuple[str, Child]]:
    """`headgate serve --config`; its URL and process. Everything that `config` does not say is a default.

    Args:
        keys: callers' keys by tenant.
    """
    root.mkdir(parents=True, exist_ok=True)
    port = free_port()
    env = {f"BENCH_KEY_{number}": key for number, key in enumerate(keys.values())}
    told = {
        "storage": "sqlite:///bench.db",
        "log": {"bodies": "off"},
        "guards": {"profile": "off"},
        "server": {"port": port},
        "keys": [
            {"name": tenant, "tenant": tenant, "key": f"env:BENCH_KEY_{number}"} for number, tenant in enumerate(keys)
        ],
        **config,
    }
    path = root / "headgate.yaml"
    path.write_text(json.dumps(told, indent=1))
    log = root / "gateway.log"
    command = headgate("serve", "--no-simulator", "--config", str(path), "--log", str(root / "log.jsonl"))
    env = clean_env(BENCH_PROVIDERS_KEY=PROVIDERS_KEY, **env)
    with running(command, cwd=root, log=log, env=env) as child:
        child.first_line()  # raises what it says where it does not start
        wait_for_port(port, child.process, seconds=30)
        yield f"http://127.0.0.1:{port}", child


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """A port at which nobody listens, and nobody can: it is bound."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextlib.contextmanager
def resetting() -> Iterator[str]:
    """It accepts, reads the request, and resets the connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        threading.Thread(target=_reset_all, args=(listener,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _reset_all(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(5.0)
            with contextlib.suppress(OSError):
                connection.recv(65536)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """A port that answers no attempt to connect: a listener whose backlog is full, and who accepts nobody.

    Raises:
        CannotRun: this system lets more in.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(16):
            probe = stack.enter_context(socket.socket())
            probe.settimeout(0.3)
            try:
                probe.connect(address)
            except TimeoutError:
                break
        else:
            raise CannotRun("a full backlog does not make connections hang here")
        yield f"http://127.0.0.1:{address[1]}"
