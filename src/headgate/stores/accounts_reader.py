"""What `headgate budgets` shows: every account of the budgets, read beside the ledger's writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping, select

from headgate.core.budget import Balance, Budget, Claim
from headgate.core.errors import ConfigError
from headgate.policy.budget_scopes import budget_named, claim_on, scope_named, values_of
from headgate.stores.account_rows import AccountReport, AccountRow
from headgate.stores.dialects import is_postgres
from headgate.stores.intents import open_intents, read_intents
from headgate.stores.reader import Reader
from headgate.stores.schema import accounts, caps


class Override(NamedTuple):
    """A cap in place of the configuration's. None: no cap of that kind."""

    nano: int | None
    tokens: int | None
    changed: float  # seconds since the epoch


Overrides = Mapping[tuple[str, str], Override]
"""By (budget id, scope)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which accounts are asked for.

    Attributes:
        budget: only of the budget with this id; "" = of all.
        scope: only accounts that this text names, or that have it among their values; None = all.
        near: only those of whose cap at least so many basis points are spent; 0 = all.
        all_periods: earlier periods, and budgets that the configuration no longer has, too.
    """

    budget: str = ""
    scope: str | None = None
    near: int = 0
    all_periods: bool = False


_EVERY = Wanted()


class AccountsReader:
    """Asks a ledger's :class:`Reader` about accounts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def accounts(self, budgets: Iterable[Budget], at: float, wanted: Wanted = _EVERY) -> AccountReport:
        """The accounts of the periods that `at` is in; those with an override though nothing was spent on them; one
        row that is `unseen` for each budget without any; overrides of budgets that the configuration does not have.

        Raises:
            ConfigError: there is no ledger, it cannot be read, or `wanted` names no budget of either.
        """
        return self._reader._ask(lambda connection: _Report(connection, budgets, at, wanted).made())

    def overrides(self) -> Overrides:
        """Every override.

        Raises:
            ConfigError: as `accounts`.
        """
        return self._reader._ask(_overrides)


def nothing_spent(budgets: Iterable[Budget], at: float, wanted: Wanted = _EVERY) -> AccountReport:
    """As :meth:`AccountsReader.accounts`, of a ledger that is not there yet."""
    return _Report(None, budgets, at, wanted).made()


def _overrides(connection: Connection) -> Overrides:
    found = connection.execute(select(caps.c.budget, caps.c.scope, caps.c.cap_nano, caps.c.cap_tokens, caps.c.changed))
    return {(budget, scope): Override(nano, tokens, changed) for budget, scope, nano, tokens, changed in found}


class _Report:
    def __init__(self, connection: Connection | None, budgets: Iterable[Budget], at: float, wanted: Wanted) -> None:
        self._connection = connection
        self._at = at
        self._wanted = wanted
        self._overrides: Overrides = {} if connection is None else _overrides(connection)
        self._held: Mapping[int, tuple[int, int]] = {} if connection is None else _held(connection)
        self._configured = {budget.id: budget for budget in budgets}
        self._rows: list[AccountRow] = []

    def made(self) -> AccountReport:
        everything = {**self._configured, **{name: Budget(name) for name in sorted(self._others())}}
        wanted = self._wanted
        chosen = [budget_named(everything.values(), wanted.budget)] if wanted.budget else everything.values()
        for budget in chosen:
            found = [row for row in self._of(budget) if self._is_wanted(row)]
            found.sort(key=_fullest_first)
            self._rows += found
        self._rows.sort(key=lambda row: row.balance.claim.budget.id)
        return AccountReport(self._at, self._rows)

    def _others(self) -> set[str]:
        """Ids that the ledger knows and the configuration does not."""
        found = {budget for budget, _ in self._overrides}
        if self._wanted.all_periods and self._connection is not None:
            found.update(self._connection.execute(select(accounts.c.budget).distinct()).scalars())
        return found - set(self._configured)

    def _of(self, budget: Budget) -> list[AccountRow]:
        now = claim_on(budget, "", self._at)
        found = [self._row(budget, each, now) for each in self._stored(budget, now)]
        seen = {row.balance.claim.scope for row in found if row.current}
        spent_on = bool(seen)
        for name, scope in self._overrides:
            if name == budget.id and scope not in seen:
                seen.add(scope)
                found.append(self._empty(budget, scope))
        if budget.id not in self._configured:
            return found
        wanted = self._wanted
        if wanted.budget and wanted.scope is not None:
            named = scope_named(budget, wanted.scope)
            if named not in seen:
                found.append(self._empty(budget, named))
        elif not spent_on and "" not in seen:
            found.append(self._empty(budget, "", unseen=bool(budget.per)))
        return found

    def _stored(self, budget: Budget, now: Claim) -> Sequence[RowMapping]:
        if self._connection is None:
            return ()
        query = select(accounts).where(accounts.c.budget == budget.id)
        if not self._wanted.all_periods:
            query = query.where(accounts.c.period_start == now.start)
        return self._connection.execute(query).mappings().all()

    def _row(self, budget: Budget, stored: RowMapping, now: Claim) -> AccountRow:
        scope, start = stored["scope"], stored["period_start"]
        nano, tokens = self._held.get(stored["id"], (0, 0))
        balance = self._balance(
            Claim(budget, scope, start, stored["period_end"], (budget.id, scope, start)),
            stored["spent_nano"],
            stored["held_nano"] + nano,
            stored["spent_tokens"],
            stored["held_tokens"] + tokens,
        )
        return self._made(balance, current=start == now.start)

    def _empty(self, budget: Budget, scope: str, *, unseen: bool = False) -> AccountRow:
        return self._made(self._balance(claim_on(budget, scope, self._at), 0, 0, 0, 0), unseen=unseen)

    def _balance(self, claim: Claim, spent: int, held: int, spent_tokens: int, held_tokens: int) -> Balance:
        budget = claim.budget
        override = self._overrides.get((budget.id, claim.scope))
        cap_nano, cap_tokens = (budget.cap_nano, budget.cap_tokens) if override is None else override[:2]
        return Balance(claim, cap_nano, cap_tokens, spent, held, spent_tokens, held_tokens, override is not None)

    def _made(self, balance: Balance, *, unseen: bool = False, current: bool = True) -> AccountRow:
        claim = balance.claim
        override = self._overrides.get((claim.budget.id, claim.scope))
        changed = None if override is None else override.changed
        return AccountRow(balance, changed, claim.budget.id in self._configured, unseen, current)

    def _is_wanted(self, row: AccountRow) -> bool:
        wanted, claim = self._wanted, row.balance.claim
        if wanted.near and (row.share or 0) < wanted.near:
            return False
        if wanted.scope is None:
            return True
        return not row.unseen and _names(wanted.scope, claim.budget, claim.scope)


def _fullest_first(row: AccountRow) -> tuple[float, int, int, str]:
    balance = row.balance
    return -balance.claim.start, -(row.share or 0), -balance.spent_nano, balance.claim.scope


def _names(text: str, budget: Budget, scope: str) -> bool:
    if text == scope or text in values_of(budget, scope).values():
        return True
    try:
        return scope_named(budget, text) == scope
    except ConfigError:
        return False


def _held(connection: Connection) -> dict[int, tuple[int, int]]:
    """(Nano-dollars, tokens) set aside on accounts, by their numbers. PostgreSQL's accounts tell it themselves."""
    found: dict[int, tuple[int, int]] = {}
    if is_postgres(connection):
        return found
    for intent in open_intents(connection, read_intents(connection)):
        for number in intent.accounts:
            nano, tokens = found.get(number, (0, 0))
            found[number] = (nano + (intent.bound_nano or 0), tokens + intent.bound_tokens)
    return found
