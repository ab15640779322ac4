"""The real engine over a provider in process, for what sockets would only drown: memory and microseconds of turns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.canned_answer import CannedAnswer
from headgate.build import Built, build
from headgate.core.caller import Caller
from headgate.core.exchange import Headers, Request
from headgate.core.ports import Incoming, Outgoing
from headgate.settings import load
from headgate.testing.canned import JSON, message, messages_request
from headgate.wire import DIALECTS

_KEY = {"BENCH_PROVIDERS_KEY": "sk-bench-" + "providers-key"}
_EPOCH = 1_800_000_000.0
_ANSWER = b"".join(message("The gate is open. " * 20))
_BODY = messages_request()

UNLIMITED: Headers = ((b"content-type", JSON),)
LIMITED: Headers = (
    (b"content-type", JSON),
    *(
        (f"anthropic-ratelimit-{what}-{name}".encode(), value)
        for what, limit in (("requests", b"4000000"), ("input-tokens", b"2000000000"), ("output-tokens", b"400000000"))
        for name, value in (("limit", limit), ("remaining", limit), ("reset", b"2027-01-15T08:00:01Z"))
    ),
)
"""Anthropic's three limits, far above what a benchmark uses."""


class Clock:
    """Time that passes when it is told to. See `core.ports.Clock`.

    Attributes:
        passed: seconds.
    """

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        """See the port."""
        return _EPOCH + self.passed

    async def sleep(self, seconds: float) -> None:
        """See the port. Nobody is slowed down."""
        self.passed += seconds


class Canned:
    """A provider in process. See `core.ports.Upstream`.

    Args:
        headers: of every answer.
    """

    def __init__(self, headers: Headers = UNLIMITED) -> None:
        self._headers = headers

    async def send(self, outgoing: Outgoing) -> Incoming:
        """See the port."""
        return CannedAnswer(self._headers, _ANSWER)


def request(tenant: str = "bench", user: str = "") -> Request:
    """One call, as a way in makes it."""
    return Request(
        dialect="anthropic",
        endpoint="messages",
        method="POST",
        path="/v1/messages",
        headers=(),
        body=_BODY,
        facts=DIALECTS["anthropic"].read_request("messages", _BODY),
        caller=Caller(key="bench", tenant=tenant, user=user),
        way_in="in-process",
    )


@contextlib.contextmanager
def built_for(root: Path, provider: Mapping[str, object], **more: object) -> Iterator[Built]:
    """All parts, with their defaults and a ledger and a log in `root`; `provider` and `more` are headgate.yaml's."""
    root.mkdir(exist_ok=True)
    settings = load(
        env={},
        overrides={
            "providers": {"anthropic": {"api_key": "env:BENCH_PROVIDERS_KEY", **provider}},
            "storage": f"sqlite:///{root / 'bench.db'}",
            "log": {"bodies": "off"},
            "guards": {"profile": "off"},
            **more,
        },
    )
    built = build(settings, env=_KEY)
    try:
        built.ledger.open()
        yield built
    finally:
        built.close()
