"""Who may come in: virtual keys by SHA-256, and the rules for a gateway on loopback without any (decisions 18)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.core.errors import Denied

if TYPE_CHECKING:
    from headgate.core.exchange import Headers

NEVER_FORWARDED = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"proxy-authorization", b"cookie"})
"""Header names that are, or may be, the caller's credential: they never go to a provider, whichever of them was used.
Cookies are among them because a browser sends those of every application on the same host name."""

_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key"})
_ORDER = (b"x-api-key", b"authorization", b"x-goog-api-key")
_LOCAL_HOSTS = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})

_MISSING = (
    "No key in the request. Send a Headgate key as `Authorization: Bearer …` or `x-api-key: …`: "
    "the SDK's api_key. `headgate keys create` makes one."
)
_NOT_VALID = "The key is not valid: it is unknown here, or revoked. `headgate keys list` shows the ones there are."
_PROVIDERS_KEY = (
    "The key looks like a provider's own. This gateway takes Headgate keys (`headgate keys create`) "
    "and adds the provider's key itself."
)
_FOREIGN_HOST = (
    "Without keys this gateway serves this machine only, under localhost, 127.0.0.1 or [::1]. "
    "To serve it under another name, configure a key."
)
_FOREIGN_ORIGIN = "Without keys this gateway does not serve web pages. To call it from one, configure a key."


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A virtual key, without the key."""

    id: str
    name: str
    tenant: str = ""
    environment: str = ""
    may_speak_for_tenants: bool = False


LOCAL = KeyRecord(id="", name="", may_speak_for_tenants=True)
"""The caller on loopback where no key is configured: whoever can reach the gateway owns it."""


def digest(key: str | bytes) -> bytes:
    """What a key is stored and looked up by."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).digest()


class KeyRing:
    """The keys that are valid now: those of the config and those of the database.

    Holds digests only. A key is hashed on every request (0.5 us) rather than remembered, so no key stays in memory;
    the lookup is by digest, whose timing tells nothing about a key.

    One thread (the event loop's) changes and reads it. `version` is another one after every change.

    Args:
        loopback: the gateway listens on a loopback address. Only then is it open as long as no key has ever been
            put on the ring; the first one closes it for good, revoked or not.
    """

    __slots__ = ("_configured", "_loopback", "_records", "version")

    def __init__(self, *, loopback: bool = False) -> None:
        self._records: dict[bytes, KeyRecord] = {}
        self._loopback = loopback
        self._configured = False
        self.version = 0

    @property
    def loopback(self) -> bool:
        """The gateway listens on a loopback address."""
        return self._loopback

    @property
    def shared(self) -> bool:
        """Keys of different owners (tenants, or keys without one) are on the ring."""
        return len({record.tenant or record.id or record.name for record in self._records.values()}) > 1

    @property
    def configured(self) -> bool:
        """Any key has been put on the ring, valid or revoked."""
        return self._configured

    def add(self, key_digest: bytes, record: KeyRecord, *, revoked: bool = False) -> None:
        """Put a key on the ring by its `digest`. A revoked one is never valid, but closes an open gateway."""
        self._configured = True
        self.version += 1
        if not revoked:
            self._records[key_digest] = record

    def replace(self, key_digest: bytes, record: KeyRecord) -> None:
        """After a rotation: what was valid under `record.id` is not any more, the new digest is."""
        self.revoke(record.id)
        self.add(key_digest, record)

    def revoke(self, key_id: str) -> None:
        """From now on no key with this id is valid. Unknown ids are fine."""
        self.version += 1
        self._records = {known: record for known, record in self._records.items() if record.id != key_id}

    def admit(self, headers: Headers) -> KeyRecord:
        """The record of the request's key.

        The key may be in `x-api-key`, `Authorization: Bearer` or `x-goog-api-key`. Where several are sent, the first
        valid one in this order counts (the Anthropic API prefers `x-api-key` too): a client that has a provider's key
        in its environment besides ours still comes in.

        Args:
            headers: the request's, with lower-case names.

        Raises:
            Denied: 401 without a valid key; 403 for a foreign Host or any Origin where no key is configured.
        """
        if not self._configured and self._loopback:
            return _admit_local(headers)
        found = [header for header in headers if header[0] in _CREDENTIALS]
        if len(found) > 1:
            found.sort(key=_rank)
        key = b""
        for name, value in found:
            if name == b"authorization":
                if value[:7].lower() != b"bearer ":
                    continue
                value = value[7:].strip()
            if not value:
                continue
            key = value
            record = self._records.get(hashlib.sha256(value).digest())
            if record is not None:
                return record
        if not key:
            raise Denied(_MISSING, code="missing_api_key")
        raise Denied(_PROVIDERS_KEY if key.startswith(b"sk-") else _NOT_VALID)


def _rank(header: tuple[bytes, bytes]) -> int:
    return _ORDER.index(header[0])


def _admit_local(headers: Headers) -> KeyRecord:
    """Keep web pages out: a page may be able to send a request here (DNS rebinding), but not to hide its origin."""
    host = b""
    for name, value in headers:
        if name == b"host":
            host = value
        elif name == b"origin":
            raise Denied(_FOREIGN_ORIGIN, code="foreign_origin", status_hint=403)
    if not is_local_host(host):
        raise Denied(_FOREIGN_HOST, code="foreign_host", status_hint=403)
    return LOCAL


def is_local_host(host: bytes) -> bool:
    """Whether a Host header names this machine: localhost, 127.0.0.1 or [::1], with any port or none."""
    if host in _LOCAL_HOSTS:
        return True
    name, colon, port = host.rpartition(b":")
    bare = name if colon and port.isdigit() else host
    return bare.lower() in _LOCAL_HOSTS
