"""Virtual keys: made here, shown once, stored as SHA-256 (decisions 18).

A plain hash is enough because the secret has 256 bits of randomness: there is nothing to guess, and a slow hash would
be paid on every request.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from headgate.core.actors import actor
from headgate.core.errors import ConfigError
from headgate.core.secret import Secret
from headgate.stores.audit_log import append
from headgate.stores.dialects import take_turns_with_keys
from headgate.stores.schema import keys

T = TypeVar("T")

ID_LENGTH = 8
SECRET_BYTES = 32
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key. Times are seconds since the epoch; `hash` is the SHA-256 of the whole key in hex."""

    id: str
    name: str
    hash: str
    last4: str  # of the secret, so that people can tell keys apart
    tenant: str
    environment: str
    created: float
    rotated: float | None
    revoked: float | None
    may_speak_for_tenants: bool


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `secret` is the whole ``hg-<id>-<secret>`` and exists only here: show it once."""

    key: Key
    secret: Secret


class _Run(Protocol):
    def __call__(self, work: Callable[[Connection], T], /) -> T: ...


def key_hash(key: str | bytes) -> str:
    """What a presented key is looked up by."""
    return hashlib.sha256(key if isinstance(key, bytes) else key.encode()).hexdigest()


class KeyStore:
    """The ledger's `keys` table. Every method blocks for a commit; on an event loop call it in a thread.

    Changes are in the audit log, in the same transaction; who makes them is told by `core.actors`.
    """

    def __init__(self, run: _Run, *, now: Callable[[], float]) -> None:
        """
        Args:
            run: runs a function of a connection in the writer thread, in a transaction, and returns its result.
            now: seconds since the epoch.
        """
        self._run = run
        self._now = now

    def create(
        self, name: str, *, tenant: str = "", environment: str = "", may_speak_for_tenants: bool = False
    ) -> NewKey:
        """Make a key.

        Args:
            name: for people; unique among the keys that are not revoked.

        Raises:
            ConfigError: the name is empty or taken.
        """
        if not name.strip():
            raise ConfigError("a key needs a name, so that people can tell what it is for")
        key_id = "".join(secrets.choice(_BASE32) for _ in range(ID_LENGTH))
        whole, digest, last4 = _secret(key_id)
        key = Key(
            key_id, name, digest, last4, tenant, environment, self._now(), None, None, bool(may_speak_for_tenants)
        )

        who = actor()

        def insert(connection: Connection) -> None:
            take_turns_with_keys(connection)
            if connection.execute(keys.select().where(keys.c.name == name, keys.c.revoked.is_(None))).first():
                raise ConfigError(f"there is a key named {name!r} already; choose another name, or rotate that one")
            connection.execute(
                keys.insert().values(
                    {field: getattr(key, field) for field in Key.__slots__}
                    | {"may_speak_for_tenants": int(key.may_speak_for_tenants)}
                )
            )
            append(connection, key.created, "key.create", key.id, who=who, tenant=tenant, after=_shown(key))

        self._run(insert)
        return NewKey(key, Secret(whole))

    def rotate(self, id_or_name: str) -> NewKey:
        """Give a key a new secret; the old one stops working at once. Id, name and rights stay.

        Raises:
            ConfigError: there is no such key, or it is revoked.
        """

        who, now = actor(), self._now()

        def replace(connection: Connection) -> NewKey:
            take_turns_with_keys(connection)
            old = _find(connection, id_or_name)
            whole, digest, last4 = _secret(old.id)
            changed = {"hash": digest, "last4": last4, "rotated": now}
            connection.execute(keys.update().where(keys.c.id == old.id).values(changed))
            new = _find(connection, old.id)
            before, after = _shown(old), _shown(new)
            append(connection, now, "key.rotate", old.id, who=who, tenant=old.tenant, before=before, after=after)
            return NewKey(new, Secret(whole))

        return self._run(replace)

    def revoke(self, id_or_name: str) -> Key:
        """End a key for good; its row stays, so that old exchanges can be explained.

        Raises:
            ConfigError: there is no such key, or it is revoked already.
        """

        who, now = actor(), self._now()

        def end(connection: Connection) -> Key:
            take_turns_with_keys(connection)
            old = _find(connection, id_or_name)
            connection.execute(keys.update().where(keys.c.id == old.id).values(revoked=now))
            append(connection, now, "key.revoke", old.id, who=who, tenant=old.tenant, before=_shown(old))
            return old

        return self._run(end)

    def list(self) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        return self._run(_all)

    def load_all(self) -> dict[str, Key]:
        """The keys that work, by hash: what the gateway looks a presented key up in."""
        return {key.hash: key for key in self._run(_all) if key.revoked is None}


def read_keys(connection: Connection) -> list[Key]:
    """All keys, oldest first, on any connection (the reader's, for the command line)."""
    return _all(connection)


def _all(connection: Connection) -> list[Key]:

    return [_key(row) for row in connection.execute(keys.select().order_by(keys.c.created, keys.c.id)).mappings()]


def _find(connection: Connection, id_or_name: str) -> Key:

    working = keys.select().where(keys.c.revoked.is_(None))
    # An id wins over a name, so that nobody can shadow a key by naming another after its id.
    for column in (keys.c.id, keys.c.name):
        row = connection.execute(working.where(column == id_or_name)).mappings().first()
        if row is not None:
            return _key(row)
    raise ConfigError(f"there is no working key with the id or name {id_or_name!r}; `headgate keys list` shows them")


def _key(row: Any) -> Key:
    return Key(**{**row, "may_speak_for_tenants": bool(row["may_speak_for_tenants"])})


def _shown(key: Key) -> dict[str, Any]:
    """For the audit log: without the hash."""
    told = {name: getattr(key, name) for name in ("name", "tenant", "environment", "may_speak_for_tenants", "last4")}
    return {name: value for name, value in told.items() if value}


def _secret(key_id: str) -> tuple[str, str, str]:
    whole = f"hg-{key_id}-{secrets.token_urlsafe(SECRET_BYTES)}"
    return whole, key_hash(whole), whole[-4:]
