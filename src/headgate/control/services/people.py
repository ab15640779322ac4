"""People, their passwords and sessions, and API tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.control.people import Principal, Right
from headgate.control.problems import Conflict
from headgate.control.services import Rows
from headgate.core.actors import acting
from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.stores.api_tokens import ApiToken
from headgate.stores.people import Person

if TYPE_CHECKING:
    from headgate.control.context import Control


class People:
    """For admins; but everybody may change the own password, and log out everywhere."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._store = control.built.ledger.people
        self._sessions = control.built.ledger.sessions
        self._tokens = control.built.ledger.api_tokens
        self._passwords = control.identity.passwords

    def me(self, who: Principal) -> dict[str, Any]:
        """Who asks, and what may be done."""
        rights = sorted(right for right in Right if who.may(right))
        return {"name": who.name, "role": who.role, "tenant": who.tenant, "way": who.way, "rights": rights}

    def list(self, who: Principal) -> Rows:
        """By name."""
        who.need(Right.PEOPLE)
        return [_person(person) for person in self._store.list()]

    def add(self, who: Principal, name: str, role: str, *, tenant: str = "", password: str) -> dict[str, Any]:
        """Make a person. The first one closes the dashboard to everybody without login.

        Raises:
            BadRequest: a name, a role, a tenant or a password that cannot be.
            Conflict: the name is taken.
        """
        who.need(Right.PEOPLE)
        if self._store.find(name) is not None:
            raise Conflict(f"There is a person named {name} already.")
        with acting(who.actor):
            made = self._done(lambda: self._store.add(name, role, tenant=tenant, password=self._hash(password)))
        return _person(made)

    def change(self, who: Principal, name: str, role: str, *, tenant: str = "") -> dict[str, Any]:
        """Give a person another role; sessions that there are have it at once. Raises as `add`, and NotServed."""
        who.need(Right.PEOPLE)
        self._there(name)
        with acting(who.actor):
            return _person(self._done(lambda: self._store.change(name, role=role, tenant=tenant)))

    def set_password(self, who: Principal, name: str, password: str) -> dict[str, Any]:
        """Give a person another password and end its sessions. Raises as `change`."""
        who.need(Right.PEOPLE)
        self._there(name)
        with acting(who.actor):
            return _person(self._done(lambda: self._store.set_password(name, self._hash(password))))

    def remove(self, who: Principal, name: str) -> dict[str, Any]:
        """Remove a person, end its sessions, and revoke the API tokens that it has made: `tokens_revoked`, by name.

        Raises:
            NotServed: there is none of that name.
            Conflict: it is the last admin while there are others.
        """
        who.need(Right.PEOPLE)
        self._there(name)
        with acting(who.actor):
            try:
                removed = self._store.remove(name)
            except ConfigError as error:
                raise Conflict(error.message) from None
            finally:
                self._control.identity.forget()
        return {**_person(removed.person), "tokens_revoked": list(removed.tokens)}

    def log_out(self, who: Principal, name: str) -> dict[str, Any]:
        """End every session of a person: of oneself, or, for an admin, of anybody. Returns ``{"ended"}``."""
        if name != who.name:
            who.need(Right.PEOPLE)
        self._there(name)
        with acting(who.actor):
            return {"ended": self._done(lambda: self._sessions.end_all(name))}

    def own_password(self, who: Principal, old: str, new: str) -> dict[str, Any]:
        """Change one's own password; every session ends, this one too.

        Raises:
            Denied: the old one is not right.
            RateExceeded: too many tries.
            BadRequest: the new one cannot be, or who asks has none.
        """
        who.need(Right.SELF)
        if who.way != "dashboard":
            raise BadRequest("Only a person who has logged in has a password.")
        self._control.identity.check_password(who.name, old, who.address)
        with acting(who.actor):
            return _person(self._done(lambda: self._store.set_password(who.name, self._hash(new))))

    def tokens(self, who: Principal) -> Rows:
        """API tokens, revoked ones too, oldest first."""
        who.need(Right.PEOPLE)
        return [_token(token) for token in self._tokens.list()]

    def make_token(
        self, who: Principal, name: str, role: str, *, tenant: str = "", days: float | None = None
    ) -> dict[str, Any]:
        """Make an API token; `token` of what is told is the token itself, this once.

        Args:
            days: after which it expires; None: never.

        Raises:
            BadRequest: a name, a role or a tenant that cannot be.
        """
        who.need(Right.PEOPLE)
        expires = None if days is None else self._control.now() + days * 86_400.0
        with acting(who.actor):
            made, whole = self._done(lambda: self._tokens.make(name, role, tenant=tenant, expires=expires))
        return {**_token(made), "token": whole.reveal()}

    def revoke_token(self, who: Principal, token_id: str) -> dict[str, Any]:
        """End a token for good. Raises NotServed."""
        who.need(Right.PEOPLE)
        with acting(who.actor):
            try:
                return _token(self._tokens.revoke(token_id))
            except ConfigError as error:
                raise NotServed(error.message, code="no_token") from None

    def _there(self, name: str) -> None:
        if self._store.find(name) is None:
            raise NotServed("There is no person of this name.", code="no_person")

    def _hash(self, password: str) -> str:
        return self._passwords.hash(password)

    def _done(self, work: Any) -> Any:
        try:
            return work()
        except ConfigError as error:
            raise BadRequest(f"{error.message[:1].upper()}{error.message[1:]}.") from None
        finally:
            self._control.identity.forget()


def _person(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "role": person.role,
        "tenant": person.tenant,
        "created": person.created,
        "changed": person.changed,
    }


def _token(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "tenant": token.tenant,
        "made_by": token.made_by,
        "created": token.created,
        "expires": token.expires,
        "revoked": token.revoked,
    }
