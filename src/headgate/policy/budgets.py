"""Budgets: which apply to a call, and whether its hold fits. Pure decisions over plain objects.

A budget is a cap per scope and period; an account is one budget for one scope value in one period. A hold is set aside
on every account that applies, or on none (decisions 1 to 4). The one rule: spent + held + this <= cap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter
from urllib.parse import quote

from headgate.core.budget import Budget, Claim
from headgate.core.caller import Caller
from headgate.core.exchange import Route
from headgate.core.text import storable
from headgate.policy.periods import period
from headgate.policy.recent import Recent

TAG = "tag:"
FOR_EVER = float("inf")
MOST_SCOPE_BYTES = 2_000
"""Of an account's scope in a store. It is in a key, and an entry of PostgreSQL's index holds 2,704 bytes with the
budget's id and all; callers name themselves, in process without a limit on how long."""
_WIDEST = 6  # bytes of a character, where JSON or a store escapes it
_DIGEST_BYTES = 40


def budget_id(per: Sequence[str], only: Iterable[tuple[str, str]], every: str) -> str:
    """A budget's id: what it is about, not how much."""
    scope = "+".join(per) or "all"
    filters = ",".join(f"{name}={quote(value, safe=' ')}" for name, value in sorted(only))
    return "/".join(filter(None, (scope, filters, every or "total")))


def value_of(dimension: str, caller: Caller, route: Route, asked: str) -> str:
    """A call's value of a dimension; "" where it has none."""
    if dimension == "model":
        return route.model or asked
    if dimension == "provider":
        return route.provider
    if dimension.startswith(TAG):
        return caller.tags.get(dimension[len(TAG) :], "")
    value: str = getattr(caller, dimension)
    return value


