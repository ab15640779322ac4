"""One request and its response on a connection: the ASGI side of `protocol.py`.

`scope["extensions"]["headgate"]` is a `Presence`: it tells the app, without a watcher task, that its caller left.

`scope["headers"]` is the very same list as in the connection's last request where the head came in the same bytes, but
for the digits of its content-length; that entry is renewed in place, never while the last request's task still runs. So
what an app worked out of a head (but for that length) holds while the list is the same object. Apps must not change it.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from operator import itemgetter
from typing import Any, Protocol

from headgate.gateway.limits import FAILED, STOPPING, Problem, error_body, error_headers, status_line

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Prompt = Callable[[object, list[tuple[bytes, bytes]], bytes, bytes], bytes | None]
"""An app's `at_once`: the whole response to a whole request, from what the app `known` of the connection, the list of
headers, the body and the `date` header line; None where there has to be a cycle."""
Direct = Callable[[Any, list[tuple[bytes, bytes]], Any, bytes], Coroutine[Any, Any, None] | None]
"""An app's `direct`: what serves a whole request, from the same, and its cycle: of the class that the app has as
`cycle`. It raises nothing, and awaits nothing once its answer is complete. None where there has to be a scope."""

_log = logging.getLogger("headgate.gateway")

STATUS_LINES = {status: status_line(status) for status in range(100, 600)}
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_COLON = b": "
_LINE = b"\r\n"
_CONTROLS = b"\r\n\0"
_CR, _LF = 13, 10  # one byte is looked for several times faster as a number than as bytes
_SPLIT = "a response header holds a control character"  # and would split the response
_BODILESS = (204, 304)
_ENDING = b"\r\ncontent-length: %d\r\n\r\n"
_ENDING_LAST = b"\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
_CHUNKED = b"\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNKED_LAST = b"\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
_NAME = itemgetter(0)
_LAST_CHUNK = b"0\r\n\r\n"
_NOTHING: list[bytes] = []  # never filled
COPY_UNDER = 32 * 1024
"""Bytes of a body up to which joining costs less than a second buffer in the transport, about."""


class Shared(Protocol):
    """What connections of one server share."""

    date: bytes  # the current `date` header line

    @property
    def tasks(self) -> set[asyncio.Task[None]]: ...


class Connection(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport
    write_paused: bool
    paused_at: float | None  # when reading was paused
    known: Any  # the app's, see `Cycle.known`

    @property
    def state(self) -> Shared: ...

    async def drain(self) -> None: ...

    def resume_body(self) -> None: ...

    def response_done(self, cycle: Cycle) -> None: ...

    def close(self) -> None: ...


class Presence:
    """Whether the caller of one request is still there.

    Attributes:
        gone: "" while the caller is there and its response is not complete; else why nothing can reach it any more:
            "left" (disconnected), "slow" (took nothing of what was ready for it), "broken" (its request turned out
            malformed, too large or too slow while its body was read, and was answered with an error).
        half_closed: the caller has sent FIN, but is still being answered because no hook is set.
        on_disconnect: called once, on the event loop, at the moment the caller is gone before its response is
            complete; at once if it is set after that. Keep it short: `task.cancel` is the usual one.

    A FIN counts as leaving where a hook is set. TCP cannot tell "I closed" from "I have sent all and still listen";
    every official SDK means the first, and nginx and Go's net/http read it so too. Without a hook (health, admin)
    the caller gets its answer.
    """

    # An instance has its class's until they change, which for most of them never happens.
    gone = ""
    half_closed = False
    _hook: Callable[[], object] | None = None

    @property
    def heeds(self) -> bool:
        """Somebody wants to hear of it when the caller is gone."""
        return self._hook is not None

    @property
    def on_disconnect(self) -> Callable[[], object] | None:
        return self._hook

    @on_disconnect.setter
    def on_disconnect(self, hook: Callable[[], object] | None) -> None:
        self._hook = hook
        if hook is not None:
            if self.gone:
                self._call()
            elif self.half_closed:
                self.leave("left")

    def leave(self, why: str) -> None:
        """The caller is gone. Idempotent; the first reason stays."""
        if not self.gone:
            self.gone = why
            self._call()

    def _call(self) -> None:
        hook, self._hook = self._hook, None
        if hook is not None:
            try:
                hook()
            except Exception as error:
                log_failure("the disconnect hook", error)


def log_failure(where: str, error: BaseException) -> None:
    """Log an unexpected error: its type and the lines of code, not its message, which may hold the caller's data."""
    frames = traceback.extract_tb(error.__traceback__)
    path = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    _log.error("%s raised %s at %s", where, type(error).__name__, path)


