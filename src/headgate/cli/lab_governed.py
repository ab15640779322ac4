"""Headgate in process, on an experiment's own time: what the strategy called "paced" sends through."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from headgate.build import build
from headgate.cli.lab_provider import Provider
from headgate.cli.lab_sending import PATIENT, Ask, Sender
from headgate.cli.lab_time import EPOCH, LabClock, LabLoop, alone
from headgate.core.caller import Caller
from headgate.core.errors import NoTurn, UpstreamError
from headgate.core.exchange import Headers
from headgate.engine.engine import Engine
from headgate.settings.model import AnomalySettings, ProviderSettings, RetrySettings, Settings, frozen
from headgate.settings.turn_rules import turns_of
from headgate.stores.turns import LocalTurns
from headgate.transport.reading import Bases, read_head
from headgate.upstream.choose import async_upstream

REFUSED = 429
_LEAST_STEP = 1e-4  # seconds; what is due may be told a rounding error too early


class Governed:
    """Headgate in process: its engine, pace, queue, retries, ledger and log, on the experiment's time."""

    def __init__(self, engine: Engine, bases: Bases) -> None:
        self._engine = engine
        self._bases = bases

    async def send(self, ask: Ask) -> tuple[int, Headers]:
        """See `Sender`. A call that Headgate gives up, or does not let go, ends in a 429."""
        caller = Caller(user=ask.client, tenant=ask.tenant)
        head = read_head(self._bases, "POST", ask.url, ask.headers, caller)
        request, wrong = head.request(ask.body, caller, keep=False)
        if wrong is not None:
            raise wrong
        try:
            reply = await self._engine.open(self._engine.begin(request))
        except UpstreamError as error:
            if error.status == REFUSED or isinstance(error, NoTurn):
                return REFUSED, ()
            raise
        while await reply.read():
            pass
        return reply.status, tuple(reply.headers)


class _LabTurns(LocalTurns):
    """Looks by the loop's own timer when time lets somebody go: a thread would wait in the machine's time."""

    _timer: asyncio.TimerHandle | None = None

    def schedule(self) -> None:
        """See the base. With the lock; there is one thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.desk.due()
        if due < float("inf"):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(due - EPOCH, loop.time() + _LEAST_STEP), self._look)

    def _look(self) -> None:
        with self as desk:
            told = desk.tick(EPOCH + asyncio.get_running_loop().time())
        self.wake(told)


@asynccontextmanager
async def governed(served: Provider, attempts: int, connections: int) -> AsyncIterator[Sender]:
    """Headgate with its defaults, but for the attempts of a call and a deadline beyond the experiment's end. Its ledger
    and log are in a folder that goes with it."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LabLoop)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-lab-"))
        settings = _settings(served, attempts, Path(folder))
        built = build(settings, env={})
        stack.callback(built.close)
        clock, draw = LabClock(loop), random.Random(served.account.seed)  # noqa: S311 -- an experiment, not a secret
        turns = _LabTurns(lambda: turns_of(settings), now=clock.now, random=draw.random, tell=built.log.event)
        upstream = async_upstream(trust_env=False, max_connections=connections, max_idle=connections)
        ports = replace(
            built.engine.ports,
            clock=clock,
            upstream=upstream,
            random=draw.random,
            turns=turns.asynchronous(),
        )
        loop.settle = built.ledger.flush  # its writer is a thread: what it has in hand is done first
        stack.callback(setattr, loop, "settle", alone)
        yield Governed(Engine(ports, built.engine.policies), Bases(built.router.providers))


def _settings(served: Provider, attempts: int, folder: Path) -> Settings:
    dialect = served.account.dialect
    return Settings(
        providers=frozen({dialect: ProviderSettings(dialect, dialect, served.url)}),
        retry=RetrySettings(attempts=attempts, deadline_seconds=PATIENT.total),
        timeouts=PATIENT,
        anomalies=AnomalySettings(enabled=False),
        storage=f"sqlite:///{folder / 'lab.db'}",
    )
