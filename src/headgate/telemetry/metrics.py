"""A process's metrics: what was counted, and how it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from headgate.core.secret import Secret
from headgate.settings.model import Settings
from headgate.telemetry.counting import Counts, LabelRules
from headgate.telemetry.families import Family
from headgate.telemetry.prometheus import Collector, exposition
from headgate.telemetry.standing import standing

if TYPE_CHECKING:
    from headgate.build import Built


class Metrics:
    """Counting begins with the first `start`: by the gateway, by `Gate.metrics`, or to send them over OTLP.

    Attributes:
        collector: for a registry of `prometheus_client`.
        sources: more families, from other parts; they must not wait.
    """

    def __init__(self, built: Built, env: Mapping[str, str]) -> None:
        """
        Args:
            env: where `env:` references are read.
        """
        self._built = built
        self._env = env
        self._lock = threading.Lock()
        self._counts: Counts | None = None
        self.collector = Collector(self.families)
        self.sources: list[Callable[[], Iterable[Family]]] = []

    def start(self) -> Counts:
        """Count from now on. Idempotent."""
        with self._lock:
            if self._counts is None:
                self._counts = Counts(label_rules(self._built.settings))
                self._built.log.watchers.append(self._counts.look)
                self._built.log.overflow.append(self._counts.one)
            return self._counts

    def token(self) -> Secret | None:
        """What lets in whoever reads them; None = there is none.

        Raises:
            ConfigError: it cannot be read.
        """
        reference = self._built.settings.metrics.token
        return None if reference is None else reference.resolve(self._env)

    def families(self) -> list[Family]:
        """Everything, now. Waits for nothing; what settled within the last tenth of a second may be missing."""
        more = [family for source in tuple(self.sources) for family in source()]
        return [*self.start().families(), *standing(self._built), *more]

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """For Prometheus: the page and its content type. See `prometheus.exposition`."""
        return exposition(self.families(), accept)


def label_rules(settings: Settings) -> LabelRules:
    """What the configuration names has its place among the labels."""
    told = settings.metrics
    models = {route.model for routes in settings.models.values() for route in routes}
    return LabelRules(told.models, told.tasks, told.tenants, tuple(sorted(models)), tuple(settings.tasks))
