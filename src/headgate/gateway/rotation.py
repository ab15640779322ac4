"""The virtual keys of the configuration and of the ledger, and what becomes of them when they change there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from headgate.core.errors import ConfigError, HeadgateError
from headgate.gateway.admin import StoredKey
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.settings.model import KeySettings
from headgate.settings.secrets_kept import LiveSecret
from headgate.settings.secrets_live import SecretKeeper

LOOK_SECONDS = 3.0
"""How long a key that another process has made, rotated or revoked may stay unnoticed, where there are others."""


class HashedKey(StoredKey, Protocol):
    """A key as the ledger has it. `hash` is its SHA-256 in hex."""

    @property
    def hash(self) -> str: ...


class StoredKeys:
    """Puts the keys of the ledger on a ring, and keeps them there while other processes change them.

    What this gateway's own control API changes is on the ring at once; seeing it again changes nothing.
    """

    def __init__(self, ring: KeyRing, read: Callable[[], Sequence[HashedKey]]) -> None:
        """`read` blocks, and raises `Unavailable` where the ledger cannot be read."""
        self._ring = ring
        self._read = read
        self._seen: dict[str, tuple[str, bool]] = {}  # by id: hash, whether it is revoked
        self._following: asyncio.Task[None] | None = None

    def fill(self) -> None:
        """Read them and put them on the ring.

        Raises:
            Unavailable: they cannot be read. To go on without them would open the gateway, or lock everybody out.
        """
        self._put(self._read())

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on look every few seconds, in the thread of `loop`."""
        self._following = loop.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once. Where the ledger cannot be read, the keys that are known stay as they are."""
        version = self._ring.version
        try:
            found = await asyncio.to_thread(self._read)
        except HeadgateError:
            return
        # Changed here meanwhile: what was read may be older than that.
        if self._ring.version == version:
            self._put(found)

    def _put(self, found: Sequence[HashedKey]) -> None:
        for key in found:
            state = (key.hash, key.revoked is not None)
            if self._seen.get(key.id) == state:
                continue
            self._seen[key.id] = state
            record = KeyRecord(key.id, key.name, key.tenant, key.environment, key.may_speak_for_tenants)
            self._ring.revoke(key.id)
            self._ring.add(bytes.fromhex(key.hash), record, revoked=key.revoked is not None)


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
