"""Where pages get their figures: the log store, the ledger, budgets, alerts. Everything here blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headgate.core.errors import ConfigError
from headgate.pages.asked import Asked
from headgate.pages.bars import Bar, bars
from headgate.policy.budget_scopes import values_of
from headgate.settings.secrets import SIMULATED
from headgate.stores.account_rows import AccountRow
from headgate.stores.accounts_reader import AccountsReader
from headgate.stores.logs.place import LogPlace, Logs
from headgate.stores.logs.reader import LogReader
from headgate.stores.reader import StoredExchange

if TYPE_CHECKING:
    from headgate.control.context import Control

_MOST_BUDGETS = 12
_LATE = 30.0
"""Seconds that the log store may lag behind before a page says so."""


class Sources:
    """One per gateway; any thread."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._built = control.built
        from headgate.stores.opening import log_file

        storage = self._built.settings.storage
        self._logs = Logs(LogPlace(storage, log_file(storage)))
        self._reader: LogReader | None = None

    @property
    def logs(self) -> LogReader | None:
        """The log store; None: there is none. See `catch_up`."""
        return self._reader

    def catch_up(self) -> None:
        """Before a page is made: what was logged before now is in the log store."""
        if self._logs.place.why_not:
            return
        try:
            self._reader = self._logs.fresh()
        except ConfigError:
            self._reader = None

    def alerts(self, asked: Asked) -> Any:
        return None

    def incidents(self, asked: Asked) -> Any:
        return None

    def behind(self, asked: Asked) -> str:
        return ""

    can_erase = True

    @property
    def simulated(self) -> bool:
        """Whether every provider is the built-in simulator."""
        providers = self._built.settings.providers.values()
        return bool(providers) and all(ref.name == SIMULATED for each in providers for ref in each.api_keys)

    @property
    def open(self) -> bool:
        """Whether calls need no key."""
        return not self._control.gateway.ring.configured

    def exchange(self, exchange_id: str) -> StoredExchange | None:
        """One exchange with its attempts, from the ledger; None: it has none of this id."""
        try:
            self._built.ledger.flush()
            return self._built.ledger.reader().exchange(exchange_id)
        except ConfigError:
            return None

    def budgets(self, asked: Asked) -> list[Bar]:
        """The accounts of this period that the asker may see, the fullest first."""
        configured = self._built.engine.policies.budgets.all
        if not configured:
            return []
        self._built.ledger.flush()
        report = AccountsReader(self._built.ledger.reader()).accounts(configured, asked.now)
        return bars(_seen(report.rows, asked.tenant), asked.now, _MOST_BUDGETS)


def _seen(rows: Sequence[AccountRow], tenant: str | None) -> list[AccountRow]:
    """A tenant-admin sees accounts that name its tenant."""
    if tenant is None:
        return list(rows)
    found = []
    for row in rows:
        budget = row.balance.claim.budget
        values = {} if row.unseen else values_of(budget, row.balance.claim.scope)
        if values.get("tenant", dict(budget.only).get("tenant")) == tenant:
            found.append(row)
    return found
