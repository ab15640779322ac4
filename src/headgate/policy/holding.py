"""What the money desk works with (`policy.accounts`): wishes, refusals, accounts in memory, holds, what has changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headgate.core.budget import AccountKey, Balance, Claim
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
        may_wait: wait where it does not fit now but may later; else it is refused at once.
        until: when waiting ends, seconds since the epoch.
        bearer: the store's own object, which learns the outcome.
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
    at: Place | None = None  # where it waits

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
    """

    claim: Claim
    why: str
    balance: Balance


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
    holds: int = 0

    def caps(self, claim: Claim) -> Cap:
        budget = claim.budget
        if budget.soft:
            return (None, None)
        return self.override or (budget.cap_nano, budget.cap_tokens)


Amount = tuple[int, int]
"""(nano-dollars, tokens)."""
Told = tuple[int, int]
"""What an account had alerted before: (dollars, tokens)."""


class Hold:
    """What an attempt has set aside, where, and, once it is closed, what that replaced."""

    __slots__ = ("claims", "exchange", "nano", "number", "places", "released", "spent", "tokens", "told")

    def __init__(self, ask: Ask, places: list[Place]) -> None:
        self.exchange = ask.exchange
        self.number = ask.number
        self.claims = ask.claims
        self.places = places
        self.nano = ask.nano
        self.tokens = ask.tokens
        self.released: Amount = (0, 0)
        self.spent: Amount = (0, 0)
        self.told: list[Told] | None = None  # None: it is open


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
