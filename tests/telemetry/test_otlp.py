"""OTLP by hand says what opentelemetry-proto reads, whatever the values; and a collector that is gone costs nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_collector import OtlpCollector, attributes

from headgate.settings.secrets import SecretRef
from headgate.telemetry import sending
from headgate.telemetry.families import Distribution, Family
from headgate.telemetry.otlp import CLIENT, Event, Span, metrics, traces
from headgate.telemetry.sending import BATCH, MAX_QUEUED, Collector, Sender

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUE = st.one_of(
    TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.lists(TEXT, max_size=3)
)


def span(name: str = "n", **more: Any) -> Span:
    return Span(TRACE, SPAN, "", name, CLIENT, 1.5, 2.5, more.pop("attributes", {}), **more)


@settings(max_examples=60, deadline=None)
@given(TEXT, st.dictionaries(TEXT, VALUE, max_size=5), st.floats(0, 4e9), st.booleans())
def test_any_span_is_read_as_it_was_meant(name: str, told: dict[str, Any], start: float, failed: bool) -> None:
    made = Span(
        TRACE, SPAN, SPAN, name, CLIENT, start, start + 1, told, [Event(name, start, told)], failed, "a=1", True
    )
    request = ExportTraceServiceRequest.FromString(traces([made], told, ("scope", "1"), "http://schema"))
    (resource,) = request.resource_spans
    (scope,) = resource.scope_spans
    (read,) = scope.spans
    assert (scope.scope.name, scope.scope.version, scope.schema_url) == ("scope", "1", "http://schema")
    assert (read.trace_id.hex(), read.span_id.hex(), read.parent_span_id.hex()) == (TRACE, SPAN, SPAN)
    assert (read.name, read.kind, read.trace_state) == (name, CLIENT, "a=1")
    assert read.start_time_unix_nano == int(start * 1e9)
    assert (read.status.code == 2) is failed
    assert attributes(read.attributes) == attributes(read.events[0].attributes) == told
    assert attributes(resource.resource.attributes) == told
    assert read.flags == 0x301


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 100), max_size=30), st.floats(-1e9, 1e9))
def test_any_metric_is_read_as_it_was_meant(values: list[float], value: float) -> None:
    found = Distribution((1.0, 10.0))
    for each in values:
        found.note(each)
    families = [
        Family("h", "histogram", "help", "s", ("place",), distributions={("x",): found}, bounds=(1.0, 10.0)),
        Family("c", "counter", "", labels=("place",), values={("x",): 2.0}),
        Family("g", "gauge", "", values={(): value}),
        Family("nothing", "gauge", ""),
    ]
    request = ExportMetricsServiceRequest.FromString(metrics(families, {}, ("s", ""), start=1.0, now=2.0))
    histogram, counter, gauge = request.resource_metrics[0].scope_metrics[0].metrics
    (point,) = histogram.histogram.data_points
    assert (point.count, list(point.bucket_counts)) == (len(values), found.counts)
    assert (point.sum, list(point.explicit_bounds)) == (found.sum, [1.0, 10.0])
    assert attributes(point.attributes) == {"place": "x"}
    assert (histogram.unit, histogram.histogram.aggregation_temporality) == ("s", 2)
    assert counter.sum.is_monotonic
    assert (counter.sum.data_points[0].as_double, gauge.gauge.data_points[0].as_double) == (2.0, value)
    assert counter.sum.data_points[0].start_time_unix_nano == 10**9


class Told:
    """The log's events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))


def sender(url: str, tell: Callable[..., None], encoded: list[int] | None = None) -> Sender:
    def encode(spans: Sequence[Span]) -> bytes:
        if encoded is not None:
            encoded.append(len(spans))
        return traces(spans, {}, ("s", "1"))

    told = {"authorization": SecretRef("env", "KEY"), "x-plain": "p"}
    return Sender(Collector(f"{url}/v1/traces", told, {"KEY": "collector-key"}), encode, tell=tell)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LINGER_SECONDS", "FIRST_REST", "LONGEST_REST"):
        monkeypatch.setattr(sending, name, 0.01)


def test_a_collector_that_fails_gets_the_same_batch_again_and_the_log_says_when_it_is_back(hasty: None) -> None:
    told = Told()
    with OtlpCollector() as otlp:
        otlp.status = 503
        found = sender(otlp.url, told)
        found.put([span("one")])
        with otlp.news:
            assert otlp.news.wait_for(lambda: len(otlp.requests) >= 2, 20)
            otlp.status = 200
        assert found.flush(20)
        assert [each.name for each in otlp.spans] == ["one"]
        assert found.health() == {"sent": 1, "dropped": 0, "queued": 0, "last_error": ""}
        found.close()
    assert [name for name, _ in told.events] == ["collector_unreachable", "collector_back"]
    assert told.events[0][1]["error"] == "it answered 503"


def test_spans_outlast_a_collector_that_is_gone_for_many_tries_in_their_order(hasty: None) -> None:
    told, encoded = Told(), []
    with OtlpCollector() as otlp:
        otlp.status = 503
        found = sender(otlp.url, told, encoded)
        names = [f"s{number:04}" for number in range(BATCH + 9)]
        found.put([span(name) for name in names])
        with otlp.news:
            assert otlp.news.wait_for(lambda: len(otlp.requests) >= 8, 20)
            otlp.status = 200
        assert found.flush(20)
        assert [each.name for each in otlp.spans] == names
        assert found.counts() == {"sent": len(names), "dropped": 0, "queued": 0}
        found.close()
    assert encoded == [BATCH, 9]


def test_what_it_refuses_is_dropped_at_once_and_counted(hasty: None) -> None:
    told = Told()
    with OtlpCollector() as otlp:
        otlp.status = 401
        found = sender(otlp.url, told)
        found.put([span(), span()])
        assert found.flush(20)
        assert (len(otlp.requests), found.counts()["dropped"]) == (1, 2)
        found.close()
    assert "collector-key" not in str(told.events)


def test_a_collector_that_is_gone_costs_one_encoding_and_no_more_memory_than_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told, encoded = Told(), []
    found = sender("http://127.0.0.1:9", told, encoded)
    done = threading.Event()
    found._rest = 3600.0
    monkeypatch.setattr(found, "_tell", lambda *_, **__: done.set())
    found.put([span()])
    assert done.wait(20)
    for _ in range(MAX_QUEUED + 99):
        found.put([span()])
    counts = found.counts()
    assert (counts["queued"], counts["dropped"]) == (MAX_QUEUED, 100)
    assert encoded == [1]
    thread = found._thread
    assert thread is not None
    found.close()
    thread.join(60)
    counts = found.counts()
    assert (counts["queued"], counts["dropped"]) == (0, MAX_QUEUED + 100)
    assert not thread.is_alive()


def test_a_secret_that_cannot_be_read_is_told_as_a_failure_and_stops_nothing(hasty: None) -> None:
    told = Told()
    with OtlpCollector() as otlp:
        found = Sender(
            Collector(otlp.url + "/v1/traces", {"a": SecretRef("env", "MISSING")}, {}), lambda _: b"", tell=told
        )
        found.put([span()])
        assert not found.flush(0.1)
        found.close()
        assert (found.counts()["dropped"], otlp.requests) == (1, [])
    assert "MISSING" in told.events[0][1]["error"]
