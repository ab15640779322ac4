"""Which budget and which of its accounts somebody means, in words: `user/day`, `tenant=acme,user=ada`."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable

from headgate.core.budget import Budget, Claim
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.exchange import Route
from headgate.core.text import storable
from headgate.policy.budgets import TAG, brief, scope_of
from headgate.policy.periods import period

MAX_SCOPE = 4_096
"""Characters of a scope that is told in words."""
_LISTED = 50


def budget_named(budgets: Iterable[Budget], budget_id: str) -> Budget:
    """The budget with this id.

    Raises:
        ConfigError: there is none; it names the nearest, and lists them.
    """
    known = {budget.id: budget for budget in budgets}
    found = known.get(budget_id)
    if found is not None:
        return found
    if not known:
        raise ConfigError("the configuration has no budgets: `budgets:` in headgate.yaml is where they are written")
    close = difflib.get_close_matches(budget_id[:256], known, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]}?" if close else ""
    listed = ", ".join(sorted(known)[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    raise ConfigError(f"no budget has the id {budget_id[:256]!r}.{hint} There are: {listed}")


def claim_on(budget: Budget, scope: str, at: float) -> Claim:
    """The account of a scope in the period that `at` (seconds since the epoch) is in."""
    start, end = period(budget.every, at, budget.zone)
    return Claim(budget, scope, start, end, (budget.id, scope, start))


def values_of(budget: Budget, scope: str) -> dict[str, str]:
    """A scope's values by dimension; {} for a budget over everything, and for a scope that is not of this budget."""
    per = budget.per
    if len(per) == 1:
        return {per[0]: scope}
    values = _raw(scope) if per else None
    return dict(zip(per, values, strict=True)) if values is not None and len(values) == len(per) else {}


def scope_named(budget: Budget, text: str) -> str:
    """An account's scope, as `policy.budgets.scope_of` writes it.

    Args:
        text: for one dimension its value, or `user=ada`; for several `tenant=acme,user=ada` in any order, or the raw
            form `["acme","ada"]`; "" for a budget over everything.

    Raises:
        ConfigError: it does not name one account; it says what does.
    """
    if len(text) > MAX_SCOPE:
        raise ConfigError(f"a scope has at most {MAX_SCOPE:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("a scope has to be text in UTF-8") from None
    if not budget.per:
        if text:
            raise ConfigError(f"the budget {budget.id} has one account for all its calls: leave the scope out")
        return ""
    if len(budget.per) == 1:
        value = text.removeprefix(f"{budget.per[0]}=")
        if not value:
            raise ConfigError(_whose(budget))
        return brief(value)
    return _scope(budget, _pairs(budget, text))


def scope_told(budget: Budget, caller: Caller, *, model: str = "", provider: str = "") -> str:
    """An account's scope from a caller's dimensions.

    Raises:
        ConfigError: one of the budget's dimensions is missing.
    """
    scope = scope_of(budget.per, caller, Route(provider, model, "", ""), model)
    if scope is None:
        raise ConfigError(_whose(budget))
    return storable(scope)


def scope_words(budget: Budget, scope: str) -> str:
    """A scope for people, in a form that `scope_named` reads."""
    values = values_of(budget, scope)
    words = ",".join(f"{name}={value}" for name, value in values.items())
    for form in (scope, words) if len(values) == 1 else (words,) if values else ():
        try:
            if scope_named(budget, form) == scope:
                return form
        except ConfigError:
            continue
    return scope


def _whose(budget: Budget) -> str:
    per = budget.per
    example = "ada" if len(per) == 1 else ",".join(f"{name}=..." for name in per)
    return f"the budget {budget.id} has an account for each {' and '.join(per)}: say whose, as in {example}"


def _pairs(budget: Budget, text: str) -> dict[str, str]:
    values = _raw(text)
    if values is not None and len(values) == len(budget.per):
        found = dict(zip(budget.per, values, strict=True))
    else:
        found = {}
        names = "|".join(re.escape(name) for name in budget.per)
        # A comma counts only in front of a dimension: values may hold others.
        for part in re.split(rf",(?=(?:{names})=)", text):
            name, _, value = part.partition("=")
            if name not in budget.per or name in found:
                raise ConfigError(_whose(budget))
            found[name] = value
    if len(found) != len(budget.per) or not all(found.values()):
        raise ConfigError(_whose(budget))
    return found


def _raw(text: str) -> list[str] | None:
    """The values of a scope over several dimensions; None: it is no such scope."""
    if not text.startswith("["):
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, list) and all(isinstance(value, str) for value in values) else None


def _scope(budget: Budget, values: dict[str, str]) -> str:
    tags = {name.removeprefix(TAG): value for name, value in values.items() if name.startswith(TAG)}
    routed = {name: values.get(name, "") for name in ("model", "provider")}
    told = {name: value for name, value in values.items() if name not in routed and not name.startswith(TAG)}
    return scope_told(budget, Caller(**told, tags=tags), **routed)
