"""What the money desk works with (`policy.accounts`): wishes, refusals, accounts in memory, holds, what has changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from headgate.core.budget import FULL, AccountKey, Balance, Claim
from headgate.policy.budgets import Account

Cap = tuple[int | None, int | None]
"""(nano-dollars, tokens); None = no cap of that kind."""


@dataclass(slots=True, eq=False)
class Ask:
    """One attempt's wish to set money aside.

    Attributes:
        exchange, number: the attempt.
        claims: the accounts, in the order of their keys; not empty.
        nano, tokens: the most that the attempt can cost, and use; >= 0.
        lasting: it will be held for long: others are refused where they would have to wait for it.
        may_wait: wait where it does not fit now but may later; else it is refused at once.
        until: when waiting ends, seconds since the epoch.
        bearer: the store's own object, which learns the outcome; None once it has.
        at: where it waits.
        held: where it has set money aside, from then on until it is closed.
        left_nano: what was left in the tightest account, with this hold taken, nano-dollars; None = no cap in dollars.
        warned: the account that was furthest past an alert by then, and its share in basis points; None = none was.
    """

    exchange: str
    number: int
    claims: tuple[Claim, ...]
    nano: int
    tokens: int
    may_wait: bool = True
    until: float = float("inf")
    bearer: Any = None
    ticket: int = 0
    at: Place | None = None
    held: Claimed | None = None
    left_nano: int | None = None
    warned: tuple[Claim, int] | None = None
    lasting: bool = False

    def __lt__(self, other: Ask) -> bool:
        return self.ticket < other.ticket


@dataclass(slots=True)
class Denial:
    """Why an ask was refused.

    Attributes:
        claim: the account that said no.
        why: "spent" = what is spent leaves no room; "too_large" = it alone is more than the cap; "held" = others hold
            the rest, and it may not wait; "waited" = its time was up; "period" = the claimed period was over before
            there was room.
        balance: of the account, at that moment.
        not_before: see `core.errors.BudgetExceeded`.
    """

    claim: Claim
    why: str
    balance: Balance
    not_before: float = 0.0


@dataclass(slots=True, eq=False)
class Place:
    """An account in memory, and who waits at it. Its hash is its identity: a key's costs more."""

    key: AccountKey
    number: int  # the store's
    account: Account
    override: Cap | None = None
    alerted: int = 0  # the highest share that was told, in basis points
    alerted_tokens: int = 0
    queue: list[Ask] = field(default_factory=list)  # by ticket
    terms: tuple[Terms, ...] = ()  # one for each budget that is looked at it with

    def caps(self, claim: Claim) -> Cap:
        budget = claim.budget
        if budget.soft:
            return (None, None)
        return self.override or (budget.cap_nano, budget.cap_tokens)


class Terms:
    """What one budget, as it is configured, says of an account: several configurations may share one.

    Attributes:
        cap_nano, cap_tokens: what is never gone over; None = no cap of that kind, or a soft one.
        tell_nano, tell_tokens: what is spent when the first alert is due; infinity = there is none.
        calm_nano, calm_tokens: while spent + held is below both, a hold fits and nobody has to be warned; infinity, or
            None, which says so faster, = always.
    """

    __slots__ = (
        "account",
        "calm_nano",
        "calm_tokens",
        "cap_nano",
        "cap_tokens",
        "claim",
        "place",
        "queue",
        "tell_nano",
        "tell_tokens",
    )

    def __init__(self, claim: Claim, place: Place) -> None:
        self.claim = claim
        self.place = place
        self.account = place.account
        self.queue = place.queue
        self.refresh()

    def refresh(self) -> None:
        """The override has changed."""
        place, budget = self.place, self.claim.budget
        cap_nano, cap_tokens = place.override or (budget.cap_nano, budget.cap_tokens)
        self.cap_nano, self.cap_tokens = place.caps(self.claim)
        first = budget.alerts[0] if budget.alerts else None
        self.tell_nano, self.calm_nano = _lines(cap_nano, first, budget.soft)
        self.tell_tokens, calm = _lines(cap_tokens, first, budget.soft)
        self.calm_tokens = None if calm == _NEVER else calm


_NEVER = float("inf")


@lru_cache(maxsize=1024)
def _lines(cap: int | None, first: int | None, soft: bool) -> tuple[float, float]:
    """(what has to be spent for the first alert, what is calm below): exact, whole numbers or infinity. Looked up,
    because the accounts of one budget are many: they share them.

    Args:
        first: basis points of the cap; None = there are no alerts.
    """
    tell = -(-cap * first // FULL) if cap and first is not None else _NEVER
    return tell, tell if cap is None or soft else min(cap + 1, tell)


class Claimed:
    """Several accounts that are claimed together, in memory: what a call would otherwise look up one by one."""

    __slots__ = ("claims", "numbers", "places", "terms")

    def __init__(self, terms: tuple[Terms, ...], claims: tuple[Claim, ...]) -> None:
        self.terms = terms
        self.claims = claims
        self.numbers = [each.place.number for each in terms]
        self.places = {each.place: each.claim for each in terms}


Closed = tuple[Ask, Claimed, int, int, int, int]
"""Whose hold was closed, where, and by how much what is set aside became less, and what is spent more: nano-dollars and
tokens each."""


class Changed(NamedTuple):
    """An account that has to be written: absolute figures, as they are after this transaction."""

    key: AccountKey
    number: int
    end: float
    spent_nano: int
    spent_tokens: int
    held_nano: int
    held_tokens: int
    alerted: int
    alerted_tokens: int


def rather(claim: Claim, other: Claim, ask: Ask) -> bool:
    """Of two accounts that lack room, which one to wait at: the one that fewer share. It cannot be let in before that
    one has room, and in the other's queue it would stand in the way of those who could. Who may not wait is told of
    the one that has another model for him."""
    budget, than = claim.budget, other.budget
    if not ask.may_wait:
        return bool(budget.degrade_to) and not than.degrade_to
    return len(budget.per) + len(budget.only) >= len(than.per) + len(than.only)
