"""Where incidents are read, set and lifted: in the ledger's file, through the gateway that writes it, or in
PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from headgate.cli.ledger_door import LedgerDoor

if TYPE_CHECKING:
    from headgate.core.incidents import Incident
    from headgate.stores.incidents import IncidentStore
    from headgate.stores.log import LineLog

_HINT = "The program that writes it can do it itself: gate.incidents.set(...)"


class Door(LedgerDoor):
    """A context manager for changes. Answers are as `stores.incident_json` writes them.

    Every method raises ConfigError for what cannot be, and where another program that is no gateway writes the ledger;
    Unavailable where it cannot be written.
    """

    def list(self, *, ended: bool = False) -> Sequence[dict[str, Any]]:
        """The newest first."""
        now = time.time()
        return [_shown(each, now) for each in self.read(ended=ended)]

    def read(self, *, ended: bool = False) -> Sequence[Incident]:
        """As `list`, as they are; none where nothing was ever recorded."""
        from headgate.stores.incidents import read_incidents
        from headgate.stores.opening import open_reader
        from headgate.stores.reader import NoLedger

        try:
            return read_incidents(open_reader(self._settings.storage), time.time(), ended=ended)
        except NoLedger:
            return []

    def set(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Set one; `fields` are the arguments of `IncidentStore.set`."""
        answer = self._ask("POST", "/incidents", fields)
        if answer is not None:
            return answer
        log = self._log()
        try:
            return _shown(self._store(log).set(**fields), time.time())
        finally:
            log.close()

    def lift(self, incident: str, by: str) -> dict[str, Any]:
        """End one."""
        answer = self._ask("DELETE", f"/incidents/{quote(incident, safe='')}?{urlencode({'by': by})}")
        if answer is not None:
            return answer
        log = self._log()
        try:
            return _shown(self._store(log).lift(incident, by=by), time.time())
        finally:
            log.close()

    def _ask(self, method: str, path: str, fields: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The running gateway's answer; None where none is."""
        from headgate.cli.control import ask_running
        from headgate.stores.opening import sqlite_file

        file = sqlite_file(self._settings.storage)
        return None if file is None else ask_running(file, method, path, fields)

    def _store(self, log: LineLog) -> IncidentStore:
        from headgate.policy.incidents import Incidents
        from headgate.stores.incidents import IncidentStore

        settings = self._settings
        ledger = self._ledger or self._own(_HINT)
        return IncidentStore(
            ledger, Incidents(), now=time.time, providers=settings.providers, models=settings.models, tell=log.event
        )


def _shown(incident: Incident, now: float) -> dict[str, Any]:
    from headgate.stores.incident_json import incident_json

    return incident_json(incident, now)
