"""Our own HTTP/1.1 connection pool on asyncio: what one request costs is a few microseconds (dataplane-spike 2).

One `AsyncPool` may be used from many event loops, one after another or in several threads: connections belong to the
loop that made them and never leave it.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections import deque
from collections.abc import AsyncGenerator

from headgate.core.ports import Outgoing, Timeouts
from headgate.upstream import faults
from headgate.upstream.connection import Answer, Connection
from headgate.upstream.forks import tell_after_fork
from headgate.upstream.http1 import Heads, Origin, Target, parse_url
from headgate.upstream.reaching import reach
from headgate.upstream.sweeper import Sweeper
from headgate.upstream.tls import TlsLayer, Trust, Verify
from headgate.upstream.uploading import send_upload

MAX_CONNECTIONS = 512
IDLE_EXPIRY = 15.0  # seconds; well below the keep-alive of the providers' front ends, so that a reused one is alive


class _Bucket:
    """The connections of one loop to one origin: at most `limit` open, the idle ones last in first out."""

    __slots__ = (
        "_idle",
        "_idle_expiry",
        "_idle_timer",
        "_max_idle",
        "_open",
        "_origin",
        "_pool",
        "_waiting",
        "loop",
        "sweeper",
        "where",
    )

    def __init__(self, pool: AsyncPool, loop: asyncio.AbstractEventLoop, sweeper: Sweeper, origin: Origin) -> None:
        self.loop = loop
        self.sweeper = sweeper
        self.where = str(origin)
        self._pool = pool
        self._origin = origin
        self._max_idle = pool.max_idle
        self._idle_expiry = pool.idle_expiry
        self._open = 0  # connecting, busy and idle
        self._idle: deque[Connection] = deque()
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._idle_timer: asyncio.TimerHandle | None = None

    def counts(self) -> tuple[int, int, int]:
        return self._open, len(self._idle), len(self._waiting)

    def pop_idle(self, now: float) -> Connection | None:
        """The connection used last, if it is fresh enough."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            transport = connection.transport
            if connection.idle_since > now - self._idle_expiry and transport is not None and not transport.is_closing():
                return connection
            connection.drop()
        return None

    async def take(self, timeouts: Timeouts, ends: float) -> Connection:
        """A connection when none is idle: a new one, or in turn the next that comes free.

        Args:
            ends: loop time by which the whole exchange is over: waiting and connecting together stay below it.
        """
        while self._open >= self._pool.max_connections:
            got = await self._wait(max(0.0, min(timeouts.pool, ends - self.loop.time())))
            if got is None:
                return await self._connect(min(timeouts.connect, ends - self.loop.time()))
            if got.usable:
                return got
            got.drop()
        self._open += 1
        return await self._connect(min(timeouts.connect, ends - self.loop.time()))

    async def _connect(self, seconds: float) -> Connection:
        """Connect; our place is already counted."""
        scheme, host, port = self._origin
        try:
            tls = TlsLayer(self._pool.trust.context(), host) if scheme == "https" else None
        except BaseException:
            self._pass_on(None)
            raise
        connection = Connection(self, tls)
        try:
            async with asyncio.timeout(seconds):
                sock = await reach(self.loop, host, port)
                try:
                    await self.loop.create_connection(lambda: connection, sock=sock)
                except BaseException:
                    sock.close()
                    raise
                await connection.secure()
        except TimeoutError as error:
            connection.drop()
            raise faults.connect_timeout(self.where, seconds) from error
        except OSError as error:
            connection.drop()
            raise faults.not_connected(self.where, error) from error
        except BaseException:
            connection.drop()
            raise
        if not connection.usable:
            connection.drop()
            raise faults.not_connected(self.where, ConnectionResetError())
        return connection

    async def _wait(self, seconds: float) -> Connection | None:
        """Wait in turn for a connection, or for the right (None) to make one."""
        ticket: asyncio.Future[Connection | None] = self.loop.create_future()
        self._waiting.append(ticket)
        timer = self.loop.call_later(seconds, self._late, ticket, seconds)
        try:
            return await ticket
        except BaseException:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
                self._pass_on(ticket.result())  # granted in the moment of being cancelled
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
            raise
        finally:
            timer.cancel()

    def _late(self, ticket: asyncio.Future[Connection | None], seconds: float) -> None:
        if not ticket.done():
            ticket.set_exception(faults.saturated(self.where, seconds, self._pool.max_connections))

    def _pass_on(self, granted: Connection | None) -> None:
        if granted is None:
            self._open -= 1
            self._grant_place()
        elif granted.usable:
            self.give_back(granted)
        else:
            granted.drop()

    def _next_waiting(self) -> asyncio.Future[Connection | None] | None:
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.done():
                return ticket
        return None

    def _grant_place(self) -> None:
        ticket = self._next_waiting()
        if ticket is not None:
            self._open += 1
            ticket.set_result(None)

    def give_back(self, connection: Connection) -> None:
        """Free: to whoever waits longest, else to the idle."""
        if self._waiting:
            ticket = self._next_waiting()
            if ticket is not None:
                ticket.set_result(connection)
                return
        connection.idle_since = self.loop.time()
        idle = self._idle
        idle.append(connection)
        if len(idle) > self._max_idle:
            idle.popleft().drop()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self._idle_expiry, self._expire_idle)

    def lost(self, connection: Connection) -> None:
        """Gone: its place is free for whoever waits longest."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        self._grant_place()

    def _expire_idle(self) -> None:
        self._idle_timer = None
        oldest = self.loop.time() - self._idle_expiry + 0.001
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.popleft().drop()
        if self._idle:
            due = self._idle[0].idle_since + self._idle_expiry
            self._idle_timer = self.loop.call_at(due, self._expire_idle)

    def close(self) -> None:
        """Drop what is idle; what is busy ends by itself."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        while self._idle:
            self._idle.pop().drop()


