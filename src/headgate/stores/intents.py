"""Intents: on record before a request is sent, gone once it is settled.

All intents of one commit are one row, a JSON array, so that a commit costs about the same however many it holds; the
row goes with the last settled exchange of it. One that is settled while its neighbours are not is still in there: an
intent counts as open only while its attempt has no row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from headgate.stores.schema import attempt_rows, exchange_rows, intents
from headgate.stores.statements import Row

FACTS = (
    "started",
    "way_in",
    "dialect",
    "endpoint",
    "key",
    "tenant",
    "user",
    "session",
    "task",
    "feature",
    "environment",
    "tags",
    "model_asked",
    "stream",
    "correlation_id",
    "client_retries",
)
"""Of the exchange, in the order of `rows.intent_row`. Older rows are read with it: only add at the end."""

_AT_ONCE = 500  # values in one query


class Intent(NamedTuple):
    """One intent as it was recorded. Times are seconds since the epoch."""

    owner: str
    exchange_id: str
    number: int
    provider: str
    model: str
    started: float  # the attempt
    bound_nano: int | None  # None: could not be bounded
    facts: dict[str, Any]  # by the names in FACTS
    bound_tokens: int = 0
    accounts: tuple[int, ...] = ()  # by their numbers: where the bound is held


def read_intents(connection: Connection) -> list[Intent]:
    """Every intent on record, open or not, in order, each once."""
    found: dict[tuple[str, int], Intent] = {}
    for owner, text in connection.execute(select(intents.c.owner, intents.c.intents).order_by(intents.c.id)):
        for intent in intents_in(owner, text):
            found.setdefault((intent.exchange_id, intent.number), intent)
    return list(found.values())


def intents_in(owner: str, text: str) -> Iterator[Intent]:
    """Those of one row."""
    for exchange_id, number, provider, model, started, bound, told, *held in json.loads(text):
        facts = dict(zip(FACTS, told, strict=False))
        tokens, accounts = held or (0, ())
        yield Intent(owner, exchange_id, number, provider, model, started, bound, facts, tokens, tuple(accounts))


def open_intents(connection: Connection, found: Sequence[Intent]) -> list[Intent]:
    """Those of `found` whose attempt is not settled."""
    ids = {intent.exchange_id for intent in found}
    settled: set[tuple[str, int]] = set()
    for part in _parts(ids):
        c, e = attempt_rows.c, exchange_rows.c
        tried = select(c.exchange_id, c.number).where(c.exchange_id.in_(part))
        settled.update((exchange_id, number) for exchange_id, number in connection.execute(tried))
        only = select(e.id).where(e.id.in_(part), e.attempt_started.is_not(None))
        settled.update((exchange_id, 1) for (exchange_id,) in connection.execute(only))
    return [intent for intent in found if (intent.exchange_id, intent.number) not in settled]


def settled_exchanges(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of `ids` that have a row."""
    e = exchange_rows.c
    return {row[0] for part in _parts(ids) for row in connection.execute(select(e.id).where(e.id.in_(part)))}


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    every = sorted(ids)
    for start in range(0, len(every), _AT_ONCE):
        yield every[start : start + _AT_ONCE]


class Open:
    """Which rows of `intents` have how many intents that are not settled. The writer thread's."""

    __slots__ = ("_batches", "_left")

    def __init__(self) -> None:
        self._batches: dict[str, tuple[int, ...]] = {}  # exchange id -> the rows that hold its intents
        self._left: dict[int, int] = {}  # row -> intents in it that are not settled

    def add(self, batch: int, rows: Sequence[Row]) -> None:
        """The row `batch` holds `rows`, and is durable or about to be."""
        batches = self._batches
        self._left[batch] = len(rows)  # first: see `Session.intend`
        if len(rows) > 1:
            new = dict.fromkeys([row[0] for row in rows], (batch,))
            if len(new) == len(rows) and batches.keys().isdisjoint(new):
                batches.update(new)
                return
        for row in rows:  # one, or some that have been tried before
            batches[row[0]] = (*batches.get(row[0], ()), batch)

    def close(self, settled: Iterable[Row]) -> tuple[dict[str, tuple[int, ...]], list[int]]:
        """Close the intents of these exchanges.

        Returns:
            What was closed, for :meth:`reopen`, and the rows of which nothing is open any more.
        """
        take, left = self._batches.pop, self._left
        ids = [row[0] for row in settled]
        closed = {each: held for each, held in zip(ids, map(take, ids, repeat(())), strict=True) if held}
        done: list[int] = []
        for batch, count in Counter(chain.from_iterable(closed.values())).items():
            still = left[batch] - count
            left[batch] = still
            if not still:
                done.append(batch)
        return closed, done

    def reopen(self, closed: dict[str, tuple[int, ...]]) -> None:
        """They were not closed after all: the commit failed."""
        for held in closed.values():
            for batch in held:
                self._left[batch] += 1
        self._batches.update(closed)

    def forget(self, done: Sequence[int]) -> None:
        """These rows are gone."""
        for batch in done:
            del self._left[batch]
