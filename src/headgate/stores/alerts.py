"""Alerts on record: one for a rule and a scope, however many processes see it; and what is to be told of them.

All functions take a connection in a transaction (`WrittenLedger.call`), or one for reading.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Container, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, inspect, select, update

from headgate.core.alerts import Alert
from headgate.policy.alert_states import Change
from headgate.stores.alert_outbox import enqueue
from headgate.stores.dialects import take_turns_with_alerts
from headgate.stores.reader import Reader
from headgate.stores.rows import clean
from headgate.stores.schema import alert_outbox, alerts

KEPT_SECONDS = 90 * 86_400.0
"""Of an alert that has ended."""
STALE_SECONDS = 300.0
"""A process that has not told for so long that it sees an alert sees it no longer: it is gone."""
_LISTED = 1_000
_FIELDS = tuple(Alert.__slots__)
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


class Told(NamedTuple):
    """What has become of an alert on record: "opened", "reminder", "resolved"."""

    what: str
    alert: Alert


class Recording(NamedTuple):
    """How changes are recorded.

    Attributes:
        owner: this process.
        places: who is to be told, by (key, least severity).
        remind: seconds after which an alert that goes on, and that nobody has acknowledged, is told again.
        url: of the dashboard, without a slash at its end; "" = not known.
        quiet: it was told already, while nothing could be recorded.
        buries: alerts that nobody has seen for `STALE_SECONDS` end. Not while others may have been kept from saying so.
    """

    owner: str
    places: Sequence[tuple[str, str]]
    remind: float
    url: str = ""
    quiet: bool = False
    buries: bool = True


def record(sql: Connection, changes: Sequence[Change], how: Recording, now: float) -> list[Told]:
    """Put changes on record, with what is to be told of them, and end what nobody sees any more (`Recording.buries`).

    Returns:
        What is news to people.
    """
    take_turns_with_alerts(sql)
    on = {(row["rule"], row["scope"]): dict(row) for row in sql.execute(_active()).mappings()}
    told: list[Told] = []
    for change in changes:
        row = on.get((change.rule.name, change.reading.scope))
        if change.what != "resolved":
            found = _opened(sql, change, how, now) if row is None else _seen(sql, row, change, how, now)
        else:
            found = None if row is None else _left(sql, row, how.owner, now)
        if found is not None:
            told.append(found)
    if how.buries:
        touched = {(change.rule.name, change.reading.scope) for change in changes}
        told += _ended(sql, [row for key, row in on.items() if key not in touched], now)
    _enqueue(sql, told if not how.quiet else (), how, now)
    if any(each.what == "opened" for each in told):
        sql.execute(delete(alerts).where(alerts.c.resolved < now - KEPT_SECONDS))
    return told


def revoke(
    sql: Connection, rules: Sequence[str], still: Container[tuple[str, str]], how: Recording, now: float
) -> list[Told]:
    """End the alerts of `rules` that are not among `still`, (rule, scope), whoever has seen them."""
    take_turns_with_alerts(sql)
    told: list[Told] = []
    for row in sql.execute(_active().where(alerts.c.rule.in_(rules))).mappings().all():
        if (row["rule"], row["scope"]) not in still:
            ended = {"firers": "{}", "resolved": now}
            sql.execute(update(alerts).where(alerts.c.id == row["id"]).values(ended))
            told.append(Told("resolved", _alert({**row, **ended})))
    _enqueue(sql, told, how, now)
    return told


def _enqueue(sql: Connection, told: Sequence[Told], how: Recording, now: float) -> None:
    for each in told:
        enqueue(sql, notice(each, how.url, now), [key for key, least in how.places if _tells(least, each.alert)], now)


def notice(told: Told, url: str, now: float) -> dict[str, Any]:
    """What is sent, to whatever kind of place."""
    alert = told.alert
    return {
        "type": f"alert.{told.what}",
        "alert": alert.id,
        "at": now,
        **alert_json(alert),
        "evidence_url": f"{url}{alert.evidence}" if url and alert.evidence else None,
        "runbook_url": f"{url}/ui/runbooks/{alert.rule}" if url else None,
    }


def alert_json(alert: Alert) -> dict[str, Any]:
    """As the control API, the command line and webhooks show it. Times are seconds since the epoch."""
    found = {name: getattr(alert, name) for name in _FIELDS}
    return {**found, "state": alert.state, "runbook": alert.runbook}


def acknowledge(sql: Connection, alert_id: str, by: str, now: float) -> Alert | None:
    """Somebody looks after it: no reminder follows. None where none with that id is on."""
    take_turns_with_alerts(sql)
    c = alerts.c
    mine = (c.id == alert_id, c.resolved.is_(None))
    values = {"acknowledged": func.coalesce(c.acknowledged, now), "acknowledged_by": clean((by,))[0]}
    if not sql.execute(update(alerts).where(*mine).values(values)).rowcount:
        return None
    return _alert(sql.execute(select(alerts).where(c.id == alert_id)).mappings().one())


def active(sql: Connection) -> list[Alert]:
    """Those that are on, the newest first."""
    return [_alert(row) for row in sql.execute(_active()).mappings()]


def history(sql: Connection, limit: int = _LISTED) -> list[Alert]:
    """Those that are on and those that have ended, the newest first."""
    return [_alert(row) for row in sql.execute(select(alerts).order_by(*_order()).limit(limit)).mappings()]


class OnRecord(NamedTuple):
    """What another process can see.

    Attributes:
        waiting, given_up: notices that are still to be told, and that were given up in the last days, by place.
    """

    alerts: list[Alert]
    waiting: dict[str, int]
    given_up: dict[str, int]


def read_alerts(reader: Reader, *, ended: bool, limit: int = _LISTED) -> OnRecord:
    """Beside the writer.

    Raises:
        ConfigError: there is no ledger, or it cannot be read.
    """

    def ask(sql: Connection) -> OnRecord:
        if not inspect(sql).has_table(alerts.name):
            return OnRecord([], {}, {})  # an earlier Headgate wrote it last
        counted: dict[str, dict[str, int]] = {"waiting": {}, "given_up": {}}
        c = alert_outbox.c
        grouped = select(c.state, c.place, func.count()).where(c.state != "done").group_by(c.state, c.place)
        for state, place, count in sql.execute(grouped):
            counted.setdefault(state, {})[place] = count
        found = history(sql, limit) if ended else active(sql)[:limit]
        return OnRecord(found, counted["waiting"], counted["given_up"])

    return reader._ask(ask)


def new_id() -> str:
    """Of an alert."""
    return "al_" + "".join(secrets.choice(_BASE32) for _ in range(10))


def _opened(sql: Connection, change: Change, how: Recording, now: float) -> Told:
    rule, reading = change.rule, change.reading
    threshold = rule.over if reading.threshold is None else reading.threshold
    made = Alert(
        _free_id(sql, change.id),
        rule.name,
        reading.scope,
        rule.severity,
        change.since,
        now,
        reading.value,
        threshold,
        reading.summary,
        reading.evidence,
        change.times,
    )
    names = (*_FIELDS, "told", "firers")
    values = (*(getattr(made, name) for name in _FIELDS), now, json.dumps({how.owner: _until(change, now)}))
    sql.execute(insert(alerts).values(dict(zip(names, clean(values), strict=True))))
    return Told("opened", made)


def _free_id(sql: Connection, told: str) -> str:
    """The id that it was told under. Not where that was another process's alert, which has ended meanwhile."""
    return told if told and sql.execute(select(alerts.c.id).where(alerts.c.id == told)).first() is None else new_id()


