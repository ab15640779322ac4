"""The simulator in the providers' place: for a first run without a key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.testing.server import SimulatorServer

LOOPBACK = "127.0.0.1,localhost,::1"


def simulated(settings: Settings, env: Mapping[str, str], stack: ExitStack) -> tuple[Settings, Mapping[str, str]]:
    """Start a simulator on a free loopback port until `stack` closes, and let it answer; see `answered_by`."""
    from headgate.testing.server import SimulatorServer

    spare_loopback()
    return answered_by(stack.enter_context(SimulatorServer()), settings, env)


def answered_by(
    server: SimulatorServer, settings: Settings, env: Mapping[str, str]
) -> tuple[Settings, Mapping[str, str]]:
    """Let the simulator answer for every provider.

    Every one, not only the defaults: a configuration with other providers can then be tried as it is. A provider's own
    key never goes there.

    Returns:
        The settings, and the environment their `env:` references are read from.
    """
    from headgate.settings.model import frozen
    from headgate.settings.secrets import SIMULATED, SecretRef

    providers = {
        name: replace(
            provider,
            base_url=server.url if provider.dialect == "anthropic" else server.openai_url,
            api_key=SecretRef("env", SIMULATED),
            proxy="",
        )
        for name, provider in settings.providers.items()
    }
    return replace(settings, providers=frozen(providers)), {**env, SIMULATED: "simulated"}


def spare_loopback() -> None:
    """Keep this process's calls to itself away from the environment's proxy, which could not answer them."""
    for name in ("NO_PROXY", "no_proxy"):
        told = os.environ.get(name, "")
        os.environ[name] = f"{told},{LOOPBACK}" if told else LOOPBACK