def brief(value: str, dimensions: int = 1) -> str:
    """A value of one of so many dimensions, so that a scope is at most `MOST_SCOPE_BYTES`: of a longer one its
    beginning and a digest, 128 bits of SHA-256. Different values stay different."""
    room = MOST_SCOPE_BYTES // dimensions
    if len(value) * _WIDEST <= room:
        return value
    told = storable(value)
    if len(json.dumps(told, ensure_ascii=False).encode()) <= room:
        return value
    begins = told[: max(0, min(64, (room - _DIGEST_BYTES) // _WIDEST))]
    return f"{begins}…{sha256(told.encode()).hexdigest()[:32]}"


def scope_of(per: Sequence[str], caller: Caller, route: Route, asked: str) -> str | None:
    """The account's name within its budget, in which long values are `brief`; None where the call lacks a dimension,
    and the budget does not apply."""
    values = [brief(value_of(dimension, caller, route, asked), len(per)) for dimension in per]
    if not all(values):
        return None
    if len(values) == 1:
        return values[0]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) if values else ""


@dataclass(frozen=True, slots=True)
class Applying:
    """What all budgets together ask of calls of one kind. Kept, and therefore the same object from call to call.

    Attributes:
        claims: the accounts that a call has to fit, in the order of the budgets' ids: always the same, so that stores
            can lock them in it (decisions 5).
        hard: the first of them whose budget refuses; None = all are soft, or there is none.
        degrades: one of their budgets goes to another model where a call does not fit.
        start, end: when this holds, seconds since the epoch: the periods of all claims.
    """

    claims: tuple[Claim, ...]
    hard: Claim | None
    degrades: bool
    start: float
    end: float


class _Kept:
    """One budget, and its claims by scope."""

    __slots__ = ("budget", "claims")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.claims: Recent[str, Claim] = Recent(Budgets.MOST)

    def claim(self, caller: Caller, route: Route, asked: str, at: float) -> Claim | None:
        """None where the budget does not apply."""
        budget = self.budget
        if budget.only and any(value_of(name, caller, route, asked) != value for name, value in budget.only):
            return None
        scope = scope_of(budget.per, caller, route, asked)
        if scope is None:
            return None
        found = self.claims.get(scope)
        return found if found is not None and found.start <= at < found.end else self._make(scope, at)

    def _make(self, scope: str, at: float) -> Claim:
        """The claim of a scope that has none, or whose period is over."""
        budget = self.budget
        start, end = period(budget.every, at, budget.zone)
        # Scopes come from callers: one that no store can look up would fail with all those that are decided in the
        # same transaction.
        told = storable(scope)
        claim = Claim(budget, told, start, end, (budget.id, told, start))
        self.claims.put(scope, claim)
        return claim


_OF_ROUTE = frozenset({"model", "provider"})


class Budgets:
    """All budgets of a configuration, and who has to fit which.

    What applies is kept until a period is over, so that a call is one look-up. Safe to share between threads: the
    worst of a race is a claim that is made twice.

    Attributes:
        all: the budgets, by id.
        degrade: one of them goes to another model where a call does not fit.
    """

    MOST = 4_096
    """Claims kept per budget: some 1 MB. Scopes come from callers; a claim is made anew in microseconds."""
    MOST_COMBINED = 4_096
    """Combinations of them that are kept looked up: some 2 MB."""
    IDLE_SECONDS = 120.0
    """What nobody asks for this long is forgotten, at twice this at the latest: sessions end, and nobody says so."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self.all = tuple(sorted(budgets, key=lambda budget: budget.id))
        self.degrade = any(budget.degrade_to for budget in self.all)
        self._kept = [_Kept(budget) for budget in self.all]
        self._applying: Recent[object, Applying] = Recent(Budgets.MOST_COMBINED)  # by what the budgets look at
        self._turned = 0.0  # when something was forgotten last
        looked_at = {name for each in self.all for name in (*each.per, *(name for name, _ in each.only))}
        of_caller = sorted(name for name in looked_at - _OF_ROUTE if not name.startswith(TAG))
        self._of_caller = attrgetter(*of_caller) if of_caller else None
        self._of_route = not looked_at.isdisjoint(_OF_ROUTE)
        self._tags = sorted(name[len(TAG) :] for name in looked_at if name.startswith(TAG))

    def __bool__(self) -> bool:
        return bool(self.all)

    def claims(self, caller: Caller, route: Route, asked: str, at: float) -> tuple[Claim, ...]:
        """The accounts that an attempt on `route` has to fit: see `applying`."""
        return self.applying(caller, route, asked, at).claims

    def applying(self, caller: Caller, route: Route, asked: str, at: float) -> Applying:
        """What an attempt on `route` has to fit.

        Args:
            asked: the model that the caller named.
            at: seconds since the epoch.
        """
        of_caller = self._of_caller
        key = None if of_caller is None else of_caller(caller)
        if self._of_route:
            key = key, route.model or asked, route.provider
        if self._tags:
            tags = caller.tags
            key = (key, *[tags.get(name, "") for name in self._tags])
        found = self._applying.new.get(key)
        if found is None or not found.start <= at < found.end:
            found = self._applying.get(key)
            if found is None or not found.start <= at < found.end:
                found = self._find(caller, route, asked, at)
                self._applying.put(key, found)
        return found

    def _find(self, caller: Caller, route: Route, asked: str, at: float) -> Applying:
        if abs(at - self._turned) >= self.IDLE_SECONDS:  # a clock may have been set back
            self._turned = at
            self._applying.turn()
            for kept in self._kept:
                kept.claims.turn()
        every = [kept.claim(caller, route, asked, at) for kept in self._kept]
        claims = tuple(claim for claim in every if claim is not None)
        return Applying(
            claims,
            next((claim for claim in claims if not claim.budget.soft), None),
            any(claim.budget.degrade_to for claim in claims),
            max((claim.start for claim in claims), default=-FOR_EVER),
            min((claim.end for claim in claims), default=FOR_EVER),
        )


@dataclass(slots=True)
class Account:
    """What is known of one account. Money is nano-dollars; every count is >= 0."""

    spent_nano: int = 0
    held_nano: int = 0
    spent_tokens: int = 0
    held_tokens: int = 0

    def become(self, other: Account) -> None:
        """The same figures as another's."""
        self.spent_nano, self.held_nano = other.spent_nano, other.held_nano
        self.spent_tokens, self.held_tokens = other.spent_tokens, other.held_tokens

    def set_aside(self, nano: int, tokens: int) -> None:
        """A hold was taken."""
        self.held_nano += nano
        self.held_tokens += tokens

    def close(self, held: tuple[int, int], spent: tuple[int, int]) -> None:
        """A hold was closed: settled with what was spent, or released with (0, 0). Each is (nano-dollars, tokens)."""
        self.held_nano -= held[0]
        self.held_tokens -= held[1]
        self.spent_nano += spent[0]
        self.spent_tokens += spent[1]


FITS, WAITS, NEVER = "fits", "waits", "never"


def verdict(account: Account, cap_nano: int | None, cap_tokens: int | None, nano: int, tokens: int) -> str:
    """Whether a hold fits an account.

    `WAITS`: it does not fit now, but would if others' holds settled at nothing (decisions 4). `NEVER`: what is spent
    leaves no room, or the call alone is larger than the cap.
    """
    answer = FITS
    for cap, spent, held, more in (
        (cap_nano, account.spent_nano, account.held_nano, nano),
        (cap_tokens, account.spent_tokens, account.held_tokens, tokens),
    ):
        if cap is None:
            continue
        if spent + more > cap:
            return NEVER
        if spent + held + more > cap:
            answer = WAITS
    return answer