class _Loop:
    """What one pool keeps for one event loop."""

    __slots__ = ("__weakref__", "_loop", "_pool", "buckets", "guard", "sweeper")

    def __init__(self, pool: AsyncPool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self.sweeper = Sweeper(loop)
        self.buckets: dict[Origin, _Bucket] = {}
        self.guard: AsyncGenerator[None, None] = self._until_the_loop_ends()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        # `asyncio.run` closes every open async generator before it closes the loop: the public hook for the end of one.
        try:
            yield
        finally:
            self.close()

    def bucket(self, origin: Origin) -> _Bucket:
        bucket = self.buckets.get(origin)
        if bucket is None:
            bucket = self.buckets[origin] = _Bucket(self._pool, self._loop, self.sweeper, origin)
        return bucket

    def close(self) -> None:
        self._pool.forget(self._loop)
        for bucket in self.buckets.values():
            bucket.close()
        for connection in [connection for connection in self.sweeper.watched if connection.busy]:
            connection.fail(faults.broken(connection.home.where, "its event loop is closing"))
        self.sweeper.stop()


class AsyncPool:
    """Sends over HTTP/1.1 from asyncio tasks (`core.ports.Upstream`).

    Args:
        verify: whom to trust; see `tls.Verify`.
        max_connections: open connections per origin and event loop, > 0; further requests wait their turn for
            `timeouts.pool` seconds.
        max_idle: idle connections kept per origin and event loop, >= 0.
        idle_expiry: seconds an idle connection is kept, > 0.
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
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        self._heads = Heads()
        self._inherited: list[object] = []
        tell_after_fork(self)

    async def send(self, outgoing: Outgoing, target: Target | None = None) -> Answer:
        """Send and wait for the response's headers. Must run in an asyncio task. Cancelling it drops the connection.

        Args:
            outgoing: the request.
            target: its URL, where that has been parsed already.

        Raises:
            UpstreamTimeout: kind "connect" (nothing sent) or "timeout".
            UpstreamBroken: kind "connect" (nothing sent) or "broken".
            UpstreamBusy: kind "saturated": no connection came free within `timeouts.pool`.
            UpstreamRejected: kind "config": a bad URL, a bad header, a certificate that does not verify.
        """
        if target is None:
            target = parse_url(outgoing.url)
        body, upload, timeouts = outgoing.body, outgoing.upload, outgoing.timeouts
        method = outgoing.method
        head = self._heads.head(method, target, outgoing.headers, len(body) if upload is None else upload.length)
        loop = get_running_loop()
        kept = self._loops.get(loop) or await self._enter(loop)
        bucket = kept.buckets.get(target.origin) or kept.bucket(target.origin)
        now = loop.time()
        ends = now + timeouts.total
        connection = bucket.pop_idle(now)
        if connection is None:
            connection = await bucket.take(timeouts, ends)
            now = loop.time()
        if upload is None:
            answer = connection.begin(method, head, body, timeouts, now, ends)
        else:
            answer = connection.begin_upload(method, head, timeouts, now)
        waiter = connection.waiter
        try:
            if upload is not None:
                await send_upload(connection, answer, waiter, upload)
            await waiter
        except BaseException:
            answer.close()
            raise
        if answer.fault is not None and not answer.status:
            raise answer.fault
        return answer

    async def _enter(self, loop: asyncio.AbstractEventLoop) -> _Loop:
        for old in list(self._loops):
            if old.is_closed():  # it ended without closing its async generators
                self._loops.pop(old, None)
        kept = self._loops[loop] = _Loop(self, loop)
        await anext(kept.guard)
        return kept

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop is ending; its connections are being dropped."""
        self._loops.pop(loop, None)

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """(open, idle, waiting) per origin on the running loop."""
        kept = self._loops.get(asyncio.get_running_loop())
        return {bucket.where: bucket.counts() for bucket in kept.buckets.values()} if kept else {}

    async def aclose(self) -> None:
        """Drop the running loop's connections; unfinished answers break. Other loops' are dropped as they end."""
        kept = self._loops.get(asyncio.get_running_loop())
        if kept is not None:
            await kept.guard.aclose()

    def after_fork(self) -> None:
        """In the child: the sockets are the parent's. Keep them unclosed and untouched, and begin afresh."""
        self._inherited.append(self._loops)
        self._loops = {}
        self.trust.renew_lock()
