"""One HTTP/1.1 connection on a plain socket, for one thread at a time, and the answer it is carrying."""

from __future__ import annotations

import os
import select
import socket
import ssl
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Protocol

from headgate.core.errors import UpstreamError
from headgate.core.exchange import Headers, Upload
from headgate.core.ports import Timeouts
from headgate.engine.blocking import run_blocking
from headgate.upstream import faults
from headgate.upstream.http1 import Origin, ResponseReader
from headgate.upstream.reaching import reach_blocking

_READ = 64 * 1024
_SLICE = 64 * 1024
_ARRIVED = 1024 * 1024  # the most that is read of an answer that is about to be closed
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def dial(origin: Origin, context: ssl.SSLContext | None, seconds: float) -> socket.socket:
    """A connected socket: an address of the name that answers, then TLS, all within `seconds`.

    Raises:
        UpstreamTimeout, UpstreamBroken: kind "connect"; nothing was sent.
        UpstreamRejected: kind "config": the certificate does not verify.
    """
    where = str(origin)
    deadline = monotonic() + seconds
    try:
        sock = reach_blocking(origin.host, origin.port, deadline)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is None:
                return sock
            sock.settimeout(max(deadline - monotonic(), 0.001))
            return context.wrap_socket(sock, server_hostname=origin.host)
        except BaseException:
            sock.close()
            raise
    except TimeoutError as error:
        raise faults.connect_timeout(where, seconds) from error
    except OSError as error:
        raise faults.not_connected(where, error) from error


class Home(Protocol):
    """Where a connection belongs; its bucket in the pool."""

    where: str  # host:port, for people

    def give_back(self, connection: SocketConnection) -> None: ...

    def lost(self) -> None: ...


class BlockingAnswer:
    """A response whose headers have arrived (`core.ports.Incoming`). Its coroutine never suspends."""

    __slots__ = ("_connection", "_ended", "_fault", "_pieces", "headers", "status")

    def __init__(self, connection: SocketConnection, reader: ResponseReader) -> None:
        self._connection: SocketConnection | None = connection
        self._pieces = reader.pieces
        self._ended = False
        self._fault: UpstreamError | None = None
        self.status = reader.status
        self.headers: Headers = reader.headers

    async def wait(self, seconds: float) -> bool:
        """See `core.ports.Incoming`."""
        connection = self._connection
        return bool(self._pieces) or connection is None or connection.wait(seconds)

    async def read(self) -> bytes:
        """The next piece, or all that are waiting; b"" at the end.

        Raises:
            UpstreamTimeout: nothing came for `timeouts.idle` seconds, or all of `timeouts.total` is over.
            UpstreamBroken: kind "broken" or "truncated"; what came before has been handed on.
        """
        pieces = self._pieces
        while not pieces and not self._ended:
            if self._fault is not None:
                raise self._fault
            connection = self._connection
            if connection is None:
                return b""
            try:
                connection.receive_body()
            except UpstreamError as fault:
                self._fail(fault)
            except BaseException:
                self.close()
                raise
            else:
                self.settle()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    def whole(self) -> bytes | None:
        """See `core.ports.Incoming`."""
        if not self._ended:
            return None
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def arrived(self) -> bytes:
        """See `core.ports.Incoming`: what the system has taken from the network, up to `_ARRIVED` bytes."""
        connection = self._connection
        if connection is not None:
            with suppress(UpstreamError, OSError, ValueError):
                connection.receive_arrived()
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    def settle(self) -> None:
        """If the body's end has come, or what came is no body, part from the connection."""
        connection = self._connection
        if connection is None:
            return
        reader = connection.reader
        if reader.done:
            self._ended = True
            self._connection = None
            connection.finish()
        elif reader.failure:
            self._fail(faults.broken(connection.home.where, reader.failure))

    def _fail(self, fault: UpstreamError) -> None:
        self._fault = fault
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    def close(self) -> None:
        """Drop the connection at once unless the body was received to its end. Idempotent, never waits."""
        if self._connection is not None:
            self._fail(faults.broken(self._connection.home.where, "the answer was closed by us"))
        self._pieces.clear()


