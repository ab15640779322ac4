"""One caller's call at the gateway: what its connection knows of it, and what is being done for it.

On our own server it is the connection's `Cycle` itself, made once for both. On another one ASGI's two callables tell.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from headgate.core.exchange import Exchange
from headgate.engine.relay import Reply
from headgate.gateway.cycle import Cycle, Receive, Send, log_failure

_DRAIN_SLACK = 0.05  # seconds


class _Served:
    """What is being done.

    Attributes:
        exchange: set once it runs. From then on it is told when its caller leaves.
        reply: what it came to.
        piece: the last one of a stream that the caller was given.
        left: the caller has gone, while it ran.
        timer: ends the reading on for a caller that has gone.
    """

    exchange: Exchange | None = None
    reply: Reply | None = None
    piece = b""
    left = False
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[Any] | None

    def stop(self) -> None:
        """The caller is gone: cancel upstream at once, unless its provider is set to drain, within its caps."""
        assert self.exchange is not None
        self.left = True
        last, reply, task = self.exchange.last, self.reply, self.task
        if last is not None and last.route.drain and last.ended is None and (reply is None or reply.drains):
            if reply is not None:
                reply.leave()
            if task is not None:  # the reply looks at the time when a piece comes; this is for when none does
                loop = asyncio.get_running_loop()
                self.timer = loop.call_later(last.route.drain_seconds + _DRAIN_SLACK, task.cancel)
            return
        if task is not None:
            task.cancel()


class Visit(_Served, Cycle):
    """On our own server."""

    @property
    def heeds(self) -> bool:
        """See `Presence.heeds`."""
        return self.exchange is not None or self._hook is not None

    def _call(self) -> None:
        if self.exchange is None:
            self.half_closed = True  # whoever sets one looks at this
            super()._call()
            return
        try:
            self.stop()
        except Exception as error:
            log_failure("the disconnect hook", error)

    def watch(self) -> None:
        """The caller had left, or closed its side, before anybody minded."""
        if self.gone:
            self._call()
        else:
            self.leave("left")

    def finish(self) -> None:
        """See `Cycle.finish`."""
        if self.timer is not None:
            self.timer.cancel()
        super().finish()


class VisitElsewhere(_Served):
    """On another server. Nobody tells when the caller leaves: it has to be looked for."""

    gone = ""
    complete = False  # for all that is known
    half_closed = True  # for all that is known: `watch`
    known: Any = None
    more_body = True

    def __init__(self, receive: Receive, send: Send) -> None:
        self.receive = receive
        self.send = send
        self.task = asyncio.current_task()
        self._watcher: asyncio.Future[None] | None = None

    def watch(self) -> None:
        """From now on, and until `finish`."""
        self._watcher = asyncio.ensure_future(self._watch())

    def take_body(self) -> None:
        """See `Cycle.take_body`: `receive` gives it."""

    def answer(self, _status: int, _headers: list[tuple[bytes, bytes]], _body: bytes) -> bool:
        """See `Cycle.answer`: `send` takes it."""
        return False

    def open(self, _status: int, _headers: list[tuple[bytes, bytes]]) -> bool:
        """See `Cycle.open`: `send` takes it."""
        return False

    def pass_on(self, _piece: bytes) -> bool:
        """See `Cycle.pass_on`: `send` takes it."""
        return False

    def end(self) -> bool:
        """See `Cycle.end`: `send` takes it."""
        return False

    def finish(self) -> None:
        """See `Visit.finish`: of the answer that server takes care."""
        for each in (self.timer, self._watcher):
            if each is not None:
                each.cancel()

    def break_off(self, error: BaseException) -> None:
        """See `Cycle.break_off`: that server takes care of it."""
        raise error

    async def _watch(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                while (await self.receive())["type"] != "http.disconnect":
                    pass
                self.stop()
        except Exception as error:
            log_failure("the disconnect watcher", error)
