"""The log store in PostgreSQL, written: several gateways put their lines into the same tables, one after the other."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from headgate.core.errors import HeadgateError, Unavailable
from headgate.stores.logs.erasing import Erased, Subject
from headgate.stores.logs.filters import keys_of_more, keys_of_row
from headgate.stores.logs.lines import Line, Lines, Shape, read_lines
from headgate.stores.logs.postgres_erasures import Unheard, heard
from headgate.stores.logs.postgres_link import Link, connect, has_tables, take_turn
from headgate.stores.logs.rollups import Tally
from headgate.stores.logs.rows import COLUMNS, Shapes
from headgate.stores.logs.sqlite_store import BAD_BYTES, FOLD_ROWS, FOLD_SECONDS, MOST_BAD, body_of
from headgate.stores.logs.store import Progress, Pruned
from headgate.stores.logs.stored_rollups import fold
from headgate.stores.postgres_database import reason

_LONGEST_WORDS = 200_000
"""Characters of a text that can be searched for: an index entry has an end."""
_UNSET = msgspec.UNSET
_ROW = f"INSERT INTO log_rows ({COLUMNS}, keys) VALUES ({','.join('?' * 18)})"
_BODY = "INSERT INTO log_bodies VALUES (?, ?, ?, ?, to_tsvector('simple', ?))"


class PostgresStore:
    """:class:`headgate.stores.logs.store.LogStore` in a database that others write, too.

    Args:
        url: as `storage` has it.
        installation: tells spools of the same path on several machines apart.
        now: seconds since the epoch.
    """

    def __init__(self, url: str, installation: str, *, now: Callable[[], float]) -> None:
        self._url = url
        self._installation = installation
        self._now = now
        self._link: Link | None = None
        self._name = ""
        self._shapes: dict[bytes, Shape] = {}
        self._folded = now()
        self._taken = False
        self._unheard = Unheard()

    def close(self) -> None:
        """See the protocol."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._shapes.clear()

    @contextmanager
    def transaction(self) -> Iterator[Link]:
        """See the protocol."""
        with self._told():
            link = self._open()
            with link.transaction("BEGIN"):
                take_turn(link)
                yield link

    @contextmanager
    def _told(self) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            self.close()
            raise Unavailable(
                f"the log store in {self._name} cannot be written: {reason(error)}",
                told="the log store cannot be written now",
            ) from error
        except HeadgateError:
            self.close()
            raise

    def _open(self) -> Link:
        if self._link is None:
            self._link, place = connect(self._url)
            self._name = place.name
        return self._link

    def progress(self, spool: str) -> Progress:
        """See the protocol."""
        with self._told():
            link = self._open()
            if not has_tables(link):
                return Progress()
            row = link.execute(
                "SELECT position, head, bad FROM log_spools WHERE spool = ?", (self._spool(spool),)
            ).fetchone()
        return Progress() if row is None else Progress(row[0], bytes(row[1]), row[2])

    def take(self, raw: bytes) -> Lines:
        """See the protocol."""
        link = self._open()
        lines = read_lines(raw, lambda tail, values: self._shape(link, tail, values))
        self._unheard.apply(lines)
        if lines.exchanges:
            self._put(link, lines.exchanges)
            self._taken = True
        if lines.events:
            link.executemany("INSERT INTO log_events (at, name, fields) VALUES (?, ?, ?)", map(_clean, lines.events))
        if lines.bad:
            now = self._now()
            kept = [(now, _text(why), line[:BAD_BYTES]) for why, line in lines.bad[:MOST_BAD]]
            link.executemany("INSERT INTO log_bad (found, why, line) VALUES (?, ?, ?)", kept)
            link.execute("DELETE FROM log_bad WHERE n <= (SELECT max(n) FROM log_bad) - ?", (MOST_BAD,))
        return lines

    def note(self, spool: str, progress: Progress) -> None:
        """See the protocol."""
        link = self._open()
        link.execute(
            "INSERT INTO log_spools (spool, position, head, bad) VALUES (?, ?, ?, ?) ON CONFLICT (spool) DO UPDATE "
            "SET position = excluded.position, head = excluded.head, bad = excluded.bad",
            (self._spool(spool), progress.position, progress.head, progress.bad),
        )
        if self._due() or _newest(link) - _summed_to(link) > FOLD_ROWS:
            self.fold(link)

    def unheard(self, spool: str) -> int:
        """See the protocol."""
        with self._told():
            link = self._open()
            if link.execute("SELECT to_regclass('log_erasures') IS NOT NULL").fetchone()[0]:
                self._unheard.read(link, self._spool(spool))
        return self._unheard.last

    def heard(self, spool: str, number: int) -> None:
        """See the protocol."""
        with self.transaction() as link:
            heard(link, self._spool(spool), number)

    def rest(self) -> None:
        """See the protocol."""
        if self._due() and self._taken:
            with self.transaction() as link:
                self.fold(link)

    def _due(self) -> bool:
        now = self._now()
        return now - self._folded >= FOLD_SECONDS or now < self._folded

    def fold(self, link: Link) -> None:
        """Bring the sums up to date with everybody's rows."""
        start, newest = _summed_to(link), _newest(link)
        shapes = Shapes()
        shapes.refresh(link)
        tally = Tally()
        for row in link.execute(f"SELECT {COLUMNS} FROM log_rows WHERE n >= ?", (start,)).fetchall():
            tally.add(shapes.by_id[row[2]], row[1], row[7], row[14], row[15], row[8:12], row[12], row[13])
        fold(link, tally.cells(self._now()), tally.by_user())
        link.execute("UPDATE log_meta SET value = ? WHERE name = 'summed_to'", (newest + 1,))
        self._folded, self._taken = self._now(), False

    def erase(self, subject: Subject, spool: str) -> Erased:
        """See the protocol."""
        from headgate.stores.logs.postgres_erasing import erase

        found = erase(self, subject, self._spool(spool), self._now())
        with self._told():
            link = self._open()
            for table in ("log_bodies", "log_requests", "log_rows", "log_events", "log_bad"):
                link.execute(f"VACUUM {table}")
        return found

    def prune(self, before: float, keep_bytes: int) -> Pruned:
        """See the protocol."""
        from headgate.stores.logs.postgres_pruning import prune

        return prune(self, before, keep_bytes, self._now())

    def _spool(self, spool: str) -> str:
        return f"{self._installation}:{spool}"

    def _shape(self, link: Link, tail: bytes, values: tuple[Any, ...] | None) -> Shape:
        if values is None:
            return self._shapes[tail]
        hashed = zlib.crc32(tail)
        known = link.execute("SELECT id, tail FROM log_shapes WHERE hash = ?", (hashed,)).fetchall()
        shape_id = next((each for each, other in known if bytes(other) == tail), None)
        if shape_id is None:
            asked = "INSERT INTO log_shapes (hash, tail) VALUES (?, ?) RETURNING id"
            (shape_id,) = link.execute(asked, (hashed, tail)).fetchone()
        shape = self._shapes[tail] = Shape(shape_id, tail, values)
        return shape

    def _put(self, link: Link, lines: Sequence[Line]) -> None:
        n = _newest(link) + 1
        rows, bodies, requests = [], [], []
        for own, shape, at, cost, saved, more in lines:
            user, session = _text(own.user_id), _text(own.session_id)
            request_id, correlation_id = _text(own.request_id), _text(own.correlation_id)
            keys = [shape.id, *keys_of_row(session, user, request_id, correlation_id, cost, own.latency_ms)]
            if more:
                keys += keys_of_more(msgspec.json.decode(more))
            tokens = (own.input_tokens, own.output_tokens, own.cache_read_tokens, own.cache_write_tokens)
            who = (_text(own.exchange_id), request_id, correlation_id, session, user)
            rows.append((n, at, shape.id, *who, *tokens, own.latency_ms, own.ttft_ms, cost, saved, more, keys))
            body = body_of(own)
            if body is not None:
                texts = [_text(each) for each in body]
                bodies.append((n, *texts, f"{texts[0][:_LONGEST_WORDS]} \n {texts[1][:_LONGEST_WORDS]}"))
            if own.request_body is not _UNSET:
                requests.append((n, zlib.compress(str(own.request_body).encode(), 6)))
            n += 1
        link.executemany(_ROW, rows)
        if bodies:
            link.executemany(_BODY, bodies)
        if requests:
            link.executemany("INSERT INTO log_requests VALUES (?, ?)", requests)
        link.execute(
            "INSERT INTO log_meta VALUES ('newest', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (n - 1,),
        )


def _newest(link: Link) -> int:
    # Not the highest number of a row: those that have gone are not given out again.
    row = link.execute("SELECT value FROM log_meta WHERE name = 'newest'").fetchone()
    return 0 if row is None else int(row[0])


def _summed_to(link: Link) -> int:
    return int(link.execute("SELECT value FROM log_meta WHERE name = 'summed_to'").fetchone()[0])


def _text(text: str) -> str:
    """PostgreSQL keeps no NUL."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _clean(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_text(each) if isinstance(each, str) else each for each in values)
