"""Drills: the configured policies, with invented providers in the place of the real ones. Nothing leaves the process,
and no time is waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from headgate.build import policies_of
from headgate.core.caller import Caller
from headgate.core.ids import id_maker
from headgate.core.ports import Outgoing, Ports
from headgate.engine.blocking import run_blocking
from headgate.engine.engine import Engine
from headgate.settings.guard_model import GuardSettings
from headgate.settings.model import BudgetSettings, Settings, UnknownPriceSettings, frozen
from headgate.testing.canned import CLAUDE, GPT, chat_request, completion, message, messages_request
from headgate.testing.fakes import FakeAnswer, FakeClock, FakeIncoming, Played, World

if TYPE_CHECKING:
    from headgate.core.exchange import Request

Say = Callable[[str, int], FakeAnswer | BaseException | None]
"""What a provider answers: by its name and the number of the attempt, from 1; None: "hello"."""

_HOST = "drill.invalid"
_CEILING = 1_000_000  # pico-dollars per token: a drill is about other things than prices


@dataclass(frozen=True, slots=True)
class Drill:
    """What came of one.

    Attributes:
        asked: the providers that were asked, in order.
        waited: seconds that were waited on purpose, in all.
    """

    played: Played
    asked: tuple[str, ...]
    waited: float

    @property
    def answered(self) -> bool:
        """Whether the caller got an answer, and not an error."""
        return self.played.status == 200


class _Providers:
    """Every provider of the configuration, answered from memory."""

    def __init__(self, clock: FakeClock, say: Say, dialects: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self._clock = clock
        self._say = say
        self._dialects = dialects

    async def send(self, outgoing: Outgoing) -> FakeIncoming:
        """See `core.ports.Upstream`."""
        name = outgoing.url.removeprefix("https://").partition(f".{_HOST}")[0]
        self.asked.append(name)
        said = self._say(name, len(self.asked))
        if isinstance(said, BaseException):
            raise said
        hello = message if self._dialects[name] == "anthropic" else completion
        return FakeIncoming(self._clock, FakeAnswer(pieces=hello()) if said is None else said)


def drill(
    settings: Settings,
    env: Mapping[str, str],
    say: Say,
    *,
    model: str,
    dialect: str,
    task: str = "",
    budgets: tuple[BudgetSettings, ...] = (),
) -> Drill:
    """One call, through the configured routes, retries, timeouts and fallbacks.

    Guards, limits, caches and budgets are others' drills and left out, but for the `budgets` given.

    Raises:
        ConfigError: the configuration cannot be made into policies.
    """
    rehearsed = _rehearsed(settings, budgets)
    world = World()
    dialects = {name: provider.dialect for name, provider in settings.providers.items()}
    upstream = _Providers(world.clock, say, dialects)
    ports = Ports(
        world.clock,
        upstream,
        world.ledger,
        world.log,
        lambda: 0.5,
        id_maker(Random(0).getrandbits),  # noqa: S311
    )
    world.engine = Engine(ports, policies_of(rehearsed, env, draw=lambda: 0.5))
    played = run_blocking(world.call(_request(world, model, dialect, task)))
    return Drill(played, tuple(upstream.asked), sum(world.clock.slept))


def _rehearsed(settings: Settings, budgets: tuple[BudgetSettings, ...]) -> Settings:
    providers = {
        name: replace(
            provider,
            base_url=f"https://{name}.{_HOST}" + ("/v1" if provider.dialect == "openai" else ""),
            api_key=None,
            proxy="",
        )
        for name, provider in settings.providers.items()
    }
    off = GuardSettings(profile="off")
    return replace(
        settings,
        providers=frozen(providers),
        guards=off,
        tasks=frozen(
            {name: replace(task, guards=off, max_usd_per_call_nano=None) for name, task in settings.tasks.items()}
        ),
        budgets=budgets,
        limits=(),
        keys=(),
        unknown_price=UnknownPriceSettings(_CEILING),
        max_usd_per_call_nano=None,
        similar=None,
        storage="memory",
    )


def _request(world: World, model: str, dialect: str, task: str) -> Request:
    make = messages_request if dialect == "anthropic" else chat_request
    return world.request(make(model=model), dialect=dialect, caller=Caller(task=task))


def target(settings: Settings) -> tuple[str, str]:
    """(Model, dialect) of a call that the configuration serves: the first virtual model's, else a provider's own."""
    for name, routes in settings.models.items():
        if routes:
            return name, settings.providers[routes[0].provider].dialect
    for name, provider in settings.providers.items():
        return f"{name}/{CLAUDE if provider.dialect == 'anthropic' else GPT}", provider.dialect
    return CLAUDE, "anthropic"
