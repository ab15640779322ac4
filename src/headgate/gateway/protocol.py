"""The gateway's front: one HTTP/1.1 connection, parsed by httptools, with limits and slow-client defence.

A plain `asyncio.Protocol` with the constructor that uvicorn 0.54 calls. It follows uvicorn's HttpToolsProtocol and
differs where a gateway that faces strangers has to: every size and wait has a limit (`limits.py`), request smuggling
shapes are refused, an `Upgrade` is ignored without losing the body (RFC 9110 section 7.8; Java's HttpClient offers
h2c on every clear-text POST), trailers cannot pose as headers, refusals are JSON and never land inside an earlier
response, and the app learns of a disconnect through a callback (`cycle.Presence`) instead of a watcher task.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections import deque
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from headgate.gateway import limits as problems
from headgate.gateway.cycle import App, Cycle, Direct, Prompt, log_failure
from headgate.gateway.head import (
    END,
    Refused,
    Repeated,
    check_head,
    connection_scope,
    head_size,
    new_parser,
    repeated,
    scope,
    without_upgrade,
)
from headgate.gateway.limits import NEVER, Problem, body_too_large, error_response, read_whole
from headgate.gateway.state import GateState

_IDLE, _HEAD, _BODY = 0, 1, 2  # what of a request is being read
_PAUSE_ABOVE = 256 * 1024  # bytes of a body that the app has not taken
_NONE: list[tuple[bytes, bytes]] = []  # never filled
_SLACK = 64 * 1024  # chunk framing allowed on top of 8 bytes per byte of content (one-byte chunks need 5 more)


def _never(_known: Any, _headers: object, _cycle: object, _body: bytes) -> None:
    """An app without `direct`."""


class GateProtocol(asyncio.Protocol):
    """One caller's connection."""

    __slots__ = (
        "_app", "_app_state", "_at_once", "_begun", "_body_read", "_body_since", "_chunked", "_connection_scope",
        "_cycle", "_direct", "_due", "_feeding", "_fresh", "_half_closed", "_head_first", "_head_read", "_headers",
        "_held", "_incoming", "_largest", "_limits", "_line", "_lingering", "_loop", "_overhead", "_parser",
        "_problem", "_queue", "_reading", "_repeated", "_scope", "_upgrading", "_url", "_writable", "_write_left",
        "active", "deadline", "known", "paused_at", "state", "transport", "write_deadline", "write_paused",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: GateState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.state = server_state
        self._limits = server_state.limits
        self._app: App = config.loaded_app
        self._at_once: Prompt | None = getattr(config.loaded_app, "at_once", None)
        self._direct: Direct = getattr(config.loaded_app, "direct", _never)
        self._cycle: type[Cycle] = getattr(config.loaded_app, "cycle", Cycle)
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = new_parser(self)
        self.active: Cycle | None = None  # the request being answered
        self._incoming: Cycle | None = None  # the request whose body is being read
        self._queue: deque[Cycle] = deque()  # pipelined behind `active`
        self._problem: Problem | None = None  # why no more input is parsed
        self._lingering = False  # refused; input is thrown away until the caller notices
        self._half_closed = False
        self._upgrading = False
        self._reading = _IDLE
        self._url = b""
        self._line: tuple[bytes, bytes, str] = (b"", b"", "")  # the last request's method, target and version
        self._scope: dict[str, Any] = {}  # and what its scope said of them
        self._headers: list[tuple[bytes, bytes]] = []
        self._feeding = 0  # size of the read that is being parsed
        self._begun = 0  # requests that began in that read
        self._fresh: list[tuple[bytes, bytes]] = _NONE  # headers accepted in it, of a request that may repeat
        # The last request, if nothing but its body came behind its head, and nothing keeps another from coming.
        self._repeated: Repeated | None = None
        self._held = b""  # that head once more, alone: SDKs send it before the body, in a read of its own
        self._due = 0  # bytes of the body that it announces
        self._head_first = 0  # size of the read in which this head began
        self._head_read = 0  # bytes of whole reads after that one, and before the one being parsed
        self._body_read = 0
        self._largest = 0  # bytes that the body being read may have
        self._body_since = 0.0
        self._chunked = False
        self._overhead = 0  # bytes of later reads spent on a chunked body, framing included
        self.known: Any = None
        self.paused_at: float | None = None
        self.write_paused = False
        self._writable: asyncio.Event | None = None
        self._write_left = 0
        self.deadline = NEVER
        self.write_deadline = NEVER

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        state = self.state
        self.transport = transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._connection_scope = connection_scope(
            get_local_addr(transport),
            get_remote_addr(transport),
            "https" if is_ssl(transport) else "http",
            self._app_state,
        )
        state.gates.add(self)
        self.deadline = state.now + state.limits.header_seconds
        if len(state.gates) > state.limits.connections:
            self._refuse(problems.TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.gates.discard(self)
        self.deadline = self.write_deadline = NEVER
        self._caller_left("left")
        self._parser, self._repeated, self._held = None, None, b""
        self.resume_writing()

    def eof_received(self) -> bool:
        """FIN: see `cycle.Presence` for what it means. True keeps the transport open for the answer."""
        self._let_go()
        active = self.active
        whole = self._incoming is None and not self._lingering and self._connection_scope["scheme"] == "http"
        if active is None or not whole or active.heeds:
            self._caller_left("left")
            self.close()
            return False
        self._half_closed = active.half_closed = True
        self._repeated = None
        for cycle in self._queue:
            cycle.half_closed = True
        self.deadline = NEVER
        return True

    def data_received(self, data: bytes) -> None:
        known = self._repeated
        if known is not None and self.active is None and self._reading == _IDLE:
            if self._held:
                body = data if len(data) == self._due else b""
            else:
                head, _, body = data.partition(END)
                if body:
                    if head != known.lines % len(body) or len(body) > known.limit:
                        body = b""
                elif self._hold(known, data):
                    return
            if body:
                if self._held:
                    self._held = b""
                if self._at_once is not None and self._answered(self._at_once, known, body):
                    return
                self.deadline = NEVER
                cycle = self._cycle(self, not self.state.draining)
                served = self._direct(self.known, known.headers, cycle, body)
                if served is None:
                    self._repeat(known, cycle, body)
                    return
                self.active = cycle  # which is enough to be found by: see `GateState.running`
                cycle.task = Task(served, loop=self._loop, name="request")
                return
        if self._problem is not None or self._lingering:
            return
        if known is not None:
            self._repeated = None
            if self._held:
                data = self._held + data
                self._held = b""
        was, read = self._reading, self._body_read
        self._feeding = len(data)
        self._begun = 0
        self._fresh = _NONE
        rest: bytes | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            rest = data[pause.args[0] :]
        except httptools.HttpParserError as error:
            cause = error.__context__  # what a callback of ours raised
            self._refuse(cause.problem if isinstance(cause, Refused) else problems.BAD_REQUEST)
            return
        if rest is not None:  # outside the try: an error raised inside an `except` would lose its own context
            self._ignore_upgrade(rest)
            return
        # How much of a read in which a request began was an earlier request's is unknown: it is not counted.
        if not self._begun:
            if self._count(len(data)):
                return
            if known is not None and was == _BODY and self._body_read - read == len(data):
                self._repeated = known  # the body, or some of it, and nothing else
        elif self._fresh and was == _IDLE and self._reading != _HEAD and self._begun == 1:
            active = self.active
            assert active is not None
            assert active.task is not None
            self._repeated = repeated(
                data, self._url, self._fresh, self._scope, active.task, self._limits, _PAUSE_ABOVE
            )
        if self.paused_at is None and (self._begun or self._reading != was or self._body_read != read):
            self._set_deadline()

    def _hold(self, known: Repeated, data: bytes) -> bool:
        """Wait for the body where a read is a known head alone."""
        self._due = known.announced(data)
        if not self._due:
            return False
        self._held = data
        limits = self._limits
        self.deadline = self.state.now + min(limits.body_idle_seconds, limits.body_grace_seconds)
        return True

    def _count(self, size: int) -> bool:
        """Count a read that went on with a request; True if that was too much of it."""
        if self._reading == _HEAD:
            self._head_read += size
            if self._head_read > self._limits.header_bytes:
                self._refuse(problems.HEADERS_TOO_LARGE)
                return True
        elif self._reading == _BODY and self._chunked:
            self._overhead += size
            if self._overhead > 8 * self._body_read + _SLACK:
                self._refuse(problems.CHUNK_OVERHEAD)
                return True
        return False

    def _set_deadline(self) -> None:
        """After a read that moved a request: when does the next have to come?"""
        reading, limits, now = self._reading, self._limits, self.state.now
        if reading == _IDLE:
            self.deadline = NEVER if self.active is not None else now + limits.keep_alive_seconds
        elif reading == _HEAD:
            self.deadline = now + limits.header_seconds
        else:
            idle = now + limits.body_idle_seconds
            slow = self._body_since + limits.body_grace_seconds + self._body_read / limits.body_bytes_per_second
            self.deadline = idle if idle < slow else slow

    def pause_writing(self) -> None:
        self.write_paused = True
        self._write_left = self.transport.get_write_buffer_size()
        self.write_deadline = self.state.now + self.state.limits.write_seconds

    def resume_writing(self) -> None:
        self.write_paused = False
        if not self.transport.is_closing():
            self.write_deadline = NEVER
        if self._writable is not None:
            self._writable.set()

    async def drain(self) -> None:
        """Wait until the caller has taken enough, or is gone."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    # The parser's side

    def on_message_begin(self) -> None:
        self._begun += 1
        self._reading = _HEAD
        self._url = b""
        self._headers = []
        self._head_first = self._feeding
        self._head_read = 0

    def on_url(self, url: bytes) -> None:
        if self._url:
            url = self._url + url
        self._url = url
        if len(url) > self._limits.url_bytes:
            raise Refused(problems.URL_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser.should_upgrade():
            self._upgrading = True
            return
        state = self.state
        limits = self._limits
        headers = self._headers
        # What comes through on_header from here on is a trailer: it must not join what the app sees as headers.
        self._headers = []
        version = parser.get_http_version()
        self._largest = largest = limits.body_bytes if read_whole(self._url) else limits.upload_bytes
        self._chunked, expect_continue = check_head(headers, version, limits, largest)
        reads = self._head_first + self._head_read + self._feeding  # at least what the head takes
        if reads > limits.header_bytes < head_size(self._url, headers):
            raise Refused(problems.HEADERS_TOO_LARGE)
        line = (parser.get_method(), self._url, version)
        if line != self._line:
            self._scope = scope(self._connection_scope, line[0], version, self._url)
            self._line = line
        request = self._scope.copy()
        request["headers"] = headers
        self._reading = _BODY
        self._body_read = self._overhead = 0
        self._body_since = state.now
        keep_alive = version == "1.1" and parser.should_keep_alive() and not state.draining
        cycle = self._cycle(self, keep_alive)
        cycle.offer(request, expect_continue)
        self._incoming = cycle
        if self.active is None:
            self._start(cycle)
            # A HEAD has an answer of its own kind, which nobody knows about who is not offered its scope.
            if keep_alive and not self._chunked and not expect_continue and line[0] != b"HEAD":
                self._fresh = headers
        elif len(self._queue) < limits.pipelined:
            self._queue.append(cycle)
            self._pause_reading()
        else:
            self._incoming = None
            raise Refused(problems.TOO_DEEP)

    def on_body(self, piece: bytes) -> None:
        cycle = self._incoming
        assert cycle is not None
        self._body_read = read = self._body_read + len(piece)
        if read > self._largest:
            raise Refused(body_too_large(self._largest))
        if cycle.feed(piece) > _PAUSE_ABOVE:
            self._pause_reading()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        cycle = self._incoming
        assert cycle is not None
        self._incoming = None
        self._reading = _IDLE
        cycle.end_body()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on as if Upgrade had not been offered: replay the head without it, then parse what follows it."""
        self._upgrading = False
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(problems.NO_TUNNEL)
            return
        head = without_upgrade(method, self._url, self._parser.get_http_version(), self._headers)
        self._parser = new_parser(self)
        self._reading = _IDLE
        self.data_received(head + rest)

    # Requests, in order

    def _answered(self, at_once: Prompt, known: Repeated, body: bytes) -> bool:
        """Answer a whole request with the head of the last one here and now, where the app can."""
        state = self.state
        if state.draining or self.write_paused:
            return False
        try:
            response = at_once(self.known, known.headers, body, state.date)
        except Exception as error:
            log_failure("the app", error)
            self._refuse(problems.FAILED)
            return True
        if response is None:
            return False
        self.deadline = state.now + self._limits.keep_alive_seconds
        self.transport.write(response)
        return True

    def _repeat(self, known: Repeated, cycle: Cycle, body: bytes) -> None:
        """A whole request with the head of the last one. The parser, which is between requests, need not see it."""
        request = known.scope.copy()
        request["headers"] = known.renew(len(body))
        cycle.offer(request, False)
        cycle.body.append(body)
        cycle.more_body = False
        known.task = self._start(cycle)

    def _start(self, cycle: Cycle) -> Task[None]:
        self.active = cycle
        # Not create_task: passing through the loop and numbering a name costs more than starting the task.
        cycle.task = task = Task(cycle.run(self._app), loop=self._loop, name="request")
        self.state.tasks.add(task)
        return task

    def response_done(self, cycle: Cycle) -> None:
        """The active response is with the transport: what next?"""
        self.active = None
        state = self.state
        if self._repeated is not None and self._reading == _IDLE and cycle.keep_alive and self.paused_at is None:
            self.deadline = state.now + self._limits.keep_alive_seconds  # nothing else has come since it began
            return
        if self.transport.is_closing():
            return
        if not cycle.keep_alive or state.draining:
            self._linger() if cycle is self._incoming else self.close()
        elif self._queue:
            self._start(self._queue.popleft())
            self.resume_body()
        elif self._problem is not None:
            self._answer(self._problem)
        elif self._half_closed:
            self.close()
        else:
            if self._reading == _IDLE:
                self.deadline = state.now + self._limits.keep_alive_seconds
            if self.paused_at is not None:
                self.resume_body()

    def _caller_left(self, why: str) -> None:
        """Nothing can be answered any more."""
        cycles = {self.active, self._incoming}
        self.active = self._incoming = None
        self._queue.clear()
        for cycle in cycles:
            if cycle is not None:
                cycle.leave(why)

    def _pause_reading(self) -> None:
        if self.paused_at is None:
            self.paused_at = self.state.now
            self.deadline = NEVER
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """Read on, unless there is enough to do. Time that we did not read does not count against the caller."""
        if self.paused_at is None or self._queue or self.transport.is_closing():
            return
        state = self.state
        self._body_since += state.now - self.paused_at
        self.paused_at = None
        if self._reading == _BODY:
            self.deadline = state.now + state.limits.body_idle_seconds
        elif self._reading == _HEAD:
            self.deadline = state.now + state.limits.header_seconds
        elif self.active is None:
            self.deadline = state.now + state.limits.keep_alive_seconds
        self.transport.resume_reading()

    # Endings

    def _refuse(self, problem: Problem) -> None:
        """Answer with an error and close: at once, or after the responses that are due before it."""
        self._problem = problem
        self._repeated = None
        broken, self._incoming = self._incoming, None
        if broken is not None:
            if broken.complete:  # it was answered before its body had come
                self._linger()
                return
            if broken is not self.active:
                self._queue.remove(broken)
            else:
                self.active = None
                broken.leave("broken")
                if broken.wrote:  # an error in the middle of an answer would pass for a part of it
                    self.transport.abort()
                    return
        if self.active is None:
            self._answer(problem)
        else:
            self.deadline = NEVER

    def _answer(self, problem: Problem) -> None:
        refused = self.state.refused
        refused[problem.code] = refused.get(problem.code, 0) + 1
        self.transport.write(error_response(problem, self.state.date))
        self._linger()

    def _linger(self) -> None:
        """Close, but read on for a while: closing on unread input sends RST, and that can overtake the answer."""
        if self._half_closed or not self.transport.can_write_eof():
            self.close()
            return
        self._lingering = True
        self._repeated = None
        self.deadline = self.state.now + self.state.limits.linger_seconds
        self.transport.write_eof()
        if self.paused_at is not None:
            self.paused_at = None
            self.transport.resume_reading()

    def close(self) -> None:
        """Close once what is written has been taken, or when the caller takes nothing of it for `write_seconds`."""
        if not self._lingering and not self.transport.is_closing():
            self.deadline = NEVER
            self._write_left = self.transport.get_write_buffer_size()
            self.write_deadline = self.state.now + self.state.limits.write_seconds
            self.transport.close()

    def expire(self, now: float) -> None:
        """A deadline has passed. `now` is the loop's time in seconds."""
        self._let_go()
        if self.write_deadline < now:
            left = self.transport.get_write_buffer_size()
            if 0 < left < self._write_left:
                self._write_left = left
                self.write_deadline = now + self.state.limits.write_seconds
                return
            self._caller_left("slow")
            self.transport.abort()
        elif self._lingering:
            self.transport.abort()
        elif self._reading == _IDLE:
            self.close()
        else:
            self._refuse(problems.TIMED_OUT)

    def _let_go(self) -> None:
        """A head was held back for its body, and something else came: it is for the parser."""
        held, self._held = self._held, b""
        if held:
            self._repeated = None
            self.data_received(held)

    def shutdown(self) -> None:
        """The server is draining: finish what has begun, then close."""
        self._let_go()
        if self.active is not None:
            self.active.keep_alive = False
        elif self._reading == _IDLE:
            self.close()
