"""Telemetry of one process: its metrics, its traces, and their ways to a collector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from headgate.telemetry.metrics import Metrics
from headgate.telemetry.pushing import Pusher
from headgate.telemetry.traces import Traces

if TYPE_CHECKING:
    from headgate.build import Built


class Telemetry:
    """Opens nothing by itself: threads begin with the first thing to send.

    Attributes:
        traces: None = there are none.
    """

    def __init__(self, built: Built, env: Mapping[str, str]) -> None:
        """
        Args:
            env: where `env:` references are read.
        """
        settings, tracing = built.settings, built.engine.policies.tracing
        self.metrics = Metrics(built, env)
        self.traces: Traces | None = None
        self._pusher: Pusher | None = None
        if tracing is not None:
            self.traces = Traces(settings, tracing, env=env, tell=built.log.event)
            built.log.watchers.append(self.traces.look)
            self.metrics.sources.append(self.traces.families)
        if settings.metrics.enabled and settings.metrics.otlp:
            self._pusher = Pusher(settings, self.metrics.families, env=env, tell=built.log.event)
            self.metrics.start()
            built.log.watchers.append(self._pusher.look)

    def close(self) -> None:
        """Send what is queued, within some seconds. Idempotent."""
        if self.traces is not None:
            self.traces.sender.close()
        if self._pusher is not None:
            self._pusher.close()
