"""`headgate demo`: mixed traffic from the real SDKs through both ways in, against the simulator, and a summary."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, need_server, settings_of
from headgate.cli.text import console, dollars, safe

if TYPE_CHECKING:
    from headgate.cli.demo_traffic import Clients, Outcomes
    from headgate.gate import Gate
    from headgate.settings.model import Settings
    from headgate.testing.server import SimulatorServer

FIRST_TOKEN_SECONDS = 0.12
SECONDS_PER_EVENT = 0.008
IN_FLIGHT = 48
THREADS = 24
LAST_SECONDS = 90.0  # for the calls that are on their way when the time is over


@click.command()
@click.option("--seconds", type=click.FloatRange(0.5, 3600), default=60.0, show_default=True, help="How long.")
@click.option("--rate", type=click.FloatRange(0.1, 500), default=12.0, show_default=True, help="Calls per second.")
@click.option("--scenario", default="mixed", show_default=True, metavar="NAME", help="healthy, storm, mixed, outage.")
@click.option("--seed", type=int, default=7, show_default=True, help="What calls, answers and faults are drawn from.")
@click.option("--keep", is_flag=True, help="Leave the ledger and the log, and say where.")
@json_option
@config_option
def demo(seconds: float, rate: float, scenario: str, seed: int, keep: bool, as_json: bool, config: str | None) -> int:
    """A minute of mixed traffic from the real Anthropic and OpenAI SDKs, and a summary.

    Sync and async, streamed and not, in process and through a gateway, against the simulator with faults: nothing
    leaves this machine, and nothing is billed. The ledger is a temporary one. Ends with 1 where the ledger and the
    simulator's invoice differ in what the provider reported, or the ledger is below it elsewhere.

    \b
    Example:
      headgate demo
      headgate demo --seconds 10 --rate 30 --json
    """
    from headgate.cli.demo_summary import print_summary, summary
    from headgate.cli.text import print_json

    _needs_sdks()
    need_server()
    settings = settings_of(config)
    folder = Path(tempfile.mkdtemp(prefix="headgate-demo-"))
    try:
        with _stage(settings, folder, scenario, seed) as stage:
            took = _drive(stage, seconds, rate, seed, quiet=as_json)
            stage.gate.flush()
            found = summary(stage.gate.built.ledger.reader(), stage.server, stage.outcomes, took)
        if as_json:
            print_json(found.as_json())
        else:
            print_summary(found)
            if keep:
                click.echo(f"\nThe ledger and the log are in {folder}")
        return 0 if found.agrees else 1
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _needs_sdks() -> None:
    from importlib.util import find_spec

    from headgate.core.errors import ConfigError

    missing = [name for name in ("anthropic", "openai") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the demonstration calls with the real SDKs: pip install {' '.join(missing)}")


@dataclass(slots=True)
class _Stage:
    """Everything that runs during the demonstration."""

    server: SimulatorServer
    gate: Gate
    clients: dict[str, Clients]
    outcomes: Outcomes
    cost_nano: Any  # () -> nano-dollars so far


@contextmanager
def _stage(settings: Settings, folder: Path, scenario: str, seed: int) -> Iterator[_Stage]:
    """The simulator, a gate and a gateway over one temporary ledger, and clients for both."""
    from headgate.build import build
    from headgate.cli.demo_traffic import GATEWAY, IN_PROCESS, Outcomes
    from headgate.cli.simulate import paced, scenario_named
    from headgate.cli.simulated import spare_loopback
    from headgate.core.money import nano
    from headgate.core.secret import Secret
    from headgate.gate import Gate
    from headgate.gateway.app import create
    from headgate.gateway.auth import KeyRing
    from headgate.gateway.server import BackgroundServer
    from headgate.testing.server import SimulatorServer

    spare_loopback()
    played = paced(scenario_named(scenario), SECONDS_PER_EVENT, FIRST_TOKEN_SECONDS)
    with ExitStack() as stack:
        server = stack.enter_context(SimulatorServer(played, seed=seed))
        told, env = _settings(settings, server, folder)
        gate = Gate(told, env=env)
        stack.callback(gate.close)
        built = build(told, env=env)
        stack.callback(built.close)
        app = create(built, ring=KeyRing(loopback=True), admin_token=Secret(secrets.token_urlsafe(32)))
        gateway = stack.enter_context(BackgroundServer(app))
        clients = {IN_PROCESS: _in_process(gate, server), GATEWAY: _through(gateway.url)}

        def cost() -> int:
            return nano(gate.stats.total_cost_usd + built.tally.stats().total_cost_usd)

        yield _Stage(server, gate, clients, Outcomes(), cost)
        built.log.flush()


def _settings(settings: Settings, server: SimulatorServer, folder: Path) -> tuple[Settings, Mapping[str, str]]:
    """Retries, timeouts and tasks as configured; providers, prices and the ledger are the demonstration's own."""
    from headgate.cli.simulated import answered_by
    from headgate.settings.model import Settings

    told = Settings(
        tasks=settings.tasks,
        retry=settings.retry,
        timeouts=settings.timeouts,
        log=settings.log,
        storage=f"sqlite:///{folder / 'demo.db'}",
    )
    return answered_by(server, told, os.environ)


