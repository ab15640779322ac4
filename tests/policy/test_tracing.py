"""W3C trace context: what is believed of a caller's, and what is told to a provider."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.exchange import Exchange, Headers
from headgate.core.ids import id_maker
from headgate.policy.tracing import Tracing, attempt_span, parent_of
from headgate.testing.fakes import World

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def exchange(headers: Headers = (), bits: int = 7) -> Exchange:
    request = World().request()
    request.headers = headers
    return Exchange(id_maker(lambda n: bits)(1_800_000_000.0), request, 1_800_000_000.0)


def test_an_exchange_goes_on_the_trace_of_its_caller_by_the_callers_decision() -> None:
    trace = Tracing(0).trace(exchange([(b"traceparent", PARENT), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]))
    assert (trace.trace, trace.sampled) == (TRACE, True)
    assert trace.parent is not None
    assert (trace.parent.span, trace.parent.state) == (SPAN, "a=1,b=2")
    assert not Tracing(10_000).trace(exchange([(b"traceparent", PARENT[:-1] + b"0")])).sampled


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        PARENT.upper(),
        b"ff" + PARENT[2:],
        PARENT + b"-more",
        PARENT[:-3],
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
        b"00-" + b"g" * 32 + PARENT[35:],
    ],
)
def test_what_is_no_context_begins_a_new_trace(value: bytes) -> None:
    assert parent_of([(b"traceparent", value)]) is None
    trace = Tracing(10_000).trace(exchange([(b"traceparent", value)]))
    assert trace.parent is None
    assert trace.trace != TRACE


def test_a_later_version_is_read_as_far_as_it_is_known_and_two_contexts_are_none() -> None:
    found = parent_of([(b"traceparent", b"01" + PARENT[2:] + b"-what-comes-later")])
    assert found is not None
    assert found.trace == TRACE
    assert parent_of([(b"traceparent", PARENT), (b"traceparent", PARENT)]) is None


def test_a_provider_is_told_of_its_attempts_own_span() -> None:
    headers = [(b"x-api-key", b"k"), (b"traceparent", PARENT), (b"tracestate", b"a=1")]
    made = exchange(headers)
    first, second = (dict(Tracing(0).told(made, number, headers)) for number in (1, 2))
    assert first[b"traceparent"] == f"00-{TRACE}-{attempt_span(made, 1)}-01".encode()
    assert second[b"traceparent"] != first[b"traceparent"]
    assert (first[b"x-api-key"], first[b"tracestate"]) == (b"k", b"a=1")
    assert dict(headers)[b"traceparent"] == PARENT


def test_what_is_not_traced_is_sent_as_it_came() -> None:
    headers = [(b"x-api-key", b"k"), (b"traceparent", PARENT[:-1] + b"0")]
    assert Tracing(10_000).told(exchange(headers), 1, headers) is headers
    plain = [(b"x-api-key", b"k")]
    assert Tracing(0).told(exchange(), 1, plain) is plain


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 10_000))
def test_the_sample_is_opentelemetrys_own_and_the_ids_are_valid_and_differ(bits: int, share: int) -> None:
    from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

    made = exchange(bits=bits)
    trace = Tracing(share).trace(made)
    asked = TraceIdRatioBased(share / 10_000).should_sample(None, int(trace.trace, 16), "x")
    near = abs((bits * 10_000) - (share << 64)) < 10_000 << 12  # where a float cannot tell
    assert near or trace.sampled == (asked.decision is Decision.RECORD_AND_SAMPLE)
    spans = [trace.span, *(attempt_span(made, number) for number in range(1, 20))]
    assert len(set(spans)) == len(spans)
    assert all(len(span) == 16 and int(span, 16) for span in spans)
    assert len(trace.trace) == 32
    assert made.id[3:] in trace.trace
    assert Tracing(share).trace(made) == trace
    assert Tracing(share).samples(made) == trace.sampled
