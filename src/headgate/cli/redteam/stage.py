"""The configuration under attack: its own engine, on a ledger that goes with it, and the obeying simulator in every
provider's place. Nothing leaves this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli.redteam.attack import INPUT, NOBODY, OUTPUT, TOOLS, Conversation, Way
from headgate.cli.redteam.speaking import PATHS, Said, body, headers, read
from headgate.core.caller import Caller
from headgate.core.errors import HeadgateError, Refusal
from headgate.core.guards import Finding, Verdict

if TYPE_CHECKING:
    from headgate.core.exchange import Exchange
    from headgate.engine.engine import Engine
    from headgate.settings.guard_model import GuardSettings
    from headgate.settings.model import Settings
    from headgate.testing.server import SimulatorServer
    from headgate.transport.reading import Bases

_AT_TOOLS = frozenset({"tools", "loops"})
_OF_ANSWERS = frozenset({"leak", "leaks", "links", "lengths", "answer"})


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one call.

    Attributes:
        said: what the caller got; None: nothing but an error.
        stopped: at which layer somebody stepped in; "no consequence" = nobody did.
        reasons: of all findings.
        error: why the call failed, where no guard did it; "" = it did not.
    """

    said: Said | None
    stopped: str
    reasons: tuple[str, ...]
    error: str = ""


class Stage:
    """Makes calls as an application would."""

    def __init__(self, engine: Engine, bases: Bases, urls: Mapping[str, str]) -> None:
        self._engine = engine
        self._bases = bases
        self._urls = urls

    async def ask(self, way: Way, conversation: Conversation, caller: Caller, session: str) -> Answered:
        """Make one call.

        Args:
            session: of its own for every attack, so that they do not count as one agent's calls.
        """
        from headgate.transport.reading import read_head

        url = self._urls[way.dialect] + PATHS[way.dialect]
        told = replace(caller, session=session)
        head = read_head(self._bases, "POST", url, headers(way), told)
        request, wrong = head.request(body(way, conversation), told, keep=False)
        if wrong is not None:
            return Answered(None, NOBODY, (), wrong.message)
        exchange = self._engine.begin(request)
        try:
            reply = await self._engine.open(exchange)
            pieces = []
            while piece := await reply.read():
                pieces.append(piece)
        except HeadgateError as error:
            return _failed(exchange, error)
        if reply.status != 200:
            return Answered(None, NOBODY, _reasons(exchange.findings), f"the provider answered {reply.status}")
        said = read(way, b"".join(pieces))
        return Answered(said, _stopped(exchange.findings), _reasons(exchange.findings))


def _failed(exchange: Exchange, error: HeadgateError) -> Answered:
    reasons = _reasons(exchange.findings)
    if not isinstance(error, Refusal) or not exchange.findings:
        return Answered(None, NOBODY, reasons, error.message)
    at = _stopped(exchange.findings)
    sent = any(attempt.sent for attempt in exchange.attempts)
    return Answered(None, INPUT if not sent else OUTPUT if at in (INPUT, NOBODY) else at, reasons)


def _stopped(findings: tuple[Finding, ...]) -> str:
    for verdict in (Verdict.BLOCK, Verdict.REDACT):
        for finding in findings:
            if finding.verdict is verdict:
                return _layer(finding)
    return NOBODY


def _layer(finding: Finding) -> str:
    if finding.guard in _AT_TOOLS or finding.channel == "tool_call":
        return TOOLS
    return OUTPUT if finding.guard in _OF_ANSWERS or finding.channel == "assistant" else INPUT


def _reasons(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    ordered = sorted(findings, key=lambda finding: -finding.verdict.severity)
    told = (
        f"{finding.guard}:{reason}" if reason else finding.guard
        for finding in ordered
        for reason in finding.reasons or ("",)
    )
    return tuple(dict.fromkeys(told))


class World:
    """Where stages are set up: one simulator for all of them."""

    def __init__(self, server: SimulatorServer, env: Mapping[str, str], folder: Path) -> None:
        self._server = server
        self._env = env
        self._folder = folder
        self._number = 0

    @contextmanager
    def stage(self, settings: Settings) -> Iterator[Stage]:
        """One over a configuration. Its books, limits and addresses are not the configuration's."""
        from headgate.build import build
        from headgate.cli.simulated import answered_by
        from headgate.transport.reading import Bases

        self._number += 1
        told, env = answered_by(self._server, alone(settings, self._folder / f"{self._number}.db"), self._env)
        built = build(told, env=env)
        try:
            urls = {"anthropic": self._server.url, "openai": self._server.openai_url}
            yield Stage(built.engine, Bases(built.router.providers), urls)
        finally:
            built.close()


@contextmanager
def world(env: Mapping[str, str], seed: int) -> Iterator[World]:
    """The simulator on a free loopback port, and a folder that goes with it."""
    from headgate.cli.simulated import spare_loopback
    from headgate.testing.server import SimulatorServer

    spare_loopback()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-redteam-"))
        server = stack.enter_context(SimulatorServer("obedient", seed=seed))
        yield World(server, env, Path(folder))


def alone(settings: Settings, ledger: Path) -> Settings:
    """The guards, tasks, models and keys of a configuration, without its money, its limits and its addresses."""
    from headgate.settings.model import AnomalySettings, LogSettings, frozen

    providers = {
        name: replace(provider, requests_per_minute=None, tokens_per_minute=None, pacing=False, concurrency="off")
        for name, provider in settings.providers.items()
    }
    keys = tuple(replace(key, budgets=(), limits=()) for key in settings.keys)
    return replace(
        settings,
        providers=frozen(providers),
        keys=keys,
        tasks=frozen({name: replace(task, guards=_guards(task.guards)) for name, task in settings.tasks.items()}),
        guards=_guards(settings.guards),
        budgets=(),
        limits=(),
        max_usd_per_call_nano=None,
        anomalies=AnomalySettings(enabled=False),
        alerts=(),
        shared="memory",
        storage=f"sqlite:///{ledger}",
        log=LogSettings(bodies="off"),
    )


def _guards(told: GuardSettings) -> GuardSettings:
    """A section without what asks somebody, tells somebody, or reads a secret."""
    rules = told.tool_rules
    return replace(
        told,
        tool_rules=None if rules is None else replace(rules, key=None, webhook=None),
        isolation_key=None,
        canaries=None,
        checks=(),
        callers=tuple(replace(each, guards=_guards(each.guards)) for each in told.callers),
    )
