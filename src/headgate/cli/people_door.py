"""Where people are changed: through the gateway that writes the ledger's file, or in the ledger itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headgate.cli.ledger_door import LedgerDoor
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.stores.api_tokens import ApiToken
    from headgate.stores.people import Person

_HINT = "It has to be stopped for this; a gateway (`headgate serve`) would take the change itself"


class Door(LedgerDoor):
    """A context manager. Answers are the admin API's.

    Every method raises ConfigError for what cannot be, and where another program that is no gateway writes the ledger;
    Unavailable where it cannot be written.
    """

    def add(self, name: str, role: str, tenant: str, password: str) -> dict[str, Any]:
        """Make a person."""
        told = {"name": name, "role": role, "tenant": tenant, "password": password}
        answer = self._ask("POST", "", told)
        if answer is not None:
            return answer
        from headgate.stores.people import check

        check(name, role, tenant)
        hashed = _hashed(password)
        return _person(self._own(_HINT).people.add(name, role, tenant=tenant, password=hashed))

    def role(self, name: str, role: str, tenant: str) -> dict[str, Any]:
        """Give a person another role."""
        answer = self._ask("PUT", f"/{_quoted(name)}", {"role": role, "tenant": tenant})
        return answer if answer is not None else _person(self._own(_HINT).people.change(name, role=role, tenant=tenant))

    def password(self, name: str, password: str) -> dict[str, Any]:
        """Give a person another password; its sessions end."""
        answer = self._ask("PUT", f"/{_quoted(name)}/password", {"password": password})
        if answer is not None:
            return answer
        hashed = _hashed(password)
        return _person(self._own(_HINT).people.set_password(name, hashed))

    def logout(self, name: str) -> int:
        """End a person's sessions."""
        answer = self._ask("POST", f"/{_quoted(name)}/logout", {})
        return int(answer["ended"]) if answer is not None else self._own(_HINT).sessions.end_all(name)

    def remove(self, name: str) -> dict[str, Any]:
        """Remove a person; `tokens_revoked` are the names of the API tokens that went with it."""
        answer = self._ask("DELETE", f"/{_quoted(name)}", None)
        if answer is not None:
            return answer
        removed = self._own(_HINT).people.remove(name)
        return {**_person(removed.person), "tokens_revoked": list(removed.tokens)}

    def make_token(self, name: str, role: str, tenant: str, days: float | None) -> dict[str, Any]:
        """Make an API token; `token` is told this once."""
        told = {"name": name, "role": role, "tenant": tenant, "days": days}
        answer = self._ask("POST", "", told, room="tokens")
        if answer is not None:
            return answer
        expires = None if days is None else time.time() + days * 86_400.0
        made, whole = self._own(_HINT).api_tokens.make(name, role, tenant=tenant, expires=expires)
        return {**token_json(made), "token": whole.reveal()}

    def revoke_token(self, token_id: str) -> dict[str, Any]:
        """End an API token."""
        answer = self._ask("DELETE", f"/{_quoted(token_id)}", None, room="tokens")
        return answer if answer is not None else token_json(self._own(_HINT).api_tokens.revoke(token_id))

    def _ask(
        self, method: str, path: str, fields: Mapping[str, object] | None, *, room: str = "people"
    ) -> dict[str, Any] | None:
        """The running gateway's answer, or None where none has to be asked."""
        from headgate.cli.control import ask_running
        from headgate.stores.opening import sqlite_file

        file = sqlite_file(self._settings.storage)
        return None if file is None else ask_running(file, method, f"/v1/{room}{path}", fields)


def _hashed(password: str) -> str:
    """As the gateway would hash it."""
    from importlib.util import find_spec

    if find_spec("argon2") is None:
        raise ConfigError("passwords need the server's packages: pip install 'headgate[gateway]'")
    from headgate.control.passwords import Passwords

    return Passwords().hash(password)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _person(person: Person) -> dict[str, Any]:
    return {name: getattr(person, name) for name in ("name", "role", "tenant", "created", "changed")}


def token_json(token: ApiToken) -> dict[str, Any]:
    """As the admin API shows a token."""
    names = ("id", "name", "role", "tenant", "made_by", "created", "expires", "revoked")
    return {name: getattr(token, name) for name in names}
