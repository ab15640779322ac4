"""The log store's SQLite file, written: by whoever holds its lock, one transaction at a time."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from headgate.core.errors import Unavailable
from headgate.stores.logs.erasing import Erased, Subject
from headgate.stores.logs.filters import keys_of_more
from headgate.stores.logs.lines import Line, Lines, Own, Shape, read_lines, shared_values
from headgate.stores.logs.posts import BITS, PLACES, Posts
from headgate.stores.logs.rollups import Tally
from headgate.stores.logs.rows import MORE, Row
from headgate.stores.logs.sqlite_schema import create_text_table, open_writer, text_table
from headgate.stores.logs.store import Progress, Pruned
from headgate.stores.logs.stored_rollups import fold

PARTS_KEPT = 60
"""So many parts are the time that exchanges are kept; they go at most one of them late."""
SHORTEST_PART_SECONDS = 60.0
"""What prunes comes by once a minute: shorter parts would go no sooner."""
SEGMENTS_OF_A_PART = 16
"""Of a part that is full before its time is over: 262,144 exchanges."""
FOLD_ROWS = 65_536
FOLD_SECONDS = 600.0
"""Sums are brought up to date so often, or once so many rows have come; readers sum up what came since. More often it
would be most of the work."""
MOST_BAD = 1000
BAD_BYTES = 4096
"""Of lines that cannot be read so many are kept, and so much of each."""
_MOST_SHAPES = 50_000

_UNSET = msgspec.UNSET
_ROW = f"INSERT INTO log_rows VALUES ({','.join('?' * 17)})"


class SqliteStore:
    """:class:`headgate.stores.logs.store.LogStore` in one file. Call it with the store's lock held.

    What others have written meanwhile is noticed.

    Args:
        path: the file.
        keep_seconds: how long exchanges are kept; they go part by part.
        now: seconds since the epoch.
    """

    def __init__(self, path: Path, *, keep_seconds: float, now: Callable[[], float]) -> None:
        self.path = path
        self._part_seconds = max(SHORTEST_PART_SECONDS, keep_seconds / PARTS_KEPT)
        self._now = now
        self._sql: sqlite3.Connection | None = None
        self._version = -1
        self._file_id = (0, 0)
        self.forgot = False  # something was deleted that the write-ahead log still has
        self.forget()

    def forget(self) -> None:
        """Read from the file, in the next transaction, what was known by heart."""
        self._known = False
        self._shapes: dict[bytes, Shape] = {}
        self._tally = Tally()
        self._posts = Posts()
        self._segment = self._place = 0
        self._part = self._part_segments = 0
        self._part_opened = 0.0
        self._first_at, self._last_at = 1e18, -1e18
        self._folded = 0.0

    def close(self) -> None:
        """Let go of the file."""
        if self._sql is not None:
            self._sql.close()
            self._sql = None
        self.forget()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in it or nothing.

        Raises:
            ConfigError: see `sqlite_schema.open_writer`.
            Unavailable: the disk or the file said no.
        """
        connection = self.connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version or not self._known:
                self._recall(connection)
                self._version = version
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            self.forget()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise Unavailable(
                    f"the log store {self.path} cannot be written: {error}", told="the log store cannot be written now"
                ) from error
            raise

    def progress(self, spool: str) -> Progress:
        """How far a spool was read.

        Raises:
            Unavailable, ConfigError: as `transaction`.
        """
        try:
            row = (
                self.connection()
                .execute("SELECT position, head, bad FROM log_spools WHERE spool = ?", (spool,))
                .fetchone()
            )
        except sqlite3.Error as error:
            raise Unavailable(
                f"the log store {self.path} cannot be read: {error}", told="the log store cannot be read now"
            ) from error
        return Progress() if row is None else Progress(*row)

    def take(self, raw: bytes) -> Lines:
        """See the protocol."""
        connection = self.connection()
        lines = read_lines(raw, lambda tail, values: self._shape(connection, tail, values), self._shapes)
        if lines.exchanges:
            self._add(connection, lines.exchanges)
        if lines.events:
            connection.executemany("INSERT INTO log_events (at, name, fields) VALUES (?, ?, ?)", lines.events)
        if lines.bad:
            now = self._now()
            kept = [(now, why, line[:BAD_BYTES]) for why, line in lines.bad[:MOST_BAD]]
            connection.executemany("INSERT INTO log_bad (found, why, line) VALUES (?, ?, ?)", kept)
            connection.execute("DELETE FROM log_bad WHERE n <= (SELECT max(n) FROM log_bad) - ?", (MOST_BAD,))
        return lines

    def note(self, spool: str, progress: Progress) -> None:
        """See the protocol."""
        connection = self.connection()
        connection.execute(
            "INSERT OR REPLACE INTO log_spools VALUES (?, ?, ?, ?)",
            (spool, progress.position, progress.head, progress.bad),
        )
        if self._tally.rows >= FOLD_ROWS or self._due():
            self.fold(connection)

    def unheard(self, spool: str) -> int:
        """See the protocol. Whoever erases here empties the only file of lines."""
        return 0

    def heard(self, spool: str, number: int) -> None:
        """See the protocol."""

    def rest(self) -> None:
        """See the protocol."""
        if self._due():
            with self.transaction() as connection:
                if self._tally.rows:
                    self.fold(connection)

    def _due(self) -> bool:
        now = self._now()
        return self._tally.rows > 0 and (now - self._folded >= FOLD_SECONDS or now < self._folded)

    def fold(self, connection: sqlite3.Connection) -> None:
        """Bring the sums up to date."""
        fold(connection, self._tally.cells(self._now()), self._tally.by_user())
        self._tally.clear()
        self._folded = self._now()
        connection.execute(
            "INSERT OR REPLACE INTO log_meta VALUES ('summed_to', ?)", ((self._segment << BITS) + self._place,)
        )

    def erase(self, subject: Subject, spool: str) -> Erased:
        """See the protocol."""
        from headgate.stores.logs.sqlite_erasing import erase  # both know this store's insides

        return erase(self, subject)

    def prune(self, before: float, keep_bytes: int) -> Pruned:
        """See the protocol."""
        from headgate.stores.logs.sqlite_pruning import prune

        return prune(self, before, keep_bytes, self._now())

    def seal_part(self, connection: sqlite3.Connection) -> None:
        """End the open part: the next line begins another. Nothing where it is empty."""
        if self._part_segments or self._place:
            self.fold(connection)  # rows that are not summed yet must not go before they are
            self._seal(connection)
            connection.execute("UPDATE log_parts SET sealed = ? WHERE part = ?", (self._now(), self._part))
            self._part = 0

    def connection(self) -> sqlite3.Connection:
        """The connection, opened where it is not; outside of a transaction."""
        if self._sql is not None:
            try:
                found = self.path.stat()
            except OSError:
                found = None
            if found is None or (found.st_dev, found.st_ino) != self._file_id:
                self.close()  # moved away or removed: a new one is begun
        if self._sql is None:
            self._sql = open_writer(self.path)
            made = self.path.stat()
            self._file_id = (made.st_dev, made.st_ino)
            self._version = -1
        return self._sql

    def _recall(self, sql: sqlite3.Connection) -> None:
        """Make up what is kept in memory from what is on record."""
        self.forget()
        row = sql.execute("SELECT part, opened FROM log_parts WHERE sealed IS NULL ORDER BY part DESC").fetchone()
        if row is not None:
            self._part, self._part_opened = row
            self._part_segments = sql.execute(
                "SELECT count(*) FROM log_segments WHERE part = ? AND sealed", (self._part,)
            ).fetchone()[0]
        row = sql.execute(
            "SELECT segment, rows, first_at, last_at, sealed FROM log_segments ORDER BY segment DESC LIMIT 1"
        ).fetchone()
        if row is not None:
            segment, rows, first_at, last_at, sealed = row
            if sealed:
                self._segment = segment + 1
            else:
                self._segment, self._place, self._first_at, self._last_at = segment, rows, first_at, last_at
        for shape_id, tail in sql.execute(
            "SELECT id, tail FROM log_shapes ORDER BY last DESC LIMIT ?", (_MOST_SHAPES,)
        ):
            self._shapes[tail] = Shape(shape_id, tail, shared_values(tail))
        summed = sql.execute("SELECT value FROM log_meta WHERE name = 'summed_to'").fetchone()
        self._recall_rows(sql, self._segment << BITS, 0 if summed is None else summed[0])
        self._folded = self._now()
        self._known = True

    def _recall_rows(self, sql: sqlite3.Connection, open_segment: int, summed_to: int) -> None:
        shapes: dict[int, Shape] = {shape.id: shape for shape in self._shapes.values()}
        found = sql.execute("SELECT * FROM log_rows WHERE n >= ? ORDER BY n", (min(open_segment, summed_to),))
        rows = found.fetchall()
        post_rows(self._posts, [row for row in rows if row[0] >= open_segment])
        for row in rows:
            n, at, shape_id = row[:3]
            shape = shapes.get(shape_id)
            if shape is None:
                (tail,) = sql.execute("SELECT tail FROM log_shapes WHERE id = ?", (shape_id,)).fetchone()
                shape = shapes[shape_id] = self._remember(Shape(shape_id, tail, shared_values(tail)))
            if n >= summed_to:
                self._tally.add(shape, at, row[7], row[14], row[15], row[8:12], row[12], row[13])

    def _shape(self, sql: sqlite3.Connection, tail: bytes, values: tuple[Any, ...] | None) -> Shape:
        if values is None:
            return self._shapes[tail]
        hashed = zlib.crc32(tail)
        for shape_id, known in sql.execute("SELECT id, tail FROM log_shapes WHERE hash = ?", (hashed,)):
            if known == tail:
                return self._remember(Shape(shape_id, tail, values))
        last = (self._segment << BITS) + self._place
        shape_id = sql.execute(
            "INSERT INTO log_shapes (hash, tail, last) VALUES (?, ?, ?)", (hashed, tail, last)
        ).lastrowid
        assert shape_id is not None
        return self._remember(Shape(shape_id, tail, values))

    def _remember(self, shape: Shape) -> Shape:
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        self._shapes[shape.tail] = shape
        return shape

    def _add(self, sql: sqlite3.Connection, lines: Sequence[Line]) -> None:
        start = 0
        while start < len(lines):
            self._room(sql)
            some = lines[start : start + PLACES - self._place]
            self._put(sql, some)
            start += len(some)
            if self._place == PLACES:
                self._seal(sql)
            else:
                self._record_segment(sql, sealed=0)

    def _room(self, sql: sqlite3.Connection) -> None:
        """A part and a segment to put rows into."""
        now = self._now()
        if self._part and (self._part_segments >= SEGMENTS_OF_A_PART or now - self._part_opened >= self._part_seconds):
            self.seal_part(sql)
        if not self._part:
            row = sql.execute("SELECT coalesce(max(part), 0) + 1 FROM log_parts").fetchone()
            self._part, self._part_opened, self._part_segments = row[0], now, 0
            sql.execute("INSERT INTO log_parts VALUES (?, ?, NULL, ?)", (self._part, now, 0.0))
            create_text_table(sql, self._part)

    def _put(self, sql: sqlite3.Connection, lines: Sequence[Line]) -> None:
        rows: list[tuple[Any, ...]] = []
        bodies: list[tuple[int, str, str, str]] = []
        requests: list[tuple[int, bytes]] = []
        n = (self._segment << BITS) + self._place
        tally, add = self._tally.add, rows.append
        first_at, last_at = self._first_at, self._last_at
        for own, shape, at, cost, saved, more in lines:
            taken, given, read, written = (
                own.input_tokens,
                own.output_tokens,
                own.cache_read_tokens,
                own.cache_write_tokens,
            )
            latency, ttft, user = own.latency_ms, own.ttft_ms, own.user_id
            row = (
                n,
                at,
                shape.id,
                own.exchange_id,
                own.request_id,
                own.correlation_id,
                own.session_id,
                user,
                taken,
                given,
                read,
                written,
                latency,
                ttft,
                cost,
                saved,
                more,
            )
            add(row)
            tally(shape, at, user, cost, saved, (taken, given, read, written), latency, ttft)
            if at < first_at:
                first_at = at
            if at > last_at:
                last_at = at
            if own.response_text or own.user_message:
                body = body_of(own)
                if body is not None:
                    bodies.append((n, *body))
            if own.request_body is not _UNSET:
                requests.append((n, zlib.compress(str(own.request_body).encode(), 6)))
            n += 1
        self._first_at, self._last_at = first_at, last_at
        post_rows(self._posts, rows)
        self._place += len(rows)
        sql.executemany(_ROW, rows)
        if bodies:
            sql.executemany("INSERT INTO log_bodies VALUES (?, ?, ?, ?)", bodies)
            table = text_table(self._part)
            sql.executemany(
                f"INSERT INTO {table} (rowid, user_message, response_text) VALUES (?, ?, ?)",
                [body[:3] for body in bodies],
            )
        if requests:
            sql.executemany("INSERT INTO log_requests VALUES (?, ?)", requests)

    def _record_segment(self, sql: sqlite3.Connection, sealed: int) -> None:
        sql.execute(
            "INSERT OR REPLACE INTO log_segments VALUES (?, ?, ?, ?, ?, ?)",
            (self._segment, self._part, self._place, self._first_at, self._last_at, sealed),
        )
        sql.execute("UPDATE log_parts SET last_at = max(last_at, ?) WHERE part = ?", (self._last_at, self._part))

    def _seal(self, sql: sqlite3.Connection) -> None:
        """End the open segment: its bitmaps are made."""
        if not self._place:
            return
        self._record_segment(sql, sealed=1)
        sql.executemany(
            "INSERT INTO log_posts VALUES (?, ?, ?)",
            [(self._segment, key, places) for key, places in self._posts.stored()],
        )
        last = (self._segment << BITS) + self._place - 1
        sql.executemany(
            "UPDATE log_shapes SET last = ? WHERE id = ?", [(last, shape) for shape in self._posts.shapes()]
        )
        self._segment += 1
        self._place = 0
        self._part_segments += 1
        self._posts.clear()
        self._first_at, self._last_at = 1e18, -1e18


def post_rows(posts: Posts, rows: Sequence[Row]) -> None:
    """Add rows of `log_rows`."""
    if rows:
        posts.add(rows)
        for row in rows:
            if row[MORE]:
                posts.add_more(row[0] & PLACES - 1, keys_of_more(msgspec.json.decode(row[MORE])))


def body_of(own: Own) -> tuple[str, str, str] | None:
    """What was asked, answered and discarded; None where there is nothing of it."""
    message = own.user_message or ""
    answer = own.response_text or ""
    discarded = "" if own.discarded_texts is msgspec.UNSET else "\n\n".join(own.discarded_texts)
    return (message, answer, discarded) if message or answer or discarded else None
