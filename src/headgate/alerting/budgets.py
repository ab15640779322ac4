"""Budgets, as the rules look at them: which shares were passed, who was refused, and whether that still is so.

A budget whose cap is smaller than every call spends nothing and refuses everything: refusals raise the alert, too. Caps
can be raised while a period goes on: what no longer holds under the cap in force ends at the next look.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headgate.core.budget import FULL, AccountKey, Balance, Budget, BudgetAlert, Claim
from headgate.core.errors import BudgetExceeded, HeadgateError
from headgate.core.exchange import Exchange
from headgate.policy.alert_readings import evidence
from headgate.policy.alert_rules import AlertRule
from headgate.policy.alert_states import Reading

BUDGET_RULES = ("budget_near", "budget_spent")
REFUSALS = 3
"""So many of one account in its period, and it is as good as spent, whatever is left in it: one large call is not."""
MOST = 500
"""Alerts kept at once; beyond that the oldest go."""
MOST_ACCOUNTS = 100
"""Of one alert: budgets per user, session or tag are one alert, without names."""
_NAMED = frozenset({"key", "tenant", "task", "feature", "environment", "model", "provider"})
"""Dimensions whose values are told. Users, sessions and tags are people's, and their values are not."""
_OF_THE_BUDGET = frozenset({"spent", "too_large", "waited", "period"})
"""Why it refuses. "held" is no reason: others hold the rest, and it comes back."""
_FAR = 1e11

Peek = Callable[[Sequence[Claim]], list[Balance]]


@dataclass(slots=True)
class _Reason:
    """Why an account is told of: it has passed `share` of its cap; or, 0, it has refused under this cap."""

    claim: Claim
    share: int
    unit: str = "usd"
    cap_nano: int | None = None
    cap_tokens: int | None = None
    times: int = 0

    def holds(self, now: Balance) -> bool:
        """Whether it is so still, under the cap in force."""
        if self.share:
            spent, cap = now.spent_tokens, now.cap_tokens
            if self.unit == "usd":
                spent, cap = now.spent_nano, now.cap_nano
            return cap is not None and spent * FULL >= cap * self.share
        return not (_raised(self.cap_nano, now.cap_nano) or _raised(self.cap_tokens, now.cap_tokens))


@dataclass(slots=True)
class _Alert:
    rule: str
    scope: str
    said: str
    evidence: str
    value: float
    until: float
    times: int = 0
    reasons: dict[tuple[AccountKey, int], _Reason] = field(default_factory=dict)


