"""The log: one JSON line per exchange, written by a thread of its own, in batches.

Only named fields are taken, so a credential or a header has no way in. Bodies are written only where asked for.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, cast

from headgate.core.exchange import Exchange
from headgate.stores.inbox import Inbox
from headgate.stores.log_key import log_key
from headgate.stores.log_line import LineMaker, render, timestamp

if sys.platform != "win32":
    import fcntl

Bodies = Literal["full", "redacted", "off"]
"""`redacted` writes them without the personal data and the credentials that the guards know."""

LINGER_SECONDS = 0.1
"""How long a line may wait for company; nobody waits for it, and one waking costs more than many lines. A process that
is killed loses the lines of its last tenth of a second; the ledger loses nothing."""
SLICE = 200
"""Lines made in one go: about a millisecond. Writing them lets other threads run."""
MAX_QUEUED = 4096
MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Of request bodies and answers that queued exchanges keep in memory."""
CLOSE_SECONDS = 5.0

_STDOUT = 1


def scrubbed(text: str) -> str:
    """Without the personal data and the credentials that the guards know."""
    from headgate.policy.guards.placeholders import scrub  # most of it is read only where a text is written

    return scrub(text)


class _Event:
    __slots__ = ("fields", "name", "when")

    def __init__(self, name: str, when: float, fields: dict[str, Any]) -> None:
        self.name = name
        self.when = when
        self.fields = fields


_Item = Exchange | _Event | threading.Event
_ONLY_EXCHANGES = {Exchange}
_body, _text = attrgetter("request.body"), attrgetter("response_text")

Watcher = Callable[[Sequence[Exchange]], Sequence[tuple[str, dict[str, Any]]]]
"""Sees the exchanges of a batch, in the log's thread, and answers with (name, fields) of events to write behind their
lines. Must not raise. What is dropped before its line is made is not seen; `LineLog.overflow` is."""


