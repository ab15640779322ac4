"""`headgate serve`: settings to a listening gateway, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from headgate.cli.group import config_option, need_server, settings_of
from headgate.cli.text import safe

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.gateway.app import Gateway
    from headgate.gateway.auth import KeyRing
    from headgate.gateway.cycle import App
    from headgate.gateway.rotation import ConfiguredKeys, StoredKeys
    from headgate.gateway.server import ServerOptions
    from headgate.settings.model import Settings

_SWITCH_SECONDS = 0.0005  # the ledger's writer thread shares the interpreter with the event loop


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1; other addresses need a key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8484. 0 picks any free one.")
@click.option(
    "--log", "log_to", metavar="FILE", help="Where the log goes; - is standard output. Default: by the ledger."
)
@click.option(
    "--simulator/--no-simulator",
    default=None,
    help="Answer from the built-in simulator; or never. Default: only where no provider has a key, on loopback.",
)
@config_option
def serve(host: str | None, port: int | None, log_to: str | None, simulator: bool | None, config: str | None) -> int:
    """The gateway: change one base URL, and calls are retried, metered, priced and recorded.

    With no provider's key in the environment it serves the built-in simulator, and says so. SIGTERM lets answers in
    flight finish, writes the ledger and ends with 0.

    \b
    Example:
      headgate serve
      headgate serve --port 9000 --log - --config headgate.yaml
    """
    settings = settings_of(config, server__host=host, server__port=port)
    need_server()
    for warning in settings.warnings:
        _tell(f"warning: {warning}")
    with ExitStack() as stack:
        return _serve(settings, log_to, simulator, stack)


def _serve(settings: Settings, log_to: str | None, simulator: bool | None, stack: ExitStack) -> int:
    from headgate.build import build
    from headgate.cli.banner import proxied
    from headgate.cli.simulated import simulated
    from headgate.gateway.app import create
    from headgate.gateway.auth import KeyRing
    from headgate.gateway.server import run

    env: Mapping[str, str] = os.environ
    in_place = simulator_for(settings, env, simulator)
    behind_proxy = proxied()
    if in_place:
        settings, env = simulated(settings, env, stack)
    else:
        for line in without_key(settings, env):
            _tell(f"warning: {line}")
    built = build(settings, env=env, log_to=_log_target(log_to))
    stack.callback(built.close)
    built.ledger.open()
    built.incidents.load()
    built.alerting.start()
    ring = KeyRing(loopback=_is_loopback(settings.server.host))
    followers = fill(ring, settings, env, built)
    for line in unusable_keys(settings, env, built):
        _tell(f"warning: {line}")
    token = secrets.token_urlsafe(32)
    from headgate.core.secret import Secret

    app = create(
        built,
        ring=ring,
        admin_token=Secret(token),
        body_bytes=settings.server.max_body_bytes,
        aside=_aside,
    )
    keys = (ring, followers)
    return run(
        app, _options(settings, built, app, keys, token, simulated=in_place, behind_proxy=behind_proxy, log_to=log_to)
    )


def _aside(gateway: Gateway) -> App:
    """The admin API and the dashboard; imported at the first request for them."""
    from headgate.control.app import build
    from headgate.pages import pages

    return build(gateway, pages=pages if gateway.built.settings.dashboard else None)


def simulator_for(settings: Settings, env: Mapping[str, str], wanted: bool | None) -> bool:
    """Whether the simulator answers: asked for, or no provider could and only this machine can ask.

    Raises:
        ConfigError: no provider can answer, and invented answers were not asked for (`--no-simulator`), or other
            machines could take them for real ones.
    """
    from headgate.core.errors import ConfigError

    if wanted or any(p.has_key(env) for p in settings.providers.values()):
        return bool(wanted)
    missing = "no provider has a key: " + "; ".join(without_key(settings, env))
    if wanted is False:
        raise ConfigError(missing)
    if not _is_loopback(settings.server.host):
        raise ConfigError(
            f"{missing}. Only on loopback does the simulator step in by itself, because its answers are invented; "
            "`--simulator` asks for it here"
        )
    return True


def without_key(settings: Settings, env: Mapping[str, str]) -> list[str]:
    """One line for each provider whose key is not there."""
    return [
        f"{provider.name} has no key ({' or '.join(map(str, provider.api_keys))} is not set): calls to it will fail"
        for provider in settings.providers.values()
        if not provider.has_key(env)
    ]


def unusable_keys(settings: Settings, env: Mapping[str, str], built: Built) -> list[str]:
    """One line for each provider's key that should be there and cannot be read; `without_key` has the rest."""
    found = []
    for provider in settings.providers.values():
        problems = [built.secrets.problem(built.secrets.get(ref)) for ref in provider.api_keys]
        if provider.has_key(env):
            found += [f"a key of {provider.name} cannot be used now: {problem}" for problem in problems if problem]
    return found


