"""Where approvals are read and decided: in the ledger's file, through the gateway that writes it, or in PostgreSQL."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headgate.cli.ledger_door import LedgerDoor
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.core.approvals import Decision, Parked

_HINT = "The program that writes it can decide itself: gate.approvals.approve(...)"


class Door(LedgerDoor):
    """A context manager for decisions. Answers are as `stores.approval_json` writes them; a decision's have `made`.

    Every method raises ConfigError for an unknown id, and where another program that is no gateway writes the ledger;
    Unavailable where it cannot be written.
    """

    def list(self, state: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest first."""
        from headgate.core.approvals import State
        from headgate.stores.approvals import read_approvals
        from headgate.stores.opening import open_reader
        from headgate.stores.reader import NoLedger

        now = time.time()
        try:
            reader = open_reader(self._settings.storage)
            found = read_approvals(reader, now, state=None if state is None else State(state), limit=limit)
        except NoLedger:
            return []
        return [_shown(parked) for parked in found]

    def show(self, approval: str) -> dict[str, Any]:
        """One of them."""
        from headgate.stores.approvals import read_approvals
        from headgate.stores.opening import open_reader

        found = read_approvals(open_reader(self._settings.storage), time.time(), ids=[approval])
        if not found:
            raise _unknown(approval)
        return _shown(found[0])

    def decide(self, approval: str, decision: Decision) -> dict[str, Any]:
        """Approve or deny; the first decision counts."""
        from headgate.cli.control import ask_running
        from headgate.stores.opening import sqlite_file

        told: dict[str, object] = {"reason": decision.note}
        if decision.edited is not None:
            told["arguments"] = json.loads(decision.edited)
        action = "approve" if decision.approve else "deny"
        file = sqlite_file(self._settings.storage)
        path = f"/approvals/{quote(approval, safe='')}/{action}"
        answer = None if file is None else ask_running(file, "POST", path, told)
        return answer if answer is not None else self._decide(approval, decision)

    def _decide(self, approval: str, decision: Decision) -> dict[str, Any]:
        from headgate.stores.approvals import ApprovalStore

        log = self._log()
        try:
            store = ApprovalStore(
                self._own(_HINT), bytes, now=time.time, tell=log.event
            )  # no token is made or read here
            decided = store.decide(approval, decision)
        finally:
            log.close()
        if decided.parked is None:
            raise _unknown(approval)
        return {**_shown(decided.parked), "made": decided.made}


def _shown(parked: Parked) -> dict[str, Any]:
    from headgate.stores.approval_json import approval_json

    return approval_json(parked, time.time())


def _unknown(approval: str) -> ConfigError:
    return ConfigError(f"there is no approval {approval[:64]!r}; `headgate approvals list` shows them")