class LineLog:
    """:class:`headgate.core.ports.Log` as JSON lines in a file or on standard output. Serves both colours.

    A slow or full disk never holds up a call: what does not fit the queue is dropped and counted, and the count is
    written as a `log_dropped` line as soon as writing works again.

    Attributes:
        watchers: see every batch, one after the other.
        listeners: called with the name and the fields of each event, in the log's thread. Must not raise.
        overflow: called with each exchange that is dropped because the queue is full, in the caller's own thread: be
            quick, and never raise.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        key_file: Path,
        bodies: Bodies = "redacted",
        request_bytes: int = 0,
        max_queued: int = MAX_QUEUED,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            path: appended to, made with mode 0600, opened anew when moved away; None is standard output.
            key_file: see :func:`log_key`.
            bodies: "full" and "redacted" add `user_message` and `response_text`.
            request_bytes: the longest whole request that is added, as `bodies` says; 0 = none is.
            max_queued: lines waiting to be written above which new ones are dropped; >= 1.
            now: seconds since the epoch.
        """
        self._path = path
        self._key_file = key_file
        self._bodies = bodies
        self._request_bytes = request_bytes if bodies != "off" else 0
        self._room = max_queued  # 0 = closed
        self._now = now
        self._fd = -1
        self._file_id = (0, 0)
        self._maker: LineMaker | None = None
        self._torn = False
        self._dropped_told = 0
        self._counts = {"written": 0, "dropped": 0}
        self._error = ""
        self._closed = False
        self.watchers: list[Watcher] = []
        self.overflow: list[Callable[[Exchange], None]] = []
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []
        self._begin()
        _logs.add(self)

    def write(self, exchange: Exchange) -> None:
        """Queue the line of one exchange. Never waits, never raises."""
        size = len(exchange.request.body) + len(exchange.response_text)
        with self._lock:  # as `_put`, written out
            fits = self._queued < self._room and self._bytes + size <= MAX_QUEUED_BYTES
            if fits:
                self._queued += 1
                self._bytes += size
        if not fits:
            self._drop(exchange)
            return
        inbox = self._inbox
        inbox.items.append(exchange)
        if inbox.asleep:
            self._wake()

    def event(self, name: str, **fields: Any) -> None:
        """Queue a line that is not about an exchange: a start, a stop, a denied access. Never waits, never raises.

        Args:
            name: one word for the `event` field.
            fields: plain JSON values; the caller answers for their holding no credential.
        """
        self._put(_Event(name, self._now(), fields))

    def killed(self, lines: Sequence[dict[str, Any]]) -> None:
        """Queue the lines of exchanges whose process died, by their fields. Watchers do not see them: what they count
        is of now."""
        for fields in lines:
            self.event("exchange", **fields)

    def flush(self) -> None:
        """Block until what was queued before is handed to the operating system, or was dropped."""
        if self._thread is None or not self._thread.is_alive():
            return
        done = threading.Event()
        self._inbox.put_hurried(done)
        done.wait(CLOSE_SECONDS)

    def close(self) -> None:
        """Write what is queued and close the file. What comes later is dropped. Idempotent."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        self._room = 0
        if self._fd > _STDOUT:
            os.close(self._fd)
        self._fd = -1

    def health(self) -> dict[str, Any]:
        """Lines written and dropped since the start, and the last error in words ("" = none)."""
        return {"ok": not self._error, "queued": self._queued, "last_error": self._error, **self._counts}

    def _begin(self) -> None:
        self._lines: list[bytes] = []  # of exchanges, several in each, for structlog
        self._out: list[bytes] = []  # what structlog made of them, and of events
        self._made = 0  # lines in `_out`
        self._logger: Any = None
        self._inbox: Inbox[_Item] = Inbox(begun=False)
        # Reentrant: the collector may close an unread stream, and so settle and log it, while this thread is inside.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._queued = 0
        self._bytes = 0

    def _put(self, event: _Event) -> None:
        with self._lock:
            fits = self._queued < self._room
            if fits:
                self._queued += 1
        if not fits:
            self._drop(None)
            return
        self._inbox.items.append(event)
        if self._inbox.asleep:
            self._wake()

    def _drop(self, exchange: Exchange | None) -> None:
        with self._lock:
            self._counts["dropped"] += 1
        if exchange is not None and not self._closed:
            for told in self.overflow:
                told(exchange)

    def _wake(self) -> None:
        if self._thread is None:
            self._start()
        self._inbox.ring()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="headgate-log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._turn(self._inbox.take())  # the interpreter is shutting down and takes no new threads

    def _run(self) -> None:
        inbox = self._inbox
        inbox.begin()
        while True:
            if not inbox.items:
                inbox.wait()
            if not inbox.hurry:
                inbox.linger(LINGER_SECONDS)
            self._turn(inbox.take())

    def _turn(self, items: Sequence[_Item]) -> None:
        for start in range(0, len(items), SLICE):
            self._slice(items[start : start + SLICE])

    def _slice(self, items: Sequence[_Item]) -> None:
        now = self._now()
        mixed = set(map(type, items)) != _ONLY_EXCHANGES
        exchanges = [item for item in items if isinstance(item, Exchange)] if mixed else cast(Sequence[Exchange], items)
        flushed = [item for item in items if isinstance(item, threading.Event)] if mixed else ()
        try:
            if mixed:
                self._mixed(items, now)
            else:
                self._add_lines(exchanges, now)
            self._show(exchanges, now)
            self._write_lines()
        finally:
            size = sum(map(len, map(_body, exchanges))) + sum(map(len, map(_text, exchanges)))
            with self._lock:
                self._queued -= len(items) - len(flushed)
                self._bytes -= size
            for event in flushed:
                event.set()

    def _mixed(self, items: Sequence[_Item], now: float) -> None:
        """In order, what comes before an event before it."""
        some: list[Exchange] = []
        for item in items:
            if isinstance(item, Exchange):
                some.append(item)
            elif isinstance(item, _Event):
                self._add_lines(some, now)
                some = []
                self._add_event(item)
        self._add_lines(some, now)

    def _add_lines(self, exchanges: Sequence[Exchange], now: float) -> None:
        if not exchanges:
            return
        spoiled: list[Exception] = []
        try:
            maker = self._maker or self._make_maker()
            lines = maker.lines(exchanges, now, spoiled.append)
        except Exception as error:  # a key file that cannot be read
            for _ in exchanges:
                self._spoiled(error)
            return
        for each in spoiled:
            self._spoiled(each)
        if lines:
            self._lines.append(lines)
            self._made += len(exchanges) - len(spoiled)

    def _show(self, exchanges: Sequence[Exchange], now: float) -> None:
        for watcher in self.watchers:
            for name, fields in watcher(exchanges):
                self._add_event(_Event(name, now, fields))

    def _add_event(self, event: _Event) -> None:
        for listen in self.listeners:
            listen(event.name, event.fields)
        self._through_structlog()  # what came before it stays before it
        try:
            fields = {name: value for name, value in event.fields.items() if name not in ("event", "timestamp")}
            logger = self._logger or self._make_logger()
            logger.info(event.name, timestamp=timestamp(event.when), record=fields)
        except Exception as error:
            self._spoiled(error)

    def _spoiled(self, error: Exception) -> None:
        # One line that cannot be made (or a key file that cannot be read) must not stop the others.
        self._counts["dropped"] += 1
        self._error = f"{type(error).__name__}: {error}"

    def _through_structlog(self) -> None:
        """Hand the lines of exchanges over in one call: its own work per call costs more than a line does."""
        lines = self._lines
        if lines:
            self._made -= 1  # `_take` counts one
            (self._logger or self._make_logger()).info("exchange", lines=lines)
            lines.clear()

    def _make_logger(self) -> Any:
        import structlog

        self._logger = structlog.wrap_logger(
            _Sink(self._take),
            processors=[render],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            cache_logger_on_first_use=True,
        ).bind()
        return self._logger

    def _take(self, rendered: bytes) -> None:
        self._made += 1
        self._out.append(rendered)

    def _make_maker(self) -> LineMaker:
        self._maker = LineMaker(
            log_key(self._key_file),
            with_bodies=self._bodies != "off",
            clean=scrubbed if self._bodies == "redacted" else None,
            request_bytes=self._request_bytes,
        )
        return self._maker

    def _write_lines(self) -> None:
        self._through_structlog()
        count = self._made
        dropped = self._counts["dropped"]
        if dropped > self._dropped_told and not self._closed:
            self._add_event(_Event("log_dropped", self._now(), {"dropped": dropped - self._dropped_told}))
        self._out.append(b"")  # so that the last line ends too
        lines = b"\n" * self._torn + b"\n".join(self._out)
        self._out.clear()
        self._made = 0
        if not count and dropped == self._dropped_told:
            return
        try:
            with self._opened() as fd:
                view = memoryview(lines)
                while view:
                    view = view[os.write(fd, view) :]
        except OSError as error:
            self._counts["dropped"] += count
            self._torn = True  # perhaps in the middle of a line
            self._error = f"the log cannot be written: {error.strerror}"
            return
        self._counts["written"] += count
        self._dropped_told = dropped
        self._torn = False
        self._error = ""

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, under a shared lock: whoever takes the lines into a store ends it under an exclusive one, and what
        was written behind that would be lost."""
        while True:
            self._open()
            if self._path is None or sys.platform == "win32":
                yield self._fd
                return
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            try:
                if self._still_there():  # or it was moved away while we waited
                    yield self._fd
                    return
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _open(self) -> None:
        """Open the file, anew if it was moved away (by logrotate, say)."""
        if self._path is None:
            self._fd = _STDOUT
            return
        if self._fd >= 0:
            if self._still_there():
                return
            os.close(self._fd)
            self._fd = -1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(self._path, flags, 0o600)
        opened = os.fstat(self._fd)
        self._file_id = (opened.st_dev, opened.st_ino)

    def _still_there(self) -> bool:
        assert self._path is not None
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._file_id


class _Sink:
    """Where structlog puts what it has rendered: the batch."""

    __slots__ = ("info",)

    def __init__(self, info: Callable[[bytes], None]) -> None:
        self.info = info


_logs: weakref.WeakSet[LineLog] = weakref.WeakSet()


def _after_fork() -> None:
    for log in list(_logs):
        log._begin()  # the thread and what it had to write are the parent's


def flush_all() -> None:
    """Write what is queued in every log of this process. Runs at exit."""
    for log in list(_logs):
        log.flush()


atexit.register(flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
