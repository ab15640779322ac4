"""Reading abandoned answers to their end, in process (`on_disconnect: drain`): for the bill, when the caller has gone.

Where a provider goes on, and bills, whether or not anybody listens, its own count is the only exact one. An answer is
read on in a task of the caller's event loop, or in a thread of its own where there is no loop. The caps in seconds and
dollars are the reply's (`engine.relay`); here is what ends a read that waits for nothing, and the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from headgate.core.errors import HeadgateError
from headgate.engine.blocking import run_blocking
from headgate.engine.relay import Reply

AT_ONCE = 32
"""Threads that read on at most; a further answer is closed and charged as an estimate."""

CLOSE_SECONDS = 2.0
"""How long closing waits for the threads once it has stopped what they read."""

_SLACK = 0.05  # seconds: the reply itself looks at the time when a piece comes


class Drains:
    """The answers of one gate that are being read on. Thread-safe; safe after a fork, where nothing goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, Reply] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def take(self, reply: Reply) -> bool:
        """Read on in a thread; False where it is not to be, or cannot: then close the reply."""
        if not reply.drains:
            return False
        reply.leave()
        thread = threading.Thread(target=self._drain, args=(reply,), name="headgate-drain", daemon=True)
        with self._lock:
            self._threads = {t: r for t, r in self._threads.items() if t.is_alive() or t.ident is None}
            if self._closed or len(self._threads) >= AT_ONCE:
                return False
            self._threads[thread] = reply
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            with self._lock:
                self._threads.pop(thread, None)
            return False
        return True

    def take_async(self, reply: Reply, pending: asyncio.Task[bytes] | None = None) -> bool:
        """As `take`, in a task of the running event loop; on other loops than asyncio's it is never to be.

        Args:
            pending: a read of the reply that is under way.
        """
        if not reply.drains or self._closed:
            return False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        reply.leave()
        task = loop.create_task(self._drain_async(reply, pending))
        self._tasks.add(task)  # or it could be collected
        task.add_done_callback(self._tasks.discard)
        return True

    def close(self) -> None:
        """Stop: what is being read in threads is charged as abandoned. Tasks end with their loop. Idempotent."""
        with self._lock:
            self._closed = True
            left = dict(self._threads)
        for reply in left.values():
            reply.stop()
        for thread in left:
            thread.join(CLOSE_SECONDS)

    def _drain(self, reply: Reply) -> None:
        timer = threading.Timer(reply.drain_seconds + _SLACK, reply.stop)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.suppress(HeadgateError):
                while run_blocking(reply.read()):
                    pass
        finally:
            timer.cancel()
            reply.close()

    async def _drain_async(self, reply: Reply, pending: asyncio.Task[bytes] | None) -> None:
        timer = asyncio.get_running_loop().call_later(reply.drain_seconds + _SLACK, reply.stop)
        try:
            with contextlib.suppress(HeadgateError):
                if pending is not None and not await pending:
                    return
                while await reply.read():
                    pass
        finally:
            timer.cancel()
            reply.close()
