"""Metrics as Prometheus reads them, by its own client library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigError
from headgate.telemetry.families import Distribution, Family

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class Collector:
    """For a `prometheus_client.CollectorRegistry`: asks anew each time."""

    def __init__(self, families: Callable[[], Sequence[Family]]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        """Nothing: whoever registers it does not have it collected for that."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every family, as `prometheus_client` has them."""
        return [metric_of(family) for family in self._families()]


def exposition(families: Sequence[Family], accept: str) -> tuple[bytes, str]:
    """The page, and its content type: the text format, or OpenMetrics where it is asked for.

    Args:
        accept: the request's `Accept`.

    Raises:
        ConfigError: `prometheus-client` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
    except ImportError:
        raise ConfigError(
            "metrics need the package prometheus-client: pip install 'headgate[gateway]', or metrics: off"
        ) from None
    encoder, kind = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(lambda: families))
    return encoder(registry), kind


def metric_of(family: Family) -> Metric:
    """One family."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    name, said, labels = family.name, family.help, family.labels
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, said, labels=labels)
        for place, found in family.distributions.items():
            histogram.add_metric(place, _buckets(found), sum_value=found.sum)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(name, said, labels=labels)
    for place, value in family.values.items():
        made.add_metric(place, value)
    return made


def _buckets(found: Distribution) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip(found.bounds, found.counts, strict=False):
        total += count
        buckets.append((repr(float(bound)), total))
    buckets.append(("+Inf", total + found.counts[-1]))
    return buckets
