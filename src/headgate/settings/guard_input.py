"""`guards.isolate` and `guards.limits`: what is written, and what becomes of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigError
from headgate.policy.guards.input_limits import LIMIT_KEYS, InputLimits
from headgate.policy.guards.provenance import ISOLATE, MIN_KEY
from headgate.settings.fields import Section
from headgate.settings.units import one_of, whole

if TYPE_CHECKING:
    from headgate.settings.guard_model import GuardSettings

UNLIMITED = -1
"""A limit that is `off`: in `InputLimits` as it is written, not as it holds."""

_RANGES = {
    "characters": (1, 1_000_000_000),
    "tokens": (1, 1_000_000_000),
    "images": (0, 100_000),
    "nesting": (1, 200),
    "messages": (1, 1_000_000),
    "tools": (0, 100_000),
}

read_isolate = one_of(ISOLATE)


def read_input_limits(section: Section) -> InputLimits | None:
    """The mapping at `limits`; None where there is none."""
    limits = section.section("limits", LIMIT_KEYS)
    if not limits.given:
        return None
    return InputLimits(**{name: limits.take(name, _limit(*_RANGES[name]), None) for name in LIMIT_KEYS})


def _limit(low: int, high: int) -> Callable[[str], int]:
    number = whole(low, high)
    return lambda text: UNLIMITED if text == "off" else number(text)


def isolation_key(settings: GuardSettings, env: Mapping[str, str]) -> bytes:
    """What delimiters are made from: the configured secret, or a random one for this process.

    Raises:
        ConfigError: the secret cannot be had (`SecretRef.resolve`), or is too short.
    """
    if settings.isolation_key is None:
        return secrets.token_bytes(32)
    key = settings.isolation_key.resolve(env).reveal().encode()
    if len(key) < MIN_KEY:
        raise ConfigError(f"guards.isolation_key: {settings.isolation_key} has less than {MIN_KEY} bytes")
    return key


def isolation_of(levels: Sequence[GuardSettings]) -> str:
    """The way of marking of the most specific level that tells one. No profile brings one, and only `off` ends it."""
    return next((each.isolate or "off" for each in levels if each.isolate or each.profile == "off"), "off")


def input_limits_of(levels: Sequence[GuardSettings]) -> InputLimits:
    """Each limit as the most specific level tells it, down to one whose profile is off."""
    found: dict[str, int] = {}
    for level in levels:
        for name in LIMIT_KEYS if level.limits is not None else ():
            most = getattr(level.limits, name)
            if most is not None:
                found.setdefault(name, most)
        if level.profile == "off":
            break
    return InputLimits(**{name: most for name, most in found.items() if most != UNLIMITED})
