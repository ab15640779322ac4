"""People who may use the dashboard and the admin API. Passwords are argon2id hashes, which the caller has made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, delete, func, insert, inspect, select, update

from headgate.core.actors import actor
from headgate.core.errors import ConfigError
from headgate.stores.audit_log import append
from headgate.stores.reader import NoLedger, Reader
from headgate.stores.schema import people, sessions
from headgate.stores.token_makers import audit_revoked, revoke_made_by

T = TypeVar("T")

ROLES = ("admin", "operator", "viewer", "tenant-admin")
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Person:
    """Times are seconds since the epoch. `tenant` is a tenant-admin's; "" else."""

    name: str
    role: str
    tenant: str
    password: str = field(repr=False)  # an argon2id hash
    created: float
    changed: float
    sessions_from: float


@dataclass(frozen=True, slots=True)
class Removed:
    """A person that there was. `tokens`: the names of its API tokens, which are revoked."""

    person: Person
    tokens: tuple[str, ...]


class _Run(Protocol):
    def __call__(self, work: Callable[[Connection], T], /) -> T: ...


class PeopleStore:
    """The ledger's `people`. Every method blocks for a commit.

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

    def list(self) -> list[Person]:
        """By name."""
        return self._run(read_people)

    def find(self, name: str) -> Person | None:
        """One, by name."""
        return self._run(lambda sql: person_named(sql, name))

    def add(self, name: str, role: str, *, tenant: str = "", password: str) -> Person:
        """Make a person.

        Args:
            password: its argon2id hash.

        Raises:
            ConfigError: a name or role that is none, or a name that is taken; the first person is no admin.
        """
        check(name, role, tenant)
        now, who = self._now(), actor()
        made = Person(name, role, tenant, password, now, now, now)

        def work(sql: Connection) -> Person:
            if person_named(sql, name) is not None:
                raise ConfigError(f"there is a person named {name!r} already")
            if role != "admin" and _admins(sql) == 0:
                raise ConfigError("the first person has to be an admin: nobody else could make more of them")
            sql.execute(insert(people).values({each: getattr(made, each) for each in Person.__slots__}))
            append(sql, now, "person.add", name, who=who, tenant=tenant, after={"role": role, "tenant": tenant})
            return made

        return self._run(work)

    def change(self, name: str, *, role: str, tenant: str = "") -> Person:
        """Give a person another role. It counts for the sessions that there are, too.

        Raises:
            ConfigError: there is no such person or role, or it is the last admin.
        """
        check(name, role, tenant)
        now, who = self._now(), actor()

        def work(sql: Connection) -> Person:
            old = known_person(sql, name)
            if old.role == "admin" and role != "admin" and _admins(sql) == 1:
                raise ConfigError(f"{name} is the last admin: make another one first")
            sql.execute(update(people).where(people.c.name == name).values(role=role, tenant=tenant, changed=now))
            before = {"role": old.role, "tenant": old.tenant}
            after = {"role": role, "tenant": tenant}
            append(sql, now, "person.change", name, who=who, tenant=tenant, before=before, after=after)
            return known_person(sql, name)

        return self._run(work)

    def set_password(self, name: str, password: str) -> Person:
        """Give a person another password, and end the sessions that there are.

        Args:
            password: its argon2id hash.

        Raises:
            ConfigError: there is no such person.
        """
        now, who = self._now(), actor()

        def work(sql: Connection) -> Person:
            old = known_person(sql, name)
            sql.execute(update(people).where(people.c.name == name).values(password=password, changed=now))
            end_sessions(sql, name, now)
            append(sql, now, "person.password", name, who=who, tenant=old.tenant)
            return known_person(sql, name)

        return self._run(work)

    def rehash(self, name: str, old: str, new: str) -> None:
        """The same password, hashed with today's cost. Nothing that anybody changed, so it is not on record."""
        self._run(
            lambda sql: sql.execute(
                update(people).where(people.c.name == name, people.c.password == old).values(password=new)
            )
        )

    def remove(self, name: str) -> Removed:
        """Remove a person, end its sessions, and revoke the API tokens that it has made.

        Raises:
            ConfigError: there is no such person, or it is the last admin while there are others.
        """
        now, who = self._now(), actor()

        def work(sql: Connection) -> Removed:
            old = known_person(sql, name)
            others = len(read_people(sql)) - 1
            if old.role == "admin" and _admins(sql) == 1 and others:
                raise ConfigError(f"{name} is the last admin: make another one first")
            # In the order of everybody who changes both, else two gateways could wait for each other.
            sql.execute(delete(people).where(people.c.name == name))
            sql.execute(delete(sessions).where(sessions.c.person == name))
            tokens = revoke_made_by(sql, name, now)
            before = {"role": old.role, "tenant": old.tenant}
            append(sql, now, "person.remove", name, who=who, tenant=old.tenant, before=before)
            audit_revoked(sql, tokens, now, who)
            return Removed(old, tuple(str(each["name"]) for each in tokens))

        return self._run(work)


def check(name: str, role: str, tenant: str) -> None:
    """Raises ConfigError: a name, a role, or a tenant with a role that has none."""
    if not is_name(name):
        raise ConfigError(
            "a person's name has 1 to 64 lower-case letters, digits and . _ @ + -, and begins with a letter or digit"
        )
    check_role(role, tenant)


def is_name(text: str) -> bool:
    """Whether a person could have this name."""
    return _NAME.fullmatch(text) is not None


def check_role(role: str, tenant: str) -> None:
    """Raises ConfigError: no such role, or a tenant where none, or none where one belongs to it."""
    if role not in ROLES:
        raise ConfigError(f"there is no role {role[:32]!r}: {', '.join(ROLES)}")
    if len(tenant) > _MAX_TEXT or not tenant.isprintable():
        raise ConfigError(f"a tenant is a text of at most {_MAX_TEXT} printable characters")
    if (role == "tenant-admin") != bool(tenant):
        raise ConfigError("a tenant-admin needs a tenant, and the other roles have none: they see all of them")


def read_people(sql: Connection) -> list[Person]:
    """All, by name, on any connection."""
    return [Person(**row) for row in sql.execute(select(people).order_by(people.c.name)).mappings()]


def people_beside(reader: Reader) -> list[Person]:
    """The people of a ledger that another process writes; none where there is none, or an earlier Headgate wrote it.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return reader._ask(lambda sql: read_people(sql) if inspect(sql).has_table(people.name) else [])
    except NoLedger:
        return []


def person_named(sql: Connection, name: str) -> Person | None:
    """One, by name, on any connection."""
    row: Any = sql.execute(select(people).where(people.c.name == name)).mappings().first()
    return None if row is None else Person(**row)


def known_person(sql: Connection, name: str) -> Person:
    """As `person_named`. Raises ConfigError where there is none."""
    found = person_named(sql, name)
    if found is None:
        raise ConfigError(f"there is no person named {name[:64]!r}; `headgate people list` shows them")
    return found


def _admins(sql: Connection) -> int:
    return int(sql.execute(select(func.count()).select_from(people).where(people.c.role == "admin")).scalar_one())


def end_sessions(sql: Connection, person: str, now: float) -> int:
    """Those that began before `now` are over. Returns how many there were."""
    sql.execute(update(people).where(people.c.name == person).values(sessions_from=now))
    return int(sql.execute(delete(sessions).where(sessions.c.person == person)).rowcount)
