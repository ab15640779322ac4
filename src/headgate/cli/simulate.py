"""`headgate simulate`: the simulated provider as a server of its own."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.cli.group import config_option, need_server, settings_of
from headgate.cli.text import safe

if TYPE_CHECKING:
    from headgate.testing.simulator import Scenario

DEFAULT_PORT = 8485


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: any free one.")
@click.option(
    "--scenario", metavar="NAME|FILE", help="healthy (the default), storm, mixed, outage, obedient, or a YAML file."
)
@click.option("--seed", type=int, default=0, show_default=True, help="What answers and faults are drawn from.")
@click.option("--pace", type=click.FloatRange(0, 60), metavar="SECONDS", help="Between two events of a stream.")
@click.option("--first-token", type=click.FloatRange(0, 600), metavar="SECONDS", help="Before an answer's first token.")
@click.option("--obey", is_flag=True, help="Do whatever any text in a request says: a model that has been fooled.")
@config_option
def simulate(
    port: int,
    scenario: str | None,
    seed: int,
    pace: float | None,
    first_token: float | None,
    obey: bool,
    config: str | None,
) -> None:
    """The simulated provider: both dialects, faults on a script, rate limits, and an invoice of its own.

    It needs no key and costs nothing. GET /_sim/invoice says what it would have billed; docs/simulator.md has the rest.

    \b
    Example:
      headgate simulate --scenario storm --pace 0.02
      headgate simulate --scenario bad-day.yaml --port 9000
    """
    from headgate.core.errors import ConfigError

    settings_of(config)  # nothing of it is used yet; a mistake in it is still a mistake
    played = paced(scenario_named(scenario), pace, first_token)
    if obey:
        played = replace(played, obey=True)
    need_server()
    from headgate.testing.server import SimulatorServer

    server = SimulatorServer(played, seed=seed, port=port)
    try:
        server.start()
    except OSError as error:
        raise ConfigError(f"--port: cannot listen on 127.0.0.1:{port} ({error.strerror}); choose another") from None
    try:
        _say(server.url, server.openai_url, played)
        _until_stopped()
    finally:
        server.stop()


def paced(scenario: Scenario, pace: float | None, first_token: float | None) -> Scenario:
    """The scenario, answering at another pace. Seconds; None leaves what the scenario says."""
    told = scenario.pace
    if pace is not None:
        told = replace(told, seconds_per_event=pace)
    if first_token is not None:
        told = replace(told, first_token_seconds=first_token)
    return replace(scenario, pace=told)


def scenario_named(name: str | None) -> Scenario:
    """A shipped scenario by name, or one from a file; None is the healthy one.

    Raises:
        ConfigError: it is neither, or the file holds mistakes.
    """
    from headgate.core.errors import ConfigError
    from headgate.testing.simulator import SHIPPED, load_scenario

    if name is None or name in SHIPPED:
        return load_scenario(name)
    if not Path(name).is_file():
        raise ConfigError(f"--scenario: {name!r} is neither a file nor one of {', '.join(SHIPPED)}")
    return load_scenario(Path(name))


def _say(url: str, openai_url: str, scenario: Scenario) -> None:
    click.echo(
        f"The simulated provider answers on {url} (scenario {safe(scenario.name)}).\n"
        "Nothing here is real, or costs money.\n"
        "\n"
        f"  export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=simulated\n"
        f"  export OPENAI_BASE_URL={openai_url} OPENAI_API_KEY=simulated\n"
        "\n"
        "Then run an application, or `headgate serve`, in that shell. What it would bill:\n"
        "\n"
        f"  curl -s {url}/_sim/invoice\n"
    )


def _until_stopped() -> None:
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda _number, _frame: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        while not stop.wait(0.5):  # in pieces, so that a signal is seen on every platform
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
