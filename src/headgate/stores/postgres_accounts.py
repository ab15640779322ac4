"""Accounts of budgets in PostgreSQL: locked in the order of their numbers, read, decided on, written in one statement.

Any number of processes share them, so what one remembers of an account is worth nothing a moment later. What is set
aside is in the row, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from headgate.core.budget import Balance, Claim
from headgate.policy.accounts import Accounts
from headgate.policy.budgets import Account
from headgate.policy.holding import Cap, Changed
from headgate.stores.postgres_statements import told
from headgate.stores.rows import summed
from headgate.stores.session import Closing

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection

# In the order of their keys: whoever makes several waits for another's only in that order, and holds no lock yet.
_MAKE = """
INSERT INTO accounts (id, budget, scope, period_start, period_end)
SELECT nextval('row_numbers'), budget, scope, period_start, period_end FROM (
    SELECT r ->> 0 AS budget, r ->> 1 AS scope, (r ->> 2)::float8 AS period_start, (r ->> 3)::float8 AS period_end
    FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS t(r, n)
    WHERE NOT EXISTS (
        SELECT 1 FROM accounts WHERE budget = r ->> 0 AND scope = r ->> 1 AND period_start = (r ->> 2)::float8
    ) ORDER BY n
) AS new
ON CONFLICT (budget, scope, period_start) DO NOTHING
"""
_LOOKED_FOR = """
FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS t(r, n)
JOIN accounts ON budget = r ->> 0 AND scope = r ->> 1 AND period_start = (r ->> 2)::float8
"""
_FIGURES = "SELECT n - 1, id, spent_nano, held_nano, spent_tokens, held_tokens, alerted, alerted_tokens"
_LOCK = f"{_FIGURES} {_LOOKED_FOR} ORDER BY id FOR UPDATE OF accounts"
_LOOK = f"{_FIGURES} {_LOOKED_FOR}"
_CAPS = """
SELECT n - 1, cap_nano, cap_tokens FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS t(r, n)
JOIN caps ON budget = r ->> 0 AND scope = r ->> 1
"""
# A hold is open until its attempt has a row: ours, or one of a sweep that took us for dead.
_HOLDS = """
SELECT n - 1, CASE
    WHEN (r ->> 1)::bigint = 1 AND EXISTS (
        SELECT 1 FROM exchange_rows WHERE id = r ->> 0 AND attempt_started IS NOT NULL
    ) THEN 'closed'
    WHEN outcome = 'killed' THEN 'charged' WHEN outcome IS NOT NULL THEN 'closed' ELSE 'open'
END FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS t(r, n)
LEFT JOIN attempt_rows ON exchange_id = r ->> 0 AND number = (r ->> 1)::bigint
"""
_WRITE = """
UPDATE accounts SET spent_nano = (r ->> 1)::bigint, spent_tokens = (r ->> 2)::bigint, held_nano = (r ->> 3)::bigint,
    held_tokens = (r ->> 4)::bigint, alerted = (r ->> 5)::bigint, alerted_tokens = (r ->> 6)::bigint
FROM jsonb_array_elements(%s::jsonb) AS t(r) WHERE accounts.id = (r ->> 0)::bigint
"""
_SET_CAP = """
INSERT INTO caps (budget, scope, cap_nano, cap_tokens, changed)
VALUES (%s, %s, %s::bigint, %s::bigint, extract(epoch from clock_timestamp())::float8)
ON CONFLICT (budget, scope) DO UPDATE SET
    cap_nano = excluded.cap_nano, cap_tokens = excluded.cap_tokens, changed = excluded.changed
"""
_UNSET_CAP = "DELETE FROM caps WHERE budget = %s AND scope = %s"

_UNWRITABLE = re.compile("[\x00\x01\ud800-\udfff]")

Asked = tuple[list[Claim], str]
"""Claims with different keys, and the same as a parameter."""


def asked(claims: Iterable[Claim]) -> Asked:
    """The claims, each account once, in the order of their keys."""
    found = sorted({claim.key: claim for claim in claims}.items())
    # JSON has no infinity, the end of what is for good; PostgreSQL reads it as text.
    rows = [
        (claim.budget.id, writable(claim.scope), claim.start, claim.end if claim.end < inf else "Infinity")
        for _, claim in found
    ]
    return [claim for _, claim in found], told(rows)


def writable(scope: str) -> str:
    """A scope's value as text of PostgreSQL's, which holds no NUL and no lone surrogate. Different ones stay so."""
    if _UNWRITABLE.search(scope) is None:
        return scope
    return _UNWRITABLE.sub(lambda found: f"\x01{ord(found[0]):04x}", scope)


class Locked:
    """Accounts that a transaction has locked: what it asked for, on its way or back."""

    __slots__ = ("_caps", "_claims", "_closing", "_figures", "_holds")

    def __init__(self, driver: psycopg.Connection[Any], question: Asked, closing: Sequence[Closing]) -> None:
        """Send the questions; in a pipeline the answers come later."""
        self._closing = closing
        self._claims, told_of = question
        driver.execute(_MAKE, (told_of,), prepare=True)
        self._figures = driver.execute(_LOCK, (told_of,), prepare=True)
        self._caps = driver.execute(_CAPS, (told_of,), prepare=True)
        # Behind the locks: it sees what whoever had them before us has done.
        self._holds = driver.execute(_HOLDS, (told(closing),), prepare=True) if closing else None

    def load(self, accounts: Accounts) -> Sequence[Closing]:
        """Bring the answers into memory. Returns those of `closing` whose holds are open."""
        caps = {place: (nano, tokens) for place, nano, tokens in self._caps}
        for place, number, spent, held, spent_tokens, held_tokens, alerted, alerted_tokens in self._figures:
            accounts.load(
                self._claims[place].key,
                number,
                Account(spent, held, spent_tokens, held_tokens),
                alerted=alerted,
                alerted_tokens=alerted_tokens,
                override=caps.get(place),
            )
        still_open: list[Closing] = []
        for place, state in self._holds or ():
            exchange, number, nano, tokens = self._closing[place]
            if state == "open":
                still_open.append(self._closing[place])
            elif state == "charged":
                accounts.correct(exchange, number, nano, tokens)
            else:
                accounts.forget(exchange, number)
        return still_open


def look(driver: psycopg.Connection[Any], claim: Claim) -> Balance:
    """One account, as it is at this moment."""
    _, told_of = asked([claim])
    found = driver.execute(_LOOK, (told_of,)).fetchone()
    spent, held, spent_tokens, held_tokens = found[2:6] if found else (0, 0, 0, 0)
    cap = driver.execute(_CAPS, (told_of,)).fetchone()
    cap_nano, cap_tokens = cap[1:] if cap else (claim.budget.cap_nano, claim.budget.cap_tokens)
    return Balance(claim, cap_nano, cap_tokens, spent, held, spent_tokens, held_tokens, overridden=cap is not None)


def write(driver: psycopg.Connection[Any], changed: Sequence[Changed]) -> None:
    """Send the figures of accounts that are locked."""
    rows = [
        (
            a.number,
            *map(summed, (a.spent_nano, a.spent_tokens, a.held_nano, a.held_tokens)),
            a.alerted,
            a.alerted_tokens,
        )
        for a in changed
    ]
    driver.execute(_WRITE, (told(rows),), prepare=True)


def set_cap(sql: Connection, budget: str, scope: str, cap: Cap | None) -> None:
    """Write an override, or take it back."""
    key = (budget, writable(scope))
    if cap is None:
        sql.exec_driver_sql(_UNSET_CAP, key)
    else:
        sql.exec_driver_sql(_SET_CAP, (*key, *cap))
