"""The alerts that are on, and those that were: what the dashboard, the control API and Python programs ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from sqlalchemy import Connection

from headgate.alerting.metrics import count
from headgate.core.actors import Actor, actor
from headgate.core.alerts import Alert
from headgate.core.errors import ConfigError
from headgate.stores.alerts import acknowledge, active, history
from headgate.stores.audit_log import append
from headgate.stores.ledger import WrittenLedger


class Board:
    """Every method blocks, and raises Unavailable where the ledger cannot be read or written.

    Attributes:
        on: how many are on, by (rule, state), when this was last asked: for metrics, which wait for nothing.
    """

    def __init__(self, ledger: WrittenLedger, *, now: Callable[[], float], tell: Callable[..., None]) -> None:
        """
        Args:
            now: seconds since the epoch.
            tell: the log's `event`.
        """
        self._ledger = ledger
        self._now = now
        self._tell = tell
        self.on: Counter[tuple[str, ...]] = Counter()

    def active(self) -> tuple[Alert, ...]:
        """Those that are on, acknowledged ones too, the newest first."""
        return tuple(self._ledger.call(self.recount))

    def recount(self, sql: Connection) -> list[Alert]:
        """Those that are on, counted: see `on`."""
        found = active(sql)
        self.on = count(found)
        return found

    def history(self, limit: int = 100) -> tuple[Alert, ...]:
        """Those that are on and those that have ended within 90 days, the newest first. `limit`: 1 to 1,000."""
        most = max(1, min(limit, 1_000))
        return tuple(self._ledger.call(lambda sql: history(sql, most)))

    def acknowledge(self, alert_id: str, by: str) -> Alert:
        """Somebody looks after it: it is not told again until it ends.

        Raises:
            ConfigError: none with that id is on.
        """
        now, who = self._now(), actor()
        who = who if who != Actor() else Actor(by)

        def work(sql: Connection) -> Alert | None:
            mine = acknowledge(sql, alert_id, by, now)
            if mine is not None:
                append(sql, now, "alert.acknowledge", mine.id, who=who, after={"rule": mine.rule, "scope": mine.scope})
            self.recount(sql)
            return mine

        found = self._ledger.call(work)
        if found is None:
            raise ConfigError(f"no alert {alert_id[:40]!r} is on; `headgate alerts list` shows them")
        self._tell("alert_acknowledged", alert=found.id, rule=found.rule, scope=found.scope, by=by)
        return found
