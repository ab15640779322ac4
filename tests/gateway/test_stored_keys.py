"""Keys that other processes make, rotate and revoke in a ledger that several write."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest

from headgate.core.errors import Denied, Unavailable
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.gateway.rotation import StoredKeys


@dataclass(frozen=True)
class Key:
    id: str
    hash: str
    name: str = "ci"
    tenant: str = "acme"
    environment: str = ""
    may_speak_for_tenants: bool = False
    created: float = 1.0
    revoked: float | None = None


def key(number: int, secret: str) -> Key:
    return Key(f"k{number}", digest(secret).hex())


class Stored:
    """What the ledger says; `error` if it cannot."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)
        self.error: Exception | None = None

    def __call__(self) -> list[Key]:
        if self.error is not None:
            raise self.error
        return list(self.keys)


def admitted(ring: KeyRing, secret: str) -> str:
    try:
        return ring.admit([(b"x-api-key", secret.encode())]).id
    except Denied:
        return ""


def test_a_key_made_elsewhere_comes_in_at_the_next_look_and_a_revoked_one_does_not() -> None:
    ring, stored = KeyRing(), Stored(key(1, "one"))
    keys = StoredKeys(ring, stored)
    keys.fill()
    stored.keys = [replace(stored.keys[0], revoked=2.0), key(2, "two")]
    assert [admitted(ring, each) for each in ("one", "two")] == ["k1", ""]
    asyncio.run(keys.look())
    assert [admitted(ring, each) for each in ("one", "two")] == ["", "k2"]


def test_a_key_rotated_elsewhere_works_with_the_new_secret_only() -> None:
    ring, stored = KeyRing(), Stored(key(1, "old"))
    keys = StoredKeys(ring, stored)
    keys.fill()
    stored.keys = [key(1, "new")]
    asyncio.run(keys.look())
    assert [admitted(ring, each) for each in ("old", "new")] == ["", "k1"]


def test_the_first_key_closes_a_gateway_that_was_open_even_if_it_is_revoked_by_now() -> None:
    ring, stored = KeyRing(loopback=True), Stored()
    keys = StoredKeys(ring, stored)
    keys.fill()
    local = [(b"host", b"127.0.0.1")]
    assert ring.admit(local).name == ""
    stored.keys = [replace(key(1, "one"), revoked=2.0)]
    asyncio.run(keys.look())
    with pytest.raises(Denied):
        ring.admit(local)


def test_seeing_the_same_again_changes_nothing() -> None:
    ring, stored = KeyRing(), Stored(key(1, "one"))
    keys = StoredKeys(ring, stored)
    keys.fill()
    version = ring.version
    asyncio.run(keys.look())
    assert ring.version == version


def test_while_the_ledger_cannot_be_read_the_known_keys_stay() -> None:
    ring, stored = KeyRing(), Stored(key(1, "one"))
    keys = StoredKeys(ring, stored)
    keys.fill()
    stored.error = Unavailable("the database is away")
    asyncio.run(keys.look())
    assert admitted(ring, "one") == "k1"


def test_a_key_revoked_here_while_the_ledger_was_being_read_stays_revoked() -> None:
    ring, stored = KeyRing(), Stored()
    keys = StoredKeys(ring, stored)
    keys.fill()

    def read_slowly() -> list[Key]:
        found = [key(1, "one")]
        ring.replace(digest("one"), KeyRecord("k1", "ci"))
        ring.revoke("k1")
        return found

    keys._read = read_slowly
    asyncio.run(keys.look())
    assert admitted(ring, "one") == ""
