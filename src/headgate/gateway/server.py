"""Starting, draining and stopping the gateway's server: uvicorn's `Server` with our connection class.

What differs from uvicorn: SIGTERM ends in exit code 0 (uvicorn raises the signal again), connections and answers get
`drain_seconds` and are then cancelled so that their endings are settled, `on_stop` flushes the ledger last, a port in
use is a sentence instead of an exit, and an address other machines can reach is refused without keys (decisions 18).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field, replace
from types import FrameType, TracebackType
from typing import Any, Literal, cast

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from headgate.core.errors import HeadgateError
from headgate.gateway.cycle import App, log_failure
from headgate.gateway.limits import Limits
from headgate.gateway.listening import listen, raise_file_limit, url_of
from headgate.gateway.protocol import GateProtocol
from headgate.gateway.state import GateState

_log = logging.getLogger("headgate.gateway")

# Little of what a request makes is cyclic; a collection of the oldest generation costs milliseconds in every stream.
GC_THRESHOLDS = (50_000, 20, 50)
_CANCEL_GRACE = 5.0  # seconds for cancelled exchanges to be settled


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve. Times in seconds.

    Attributes:
        host, port: where to listen; port 0 picks a free one.
        keys_configured: whether any key exists. Without one only a loopback address is served.
        drain_seconds: how long answers in flight may go on after SIGTERM or SIGINT before they are cancelled.
        stop_seconds: how long `on_stop` may take.
        switch_interval: `sys.setswitchinterval`, where the default of 5 ms lets other threads (the ledger's writer)
            hold up the event loop for too long; None leaves it alone.
        tune_gc: freeze what start-up made and collect rarely. Process-wide, so off for a server in a thread.
        lifespan: ASGI lifespan; "auto" runs it and takes an app that raises on it as one without.
        on_start: awaited before the first connection is accepted; what it raises ends the start.
        on_ready: called with the URL once connections are accepted.
        on_refused: called at most once per second, and when stopping: how many requests were refused before the app saw
            them since the last call, by code.
        on_drain: called first of all when stopping begins: the place to turn readiness to false.
        on_stop: awaited last, when no exchange runs any more: the place to flush the ledger.
    """

    host: str = "127.0.0.1"
    port: int = 8484
    keys_configured: bool = False
    limits: Limits = field(default_factory=Limits)
    drain_seconds: float = 30.0
    stop_seconds: float = 30.0
    switch_interval: float | None = None
    tune_gc: bool = True
    lifespan: Literal["auto", "on", "off"] = "auto"
    on_start: Callable[[], Awaitable[None]] | None = None
    on_ready: Callable[[str], None] | None = None
    on_refused: Callable[[dict[str, int]], None] | None = None
    on_drain: Callable[[], None] | None = None
    on_stop: Callable[[], Awaitable[None]] | None = None


