"""Traces: which settled exchanges become spans, in the log's thread, and where those go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from headgate._version import __version__
from headgate.core.exchange import Exchange
from headgate.policy.tracing import Tracing
from headgate.settings.model import Settings
from headgate.settings.telemetry import TraceSettings
from headgate.stores.log import scrubbed
from headgate.telemetry import names
from headgate.telemetry.families import Family
from headgate.telemetry.otlp import Span, traces
from headgate.telemetry.sending import Collector, Sender
from headgate.telemetry.spans import SpanRules, is_failure, spans_of

SCOPE = (names.SCOPE, __version__)


class Traces:
    """A `stores.log.Watcher`, in its `look`.

    Attributes:
        sender: what sends the spans.
    """

    def __init__(
        self, settings: Settings, tracing: Tracing, *, env: Mapping[str, str], tell: Callable[..., None]
    ) -> None:
        """
        Args:
            tracing: as the engine has it: what it decided is decided here again.
            env: where `env:` references are read.
            tell: the log's `event`.
        """
        told = settings.traces
        self._tracing = tracing
        self._errors = told.errors
        self._rules = rules_of(told, bodies=settings.log.bodies)
        self._resource = resource_of(told)
        self._wrong = 0
        self.sender = Sender(Collector(at(told.to, "/v1/traces"), told.headers, env), self._encode, tell=tell)

    def look(self, exchanges: Sequence[Exchange]) -> tuple[()]:
        """Make spans of those that are traced. Never raises."""
        for exchange in exchanges:
            try:
                if self._tracing.samples(exchange) or self._fails(exchange):
                    self.sender.put(spans_of(exchange, self._tracing.trace(exchange), self._rules))
            except Exception:  # a mistake in here must cost no line of the log; it is told as a metric
                self._wrong += 1
        return ()

    def _fails(self, exchange: Exchange) -> bool:
        """It is kept because it has failed; not where a caller has decided otherwise about its own trace."""
        return self._errors and is_failure(exchange) and self._tracing.trace(exchange).parent is None

    def families(self) -> Iterable[Family]:
        """How sending them goes, as metrics."""
        found = self.sender.counts()
        spans = Family("headgate_spans", "counter", "Spans, by what became of them.", labels=("result",))
        spans.values = {(what,): float(found[what]) for what in ("sent", "dropped")}
        spans.values["failed",] = float(self._wrong)
        queued = Family("headgate_spans_queued", "gauge", "Spans that are not sent yet.")
        queued.values[()] = float(found["queued"])
        return spans, queued

    def _encode(self, spans: Sequence[Span]) -> bytes:
        return traces(spans, self._resource, SCOPE, self._rules.names.schema_url)


def tracing_of(settings: Settings) -> Tracing | None:
    """What the engine has to know of it; None where there are no traces."""
    return Tracing(settings.traces.sample_basis_points) if settings.traces.to else None


def rules_of(told: TraceSettings, *, bodies: str) -> SpanRules:
    """What is in spans.

    Args:
        bodies: `log.bodies`: what is redacted there is redacted here.
    """
    clean = None if not told.content else scrubbed if bodies == "redacted" else str
    return SpanRules(names.BY_SETTING[told.names], told.usage, told.openinference, clean)


def resource_of(told: TraceSettings) -> dict[str, str]:
    """Who sends it all."""
    return {names.SERVICE_NAME: told.service, names.SERVICE_VERSION: __version__, **told.resource}


def at(url: str, path: str) -> str:
    """A signal's own URL under a collector's, unless it is that already."""
    return url if url.endswith(path) else url + path
