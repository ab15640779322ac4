"""Sends metrics to a collector of OpenTelemetry, every minute or so, from a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from headgate.core.exchange import Exchange
from headgate.settings.model import Settings
from headgate.telemetry.families import Family
from headgate.telemetry.otlp import metrics
from headgate.telemetry.sending import STOP_SECONDS, Collector
from headgate.telemetry.traces import SCOPE, at, resource_of


class Pusher:
    """Begins at the first exchange that has settled; a last time when it is closed.

    Args:
        families: what to send.
        env: where `env:` references are read.
        tell: the log's `event`.
    """

    def __init__(
        self,
        settings: Settings,
        families: Callable[[], Sequence[Family]],
        *,
        env: Mapping[str, str],
        tell: Callable[..., None],
    ) -> None:
        told = settings.metrics
        self._families = families
        self._tell = tell
        self._every = told.every_seconds
        self._resource = resource_of(settings.traces)
        self._collector = Collector(at(told.otlp, "/v1/metrics"), told.headers, env)
        self._started = time.time()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self.error = ""

    def look(self, exchanges: Sequence[Exchange]) -> tuple[()]:
        """There is something to send: a `stores.log.Watcher`. Never raises."""
        if exchanges and self._pid != os.getpid() and not self._stopping.is_set():
            self._pid = os.getpid()  # a forked child has no thread of its parent's
            self._thread = threading.Thread(target=self._run, name="headgate-metrics", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None  # the interpreter is shutting down and takes no new threads
        return ()

    def close(self) -> None:
        """Send once more, within some seconds. Idempotent."""
        self._stopping.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._every):
                self._push()
            self._push()
        finally:
            self._collector.close()

    def _push(self) -> None:
        try:
            body = metrics(self._families(), self._resource, SCOPE, start=self._started, now=time.time())
            said = self._collector.post(body).lstrip("!")
        except Exception as error:  # a mistake in here must not end the thread; it is told as any other failure
            said = type(error).__name__
        if bool(said) != bool(self.error):
            if said:
                self._tell("collector_unreachable", signal="metrics", error=said)
            else:
                self._tell("collector_back", signal="metrics")
        self.error = said
