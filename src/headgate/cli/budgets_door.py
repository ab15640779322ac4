"""Where caps are changed: through the gateway that writes the ledger's file, or in the ledger itself.

A change counts at once, in PostgreSQL for every process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from headgate.cli.ledger_door import LedgerDoor
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.stores.cap_change import CapChange

_HINT = "The program that writes it can change the cap itself: gate.set_budget(...)"


class Door(LedgerDoor):
    """A context manager. Answers are the control API's: see `stores.cap_change.CapChange.as_json`.

    Every method raises ConfigError for an unknown budget or a scope that is none, and where another program that is
    no gateway writes the ledger; Unavailable where it cannot be written.
    """

    def set(self, budget_id: str, scope: str, usd: str | None, tokens: str | None) -> dict[str, Any]:
        """Override a cap. None: as it is now."""
        told = {name: value for name, value in (("usd", usd), ("tokens", tokens)) if value is not None}
        answer = self._ask("PUT", budget_id, scope, told)
        return answer if answer is not None else self._change(budget_id, scope, (usd, tokens))

    def unset(self, budget_id: str, scope: str) -> dict[str, Any]:
        """Take an override back."""
        answer = self._ask("DELETE", budget_id, scope, None)
        return answer if answer is not None else self._change(budget_id, scope, None)

    def _ask(self, method: str, budget_id: str, scope: str, fields: dict[str, str] | None) -> dict[str, Any] | None:
        """The running gateway's answer, or None where none has to be asked."""
        from headgate.cli.control import ask_running
        from headgate.stores.opening import sqlite_file

        try:
            query = urlencode({"budget": budget_id, "scope": scope})
        except UnicodeEncodeError:
            raise ConfigError("an id and a scope have to be text in UTF-8") from None
        file = sqlite_file(self._settings.storage)
        return None if file is None else ask_running(file, method, f"/budgets?{query}", fields)

    def _change(self, budget_id: str, scope: str, caps: tuple[str | None, str | None] | None) -> dict[str, Any]:
        from headgate.settings.budgets import budgets_of
        from headgate.settings.caps import cap_amounts
        from headgate.stores.accounts_reader import AccountsReader
        from headgate.stores.cap_change import change_cap, restore_cap, target

        configured = budgets_of(self._settings)
        if caps is not None:
            target(configured, budget_id, scope)  # a mistake is told before a ledger is made
        ledger = self._own(_HINT)
        overrides = AccountsReader(ledger.reader()).overrides() if caps is None else None
        budget, named = target(configured, budget_id, scope, overrides)
        if caps is None:
            change = restore_cap(ledger, budget, named, time.time())
        else:
            nano, tokens = cap_amounts(*caps)
            change = change_cap(ledger, budget, named, time.time(), nano=nano, tokens=tokens)
        if change.made:
            self._record(change)
        return change.as_json()

    def _record(self, change: CapChange) -> None:
        """On record in the log, as the gateway would put it."""
        log = self._log()
        log.event("budget_changed", **change.facts("cli"))
        log.close()
