"""One HTTP/1.1 connection on an event loop, and the answer it is carrying."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from math import inf
from typing import Protocol, cast

from headgate.core.errors import UpstreamError
from headgate.core.exchange import Headers
from headgate.core.ports import Timeouts
from headgate.upstream import faults
from headgate.upstream.http1 import ResponseReader
from headgate.upstream.sweeper import Sweeper
from headgate.upstream.tls import TlsLayer

BUFFER_LIMIT = 256 * 1024
"""Bytes of an unread answer above which we stop reading from the network."""
SLICE = 64 * 1024
"""A larger body is written in slices, so that a write timeout is about progress and an early answer stops the rest."""


class Home(Protocol):
    """Where a connection belongs; its bucket in the pool."""

    loop: asyncio.AbstractEventLoop
    where: str  # host:port, for people
    sweeper: Sweeper

    def give_back(self, connection: Connection) -> None:
        """The connection is free for another request."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is gone. Called once per connection."""
        ...


class Answer:
    """A response whose headers have arrived (`core.ports.Incoming`)."""

    __slots__ = ("connection", "fault", "headers", "pieces", "status")

    def __init__(self, connection: Connection, pieces: list[bytes]) -> None:
        self.connection: Connection | None = connection  # None once it is carrying something else, or gone
        self.pieces = pieces
        self.fault: UpstreamError | None = None
        self.status = 0
        self.headers: Headers = ()

    async def wait(self, seconds: float) -> bool:
        """See `core.ports.Incoming`. Cancelling it drops the connection."""
        connection = self.connection
        if self.pieces or self.fault is not None or connection is None or connection.impatient(seconds):
            return True
        try:
            await connection.more(seconds)
        except BaseException:
            self.close()
            raise
        return bool(self.pieces) or self.connection is None

    async def read(self) -> bytes:
        """The next piece, or all that are waiting; b"" at the end. Cancelling it drops the connection.

        Raises:
            UpstreamTimeout: nothing came for `timeouts.idle` seconds, or all of `timeouts.total` is over.
            UpstreamBroken: kind "broken" or "truncated"; what came before has been handed on.
        """
        pieces = self.pieces
        connection = self.connection
        while not pieces:
            if self.fault is not None:
                raise self.fault
            if connection is None:
                return b""
            try:
                await connection.more()
            except BaseException:
                self.close()
                raise
            connection = self.connection
        if connection is not None:
            connection.taken()
        if len(pieces) == 1:
            return pieces.pop()
        data = b"".join(pieces)
        pieces.clear()
        return data

    def whole(self) -> bytes | None:
        """See `core.ports.Incoming`."""
        if self.connection is not None or self.fault is not None:
            return None
        pieces = self.pieces
        if len(pieces) == 1:
            return pieces.pop()
        return self.arrived()

    def arrived(self) -> bytes:
        """See `core.ports.Incoming`: what the event loop has taken from the network."""
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data

    def close(self) -> None:
        """Drop the connection at once unless the body was received to its end. Idempotent, never waits."""
        connection = self.connection
        if connection is not None:
            connection.fail(faults.broken(connection.home.where, "the answer was closed by us"))
        self.pieces.clear()


