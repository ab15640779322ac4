"""Which API tokens go with a person who is removed: those that it made, and those that were made with these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from headgate.core.actors import Actor
from headgate.stores.audit_log import append
from headgate.stores.schema import api_tokens


@dataclass(frozen=True, slots=True)
class _Maker:
    """A name under which tokens are made, and when it was this one's: a token's name is given again once it is
    revoked. Times are seconds since the epoch."""

    name: str
    since: float
    until: float

    def made(self, token: Mapping[Any, Any]) -> bool:
        return bool(token["made_by"] == self.name and self.since <= token["created"] <= self.until)


def revoke_made_by(sql: Connection, person: str, now: float) -> list[Mapping[Any, Any]]:
    """Revoke the working tokens that a person has made, itself or with a token that it made.

    Without this whoever has been removed would come in by them as before. The clock may have gone back, so all that
    were made under the person's own name count.

    Returns:
        Their rows, oldest first. They are put on record (`audit_revoked`) behind all changes of rows: who has the
        audit log must not wait for a row, or two gateways wait for each other.
    """
    c = api_tokens.c
    tokens = list(sql.execute(select(api_tokens).order_by(c.created, c.id)).mappings())
    makers = [_Maker(person, float("-inf"), float("inf"))]
    mine: dict[str, Mapping[Any, Any]] = {}
    while makers:
        maker = makers.pop()
        for token in tokens:
            if token["id"] not in mine and maker.made(token):
                mine[token["id"]] = token
                until = float("inf") if token["revoked"] is None else token["revoked"]
                makers.append(_Maker(f"token:{token['name']}", token["created"], until))
    works: list[Mapping[Any, Any]] = [each for each in tokens if each["id"] in mine and _works(each, now)]
    for each in works:
        sql.execute(update(api_tokens).where(c.id == each["id"]).values(revoked=now))
    return works


def audit_revoked(sql: Connection, tokens: Sequence[Mapping[Any, Any]], now: float, who: Actor) -> None:
    """A row of the audit log for each."""
    for each in tokens:
        before = {"name": each["name"], "made_by": each["made_by"]}
        append(sql, now, "token.revoke", each["id"], who=who, tenant=each["tenant"], before=before)


def _works(token: Mapping[Any, Any], now: float) -> bool:
    return token["revoked"] is None and (token["expires"] is None or token["expires"] > now)