def fill(
    ring: KeyRing, settings: Settings, env: Mapping[str, str], built: Built
) -> Sequence[ConfiguredKeys | StoredKeys]:
    """Put the keys of the configuration and of the ledger on the ring.

    Returns:
        What keeps them there, once it is told to follow.

    Raises:
        ConfigError: a configured key cannot be read. To go on without it would open the gateway, or lock its owner out.
        Unavailable: the ledger cannot be read.
    """
    from headgate.gateway.rotation import ConfiguredKeys, StoredKeys

    configured = ConfiguredKeys(ring, settings.keys, built.secrets)
    stored = StoredKeys(ring, built.ledger.keys.list)
    configured.fill()
    stored.fill()
    return (configured, stored) if built.ledger.others_write else (configured,)


def _options(
    settings: Settings,
    built: Built,
    app: Gateway,
    keys: tuple[KeyRing, Sequence[ConfiguredKeys | StoredKeys]],
    token: str,
    *,
    simulated: bool,
    behind_proxy: bool,
    log_to: str | None,
) -> ServerOptions:
    from headgate.cli.banner import announce
    from headgate.gateway.limits import Limits
    from headgate.gateway.server import ServerOptions

    server = settings.server
    ring, followers = keys

    def ready(url: str) -> None:
        for each in followers:
            each.follow(asyncio.get_running_loop())
        built.ledger.publish(_control_url(url), token)
        built.log.event("started", url=url, simulated=simulated)
        built.logs.follow(built.log.event)
        # Where the log has standard output, the words go to standard error.
        out = sys.stderr if log_to == "-" else sys.stdout
        announce(url, settings, simulated=simulated, keys=ring.configured, behind_proxy=behind_proxy, to=out)

    def refused(counts: dict[str, int]) -> None:
        # Not a line each: whoever sends rubbish must not be able to fill the disk with it.
        built.log.event("refused", counts={code: count for code, count in counts.items() if count})

    def drain() -> None:
        app.draining = True
        _tell("stopping: answers in flight may finish")

    async def stop() -> None:
        built.log.event("stopped")
        await asyncio.to_thread(built.close)

    return ServerOptions(
        host=server.host,
        port=server.port,
        keys_configured=ring.configured,
        limits=Limits(
            header_bytes=server.max_header_bytes,
            header_count=server.max_header_count,
            url_bytes=server.max_url_bytes,
            body_bytes=server.max_body_bytes,
            upload_bytes=server.max_upload_bytes,
            header_seconds=server.header_timeout_seconds,
            body_idle_seconds=server.body_timeout_seconds,
            write_seconds=server.write_timeout_seconds,
            keep_alive_seconds=server.keep_alive_seconds,
        ),
        drain_seconds=server.drain_seconds,
        switch_interval=_SWITCH_SECONDS,
        lifespan="off",
        on_ready=ready,
        on_refused=refused,
        on_drain=drain,
        on_stop=stop,
    )


def _control_url(url: str) -> str:
    """Where this machine reaches the gateway that listens on `url`."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _is_loopback(host: str) -> bool:
    """By name or address; a name that does not resolve is somebody else's to report."""
    import ipaddress
    import socket

    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)
    except (OSError, ValueError):
        return False


def _log_target(told: str | None) -> Path | Literal["stdout"] | None:
    return None if told is None else "stdout" if told == "-" else Path(told)


def _tell(line: str) -> None:
    sys.stderr.write(f"headgate: {safe(line)}\n")
    sys.stderr.flush()
