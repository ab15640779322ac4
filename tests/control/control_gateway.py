"""A gateway in a thread, with the admin API beside it, on a ledger of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from argon2 import PasswordHasher

from headgate.build import Built, build
from headgate.control.app import build as build_control
from headgate.control.passwords import Passwords
from headgate.core.secret import Secret
from headgate.gateway.app import Gateway, create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.settings import load

TOKEN = "control-" + "t" * 40


CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
"""Costs next to nothing; how long the real one takes is not what tests are about."""


def cheap_control(gateway: Gateway, **told: Any) -> Any:
    """The admin API, with passwords that are hashed at once."""
    return build_control(gateway, passwords=CHEAP, **told)


@dataclass
class Answer:
    """Of one request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        """`name=value` of the cookie that was set; "" = none."""
        return (self.headers["set-cookie"] or "").partition(";")[0]


class Running:
    """What a test needs of it."""

    def __init__(self, url: str, gateway: Gateway, built: Built, folder: Path) -> None:
        self.url = url
        self.gateway = gateway
        self.built = built
        self.folder = folder

    def ask(self, path: str, method: str = "GET", body: Any = b"", **headers: str) -> Answer:
        """One request. A mapping as body is a form with `content_type`, else JSON."""
        where = urlsplit(self.url)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, Mapping) and "form" in sent:
            del sent["form"]
            sent["content-type"] = "application/x-www-form-urlencoded"
            body = urlencode(body)
        elif not isinstance(body, bytes) or body:
            sent.setdefault("content-type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return Answer(answer.status, answer.headers, said)

    def form(self, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
        """A form, as a browser sends one from a page of ours."""
        return self.ask(path, "POST", fields, **{"form": "yes", "origin": self.url, **headers})

    def log_in(self, name: str, password: str, **headers: str) -> Answer:
        return self.form("/login", {"name": name, "password": password}, **headers)

    @property
    def control(self) -> Any:
        """The admin API's `Control`, once a request has made it."""
        return self.gateway.aside._app._control


@contextmanager
def running(
    folder: Path, told: Mapping[str, object] | None = None, *, loopback: bool = True, aside: Any = cheap_control
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