class Connection(asyncio.Protocol):
    """Carries one request at a time.

    Attributes:
        deadline: loop time when `expire` is due, infinite while nobody waits for the provider.
        idle_since: loop time when it was last given back.
        closed: it was dropped or lost, and its place in the pool is free.
        transport: None before it is connected, and once it is closed.
        waiter: done when what somebody waits for has come: the headers, then more of the body. It is the last one
            where nobody waits.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_buffered",
        "_ends",
        "_future",
        "_patience",
        "_reader",
        "_reading_paused",
        "_room",
        "_secured",
        "_sweeper",
        "_timeouts",
        "_tls",
        "_uploading",
        "_waited",
        "_write",
        "_writing",
        "_writing_paused",
        "closed",
        "deadline",
        "home",
        "idle_since",
        "transport",
        "waiter",
    )

    def __init__(self, home: Home, tls: TlsLayer | None = None) -> None:
        self.home = home
        self.closed = False
        self._tls = tls
        self._secured: asyncio.Future[None] | None = None if tls is None else home.loop.create_future()
        self.deadline = inf
        self.idle_since = 0.0
        self._reader = ResponseReader()
        self.transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._future = home.loop.create_future
        self.waiter: asyncio.Future[None] = self._future()
        self.waiter.set_result(None)
        self._timeouts: Timeouts
        self._write: Callable[[bytes], None]  # its transport's
        self._body: memoryview | None = None  # what is still to be written
        self._writing = False  # not all of the request has been taken off our hands
        self._writing_paused = False
        self._uploading = False
        self._room: asyncio.Future[None] | None = None  # done when more of an upload can be written
        self._ends = inf  # loop time when all of the exchange is over
        self._patience = 0.0  # seconds, where the deadline is only that of whoever waits; 0 = it is a fault
        self._waited = 0.0  # seconds of silence that somebody has waited for already
        self._reading_paused = False
        self._buffered = 0
        self._sweeper = home.sweeper
        home.sweeper.watched.add(self)

    @property
    def usable(self) -> bool:
        """It can carry a request, as far as we know."""
        transport = self.transport  # None once it is closed
        return transport is not None and not transport.is_closing()

    @property
    def busy(self) -> bool:
        """It is carrying a request."""
        return self._answer is not None

    async def secure(self) -> None:
        """After connecting: wait for the TLS handshake, if there is one.

        Raises:
            OSError: it failed, or the connection was lost; `ssl.SSLCertVerificationError` is one.
        """
        if self._secured is not None:
            await self._secured

    def begin(self, method: str, head: bytes, body: bytes, timeouts: Timeouts, now: float, ends: float) -> Answer:
        """Send a request. `waiter` tells when the answer has its headers, or a fault.

        Args:
            now: loop time.
            ends: loop time when `timeouts.total` is over.
        """
        reader = self._reader
        reader.begin(method)
        self._answer = answer = Answer(self, reader.pieces)
        self.waiter = self._future()
        self._timeouts = timeouts
        self._ends = ends
        if self._tls is not None or len(body) > SLICE:
            self._write_long(head, body)
        else:
            self._write(head + body)
        if self._writing_paused:
            self._writing = True
            deadline = now + timeouts.write
        else:
            deadline = now + timeouts.first_byte
        self.deadline = deadline = deadline if deadline < ends else ends
        if deadline < self._sweeper.next:
            self._sweeper.arm(deadline)
        return answer

    def _write_long(self, head: bytes, body: bytes) -> None:
        """For a large body, and under TLS."""
        if len(body) <= SLICE:
            head += body
            body = b""
        self._write(head if self._tls is None else self._tls.encrypt(head))
        if body:
            self._body = memoryview(body)
            self._pump()

    def begin_upload(self, method: str, head: bytes, timeouts: Timeouts, now: float) -> Answer:
        """Send a head whose body follows by `upload`, to its end by `end_upload`.

        Until then the connection counts as writing: an answer that is complete earlier leaves it of no more use.
        """
        answer = self.begin(method, head, b"", timeouts, now, inf)
        self._writing = self._uploading = True
        self.deadline = inf  # it is the caller who is slow; its own connection has limits for that
        return answer

    async def upload(self, piece: bytes) -> None:
        """Write a piece of the body; returns when there is room for the next, or nobody to send it to any more."""
        transport = self.transport
        if transport is None:
            return
        transport.write(piece if self._tls is None else self._tls.encrypt(piece))
        if self._writing_paused and self._answer is not None:
            self._room = room = self.home.loop.create_future()
            self._expect(self._timeouts.write)
            try:
                await room
            finally:
                self._room = None
            self.deadline = inf

    def end_upload(self) -> None:
        """The body was written to its end."""
        self._writing = self._uploading = False
        if self._answer is not None and not self._reader.status:
            self._expect(self._timeouts.first_byte)

    def _expect(self, seconds: float) -> None:
        ends, sweeper = self._ends, self._sweeper
        deadline = self.home.loop.time() + seconds
        self.deadline = deadline = deadline if deadline < ends else ends
        if deadline < sweeper.next:
            sweeper.arm(deadline)

    def _pump(self) -> None:
        transport = self.transport
        body = self._body
        while body is not None and transport is not None and not self._writing_paused:
            transport.write(body[:SLICE] if self._tls is None else self._tls.encrypt(body[:SLICE]))
            body = body[SLICE:] if len(body) > SLICE else None
        self._body = body

    def more(self, patience: float = 0.0) -> asyncio.Future[None]:
        """Done when the answer has a piece, an end or a fault, at the latest after `timeouts.idle`.

        Args:
            patience: seconds after which it is done, and nothing else has happened.
        """
        self.waiter = waiter = self._future()
        self._patience = patience
        ends, sweeper = self._ends, self._sweeper  # as `_expect`: here once per piece of every stream
        deadline = self.home.loop.time() + (patience or self._timeouts.idle - self._waited)
        self.deadline = deadline = deadline if deadline < ends else ends
        if deadline < sweeper.next:
            sweeper.arm(deadline)
        return waiter

    def impatient(self, seconds: float) -> bool:
        """Whether a silence of so many seconds more is a fault, or none at all."""
        return seconds <= 0.0 or self._waited + seconds >= self._timeouts.idle

    def taken(self) -> None:
        """The caller took what was buffered."""
        self._buffered = 0
        self._waited = 0.0
        if self._reading_paused:
            self._resume_reading()

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if self.usable and self.transport is not None:
            self.transport.resume_reading()

    def _wake(self) -> None:
        waiter = self.waiter
        if not waiter.done():
            self.deadline = inf
            waiter.set_result(None)

    # The ends of an exchange.

    def _finish(self, answer: Answer) -> None:
        """The answer is complete: the connection is free, or of no more use."""
        reader = self._reader
        answer.status = reader.status
        answer.headers = reader.headers
        reusable = reader.reusable
        if self._writing or self._reading_paused:
            reusable = reusable and not self._writing
            self._detach(answer)
            if self._reading_paused:
                self._resume_reading()
        else:  # as most end
            answer.connection = self._answer = None
            self.deadline = inf
            waiter = self.waiter
            if not waiter.done():
                waiter.set_result(None)
        if reusable:
            self.home.give_back(self)
        else:
            self.drop()

    def fail(self, fault: UpstreamError) -> None:
        """End the exchange with a fault, and drop the connection so that the provider sees it at once."""
        answer = self._answer
        if answer is not None:
            answer.fault = fault
            self._detach(answer)
        self.drop()

    def _detach(self, answer: Answer) -> None:
        answer.connection = self._answer = self._body = None
        self._writing = self._uploading = False
        self._make_room()
        self._wake()
        self.deadline = inf

    def drop(self) -> None:
        """Close without ceremony. Idempotent."""
        if not self.closed:
            self.closed = True
            self._reader.release()
            self._sweeper.watched.discard(self)
            self.home.lost(self)
        secured = self._secured
        if secured is not None and (not secured.done() or secured.cancelled() or secured.exception() is None):
            secured.cancel()  # asking for the exception also marks it as seen: the one who waited may have left
        transport, self.transport = self.transport, None
        if transport is not None and not self.home.loop.is_closed():
            transport.abort()

    def expire(self) -> None:
        """The deadline has passed."""
        where, timeouts = self.home.where, self._timeouts
        if self.home.loop.time() >= self._ends - 0.001:
            self.fail(faults.out_of_time(where))
        elif not self._reader.status:
            if self._writing:
                self.fail(faults.write_timeout(where, timeouts.write))
            else:
                self.fail(faults.first_byte_timeout(where, timeouts.first_byte))
        elif self._patience:
            self._waited += self._patience
            self.deadline = inf
            self._wake()
        else:
            self.fail(faults.idle_timeout(where, timeouts.idle))

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._write = self.transport.write
        if self.closed:
            self.transport.abort()
        elif self._tls is not None:
            self._shake(b"")

    def data_received(self, data: bytes) -> None:
        tls = self._tls
        if tls is not None:
            data = self._unwrapped(tls, data)
            if not data:
                if tls.closed:
                    self._closed_by_provider(None)
                return
        answer, reader = self._answer, self._reader
        if answer is None:  # bytes that nobody asked for: whose answer would they be?
            self.drop()
            return
        reader.feed(data)
        if reader.done:
            self._finish(answer)
        elif reader.failure:
            if reader.status and not answer.status:
                self._begun(answer)
            self.fail(faults.broken(self.home.where, reader.failure))
        elif reader.status:
            if not answer.status:
                self._begun(answer)
            elif reader.pieces:
                self._wake()
            self._buffered += len(data)
            if self._buffered > BUFFER_LIMIT:
                self._pause_reading()
        if tls is not None and tls.closed:
            self._closed_by_provider(None)

    def _begun(self, answer: Answer) -> None:
        """The headers are here, and more of the answer is to come."""
        answer.status, answer.headers = self._reader.status, self._reader.headers
        self._buffered = 0
        self._waited = self._patience = 0.0
        if self._body is not None and answer.status >= 400:
            self._body = None  # the rest of the request is not wanted (RFC 9112, section 9.5)
            self._reader.reusable = False
        self._wake()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self.transport is not None:
            self._reading_paused = True
            self.transport.pause_reading()

    def _unwrapped(self, tls: TlsLayer, data: bytes) -> bytes:
        try:
            if self._secured is not None:
                return self._shake(data)
            plain = tls.decrypt(data)
        except ssl.SSLError as error:
            self._closed_by_provider(error)
            return b""
        if tls.outgoing.pending and self.transport is not None:
            self.transport.write(tls.to_send())  # the answer to a key update
        return plain

    def _shake(self, data: bytes) -> bytes:
        """Go on with the handshake; what came behind its end is returned."""
        tls, transport, secured = self._tls, self.transport, self._secured
        if tls is None or transport is None or secured is None:
            return b""
        try:
            done = tls.handshake(data)
        except ssl.SSLError as error:
            self._not_secured(error)
            self.drop()
            return b""
        transport.write(tls.to_send())
        if not done:
            return b""
        self._secured = None
        if not secured.done():
            secured.set_result(None)
        return tls.decrypt()

    def _not_secured(self, error: Exception) -> None:
        secured = self._secured
        if secured is not None and not secured.done():
            secured.set_exception(error)

    def eof_received(self) -> None:
        self._closed_by_provider(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._closed_by_provider(error)

    def _closed_by_provider(self, error: Exception | None) -> None:
        answer = self._answer
        if answer is not None:
            where = self.home.where
            if error is None and self._reader.eof():
                self._finish(answer)
            elif error is None and self._reader.status:
                self.fail(faults.truncated(where))
            else:
                self.fail(faults.broken(where, faults.reason_of(error)))
        if self._secured is not None:
            self._not_secured(error or ConnectionResetError())
        self.drop()

    def _make_room(self) -> None:
        room = self._room
        if room is not None and not room.done():
            room.set_result(None)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._uploading:
            self._make_room()
        if not self._writing or self._uploading or self._answer is None:
            return
        self._pump()
        self._writing = self._writing_paused
        if not self._reader.status:
            self._expect(self._timeouts.write if self._writing else self._timeouts.first_byte)
