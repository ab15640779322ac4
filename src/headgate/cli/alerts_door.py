"""Where alerts are read and acknowledged: in the ledger's file, through its gateway, or in PostgreSQL."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headgate.cli.ledger_door import LedgerDoor

if TYPE_CHECKING:
    from headgate.stores.alerts import OnRecord

_HINT = "The program that writes it can do it itself: gate.alerts.acknowledge(...)"


class Door(LedgerDoor):
    """A context manager for changes.

    Every method raises ConfigError for an unknown id, and where another program that is no gateway writes the ledger;
    Unavailable where it cannot be written.
    """

    def read(self, *, ended: bool, limit: int) -> OnRecord:
        """The newest first."""
        from headgate.stores.alerts import OnRecord, read_alerts
        from headgate.stores.opening import open_reader
        from headgate.stores.reader import NoLedger

        try:
            return read_alerts(open_reader(self._settings.storage), ended=ended, limit=limit)
        except NoLedger:
            return OnRecord([], {}, {})

    def acknowledge(self, alert: str, by: str) -> dict[str, Any]:
        """Somebody looks after it."""
        from headgate.alerting.board import Board
        from headgate.cli.control import ask_running
        from headgate.stores.alerts import alert_json
        from headgate.stores.opening import sqlite_file

        file = sqlite_file(self._settings.storage)
        path = f"/alerts/{quote(alert, safe='')}/acknowledge"
        answer = None if file is None else ask_running(file, "POST", path, {"by": by})
        if answer is not None:
            return answer
        log = self._log()
        try:
            board = Board(self._ledger or self._own(_HINT), now=time.time, tell=log.event)
            return alert_json(board.acknowledge(alert, by))
        finally:
            log.close()
