"""What erasing a subject means, in the log store of either database."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from headgate.stores.logs import user_sums
from headgate.stores.logs.sql import Sql

Kind = Literal["user", "session", "tenant"]


class BadSubject(ValueError):
    """There is nothing that could be erased by that name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose words are to go: a user, a session, or everybody of a tenant.

    Attributes:
        value: the name, whole.
        tenant: of a user or session: only this tenant's; None: by this name anywhere.
    """

    kind: Kind
    value: str
    tenant: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("user", "session", "tenant"):
            raise BadSubject("what can be erased is a user, a session or a tenant")
        if not self.value:
            raise BadSubject(f"say which {self.kind}: an empty name would be everybody without one")
        if self.kind == "tenant" and self.tenant not in (None, self.value):
            raise BadSubject("this tenant's data is not yours to erase")


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased.

    Attributes:
        exchanges: rows of the subject; they stay, with their counts and costs, under `pseudonym`.
        bodies: of them, those whose words or whole request are gone now.
        events: other lines that named it.
        pseudonym: stands for the name from now on; "" where nothing was found.
        spool_emptied: the JSON lines here hold nothing of it any more.
        spools_left: files of lines of other gateways that are on record and may hold something of it: each is emptied
            by its own gateway, in its next turn.
    """

    exchanges: int = 0
    bodies: int = 0
    events: int = 0
    pseudonym: str = ""
    spool_emptied: bool = True
    spools_left: int = 0


def pseudonym() -> str:
    """A new name that tells nothing: it is not made from the old one."""
    return f"erased-{secrets.token_hex(4)}"


def renamed(value: Any, old: str, new: str) -> Any:
    """A JSON value with every string that is `old` as `new`, also in the scope of a budget with several dimensions."""
    if isinstance(value, str):
        return new if value == old else _renamed_scope(value, old, new)
    if isinstance(value, dict):
        return {name: renamed(each, old, new) for name, each in value.items()}
    return [renamed(each, old, new) for each in value] if isinstance(value, list | tuple) else value


def _renamed_scope(value: str, old: str, new: str) -> str:
    """As `policy.budgets.scope_of` writes it: a list in JSON."""
    if not value.startswith("["):
        return value
    try:
        parts = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
    if not isinstance(parts, list) or old not in parts:
        return value
    return msgspec.json.encode(renamed(parts, old, new)).decode()


class Names:
    """The new names of users and sessions: of one user, its sessions too; of a tenant, all of them; of a session, its
    own alone.

    Attributes:
        pseudonym: what the new names begin with.
        users, sessions: the new name by the old.
        tenant: whose they are; None: anybody's.
        apart: is in the new names that are counted, so that nobody else gives the same; "" = nobody else gives any.
    """

    def __init__(self, subject: Subject, said: str, apart: str = "") -> None:
        self._subject = subject
        self.pseudonym = said
        self.users: dict[str, str] = {}
        self.sessions: dict[str, str] = {}
        self.tenant = subject.value if subject.kind == "tenant" else subject.tenant
        self._looked_for: set[str] = set()
        self._apart = apart

    def user(self, old: str) -> str:
        """A user's name from now on."""
        if not old or self._subject.kind == "session" or old.startswith(self.pseudonym):
            return old
        if self._subject.kind == "user":
            return self.users.setdefault(old, self.pseudonym)
        return self.users.setdefault(old, f"{self.pseudonym}-{self._apart}u{len(self.users) + 1}")

    def session(self, old: str) -> str:
        """A session's name from now on."""
        if not old or old.startswith(self.pseudonym):
            return old
        if self._subject.kind == "session":
            return self.sessions.setdefault(old, self.pseudonym)
        return self.sessions.setdefault(old, f"{self.pseudonym}-{self._apart}s{len(self.sessions) + 1}")

    def tags(self, told: Any) -> Any:
        """Tags without the old names; without any of a tenant's."""
        if self._subject.kind == "tenant":
            return {}
        for old, new in self.all().items():
            told = renamed(told, old, new)
        return told

    def to_look_for(self) -> dict[str, str]:
        """As `all`, without those that it has told before."""
        found = {old: new for old, new in self.all().items() if old not in self._looked_for}
        self._looked_for |= found.keys()
        return found

    def all(self) -> dict[str, str]:
        """The new name by the old, of those that are to be looked for elsewhere."""
        if self._subject.kind == "user":
            return {**self.users, self._subject.value: self.pseudonym}
        return {**self.users, **self.sessions}


def summed_names(sql: Sql, subject: Subject) -> list[str]:
    """The users that sums are to lose: whose rows have gone before them, too."""
    if subject.kind == "session":
        return []
    if subject.kind == "user":
        return user_sums.names_of(sql, subject.value, subject.tenant)
    return user_sums.names_of(sql, tenant=subject.value)


def rename_sums(sql: Sql, said: Names) -> None:
    """Sums by user: under the new names; where only one tenant's user goes, the others' part stays."""
    user_sums.rename(sql, said.users, said.tenant)


def erase_events(sql: Sql, said: Names) -> int:
    """Lines that are not about an exchange, by the names that were not looked for yet. Call it with the rows that these
    names are of, in their transaction: they are the only ones to tell a user's sessions.

    One that names no tenant is everybody's: where a single tenant's data go, its names are looked for only where
    callers' names are. A user may be called "critical", and the alerts of others shall stay critical.
    """
    count = 0
    asked = "SELECT n, fields FROM log_events WHERE fields LIKE ? ESCAPE '!' OR fields LIKE ? ESCAPE '!'"
    for old, new in said.to_look_for().items():
        patterns = f"%{_like(old)}%", f"%{_like(_inside(old))}%"
        for n, fields in sql.execute(asked, patterns).fetchall():
            told = msgspec.json.decode(fields)
            changed = renamed_event(told, said.tenant, old, new)
            if changed != told:
                sql.execute("UPDATE log_events SET fields = ? WHERE n = ?", (msgspec.json.encode(changed).decode(), n))
                count += 1
    return count


def renamed_event(told: dict[str, Any], tenant: str | None, old: str, new: str) -> dict[str, Any]:
    """The fields of an event with a new name for an old one of this tenant; None: of any."""
    whose = told.get("tenant")
    if tenant is not None and whose not in (None, tenant):
        return told
    some = set(told) if tenant is None or whose is not None else _callers(told)
    return {name: renamed(each, old, new) if name in some else each for name, each in told.items()}


def _callers(fields: Mapping[str, Any]) -> set[str]:
    """Fields of an event in which callers' names are."""
    names = {"user", "user_id", "session", "session_id", "tags"}
    return names | {"scope"} if "budget" in fields else names


def _inside(value: str) -> str:
    """As JSON writes it between quotes."""
    return msgspec.json.encode(value).decode()[1:-1]


def _like(value: str) -> str:
    return _inside(value).replace("!", "!!").replace("%", "!%").replace("_", "!_")
