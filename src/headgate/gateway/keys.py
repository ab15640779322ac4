"""Blocking keys (the stores') as the `KeysStore` the control API awaits: each call waits for a commit in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.core.secret import Secret
from headgate.gateway.admin import StoredKey


class MadeKey(Protocol):
    """A key just made, and the key itself."""

    @property
    def key(self) -> StoredKey: ...
    @property
    def secret(self) -> Secret: ...


class BlockingKeys(Protocol):
    """What `stores.keys.KeyStore` offers. Every method raises `ConfigError` for a wrong name or id."""

    def create(
        self, name: str, *, tenant: str = "", environment: str = "", may_speak_for_tenants: bool = False
    ) -> MadeKey: ...

    def list(self) -> Sequence[StoredKey]: ...

    def rotate(self, id_or_name: str, /) -> MadeKey: ...

    def revoke(self, id_or_name: str, /) -> StoredKey: ...


class ThreadedKeys:
    """Implements `KeysStore`. A wrong name is a `BadRequest`, an unknown id a `NotServed`."""

    __slots__ = ("_keys",)

    def __init__(self, keys: BlockingKeys) -> None:
        self._keys = keys

    async def create(
        self, name: str, tenant: str, environment: str, may_speak_for_tenants: bool
    ) -> tuple[StoredKey, str]:
        def make() -> MadeKey:
            return self._keys.create(
                name, tenant=tenant, environment=environment, may_speak_for_tenants=may_speak_for_tenants
            )

        try:
            made = await asyncio.to_thread(make)
        except ConfigError as error:
            raise BadRequest(str(error)) from None
        return made.key, made.secret.reveal()

    async def list(self) -> Sequence[StoredKey]:
        return await asyncio.to_thread(self._keys.list)

    async def rotate(self, key_id: str) -> tuple[StoredKey, str]:
        try:
            made = await asyncio.to_thread(self._keys.rotate, key_id)
        except ConfigError as error:
            raise NotServed(str(error)) from None
        return made.key, made.secret.reveal()

    async def revoke(self, key_id: str) -> StoredKey:
        try:
            return await asyncio.to_thread(self._keys.revoke, key_id)
        except ConfigError as error:
            raise NotServed(str(error)) from None
