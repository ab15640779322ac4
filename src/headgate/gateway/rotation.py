"""The virtual keys of the configuration, and what becomes of them when their secrets change where they are kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

from headgate.core.errors import ConfigError
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.settings.model import KeySettings
from headgate.settings.secrets_kept import LiveSecret
from headgate.settings.secrets_live import SecretKeeper


class ConfiguredKeys:
    """Puts the keys of the configuration on a ring and keeps them there.

    A key that was changed in its store is valid from the next look on, and the one before it no longer: a key that was
    rotated because it leaked must not stay valid. A key that was deleted there is not valid until it is back.
    """

    def __init__(self, ring: KeyRing, keys: Sequence[KeySettings], keeper: SecretKeeper) -> None:
        self._ring = ring
        self._keeper = keeper
        self._keys: list[tuple[KeyRecord, LiveSecret]] = []
        for key in keys:
            record = KeyRecord(key.name, key.name, key.tenant, key.environment, key.may_speak_for_tenants)
            self._keys.append((record, keeper.get(key.key)))

    def fill(self) -> None:
        """Read them and put them on the ring.

        Raises:
            ConfigError: one cannot be read. To go on without it would open the gateway, or lock its owner out.
        """
        self._keeper.open()
        mistakes = [self._keeper.problem(secret) for _, secret in self._keys if not secret]
        if mistakes:
            raise ConfigError(mistakes)
        for record, secret in self._keys:
            self._ring.add(digest(secret.reveal()), record)

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on changes reach the ring, in the thread of `loop`: nothing else changes or reads it."""
        for record, secret in self._keys:
            put = partial(self._put, record, secret)
            self._keeper.watch(secret, partial(_soon, loop, put), follow=True)
            put()  # what changed since `fill`

    def _put(self, record: KeyRecord, secret: LiveSecret) -> None:
        value = secret.reveal()
        if value:
            self._ring.replace(digest(value), record)
        else:
            self._ring.revoke(record.id)


def _soon(loop: asyncio.AbstractEventLoop, put: partial[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: the gateway has stopped
        loop.call_soon_threadsafe(put)
