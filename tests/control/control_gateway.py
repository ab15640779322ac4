"""A gateway in a thread, with the admin API beside it, on a ledger of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headgate.build import Built, build
from headgate.control.app import build as build_control
from headgate.core.secret import Secret
from headgate.gateway.app import Gateway, create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.settings import load

TOKEN = "control-" + "t" * 40


class Running:
    """What a test needs of it."""

    def __init__(self, url: str, gateway: Gateway, built: Built, folder: Path) -> None:
        self.url = url
        self.gateway = gateway
        self.built = built
        self.folder = folder

    @property
    def control(self) -> Any:
        """The admin API's `Control`, once a request has made it."""
        return self.gateway.aside._app._control  # type: ignore[union-attr]


@contextmanager
def running(
    folder: Path, told: Mapping[str, object] | None = None, *, loopback: bool = True, aside: Any = build_control
) -> Iterator[Running]:
    """A gateway on a free port.

    Args:
        told: top-level keys of headgate.yaml.
        loopback: False: as if it listened on an address that other machines reach.
    """
    settings = load(env={}, overrides={"storage": f"sqlite:///{folder / 'headgate.db'}", **(told or {})})
    built = build(settings, env={})
    built.ledger.open()
    ring = KeyRing(loopback=loopback)
    gateway = create(built, ring=ring, admin_token=Secret(TOKEN), aside=aside)
    try:
        with BackgroundServer(
            gateway, ServerOptions(port=0, drain_seconds=1.0, lifespan="off", tune_gc=False)
        ) as server:
            yield Running(server.url, gateway, built, folder)
    finally:
        built.close()
