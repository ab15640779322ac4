"""What guards found over a time, counted by their words and by verdict: a segment at a time, by its bitmaps.

A bitmap is under a word's hash, so each word is read from one of the rows that have it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from headgate.stores.logs.posts import BITS, GUARD, PLACES, key_of, unpacked
from headgate.stores.logs.query import GuardCount, GuardCounts
from headgate.stores.logs.rows import Shapes
from headgate.stores.logs.sqlite_rows import places_of_any

VERDICTS = ("block", "redact", "flag")
"""What is counted: the others let a call pass and say nothing."""
_FIRST, _LAST = GUARD << 32, (GUARD + 1 << 32) - 1
_WITH_GUARDS = "more LIKE '%\"guards\"%'"


class Counted:
    """Numbers by word and verdict, and the newest row of each."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._newest: dict[tuple[str, str], int] = {}

    def add(self, word: str, verdict: str, number: int, newest: int) -> None:
        """So many exchanges, `newest` the last of them."""
        place = word, verdict
        self._numbers[place] = self._numbers.get(place, 0) + number
        self._newest[place] = max(newest, self._newest.get(place, -1))

    def made(self, sql: Any, counted_from: float | None) -> GuardCounts:
        """As it is handed out, the most first."""
        marks = ",".join(map(str, sorted(set(self._newest.values())))) or "-1"
        rows = {n: told for n, *told in sql.execute(f"SELECT n, at, exchange_id FROM log_rows WHERE n IN ({marks})")}
        found = [
            GuardCount(word, verdict, number, *rows[self._newest[word, verdict]])
            for (word, verdict), number in self._numbers.items()
        ]
        return GuardCounts(tuple(sorted(found, key=lambda each: (-each.exchanges, each.word))), counted_from)


def shapes_by_verdict(shapes: Shapes, tenant: str | None) -> dict[str, frozenset[int]]:
    """The shapes of each verdict that is counted, of one tenant or of all."""
    return {
        verdict: frozenset(
            shape_id
            for shape_id, shape in shapes.by_id.items()
            if shape.verdict == verdict and (tenant is None or shape.tenant == tenant)
        )
        for verdict in VERDICTS
    }


def guard_counts(
    sql: sqlite3.Connection,
    shapes: Shapes,
    since: float,
    until: float,
    tenant: str | None,
    more_time: Callable[[], bool],
) -> GuardCounts:
    """Of the SQLite file."""
    search = _Counting(sql, shapes_by_verdict(shapes, tenant), since, until)
    found = sql.execute(
        "SELECT segment, sealed, first_at, last_at FROM log_segments WHERE part > 0 AND last_at >= ? AND first_at < ? "
        "ORDER BY segment DESC",
        (since, until),
    ).fetchall()
    for segment, sealed, first_at, last_at in found:
        if not more_time():
            return search.counted.made(sql, last_at)
        if sealed and first_at >= since and last_at < until:
            search.by_bitmaps(segment)
        else:
            search.by_rows(segment)
    return search.counted.made(sql, None)


class _Counting:
    def __init__(
        self, sql: sqlite3.Connection, by_verdict: Mapping[str, frozenset[int]], since: float, until: float
    ) -> None:
        self.counted = Counted()
        self._sql = sql
        self._by_verdict = by_verdict
        self._verdict_of = {each: verdict for verdict, some in by_verdict.items() for each in some}
        self._between = since, until
        self._words: dict[int, str] = {}

    def by_rows(self, segment: int) -> None:
        """Of a segment that has no bitmaps, or is only partly in the time."""
        found = self._sql.execute(
            f"SELECT n, shape, more FROM log_rows WHERE n BETWEEN ? AND ? AND at >= ? AND at < ? AND {_WITH_GUARDS}",
            (segment << BITS, (segment << BITS) + PLACES - 1, *self._between),
        )
        for n, shape_id, more in found:
            verdict = self._verdict_of.get(shape_id)
            if verdict is not None:
                for word in words_in(more):
                    self.counted.add(word, verdict, 1, n)

    def by_bitmaps(self, segment: int) -> None:
        """Of a segment that is full."""
        acted = {
            verdict: bits
            for verdict, some in self._by_verdict.items()
            if some and (bits := places_of_any(self._sql, segment, sorted(some)))
        }
        if not acted:
            return
        whole = 0
        for bits in acted.values():
            whole |= bits
        asked = "SELECT key, places FROM log_posts WHERE segment = ? AND key BETWEEN ? AND ?"
        found: dict[str, int] = {}
        for key, places in self._sql.execute(asked, (segment, _FIRST, _LAST)).fetchall():
            mine = unpacked(places) & whole
            if mine:
                found[self._word(key, (segment << BITS) + mine.bit_length() - 1)] = mine
        for word, bits in _without_guards(found).items():
            for verdict, some in acted.items():
                mine = bits & some
                if mine:
                    newest = (segment << BITS) + mine.bit_length() - 1
                    self.counted.add(word, verdict, mine.bit_count(), newest)

    def _word(self, key: int, n: int) -> str:
        """The word, or the guard's name, that a key is the hash of; `n` is a row that has it."""
        if key not in self._words:
            (more,) = self._sql.execute("SELECT more FROM log_rows WHERE n = ?", (n,)).fetchone()
            words = words_in(more)
            names = (*words, *(word.partition(":")[0] for word in words))
            self._words[key] = next((name for name in names if key_of(GUARD, name) == key), "")
        return self._words[key]


def _without_guards(found: Mapping[str, int]) -> dict[str, int]:
    """Of a guard's own name what is said without a rule: its bitmap has what is said with one, too."""
    told = {}
    for word, bits in found.items():
        if ":" not in word:
            for other, more in found.items():
                if other.startswith(f"{word}:"):
                    bits &= ~more
        if bits and word:
            told[word] = bits
    return told


def words_in(more: str) -> Iterable[str]:
    """What guards said of an exchange, each once."""
    told = msgspec.json.decode(more).get("guards", ()) if more else ()
    return tuple(dict.fromkeys(told))