def _seen(sql: Connection, row: dict[str, Any], change: Change, how: Recording, now: float) -> Told | None:
    reading = change.reading
    firers = {**_firers(row), how.owner: _until(change, now)}
    worse = change.rule.severity == "critical" and row["severity"] != "critical"
    news = not reading.until or change.times > row["count"]  # what has happened once is not told twice
    remind = worse or (news and row["acknowledged"] is None and now - row["told"] >= how.remind)
    values = {
        "last": now,
        "value": reading.value,
        "threshold": row["threshold"] if reading.threshold is None else reading.threshold,
        "summary": reading.summary,
        "evidence": reading.evidence,
        "count": max(row["count"], change.times),
        "severity": change.rule.severity if worse else row["severity"],
        "told": now if remind else row["told"],
        "firers": json.dumps(firers),
    }
    found = dict(zip(values, clean(tuple(values.values())), strict=True))
    sql.execute(update(alerts).where(alerts.c.id == row["id"]).values(found))
    return Told("reminder", _alert({**row, **found})) if remind else None


def _until(change: Change, now: float) -> float:
    """When its process was last sure of it. What has happened stays so, even if the process that saw it is gone."""
    return max(now, change.reading.until - STALE_SECONDS)


def _left(sql: Connection, row: dict[str, Any], owner: str, now: float) -> Told | None:
    """A process sees it no longer. It ends where no other does."""
    firers = {name: when for name, when in _firers(row).items() if name != owner and when > now - STALE_SECONDS}
    values: dict[str, Any] = {"firers": json.dumps(firers)}
    if not firers:
        values["resolved"] = now
    sql.execute(update(alerts).where(alerts.c.id == row["id"]).values(values))
    return Told("resolved", _alert({**row, **values})) if not firers else None


def _ended(sql: Connection, rows: Sequence[dict[str, Any]], now: float) -> list[Told]:
    """Alerts whose processes are all gone."""
    gone = [row for row in rows if all(when <= now - STALE_SECONDS for when in _firers(row).values())]
    found = [_left(sql, row, "", now) for row in gone]
    return [each for each in found if each is not None]


def _tells(least: str, alert: Alert) -> bool:
    return least != "critical" or alert.severity == "critical"


def _firers(row: Any) -> dict[str, float]:
    found: dict[str, float] = json.loads(row["firers"] or "{}")
    return found


def _active() -> Any:
    return select(alerts).where(alerts.c.resolved.is_(None)).order_by(*_order())


def _order() -> tuple[Any, ...]:
    return alerts.c.since.desc(), alerts.c.id


def _alert(row: Any) -> Alert:
    return Alert(**{name: row[name] for name in _FIELDS})
