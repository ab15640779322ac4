"""The control API's budgets: what is left, and caps that change while the gateway runs.

    GET    /admin/api/budgets?budget=user/day&scope=ada&near=80%25&all_periods=true     (each of them optional)
    PUT    /admin/api/budgets?budget=user/day&scope=ada     {"usd": "20", "tokens": 1000000}
    DELETE /admin/api/budgets?budget=user/day&scope=ada     the configuration's cap again

A budget's id holds slashes, so ids and scopes are in the query, not in the path. Money is decimal strings of USD.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from headgate.core.budget import Budget
from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.gateway.admin_query import parameters
from headgate.settings.caps import cap_amounts
from headgate.settings.units import Unfit, basis_points, switch
from headgate.stores.accounts_reader import AccountsReader, Wanted
from headgate.stores.cap_change import CapChange, Capped, change_cap, restore_cap, target
from headgate.stores.reader import Reader

_ONE = ("budget", "scope")
_LISTED = (*_ONE, "near", "all_periods")


class BudgetLedger(Capped, Protocol):
    """What the API needs of a ledger. Everything blocks."""

    def flush(self) -> None: ...

    def reader(self) -> Reader: ...


class BudgetsApi:
    """Answers for the path `budgets`. The ledger is asked in threads, so the event loop never waits."""

    __slots__ = ("_budgets", "_changing", "_ledger", "_now", "_tell")

    def __init__(
        self, budgets: Sequence[Budget], ledger: BudgetLedger, *, now: Callable[[], float], tell: Callable[..., None]
    ) -> None:
        """
        Args:
            budgets: the configuration's.
            now: seconds since the epoch.
            tell: the log's `event`: each change is on record there.
        """
        self._budgets = budgets
        self._ledger = ledger
        self._now = now
        self._tell = tell
        self._changing = asyncio.Lock()  # a change reads the caps in force, and writes them

    async def answer(self, method: str, query: bytes, body: bytes) -> dict[str, Any]:
        """One request.

        Raises:
            BadRequest: a parameter or the body cannot be used.
            NotServed: an unknown method or budget.
            Unavailable: the ledger cannot be read or written.
        """
        if method == "GET":
            return await asyncio.to_thread(self._list, parameters(query, _LISTED, blank=True))
        if method not in ("PUT", "DELETE"):
            raise NotServed("The control API has no such path or method.")
        told = parameters(query, _ONE, blank=True)
        caps = _caps(body) if method == "PUT" else None
        async with self._changing:
            change = await asyncio.to_thread(self._change, told, caps)
        if change.made:
            self._tell("budget_changed", **change.facts("gateway"))
        return change.as_json()

    def _list(self, told: dict[str, str]) -> dict[str, Any]:
        try:
            wanted = Wanted(
                told.get("budget", ""),
                told.get("scope"),
                basis_points(told["near"]) if "near" in told else 0,
                switch(told.get("all_periods", "false")),
            )
        except Unfit as error:
            raise BadRequest(f"near or all_periods: {error}") from None
        self._ledger.flush()
        try:
            return AccountsReader(self._ledger.reader()).accounts(self._budgets, self._now(), wanted).as_json()
        except ConfigError as error:
            raise BadRequest(str(error)) from None

    def _change(self, told: dict[str, str], caps: tuple[int | None, int | None] | None) -> CapChange:
        budget_id, text = told.get("budget", ""), told.get("scope", "")
        overrides = AccountsReader(self._ledger.reader()).overrides() if caps is None else None
        try:
            budget, scope = target(self._budgets, budget_id, text, overrides)
        except ConfigError as error:
            known = any(each.id == budget_id for each in self._budgets)
            raise (BadRequest if known else NotServed)(str(error)) from None
        if caps is None:
            return restore_cap(self._ledger, budget, scope, self._now())
        nano, tokens = caps
        return change_cap(self._ledger, budget, scope, self._now(), nano=nano, tokens=tokens)


def _caps(body: bytes) -> tuple[int | None, int | None]:
    """(nano-dollars, tokens), of which one is told.

    Raises:
        BadRequest: not a JSON object with `usd`, `tokens` or both, or a value out of range.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(fields, dict) or not fields or not set(fields) <= {"usd", "tokens"}:
        raise BadRequest('The body has to be a JSON object with usd, tokens or both, like {"usd": "20"}.')
    for value in fields.values():
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise BadRequest("usd and tokens have to be strings or whole numbers.")
    try:
        return cap_amounts(fields.get("usd"), fields.get("tokens"))
    except ConfigError as error:
        raise BadRequest("; ".join(error.mistakes)) from None