def _in_process(gate: Gate, server: SimulatorServer) -> Clients:
    import anthropic
    import openai

    from headgate.cli.demo_traffic import Clients

    key = "simulated"
    return Clients(
        anthropic.Anthropic(api_key=key, base_url=server.url, http_client=gate.client()),
        anthropic.AsyncAnthropic(api_key=key, base_url=server.url, http_client=gate.async_client()),
        openai.OpenAI(api_key=key, base_url=server.openai_url, http_client=gate.client()),
        openai.AsyncOpenAI(api_key=key, base_url=server.openai_url, http_client=gate.async_client()),
    )


def _through(url: str) -> Clients:
    import anthropic
    import openai

    from headgate.cli.demo_traffic import Clients

    key = "not-needed"
    return Clients(
        anthropic.Anthropic(api_key=key, base_url=url),
        anthropic.AsyncAnthropic(api_key=key, base_url=url),
        openai.OpenAI(api_key=key, base_url=f"{url}/v1"),
        openai.AsyncOpenAI(api_key=key, base_url=f"{url}/v1"),
    )


def _drive(stage: _Stage, seconds: float, rate: float, seed: int, *, quiet: bool) -> float:
    """Make the calls at their times, or as fast as the machine allows; Ctrl-C ends it early. Returns seconds taken."""
    from headgate.cli.demo_traffic import draw

    begun = time.monotonic()
    calls = islice(draw(random.Random(seed)), max(1, round(seconds * rate)))  # noqa: S311 -- a plan, not a secret
    room = threading.BoundedSemaphore(IN_FLIGHT)
    running: list[Future[None]] = []
    with _loop() as loop, ThreadPoolExecutor(THREADS) as threads, _progress(stage, seconds, quiet=quiet) as show:
        try:
            for number, call in enumerate(calls):
                while (early := begun + number / rate - time.monotonic()) > 0:
                    time.sleep(min(early, 0.1))
                    show(time.monotonic() - begun)
                room.acquire()
                clients = stage.clients[call.way_in]
                future: Future[None]
                if call.asynchronous:
                    future = asyncio.run_coroutine_threadsafe(clients.make_async(call, stage.outcomes), loop)
                else:
                    future = threads.submit(clients.make, call, stage.outcomes)
                future.add_done_callback(lambda _: room.release())
                running.append(future)
        except KeyboardInterrupt:
            sys.stderr.write("\nstopping: calls on their way may finish\n")
        until = time.monotonic() + LAST_SECONDS
        while time.monotonic() < until and wait(running, timeout=0.2).not_done:
            show(time.monotonic() - begun)
    return time.monotonic() - begun


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, where an asynchronous application would live."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="headgate-demo", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _progress(stage: _Stage, seconds: float, *, quiet: bool) -> Iterator[Any]:
    """A live line on a terminal; elsewhere one line at the start."""
    screen = console(sys.stderr)
    played = f"scenario {safe(stage.server.simulator.scenario.name)}"
    if quiet or not screen.is_terminal:
        if not quiet:
            click.echo(f"{seconds:g} s of calls through both ways in, {played}", err=True)
        yield lambda _elapsed: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(f"{played} "), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=screen, transient=True, refresh_per_second=5) as bar:
        task = bar.add_task("", total=seconds, said="")

        def show(elapsed: float) -> None:
            seen = stage.outcomes
            said = f"{seen.made} calls, {seen.errors} errors, {dollars(stage.cost_nano())}"
            bar.update(task, completed=min(elapsed, seconds), said=said)

        yield show