class SocketConnection:
    """Carries one request at a time. `idle_since` is the monotonic time when it was last given back."""

    __slots__ = (
        "_dropped",
        "_ends",
        "_pid",
        "_reading",
        "_sent",
        "_sock",
        "_timeouts",
        "_waited",
        "home",
        "idle_since",
        "reader",
    )

    def __init__(self, home: Home, sock: socket.socket) -> None:
        self.home = home
        self.reader = ResponseReader()
        self.idle_since = monotonic()
        self._sock = sock
        self._pid = os.getpid()
        self._sent = True
        self._dropped = False
        self._reading = False
        self._timeouts: Timeouts
        self._ends = inf  # monotonic time when all of the exchange is over
        self._waited = 0.0  # seconds of silence that somebody has waited for already

    def alive(self) -> bool:
        """Idle and silent: not closed by the other side, and nothing came that nobody asked for."""
        sock = self._sock
        try:
            if not _readable(sock):
                return True
            if not isinstance(sock, ssl.SSLSocket):
                return False
            sock.setblocking(False)  # it may be TLS's own (a session ticket), so ask TLS
            sock.recv(1)
        except _WOULD_BLOCK:
            return True
        except (OSError, ValueError):
            return False
        return False

    def exchange(
        self, method: str, head: bytes, body: bytes, timeouts: Timeouts, ends: float, upload: Upload | None = None
    ) -> BlockingAnswer:
        """Send a request; return when the response's headers are there. Any failure drops the connection.

        Args:
            ends: monotonic time when `timeouts.total` is over; an upload's pace is the caller's, and has no end.
            upload: in place of `body`.
        """
        reader = self.reader
        self._timeouts = timeouts
        self._ends = ends if upload is None else inf
        self._waited = 0.0
        reader.begin(method)
        try:
            self._send(head, body, upload)
            self._receive_head()
        except BaseException:
            self.drop()
            raise
        answer = BlockingAnswer(self, reader)
        answer.settle()
        return answer

    def _send(self, head: bytes, body: bytes, upload: Upload | None) -> None:
        sock, timeouts = self._sock, self._timeouts
        self._sent = False
        try:
            if upload is not None:
                self._sent = self._send_watching(memoryview(head)) and self._send_upload(upload)
            elif len(body) <= _SLICE:
                sock.settimeout(self._within(timeouts.write))
                sock.sendall(head + body)
                self._sent = True
            else:
                self._sent = self._send_watching(memoryview(head + body))
        except TimeoutError as error:
            raise self._late(faults.write_timeout(self.home.where, timeouts.write)) from error
        except OSError as error:
            if not self._answered_anyway():
                raise faults.broken(self.home.where, faults.reason_of(error)) from error

    def _send_upload(self, upload: Upload) -> bool:
        """See `_send_watching`."""
        while piece := run_blocking(upload.read()):
            framed = piece if upload.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece)
            if not self._send_watching(memoryview(framed)):
                return False
        return upload.length is not None or self._send_watching(memoryview(b"0\r\n\r\n"))

    def _send_watching(self, data: memoryview) -> bool:
        """Send in slices, with an eye on the answer: after an early error the rest is not wanted, and this is False."""
        sock, reader = self._sock, self.reader
        sock.setblocking(False)
        while data:
            reads, writes = _ready(sock, self._within(self._timeouts.write))
            if reads and self._feed_available() and reader.status >= 400:
                return False
            if writes:
                with suppress(*_WOULD_BLOCK):
                    data = data[sock.send(data[:_SLICE]) :]
        return True

    def _feed_available(self) -> bool:
        """Feed what has come; the socket does not block. False if nothing had."""
        try:
            data = self._sock.recv(_READ)
        except _WOULD_BLOCK:
            return False
        if not data:
            raise ConnectionResetError
        self._feed_head(data)
        return True

    def _answered_anyway(self) -> bool:
        """The provider stopped listening: whether it said why first (a 413, say)."""
        reader, sock = self.reader, self._sock
        try:
            sock.settimeout(self._within(self._timeouts.first_byte))
            while not reader.status and not reader.failure:
                data = sock.recv(_READ)
                if not data:
                    return False
                reader.feed(data)
        except OSError:
            return False
        return reader.status > 0

    def _receive_head(self) -> None:
        """`timeouts.first_byte` is for the whole head, however it trickles in."""
        where, seconds = self.home.where, self._timeouts.first_byte
        left = self._within(seconds)
        deadline = monotonic() + left
        while not self.reader.status:
            try:
                data = self._receive(left)
            except TimeoutError as error:
                raise self._late(faults.first_byte_timeout(where, seconds)) from error
            except OSError as error:
                raise faults.broken(where, faults.reason_of(error)) from error
            if not data:
                raise faults.broken(where, faults.reason_of(None))
            self._feed_head(data)
            left = max(deadline - monotonic(), 0.001)

    def _feed_head(self, data: bytes) -> None:
        """Garbage before the headers' end is a fault now; garbage after it is the body's, when that is read."""
        self.reader.feed(data)
        if self.reader.failure and not self.reader.status:
            raise faults.broken(self.home.where, self.reader.failure)

    def receive_body(self) -> None:
        """Feed the next bytes, or the end, to the reader."""
        where, seconds = self.home.where, self._timeouts.idle
        try:
            data = self._receive(self._within(seconds - self._waited))
        except TimeoutError as error:
            raise self._late(faults.idle_timeout(where, seconds)) from error
        except OSError as error:
            raise faults.broken(where, faults.reason_of(error)) from error
        self._waited = 0.0
        if data:
            self.reader.feed(data)
        elif not self.reader.eof():
            raise faults.truncated(where)

    def wait(self, seconds: float) -> bool:
        """Whether there is something to receive within `seconds`, or a failure to be found in receiving."""
        if seconds <= 0 or self._waited + seconds >= self._timeouts.idle or self._pid != os.getpid():
            return True
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        left = self._within(seconds)
        self._reading = True
        try:
            if self._dropped or _poll(self._sock, left, write=False)[0] or left < seconds:
                return True
        except (OSError, ValueError):
            return True
        finally:
            self._reading = False
            if self._dropped:
                self._sock.close()
        self._waited += seconds
        return False

    def _within(self, seconds: float) -> float:
        """So many seconds, or what is left of the whole exchange."""
        left = self._ends - monotonic()
        return seconds if seconds < left else max(left, 0.001)

    def _late(self, fault: UpstreamError) -> UpstreamError:
        """Which timer has run out: this one, or that of the whole exchange."""
        return fault if monotonic() < self._ends - 0.001 else faults.out_of_time(self.home.where)

    def receive_arrived(self) -> None:
        """Feed the reader what is here, without waiting. Not while another thread reads."""
        reader, sock = self.reader, self._sock
        if self._reading or self._dropped or self._pid != os.getpid():
            return
        sock.setblocking(False)
        left = _ARRIVED
        while left > 0 and not (reader.done or reader.failure):
            try:
                data = sock.recv(_READ)
            except _WOULD_BLOCK:
                return
            if not data:
                return
            reader.feed(data)
            left -= len(data)

    def _receive(self, seconds: float) -> bytes:
        if self._pid != os.getpid():
            raise faults.broken(self.home.where, "it belongs to the parent process")
        self._reading = True
        try:
            self._sock.settimeout(seconds)
            return self._sock.recv(_READ)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
        finally:
            self._reading = False
            if self._dropped:
                self._sock.close()

    def finish(self) -> None:
        """The answer is complete: the connection is free, or of no more use."""
        if self._sent and self.reader.reusable and self._pid == os.getpid():
            self.home.give_back(self)
        else:
            self.drop()

    def drop(self) -> None:
        """Close so that the provider sees it at once. Idempotent."""
        if self._dropped:
            return
        self._dropped = True
        self.reader.release()
        if self._pid == os.getpid():
            # A forked child may hold the descriptor too, and then a close alone would tell the provider nothing.
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self.home.lost()
        # A thread that is inside OpenSSL would go on reading from the descriptor's number, which may be another
        # connection's by then. The shutdown has woken it, and it closes.
        if not self._reading:
            self._sock.close()


def _readable(sock: socket.socket) -> bool:
    return _poll(sock, 0, write=False)[0]


def _ready(sock: socket.socket, seconds: float) -> tuple[bool, bool]:
    """(readable, writable) of a socket, waiting until it is either.

    Raises:
        TimeoutError: neither within `seconds`.
    """
    ready = _poll(sock, seconds, write=True)
    if not any(ready):
        raise TimeoutError
    return ready


def _poll(sock: socket.socket, seconds: float, *, write: bool) -> tuple[bool, bool]:
    if not hasattr(select, "poll"):  # Windows
        reads, writes, _ = select.select([sock], [sock] if write else [], [], seconds)
        return bool(reads), bool(writes)
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLOUT if write else select.POLLIN)
    got = 0
    for _, events in poll.poll(seconds * 1000):
        got |= events
    return bool(got & ~select.POLLOUT), bool(got & select.POLLOUT)
