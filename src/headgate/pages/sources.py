"""Where pages get their figures: the log store, the ledger, budgets, alerts. Everything here blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headgate.control.people import Right
from headgate.core.alerts import Alert
from headgate.core.errors import ConfigError
from headgate.core.incidents import Incident
from headgate.pages.asked import Asked
from headgate.pages.bars import Bar, bars
from headgate.settings.secrets import SIMULATED
from headgate.stores.account_rows import AccountRow
from headgate.stores.accounts_reader import AccountsReader
from headgate.stores.cap_change import tenant_of
from headgate.stores.logs.erasing import Subject
from headgate.stores.logs.reader import LogReader
from headgate.stores.logs.sqlite_reader import NoLogStore
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
        self._reader: LogReader | None = None

    @property
    def logs(self) -> LogReader | None:
        """The log store; None: there is none, or nothing in it yet. See `catch_up`."""
        return self._reader

    def catch_up(self) -> None:
        """Before a page is made: what was logged before now is in the log store."""
        if self.stored:
            reader = self._built.logs.fresh()
            try:
                reader.newest()
            except NoLogStore:
                return
            self._reader = reader

    @property
    def stored(self) -> bool:
        """Whether there is a log store, or will be with the first exchange."""
        return not self._built.logs.place.why_not

    def alerts(self, asked: Asked) -> Sequence[Alert]:
        """What is on, the newest first; they belong to no tenant, so a tenant-admin sees none."""
        return self._built.alerting.board.active() if asked.who.may(Right.READ_ALL) else ()

    def incidents(self, asked: Asked) -> list[Incident]:
        """What is stopped, slowed or degraded now; a tenant-admin sees its tenant's."""
        found = self._built.incidents.all()
        if asked.tenant is None:
            return found
        return [each for each in found if (each.scope, each.value) == ("tenant", asked.tenant)]

    def behind(self, asked: Asked) -> str:
        """Why figures may be missing something, for people; "" = they are not."""
        dropped = self._built.log.health().get("dropped", 0)
        if not dropped or asked.tenant is not None:
            return ""
        return f"{dropped:,} lines of the log were dropped because its disk was slow or full: these figures lack them."

    def erase(self, asked: Asked, subject: Subject) -> list[tuple[str, int | None]]:
        """Erase what is kept of a user or session; (of what, how many; None: nobody knows).

        Raises:
            Denied: it is not the asker's right.
            Unavailable: the log store cannot be written now.
        """
        found = self._control.logs.erase(asked.who, subject.kind, subject.value, tenant=subject.tenant)
        left = found["spools_left"]
        return [
            *([("other gateways' files of lines, each emptied in its next turn", left)] if left else []),
            ("exchanges", found["exchanges"]),
            ("texts and whole requests", found["bodies"]),
            ("other lines", found["events"]),
            ("kept answers", found["answers"]),
            ("deferred calls", found["jobs"]),
            ("batches", found["batches"]),
            ("batches, cancelled, that go with another try", found["batches_left"]),
            ("tool calls that waited for a person", found["approvals"]),
        ]

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

    def budgets(self, asked: Asked, most: int = _MOST_BUDGETS) -> list[Bar]:
        """The accounts of this period that the asker may see, the fullest first."""
        configured = self._built.engine.policies.budgets.all
        if not configured:
            return []
        self._built.ledger.flush()
        report = AccountsReader(self._built.ledger.reader()).accounts(configured, asked.now)
        return bars(_seen(report.rows, asked.tenant), asked.now, most)


def _seen(rows: Sequence[AccountRow], tenant: str | None) -> list[AccountRow]:
    """A tenant-admin sees accounts that are its tenant's alone."""
    if tenant is None:
        return list(rows)
    claims = ((row, row.balance.claim) for row in rows if not row.unseen)
    return [row for row, claim in claims if tenant_of(claim.budget, claim.scope) == tenant]
