"""What is to be told of alerts, one row for each notice and place; on record before the first try.

Told at least once, with the same id each time. A notice is claimed before it is sent, so that of several processes one
sends it; those of one alert go to a place in their order.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from headgate.stores.schema import alert_outbox

CLAIM_SECONDS = 120.0
"""Longer than any try: a process that has claimed one and died leaves it for so long."""
GIVE_UP_SECONDS = 86_400.0
KEPT_SECONDS = 7 * 86_400.0
MOST_WAITING = 1_000
"""For one place; beyond that nothing more is put there."""
FIRST_WAIT, LONGEST_WAIT = 5.0, 900.0
_LOOKED_AT = 200
_MOST_ERROR = 200


class Notice(NamedTuple):
    """One notice for one place.

    Attributes:
        id: the same at every try.
        tries: those before.
    """

    id: str
    place: str
    alert: str
    body: dict[str, Any]
    created: float
    tries: int


class Due(NamedTuple):
    """What there is to do: a notice that was claimed herewith; or seconds until the next, None = none waits."""

    notice: Notice | None
    after: float | None


def enqueue(sql: Connection, body: dict[str, Any], places: Sequence[str], now: float) -> None:
    """Put a notice on record for each place."""
    c = alert_outbox.c
    for place in places:
        waiting = select(func.count()).select_from(alert_outbox).where(c.place == place, c.state == "waiting")
        if sql.execute(waiting).scalar_one() >= MOST_WAITING:
            continue
        row = {
            "id": f"nt_{secrets.token_hex(12)}",
            "place": place,
            "alert": body["alert"],
            "body": json.dumps(body),
            "created": now,
            "next_try": now,
            "claimed_until": 0.0,
            "state": "waiting",
        }
        sql.execute(insert(alert_outbox).values(row))


def claim(sql: Connection, place: str, owner: str, now: float, *, alone: bool) -> Due:
    """The next notice for a place.

    Args:
        alone: no other process sends: what a dead one has claimed is free.
    """
    c = alert_outbox.c
    waiting = (c.place == place, c.state == "waiting")
    query = select(alert_outbox).where(*waiting).order_by(c.created, c.id).limit(_LOOKED_AT)
    soonest: float | None = None
    before: set[str] = set()
    for row in sql.execute(query.with_for_update()).mappings():
        if row["alert"] in before:
            continue  # an earlier one of the same alert goes first
        before.add(row["alert"])
        at = row["next_try"] if alone or not row["claimed_by"] else max(row["next_try"], row["claimed_until"])
        if now < at <= now + LONGEST_WAIT:  # later still: the clock was set back
            soonest = at if soonest is None else min(soonest, at)
            continue
        values = {"claimed_by": owner, "claimed_until": now + CLAIM_SECONDS}
        sql.execute(update(alert_outbox).where(c.id == row["id"]).values(values))
        notice = Notice(row["id"], place, row["alert"], json.loads(row["body"]), row["created"], row["tries"])
        return Due(notice, None)
    return Due(None, None if soonest is None else soonest - now)


def done(sql: Connection, notice: Notice, now: float) -> None:
    """It was told."""
    c = alert_outbox.c
    sql.execute(update(alert_outbox).where(c.id == notice.id).values(state="done", ended=now, claimed_by="", error=""))
    sql.execute(delete(alert_outbox).where(c.ended < now - KEPT_SECONDS))


def failed(sql: Connection, notice: Notice, said: str, now: float) -> bool:
    """A try has failed: it is tried again later. False where it is given up."""
    c = alert_outbox.c
    goes_on = now - notice.created < GIVE_UP_SECONDS
    values = {"tries": notice.tries + 1, "error": said[:_MOST_ERROR], "claimed_by": "", "next_try": now + wait(notice)}
    if not goes_on:
        values |= {"state": "given_up", "ended": now}
    sql.execute(update(alert_outbox).where(c.id == notice.id).values(values))
    return goes_on


def wait(notice: Notice) -> float:
    """Seconds until the next try: 5, 20, 80, 320, then 900."""
    return min(LONGEST_WAIT, FIRST_WAIT * 4.0 ** min(notice.tries, 6))
