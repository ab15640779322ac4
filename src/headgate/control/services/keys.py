"""Virtual keys: made, rotated and revoked; those of the configuration are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.control.people import Principal, Right
from headgate.control.problems import Conflict
from headgate.control.services import Rows
from headgate.core.actors import acting
from headgate.core.errors import BadRequest, ConfigError, Denied, NotServed
from headgate.gateway.auth import KeyRecord, digest

if TYPE_CHECKING:
    from headgate.control.context import Control
    from headgate.stores.keys import Key, NewKey

_MAX_TEXT = 200


class Keys:
    """A tenant-admin sees its tenant's keys; those that speak for all tenants it neither makes nor changes."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._store = control.built.ledger.keys

    def list(self, who: Principal) -> Rows:
        """All, revoked ones too, oldest first; then those of the configuration."""
        who.need(Right.READ)
        tenant = who.tenant_scope()
        stored = [_shown(key) for key in self._store.list()]
        settings = self._control.built.settings
        configured = [
            {
                "id": "",
                "name": key.name,
                "tenant": key.tenant,
                "environment": key.environment,
                "may_speak_for_tenants": key.may_speak_for_tenants,
                "last4": "",
                "created": None,
                "rotated": None,
                "revoked": None,
                "source": settings.origins.get(f"keys[{place}]", "configuration"),
            }
            for place, key in enumerate(settings.keys)
        ]
        return [key for key in (*stored, *configured) if tenant is None or key["tenant"] == tenant]

    def create(
        self, who: Principal, name: str, *, tenant: str = "", environment: str = "", may_speak_for_tenants: bool = False
    ) -> dict[str, Any]:
        """Make a key; `key` of what is told is the key itself, this once.

        Raises:
            BadRequest: a text that no terminal should show, or no name.
            Conflict: the name is taken.
            Denied: a tenant-admin, for another tenant or for all of them.
        """
        who.need(Right.KEYS)
        own = who.tenant_scope()
        if own is not None:
            if may_speak_for_tenants or tenant not in ("", own):
                raise BadRequest(f"Your keys are of the tenant {own}, and speak for no other.")
            tenant = own
        for text in (name, tenant, environment):
            if len(text) > _MAX_TEXT or not text.isprintable():
                raise BadRequest(f"A name, a tenant and an environment have at most {_MAX_TEXT} printable characters.")
        if not name.strip():
            raise BadRequest("A key needs a name.")
        with acting(who.actor):
            try:
                made = self._store.create(
                    name, tenant=tenant, environment=environment, may_speak_for_tenants=may_speak_for_tenants
                )
            except ConfigError as error:
                raise Conflict(error.message) from None
        return self._ringed(made)

    def rotate(self, who: Principal, key_id: str) -> dict[str, Any]:
        """Give a key a new secret, told this once; the old one stops working at once.

        Raises:
            NotServed: there is no such key.
            Denied: a tenant-admin, for a key that speaks for all tenants.
        """
        who.need(Right.KEYS)
        self._own(who, key_id)
        with acting(who.actor):
            try:
                return self._ringed(self._store.rotate(key_id))
            except ConfigError as error:
                raise NotServed(error.message, code="no_key") from None

    def revoke(self, who: Principal, key_id: str) -> dict[str, Any]:
        """End a key for good. Raises as `rotate`."""
        who.need(Right.KEYS)
        self._own(who, key_id)
        with acting(who.actor):
            try:
                revoked = self._store.revoke(key_id)
            except ConfigError as error:
                raise NotServed(error.message, code="no_key") from None
        ring = self._control.gateway.ring
        self._control.on_loop(lambda: ring.revoke(revoked.id))
        return next(_shown(key) for key in self._store.list() if key.id == revoked.id)

    def _own(self, who: Principal, key_id: str) -> None:
        """It is a key by its id, and one that `who` may touch: else it is as if there were none."""
        tenant = who.tenant_scope()
        found = next((key for key in self._store.list() if key.id == key_id and key.revoked is None), None)
        if found is None or (tenant is not None and found.tenant != tenant):
            raise NotServed("There is no working key with this id.", code="no_key")
        if tenant is not None and found.may_speak_for_tenants:
            # Its secret would open every other tenant to whoever holds it; ending it would shut them out.
            raise Denied(
                "This key speaks for all tenants: only an admin may change it.", code="forbidden", status_hint=403
            )

    def _ringed(self, made: NewKey) -> dict[str, Any]:
        key, text = made.key, made.secret.reveal()
        record = KeyRecord(key.id, key.name, key.tenant, key.environment, key.may_speak_for_tenants)
        ring = self._control.gateway.ring
        self._control.on_loop(lambda: ring.replace(digest(text), record))
        return {**_shown(key), "key": text}


def _shown(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "environment": key.environment,
        "may_speak_for_tenants": key.may_speak_for_tenants,
        "last4": key.last4,
        "created": key.created,
        "rotated": key.rotated,
        "revoked": key.revoked,
        "source": "ledger",
    }
