"""`core.ports.Checkers` of a configuration."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from headgate.core.errors import ConfigError
from headgate.core.exchange import Route
from headgate.core.ports import Clock, Upstream
from headgate.core.secret import Secret
from headgate.settings.guard_network import CheckSettings, secrets_of
from headgate.settings.model import Settings
from headgate.settings.secrets_live import SecretKeeper
from headgate.upstream.checks.asking import Means
from headgate.upstream.checks.checkers import AsyncCheckers, BlockingCheckers
from headgate.upstream.checks.classifier import classifier
from headgate.upstream.checks.memory import Opinions


def told(settings: Settings) -> list[tuple[CheckSettings, ...]]:
    """What each section says of guards that ask somebody; [] where none says anything."""
    sections = [settings.guards, *(each.guards for each in settings.guards.callers)]
    sections += [each.guards for each in settings.tasks.values()]
    return [each.checks for each in sections if each.checks]


def checkers_of(
    settings: Settings,
    keeper: SecretKeeper,
    providers: Mapping[str, Route],
    asynchronous: tuple[Clock, Upstream],
    blocking: tuple[Clock, Upstream],
    tell: Callable[..., None],
) -> tuple[AsyncCheckers, BlockingCheckers]:
    """Both colours', over one memory of opinions. Their `engine`s are to be set.

    Raises:
        ConfigError: a secret cannot be read, or a provider that is named is not there.
    """
    sections = told(settings)
    kept: Mapping[str, Secret] = {name: keeper.get(ref) for name, ref in secrets_of(sections).items()}
    keeper.open()
    mistakes = [f"guards: {keeper.problem(secret)}" for secret in kept.values() if not secret]
    for each in (each.check for section in sections for each in section):
        if each is not None and each.provider and each.provider not in providers:
            mistakes.append(f"guards.{each.guard}.provider: no provider is named {each.provider!r}")
    if mistakes:
        raise ConfigError(mistakes)
    opinions = Opinions()

    def means(clock: Clock, upstream: Upstream) -> Means:
        return Means(upstream, clock, providers, kept, lambda: f"texts-{secrets.token_hex(8)}")

    return (
        AsyncCheckers(means(*asynchronous), opinions, tell, classifier),
        BlockingCheckers(means(*blocking), opinions, tell, classifier),
    )
