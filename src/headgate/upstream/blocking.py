"""The same pool for threads, on plain sockets. Its coroutines never suspend, so `run_blocking` can drive them.

Thread-safe: an idle connection is taken by one thread, and given back when its answer has been read. Fork-safe: a child
never uses, shuts down or says goodbye on its parent's connections.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from time import monotonic

from headgate.core.ports import Outgoing, Timeouts
from headgate.upstream import faults
from headgate.upstream.forks import tell_after_fork
from headgate.upstream.http1 import Heads, Origin, parse_url
from headgate.upstream.pool import IDLE_EXPIRY, MAX_CONNECTIONS
from headgate.upstream.sockets import BlockingAnswer, SocketConnection, dial
from headgate.upstream.tls import Trust, Verify


class _Ticket:
    """A place in the queue for a connection (or, None, for the right to make one)."""

    __slots__ = ("connection", "event", "granted")

    def __init__(self) -> None:
        self.event = threading.Event()
        self.granted = False
        self.connection: SocketConnection | None = None


class _Bucket:
    """The connections of one process to one origin. Every method but `take` holds the lock for a few lines only."""

    __slots__ = ("_idle", "_lock", "_open", "_origin", "_pool", "_waiting", "where")

    def __init__(self, pool: BlockingPool, origin: Origin) -> None:
        self.where = str(origin)
        self._pool = pool
        self._origin = origin
        # Reentrant: the collector may close an unread answer while this thread is inside.
        self._lock = threading.RLock()
        self._open = 0
        self._idle: deque[SocketConnection] = deque()
        self._waiting: deque[_Ticket] = deque()

    def counts(self) -> tuple[int, int, int]:
        with self._lock:
            return self._open, len(self._idle), len(self._waiting)

    def take(self, timeouts: Timeouts, ends: float) -> SocketConnection:
        """The idle connection used last, a new one, or in turn the next that comes free.

        Args:
            ends: monotonic time by which the whole exchange is over: waiting and connecting together stay below it.
        """
        while True:
            connection = self._pop_idle()
            if connection is None:
                ticket = self._place_or_ticket()
                if ticket is not None:
                    connection = self._wait(ticket, max(0.0, min(timeouts.pool, ends - monotonic())))
                if connection is None:
                    return self._connect(max(0.001, min(timeouts.connect, ends - monotonic())))
            if monotonic() - connection.idle_since < self._pool.idle_expiry and connection.alive():
                return connection
            connection.drop()

    def _pop_idle(self) -> SocketConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _place_or_ticket(self) -> _Ticket | None:
        with self._lock:
            if self._open < self._pool.max_connections:
                self._open += 1
                return None
            ticket = _Ticket()
            self._waiting.append(ticket)
            return ticket

    def _wait(self, ticket: _Ticket, seconds: float) -> SocketConnection | None:
        try:
            ticket.event.wait(seconds)
        except BaseException:  # KeyboardInterrupt
            self._give_up(ticket)
            raise
        if ticket.granted or self._granted_late(ticket):
            return ticket.connection
        raise faults.saturated(self.where, seconds, self._pool.max_connections)

    def _granted_late(self, ticket: _Ticket) -> bool:
        with self._lock:
            if not ticket.granted:
                self._waiting.remove(ticket)
            return ticket.granted

    def _give_up(self, ticket: _Ticket) -> None:
        if not self._granted_late(ticket):
            return
        if ticket.connection is not None:
            self.give_back(ticket.connection)
        else:
            self.lost()

    def _connect(self, seconds: float) -> SocketConnection:
        """Connect; our place is already counted."""
        try:
            context = self._pool.trust.context() if self._origin.scheme == "https" else None
            sock = dial(self._origin, context, seconds)
        except BaseException:
            self.lost()
            raise
        return SocketConnection(self, sock)

    def _grant(self, connection: SocketConnection | None) -> bool:
        """Hand to whoever waits longest; the lock is held."""
        if not self._waiting:
            return False
        ticket = self._waiting.popleft()
        ticket.connection = connection
        ticket.granted = True
        ticket.event.set()
        return True

    def give_back(self, connection: SocketConnection) -> None:
        """Free: to whoever waits longest, else to the idle; the oldest idle ones make room."""
        connection.idle_since = now = monotonic()
        surplus = []
        with self._lock:
            if not self._grant(connection):
                idle = self._idle
                idle.append(connection)
                while idle and (len(idle) > self._pool.max_idle or now - idle[0].idle_since >= self._pool.idle_expiry):
                    surplus.append(idle.popleft())
        for old in surplus:
            old.drop()

    def lost(self) -> None:
        """A connection is gone, or was never made: its place is free."""
        with self._lock:
            if not self._grant(None):
                self._open -= 1

    def close(self) -> None:
        with self._lock:
            idle = list(self._idle)
            self._idle.clear()
        for connection in idle:
            connection.drop()


class BlockingPool:
    """Sends over HTTP/1.1 from threads (`core.ports.Upstream`); `run_blocking` drives its coroutines.

    DNS cannot be interrupted: a slow resolver may hold a call longer than `timeouts.connect`. Idle connections are
    looked at when one is given back or taken; there is no thread of our own.

    Args:
        verify: whom to trust; see `tls.Verify`.
        max_connections: open connections per origin, > 0; further requests wait their turn for `timeouts.pool` seconds.
        max_idle: idle connections kept per origin, >= 0.
        idle_expiry: seconds after which an idle connection is no longer used, > 0.
    """

    def __init__(
        self,
        *,
        verify: Verify = None,
        max_connections: int = MAX_CONNECTIONS,
        max_idle: int = MAX_CONNECTIONS,
        idle_expiry: float = IDLE_EXPIRY,
    ) -> None:
        self.trust = Trust(verify)
        self.max_connections = max_connections
        self.max_idle = max_idle
        self.idle_expiry = idle_expiry
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._buckets: dict[Origin, _Bucket] = {}
        self._heads = Heads()
        self._inherited: list[object] = []
        tell_after_fork(self)

    async def send(self, outgoing: Outgoing) -> BlockingAnswer:
        """Send and wait for the response's headers. Never suspends.

        Raises:
            UpstreamTimeout, UpstreamBroken, UpstreamBusy, UpstreamRejected: as `AsyncPool.send`.
        """
        target = parse_url(outgoing.url)
        body = outgoing.body
        upload = outgoing.upload
        length = len(body) if upload is None else upload.length
        head = self._heads.head(outgoing.method, target, outgoing.headers, length)
        if self._pid != os.getpid():  # forked where no hook ran
            self.after_fork()
        bucket = self._buckets.get(target.origin) or self._bucket(target.origin)
        ends = monotonic() + outgoing.timeouts.total
        connection = bucket.take(outgoing.timeouts, ends)
        return connection.exchange(outgoing.method, head, body, outgoing.timeouts, ends, upload)

    def _bucket(self, origin: Origin) -> _Bucket:
        with self._lock:
            return self._buckets.setdefault(origin, _Bucket(self, origin))

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """(open, idle, waiting) per origin."""
        return {bucket.where: bucket.counts() for bucket in list(self._buckets.values())}

    def close(self) -> None:
        """Drop the idle connections. Busy ones end with their answers; the pool stays usable."""
        for bucket in list(self._buckets.values()):
            bucket.close()

    def __del__(self) -> None:
        if hasattr(self, "_buckets"):
            self.close()

    def after_fork(self) -> None:
        """In the child: the sockets and the locks are the parent's. Keep them untouched, and begin afresh."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._inherited.append(self._buckets)
        self._buckets = {}
        self._lock = threading.RLock()
        self.trust.renew_lock()
