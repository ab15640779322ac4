"""The providers' keys: which there are, and which providers cannot be used for want of one, now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigError
from headgate.core.secret import Secret
from headgate.settings.secrets_live import SecretKeeper

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.settings.secrets import SecretRef


@dataclass(frozen=True, slots=True)
class ProviderSecrets:
    """By a provider's name: its keys, in the order they are written in, and why it has none. `unready` changes."""

    of: Mapping[str, Sequence[Secret]]
    unready: Mapping[str, str]


def provider_secrets(settings: Settings, env: Mapping[str, str], keeper: SecretKeeper | None) -> ProviderSecrets:
    """Read every provider's keys. A key that cannot be read is no error here: in process the SDK brings its own, and
    another provider may serve.

    Args:
        keeper: reads them and follows them; None: no store is asked, and what is kept there is taken to be there.
    """
    if keeper is None:
        return _once(settings, env)
    live = {name: [keeper.get(ref) for ref in p.api_keys] for name, p in settings.providers.items()}
    keeper.open()
    unready: dict[str, str] = {}

    def judge(name: str) -> None:
        if not live[name] or any(live[name]):
            unready.pop(name, None)
        else:
            unready[name] = "; ".join(keeper.problem(secret) for secret in live[name])

    for name, secrets in live.items():
        for secret in secrets:
            keeper.watch(secret, partial(judge, name))
        judge(name)
    return ProviderSecrets({name: tuple(secrets) for name, secrets in live.items()}, unready)


def _once(settings: Settings, env: Mapping[str, str]) -> ProviderSecrets:
    of: dict[str, Sequence[Secret]] = {}
    unready: dict[str, str] = {}
    for name, provider in settings.providers.items():
        found: list[Secret] = []
        problems: list[str] = []
        for ref in provider.api_keys:
            try:
                found.append(_told(ref, env))
            except ConfigError as error:
                problems.append(error.message)
        of[name] = tuple(found)
        if problems and not found:
            unready[name] = "; ".join(problems)
    return ProviderSecrets(of, unready)


def _told(ref: SecretRef, env: Mapping[str, str]) -> Secret:
    return ref.resolve(env) if ref.local else Secret(str(ref))