class GateServer(uvicorn.Server):
    """One server in one event loop."""

    def __init__(self, app: App, options: ServerOptions) -> None:
        config = uvicorn.Config(
            cast("Any", app),
            http=cast("type[asyncio.Protocol]", GateProtocol),
            ws="none",
            lifespan=options.lifespan,
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a peer's address is the peer's: the control API relies on it
            server_header=False,
        )
        super().__init__(config)
        self._app = app
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self.options = options
        self.state = GateState(options.limits)
        self.server_state = self.state
        self.exit_code = 0
        self._wake = asyncio.Event()
        self._signals = 0
        self._told: dict[str, int] = {}  # of `state.refused`

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Lifespan, `on_start`, then accept.

        Raises:
            HeadgateError: the app's lifespan failed.
        """
        assert sockets is not None
        options = self.options
        loop = asyncio.get_running_loop()
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise HeadgateError("the gateway's app failed to start; the log has the cause")
        if options.on_start is not None:
            await options.on_start()
        await self._told_app("start")
        if options.tune_gc:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
        if options.switch_interval is not None:
            sys.setswitchinterval(options.switch_interval)
        await self.on_tick(0)
        self.state.sweep(loop.time())

        def connection() -> GateProtocol:
            return GateProtocol(self.config, self.state, self.lifespan.state, loop)

        self.servers = [await loop.create_server(connection, sock=listener, backlog=2048) for listener in sockets]
        self.started = True
        if options.on_ready is not None:
            options.on_ready(url_of(sockets[0]))

    async def on_tick(self, counter: int) -> bool:
        """Once per second: renew the date."""
        done = await super().on_tick(counter)
        headers = self.state.default_headers
        self.state.date = b"".join(b"%b: %b\r\n" % header for header in headers)
        return done

    async def main_loop(self) -> None:
        """Sweep deadlines and renew the date until told to stop."""
        loop = asyncio.get_running_loop()
        tick = self.options.limits.tick
        renew = 0.0
        while not self.should_exit:
            self.state.sweep(now := loop.time())
            if now >= renew:
                renew = now + 1.0
                await self.on_tick(0)
                self._tell_refused()
            # A plain signal handler cannot wake the loop by itself: look at least ten times a second.
            await self._pause(min(tick, 0.1))

    def _tell_refused(self) -> None:
        refused, told = self.state.refused, self._told
        if self.options.on_refused is not None and refused != told:
            self._told = dict(refused)
            self.options.on_refused({code: count - told.get(code, 0) for code, count in refused.items()})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, cancel what is left, then the app's lifespan and `on_stop`."""
        options = self.options
        state = self.state
        state.draining = True
        if options.on_drain is not None:
            options.on_drain()
        for server in self.servers:
            server.close()
        for gate in list(state.gates):
            gate.shutdown()
        if not await self._until_idle(options.drain_seconds, forced=lambda: self.force_exit):
            _log.warning("%d exchanges did not end while draining and are cancelled", len(state.running()))
            await self._told_app("break_off")
            for task in state.running():
                task.cancel()
            if not await self._until_idle(_CANCEL_GRACE, forced=lambda: False):
                for gate in list(state.gates):
                    gate.transport.abort()
        self._tell_refused()
        await self._told_app("stop")
        if not self.force_exit:
            await self.lifespan.shutdown()
        await self._flush()

    async def _told_app(self, name: str) -> None:
        """The gateway's own app has work beside its requests, which begins and ends with the server."""
        method = getattr(self._app, name, None)
        if method is not None:
            await method()

    async def _until_idle(self, seconds: float, *, forced: Callable[[], bool]) -> bool:
        """Whether every exchange and connection ended within `seconds`. Slow callers stay under their deadlines."""
        loop = asyncio.get_running_loop()
        state = self.state
        end = loop.time() + seconds
        step = 0.001  # most have nothing in flight, and leave in the loop's next turn
        while state.tasks or state.gates:
            now = loop.time()
            if now >= end or forced():
                return False
            state.sweep(now)
            state.forget_done()
            await asyncio.sleep(min(step, end - now))
            step = min(2 * step, 0.02)
        return True

    async def _flush(self) -> None:
        on_stop = self.options.on_stop
        if on_stop is None:
            return
        try:
            async with asyncio.timeout(self.options.stop_seconds):
                await on_stop()
        except Exception as error:  # the process ends either way; its exit code says that something is missing
            self.exit_code = 1
            log_failure("the last flush", error)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def stop(self) -> None:
        """Begin to drain. From the event loop's thread; from another, through `call_soon_threadsafe`."""
        self.should_exit = True
        self._wake.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: cancel now. Third: leave at once, without flushing."""
        self._signals += 1
        self.should_exit = True
        if self._signals == 2:
            self.force_exit = True
            self.exit_code = 1
        elif self._signals > 2:
            os._exit(1)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """As uvicorn's, but a signal that was obeyed is not raised again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(app: App, options: ServerOptions) -> int:
    """Serve until SIGTERM or SIGINT, and drain. Uses uvloop where it is installed.

    Returns:
        The process's exit code: 0 after an orderly stop, 1 if it was forced or the last flush failed.

    Raises:
        ConfigError: the address cannot or must not be listened on.
        HeadgateError: the app's lifespan failed; also whatever `on_start` raises.
    """
    listener = listen(options.host, options.port, keys_configured=options.keys_configured)
    raise_file_limit()

    async def main() -> int:
        server = GateServer(app, options)
        await server.serve(sockets=[listener])
        return server.exit_code

    with contextlib.closing(listener), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, or None for asyncio's own (about 8 us more per request)."""
    try:
        import uvloop
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)


class BackgroundServer:
    """A server in a thread, for tests and for embedding. Use it as a context manager; leaving it drains.

    Listens on a free loopback port unless told otherwise.

    Attributes:
        url: where it listens, from the moment it is made.
    """

    def __init__(self, app: App, options: ServerOptions | None = None) -> None:
        self._app = app
        self._options = options or ServerOptions(port=0, drain_seconds=5.0, tune_gc=False)
        self._listener = listen(self._options.host, self._options.port, keys_configured=self._options.keys_configured)
        self.url = url_of(self._listener)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: GateServer | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="headgate-server", daemon=True)

    @property
    def state(self) -> GateState:
        """The connections' shared state, once started."""
        assert self._server is not None
        return self._server.state

    def _main(self) -> None:
        def ready(url: str) -> None:
            if self._options.on_ready is not None:
                self._options.on_ready(url)
            self._ready.set()

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._server = GateServer(self._app, replace(self._options, on_ready=ready))
            await self._server.serve(sockets=[self._listener])

        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(main())
        except BaseException as error:  # handed to the thread that waits in `start`
            self._error = error
        finally:
            self._listener.close()
            self._ready.set()

    def start(self) -> BackgroundServer:
        """Start and wait until connections are accepted. Raises what kept it from starting."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self

    def stop(self) -> None:
        """Drain, stop and wait for the thread. Idempotent."""
        if self._loop is not None and self._server is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop closed in between
                self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join()

    def __enter__(self) -> BackgroundServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
