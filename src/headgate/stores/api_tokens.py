"""API tokens: programs' credentials for the admin API. They have 256 random bits, so a plain SHA-256 is stored."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sqlalchemy import Connection, insert, inspect, select, update

from headgate.core.actors import actor
from headgate.core.errors import ConfigError
from headgate.core.secret import Secret
from headgate.stores.audit_log import append
from headgate.stores.keys import key_hash
from headgate.stores.people import check_role
from headgate.stores.reader import NoLedger, Reader
from headgate.stores.schema import api_tokens

T = TypeVar("T")

PREFIX = "hga-"

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A program's credential, without it. Times are seconds since the epoch; None: never, not."""

    id: str
    name: str
    hash: str = field(repr=False)
    role: str
    tenant: str
    made_by: str
    created: float
    expires: float | None
    revoked: float | None


class _Run(Protocol):
    def __call__(self, work: Callable[[Connection], T], /) -> T: ...


class TokenStore:
    """The ledger's `api_tokens`. Every method blocks for a commit. Changes are in the audit log, as people's are."""

    def __init__(self, run: _Run, *, now: Callable[[], float]) -> None:
        """
        Args:
            run: runs a function of a connection in the writer thread, in a transaction, and returns its result.
            now: seconds since the epoch.
        """
        self._run = run
        self._now = now

    def make(self, name: str, role: str, *, tenant: str = "", expires: float | None = None) -> tuple[ApiToken, Secret]:
        """An API token, and the whole ``hga-<id>-<secret>``: shown once.

        Args:
            expires: seconds since the epoch; None: never.

        Raises:
            ConfigError: a name or role that is none, a name that is taken, or a time that is past.
        """
        check_role(role, tenant)
        if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
            raise ConfigError(f"a token needs a name of at most {_MAX_NAME} printable characters")
        now, who = self._now(), actor()
        if expires is not None and expires <= now:
            raise ConfigError("the time at which the token expires is past")
        token_id = "".join(secrets.choice(_BASE32) for _ in range(8))
        whole = f"{PREFIX}{token_id}-{secrets.token_urlsafe(32)}"
        made = ApiToken(token_id, name, key_hash(whole), role, tenant, who.name, now, expires, None)

        def work(sql: Connection) -> tuple[ApiToken, Secret]:
            c = api_tokens.c
            if sql.execute(select(c.id).where(c.name == name, c.revoked.is_(None))).first():
                raise ConfigError(f"there is a token named {name!r} already")
            sql.execute(insert(api_tokens).values({each: getattr(made, each) for each in ApiToken.__slots__}))
            after = {"name": name, "role": role, "tenant": tenant, "expires": expires}
            append(sql, now, "token.create", token_id, who=who, tenant=tenant, after=after)
            return made, Secret(whole)

        return self._run(work)

    def list(self) -> list[ApiToken]:
        """All, revoked ones too, oldest first."""
        return self._run(_all)

    def find(self, token_id: str) -> ApiToken | None:
        """One that is valid now, by its id; its hash is the caller's to compare."""
        return self._run(lambda sql: read_token(sql, token_id, self._now()))

    def revoke(self, token_id: str) -> ApiToken:
        """End a token for good.

        Raises:
            ConfigError: there is no such token, or it is revoked already.
        """
        now, who, c = self._now(), actor(), api_tokens.c

        def work(sql: Connection) -> ApiToken:
            row = sql.execute(select(api_tokens).where(c.id == token_id, c.revoked.is_(None))).mappings().first()
            if row is None:
                raise ConfigError(f"there is no working token with the id {token_id[:64]!r}")
            sql.execute(update(api_tokens).where(c.id == token_id).values(revoked=now))
            append(sql, now, "token.revoke", token_id, who=who, tenant=row["tenant"], before={"name": row["name"]})
            return ApiToken(**{**row, "revoked": now})

        return self._run(work)


def tokens_beside(reader: Reader) -> list[ApiToken]:
    """The tokens of a ledger that another process writes; none where there is none, or an earlier Headgate wrote it.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return reader._ask(lambda sql: _all(sql) if inspect(sql).has_table(api_tokens.name) else [])
    except NoLedger:
        return []


def read_token(sql: Connection, token_id: str, now: float) -> ApiToken | None:
    """One that is valid at `now`, on any connection."""
    c = api_tokens.c
    valid = (c.id == token_id, c.revoked.is_(None), (c.expires.is_(None)) | (c.expires > now))
    row = sql.execute(select(api_tokens).where(*valid)).mappings().first()
    return None if row is None else ApiToken(**row)


def _all(sql: Connection) -> list[ApiToken]:
    query = select(api_tokens).order_by(api_tokens.c.created, api_tokens.c.id)
    return [ApiToken(**row) for row in sql.execute(query).mappings()]