class BudgetEvents:
    """Takes what happens from other threads. Its methods never wait and never raise."""

    def __init__(self, rules: Mapping[str, AlertRule], now: Callable[[], float], peek: Peek) -> None:
        """
        Args:
            now: seconds since the epoch.
            peek: see `stores.ledger.WrittenLedger.peek`.
        """
        self._rules = rules
        self._now = now
        self._peek = peek
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], _Alert] = {}

    def reached(self, alert: BudgetAlert) -> None:
        """Spending has passed a share of a budget: see `stores.ledger.WrittenLedger.on_alert`."""
        rule, which = share_named(alert.claim.budget, alert.share)
        said = f"has passed {alert.share / 100:g}% of its cap"
        self._put(rule, which, said, alert.share / FULL, _Reason(alert.claim, alert.share, alert.unit))

    def settled(self, exchanges: Sequence[Exchange]) -> tuple[()]:
        """A `stores.log.Watcher`: a budget is spent for people once it refuses, though some money may be left in it."""
        for exchange in exchanges:
            error = exchange.error
            if isinstance(error, BudgetExceeded):
                self._refused(error, degraded=False)
            elif exchange.no_room is not None:
                self._refused(exchange.no_room, degraded=True)
        return ()

    def readings(self, now: float) -> list[Reading]:
        """What counts now."""
        with self._lock:
            kept = {key: each for key, each in self._found.items() if each.until > now}
            if kept:
                self._check(kept)
            self._found = kept
            return [_reading(each) for each in kept.values()]

    def _check(self, kept: dict[tuple[str, str], _Alert]) -> None:
        """Leave out what no longer holds. Accounts that are not in memory are left as they are."""
        claims = {reason.claim.key: reason.claim for each in kept.values() for reason in each.reasons.values()}
        known = {balance.claim.key: balance for balance in self._known(list(claims.values()))}
        for key, each in list(kept.items()):
            for which, reason in list(each.reasons.items()):
                balance = known.get(reason.claim.key)
                if balance is not None and not reason.holds(balance):
                    del each.reasons[which]
            if not each.reasons:
                del kept[key]

    def _refused(self, error: BudgetExceeded, *, degraded: bool) -> None:
        claim = error.claim
        if claim is None or error.why not in _OF_THE_BUDGET:
            return
        verb = "degrades calls" if degraded else "refuses calls"
        reason = _Reason(claim, 0, "", *self._caps(claim))
        if error.why == "spent" and _nearly_spent(claim.budget, error.room_nano):
            self._put("budget_spent", "", f"{verb}: what is left has no room for them", 1.0, reason)
            return
        said = f"{verb} that can cost more than {'all' if error.why == 'too_large' else 'is left'} of it"
        times = self._put("budget_near", "refusals", said, 1.0, reason)
        if not degraded and times >= REFUSALS:
            self._put("budget_spent", "", said, 1.0, reason)

    def _caps(self, claim: Claim) -> tuple[int | None, int | None]:
        known = self._known([claim])
        return (known[0].cap_nano, known[0].cap_tokens) if known else (claim.budget.cap_nano, claim.budget.cap_tokens)

    def _known(self, claims: Sequence[Claim]) -> list[Balance]:
        try:
            return self._peek(claims)
        except (HeadgateError, KeyError):
            return []  # the ledger is closed; or an account has just left its memory

    def _put(self, name: str, which: str, said: str, value: float, reason: _Reason) -> int:
        """How often it was put for this account."""
        claim = reason.claim
        budget, rule = claim.budget, self._rules[name]
        until = claim.end if claim.end < _FAR else self._now() + rule.window
        scope, whose = scope_told(claim, which)
        told = f"the budget {budget.id}{f' ({whose})' if whose else ''} {said}"
        with self._lock:
            found = self._found.pop((name, scope), None)
            if found is None:
                found = _Alert(name, scope, told, evidence("/ui/keys", budget=budget.id), value, until)
            found.said, found.times, found.until = told, found.times + 1, max(until, found.until)
            before = found.reasons.pop((claim.key, reason.share), None)
            times = 1 if before is None else before.times + 1
            found.reasons[claim.key, reason.share] = _Reason(
                claim, reason.share, reason.unit, reason.cap_nano, reason.cap_tokens, times
            )
            while len(found.reasons) > MOST_ACCOUNTS:
                del found.reasons[next(iter(found.reasons))]
            self._found[name, scope] = found
            while len(self._found) > MOST:
                del self._found[next(iter(self._found))]
        return times


def share_named(budget: Budget, share: int) -> tuple[str, str]:
    """The rule of a share of a cap, and what its scope says of it beside the budget."""
    near = share < FULL
    # Each share is news: who was told of 80% has not been told of 95%.
    return "budget_near" if near else "budget_spent", f"{share / 100:g}%" if near and share != budget.alerts[0] else ""


def scope_told(claim: Claim, which: str) -> tuple[str, str]:
    """The scope of an account's alert, and whose account it is where that may be told."""
    budget = claim.budget
    whose = claim.scope if claim.scope and _NAMED.issuperset(budget.per) else ""
    return " ".join(part for part in (budget.id, whose, which) if part), whose


def holding(budgets: Sequence[Balance]) -> Iterator[tuple[str, str]]:
    """(rule, scope) of what holds of these accounts: the shares of their caps that are spent."""
    for balance in budgets:
        budget = balance.claim.budget
        for share in budget.alerts:
            if any(_Reason(balance.claim, share, unit).holds(balance) for unit in ("usd", "tokens")):
                rule, which = share_named(budget, share)
                yield rule, scope_told(balance.claim, which)[0]


def _reading(each: _Alert) -> Reading:
    said = each.said if each.times == 1 else f"{each.said}; {each.times} times since this began"
    return Reading(
        each.rule, each.scope, each.value, each.times, said, each.evidence, threshold=each.value, until=each.until
    )


def _raised(before: int | None, now: int | None) -> bool:
    return before is not None and (now is None or now > before)


def _nearly_spent(budget: Budget, room_nano: int | None) -> bool:
    """Whether what is left is less than the first share that is told leaves; where it is not known, too."""
    cap, shares = budget.cap_nano, budget.alerts
    if room_nano is None or not cap or not shares:
        return True
    return room_nano * FULL <= cap * (FULL - shares[0])