def block_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Header fields as they are written, but for the CRLF behind the last.

    Raises:
        RuntimeError: one of them holds a control character, and would split the response.
    """
    lines = _LINE.join(map(_COLON.join, headers))
    # Between two of them is one CR and one LF: what is left without any control characters is by so much shorter.
    if len(lines.translate(None, _CONTROLS)) != len(lines) - 2 * len(headers) + 2:
        raise RuntimeError(_SPLIT)
    return lines


class Cycle(Presence):
    """One request being read and its response being written, in ASGI's terms. To the app it is a `Presence`.

    The response's head is held back until its first body message (as ASGI asks), so that a short answer is one
    write; an empty body message with `more_body` flushes it. Names of response headers have to be lower-case.
    """

    # As in `Presence`: of a request that is here with all of its body, few of these ever change.
    task: asyncio.Task[None] | None = None
    body: list[bytes] = _NOTHING  # read and not yet taken by the app
    more_body = False
    complete = False  # the whole response has been handed to the transport
    wrote = False  # any of it has
    _scope: Scope | None = None  # until the app runs: it holds us
    _odd = False  # `answer` has more to think of
    _http11 = True
    _bodiless = False
    _expect_continue = False
    _size = 0  # of `body`
    _end_told = True  # the app has had the body's last message
    _news: asyncio.Event | None = None  # made only when the app has to wait
    _head: bytes | None = None  # the response's head, until the first body message
    _chunked = False
    _left: int | None = None  # bytes of content-length still to come; None = not declared

    def __init__(self, connection: Connection, keep_alive: bool) -> None:
        """One whose body the app has already."""
        self._connection = connection
        self.keep_alive = keep_alive

    def offer(self, scope: Scope, expect_continue: bool) -> None:
        """Have it ready for `run`, its body still to come."""
        scope["extensions"] = {"headgate": self}
        self._scope = scope
        self._http11 = scope["http_version"] == "1.1"
        self._bodiless = scope["method"] == "HEAD"
        self._expect_continue = expect_continue
        self._odd = expect_continue or self._bodiless
        self.body = []
        self.more_body = True
        self._end_told = False

    # The connection's side

    def feed(self, piece: bytes) -> int:
        """Another piece of the request's body; returns how many bytes the app has not taken yet."""
        if self.complete or self.gone:
            return 0
        self.body.append(piece)
        self._size = size = self._size + len(piece)
        if self._news is not None:
            self._news.set()
        return size

    def end_body(self) -> None:
        """The request is whole."""
        self.more_body = False
        if self._news is not None:
            self._news.set()

    def leave(self, why: str) -> None:
        """The caller is gone: `receive` says so, `send` does nothing from now on, and the app's hook is called."""
        if not self.complete and not self.gone:
            self.body = []
            if self.task is not None:  # it may go on, and its connection will not know it any more
                tasks = self._connection.state.tasks
                tasks.add(self.task)
                self.task.add_done_callback(tasks.discard)
            super().leave(why)
            if self._news is not None:
                self._news.set()

    async def run(self, app: App) -> None:
        """Run the app. Whatever it does, the connection ends in a known state and the caller sees no trace."""
        scope, self._scope = self._scope, None
        assert scope is not None
        try:
            await app(scope, self.receive, self.send)
            self.finish()
        except (asyncio.CancelledError, Exception) as error:
            self.break_off(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            if self.task is not None:
                self._connection.state.tasks.discard(self.task)

    def finish(self) -> None:
        """The app has nothing more to say."""
        if self.complete:
            return
        if not self.gone:
            _log.error("the app returned without completing its response")
            self._fail(FAILED)
        else:  # its connection may be open still, for an answer that there is none of: see `eof_received`
            self._connection.close()

    def break_off(self, error: BaseException) -> None:
        """The app broke, or its task was cancelled."""
        if isinstance(error, asyncio.CancelledError):
            self._fail(STOPPING)
            return
        if not self.gone:
            log_failure("the app", error)
        self._fail(FAILED)

    def _fail(self, problem: Problem) -> None:
        """Answer for an app that did not: an error if nothing has been sent, else a cut that cannot pass for an end."""
        if self.complete:
            return
        if self.gone or self.wrote:
            self.complete = True
            self._connection.close()
            return
        body = error_body(problem.status, problem.code, problem.message)
        self.keep_alive = False
        self._head, self._chunked, self._left = None, False, None
        self._start(problem.status, error_headers(body))
        self._write(body, False)

    # The app's side

    @property
    def known(self) -> Any:
        """What the app put here at an earlier request of this connection; None at first."""
        return self._connection.known

    @known.setter
    def known(self, known: Any) -> None:
        self._connection.known = known

    def take_body(self) -> bytes | None:
        """The whole request body, if it is here and nobody has asked for it yet; else None, and `receive` gives it."""
        if self.more_body or self._end_told or self._expect_continue or self.gone:
            return None
        if self._connection.paused_at is not None:
            self._connection.resume_body()
        pieces, self.body, self._size = self.body, [], 0
        self._end_told = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """The whole response in one write, its length added; False where `send` has to wait, and nothing was done."""
        connection = self._connection
        if connection.write_paused or self._head is not None:
            return False
        if self.gone:
            return True
        size = len(body)
        if (
            self._odd
            or size >= COPY_UNDER
            or status in _BODILESS
            or not headers
            or not _FRAMING.isdisjoint(map(_NAME, headers))
        ):
            headers.append((b"content-length", b"%d" % size))
            self._start(status, headers)
            self._write(body, False)
            return True
        lines = _LINE.join(map(_COLON.join, headers))  # as `block_of`, which is a call more
        if len(lines.translate(None, _CONTROLS)) != len(lines) - 2 * len(headers) + 2:
            raise RuntimeError(_SPLIT)
        self._head = head = (_ENDING if self.keep_alive else _ENDING_LAST) % size
        self.wrote = self.complete = True
        connection.transport.write(b"".join((STATUS_LINES[status], connection.state.date, lines, head, body)))
        if self._news is not None:
            self._news.set()
        connection.response_done(self)
        return True

    def open(self, status: int, headers: list[tuple[bytes, bytes]]) -> bool:
        """The head of an answer whose length is not known, held back until its first piece; False where it is for
        `send`."""
        if self._head is not None:
            return False
        if not self.gone:
            odd = self._odd or not self._http11 or status in _BODILESS or not headers
            if odd or not _FRAMING.isdisjoint(map(_NAME, headers)):
                self._start(status, headers)
                return True
            ending = _CHUNKED if self.keep_alive else _CHUNKED_LAST
            self._head = b"".join((STATUS_LINES[status], self._connection.state.date, block_of(headers), ending))
            self._chunked = True
        return True

    def pass_on(self, piece: bytes) -> bool:
        """A piece of a stream that goes on, in one write; False where `send` has to see to it."""
        connection = self._connection
        if connection.write_paused or self.gone or self.complete or not (self._chunked and piece):
            return False
        chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
        if not self.wrote:
            assert self._head is not None
            self.wrote = True
            chunk = self._head + chunk
        connection.transport.write(chunk)
        return True

    def end(self) -> bool:
        """The end of a stream that has begun; False where `send` has to see to it."""
        connection = self._connection
        if connection.write_paused or self.gone or self.complete or not (self._chunked and self.wrote):
            return False
        self.complete = True
        connection.transport.write(_LAST_CHUNK)
        if self._news is not None:
            self._news.set()
        connection.response_done(self)
        return True

    async def receive(self) -> Message:
        """ASGI receive: pieces of the body, then `http.disconnect` once the caller is gone or answered."""
        connection = self._connection
        if self._expect_continue and not self.wrote:
            self._expect_continue = False
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self.gone and not self.complete:
            if connection.paused_at is not None:
                connection.resume_body()
            if self.body or (not self.more_body and not self._end_told):
                pieces, self.body, self._size = self.body, [], 0
                self._end_told = not self.more_body
                piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                return {"type": "http.request", "body": piece, "more_body": self.more_body}
            if self._news is None:
                self._news = asyncio.Event()
            await self._news.wait()
            self._news.clear()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI send. Waits while the caller does not read; does nothing once it is gone."""
        connection = self._connection
        if connection.write_paused:
            await connection.drain()
        if self.gone:
            return
        kind = message["type"]
        if kind == "http.response.body" and self._head is not None and not self.complete:
            self._write(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start" and self._head is None:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"ASGI message {kind!r} out of order")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Build the head. Framing and `connection` are ours: the app's own are read, not copied."""
        headers = headers if type(headers) is list else list(headers)
        fields = list(map(_COLON.join, headers))
        length: int | None = None
        closing = self._expect_continue  # a caller that never heard 100 may or may not send its body
        for name, value in headers:
            if name in _FRAMING:
                if name == b"content-length":
                    length = int(value)
                    continue
                fields.remove(name + _COLON + value)
                if name == b"connection":
                    closing = closing or b"close" in value.lower()
        block = b"".join(fields)
        if _CR in block or _LF in block or 0 in block:
            raise RuntimeError(_SPLIT)
        if status in _BODILESS:
            self._bodiless = True
        if length is None and not self._bodiless:
            self._chunked = self._http11
            if self._chunked:
                fields.append(b"transfer-encoding: chunked")
            else:
                closing = True  # HTTP/1.0 knows no chunks: the end of the connection ends the body
        if closing or not self.keep_alive:
            self.keep_alive = False
            fields.append(b"connection: close")
        fields.append(_LINE)
        self._head = b"".join((STATUS_LINES[status], self._connection.state.date, _LINE.join(fields)))
        self._left = 0 if self._bodiless else length

    def _write(self, body: bytes, more: bool) -> None:
        """Write the head, if it is still held, and a piece of the body, framed."""
        transport = self._connection.transport
        if self._chunked:
            if more and self.wrote:  # the middle of a stream, where most pieces are
                if body:
                    transport.write(b"%x\r\n%b\r\n" % (len(body), body))
                return
            parts = [b"%x\r\n" % len(body), body, _LINE] if body else []
            if not more:
                parts.append(_LAST_CHUNK)
        else:
            if self._bodiless:
                body = b""
            elif self._left is not None:
                self._left -= len(body)
                if self._left < 0 or (self._left and not more):
                    raise RuntimeError("the response's body does not have the length its content-length says")
            parts = [body]
        if not self.wrote:
            assert self._head is not None
            self.wrote = True
            parts.insert(0, self._head)
        if len(body) < COPY_UNDER:
            transport.write(b"".join(parts))
        else:
            transport.writelines(parts)
        if not more:
            self.complete = True
            self._hook = None
            if self._news is not None:
                self._news.set()
            self._connection.response_done(self)
