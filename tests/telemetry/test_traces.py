"""Traces, read by a collector from real protobufs: through the gateway and in process, under the real SDKs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_world import Gateway
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp_collector import OtlpCollector, attributes

import headgate
from headgate import Gate
from headgate.policy.tracing import attempt_span
from headgate.telemetry import names
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Match, Rule, Scenario, When

SERVED = "claude-haiku-4-5-20251001"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
QUESTION = [{"role": "user", "content": "My card is 4111 1111 1111 1111, hello"}]
FAULTS = [
    Rule(Fault("overloaded"), Match(header={"x-test": "once"}), When(nth=[1])),
    Rule(Fault("overloaded"), Match(header={"x-test": "never"})),
]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer(Scenario(name="faults", rules=FAULTS)) as server:
        yield server


@pytest.fixture(scope="module")
def otlp() -> Iterator[OtlpCollector]:
    with OtlpCollector() as found:
        yield found


@pytest.fixture(autouse=True)
def empty(otlp: OtlpCollector) -> None:
    otlp.traces.clear()
    otlp.metrics.clear()
    otlp.requests.clear()


@pytest.fixture(scope="module")
def gateway(sim: SimulatorServer, otlp: OtlpCollector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    overrides = {
        "traces": {"to": otlp.url, "sample": "100%", "headers": {"x-team": "search", "authorization": "env:COLLECTOR"}},
        "metrics": {"otlp": otlp.url, "every": "3600s"},
        "retry": {"attempts": 2},
    }
    folder = tmp_path_factory.mktemp("traces")
    told = {"COLLECTOR": "Bearer collector-key"}
    with Gateway(folder, sim.url, sim.openai_url, env=told, overrides=overrides) as found:
        yield found


def spans(gateway: Gateway | Gate, otlp: OtlpCollector) -> list[Span]:
    """Those that a collector has, once everything was sent."""
    built = gateway.built
    built.log.flush()
    assert built.telemetry.traces is not None
    assert built.telemetry.traces.sender.flush(20.0)
    return otlp.spans


def named(found: list[Span], name: str) -> Span:
    (one,) = [span for span in found if span.name == name]
    return one


def test_a_call_is_one_span_and_each_attempt_one_below_it(gateway: Gateway, otlp: OtlpCollector) -> None:
    client = anthropic.Anthropic(api_key="k", base_url=gateway.url)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "us=1", "x-test": "once"}
    headers |= {"x-headgate-user": "ada", "x-headgate-session": "s-17", "x-headgate-task": "greet"}
    answer = client.messages.create(model="claude-haiku-4-5", max_tokens=77, messages=QUESTION, extra_headers=headers)
    found = spans(gateway, otlp)
    assert len(found) == 3
    root, first, second = found
    row = gateway.rows("exchanges")[-1]
    assert (root.name, root.kind) == ("headgate.exchange", Span.SPAN_KIND_SERVER)
    assert (root.trace_id.hex(), root.parent_span_id.hex(), root.trace_state) == (TRACE, PARENT, "us=1")
    told = attributes(root.attributes)
    assert told[names.EXCHANGE_ID] == row["id"]
    assert (told["user.id"], told["gen_ai.conversation.id"], told[names.TASK]) == ("ada", "s-17", "greet")
    assert (told[names.OUTCOME], told[names.ATTEMPTS]) == ("complete", 2)
    assert told[names.COST] == pytest.approx(row["cost_nano"] / 1e9)
    for span in (first, second):
        assert (span.name, span.kind) == ("chat claude-haiku-4-5", Span.SPAN_KIND_CLIENT)
        assert (span.trace_id, span.parent_span_id) == (root.trace_id, root.span_id)
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano
    assert attributes(first.attributes)["error.type"] == "overloaded"
    assert (first.status.code, second.status.code, root.status.code) == (2, 0, 0)
    last = attributes(second.attributes)
    assert (last["gen_ai.operation.name"], last["gen_ai.provider.name"]) == ("chat", "anthropic")
    assert (last["gen_ai.request.max_tokens"], last["gen_ai.response.model"]) == (77, SERVED)
    assert last["gen_ai.response.finish_reasons"] == [answer.stop_reason]
    assert last["server.address"] == "127.0.0.1"
    assert last[names.USAGE + "output_tokens"] == answer.usage.output_tokens
    assert "headgate.wait" not in {event.name for event in first.events}
    assert "headgate.first_content" in {event.name for event in second.events}


def test_the_provider_is_told_of_the_attempts_span(gateway: Gateway, sim: SimulatorServer, otlp: OtlpCollector) -> None:
    client = openai.OpenAI(api_key="k", base_url=f"{gateway.url}/v1")
    client.chat.completions.create(model="gpt-6-luna", messages=QUESTION)  # type: ignore[arg-type]
    root, attempt = spans(gateway, otlp)
    sent = sim.requests()[-1]["headers"]["traceparent"]
    assert sent == f"00-{root.trace_id.hex()}-{attempt.span_id.hex()}-01"
    assert not root.parent_span_id
    told = attributes(attempt.attributes)
    assert told["gen_ai.usage.output_tokens"] > 0


def test_the_collector_gets_our_headers_and_who_we_are(gateway: Gateway, otlp: OtlpCollector) -> None:
    openai.OpenAI(api_key="k", base_url=f"{gateway.url}/v1").embeddings.create(
        model="text-embedding-3-small", input="hello"
    )
    root, attempt = spans(gateway, otlp)
    assert attempt.name == "embeddings text-embedding-3-small"
    path, headers = otlp.requests[0]
    assert path == "/v1/traces"
    assert (headers["x-team"], headers["authorization"]) == ("search", "Bearer collector-key")
    resource = otlp.traces[0].resource_spans[0]
    assert attributes(resource.resource.attributes)["service.name"] == "headgate"
    assert resource.scope_spans[0].scope.name == "headgate"
    assert root.flags & 1


def test_no_text_of_a_call_and_no_credential_is_in_a_span(gateway: Gateway, otlp: OtlpCollector) -> None:
    client = anthropic.Anthropic(api_key="canary-key", base_url=gateway.url)
    client.messages.create(model="claude-haiku-4-5", max_tokens=50, system="canary-system", messages=QUESTION)
    sent = str(otlp.traces) if spans(gateway, otlp) else ""
    assert "headgate.exchange" in sent
    for secret in ("canary", "4111 1111", "provider-key", "hello"):
        assert secret not in sent


def test_metrics_go_to_the_collector_too(gateway: Gateway, otlp: OtlpCollector) -> None:
    pusher = gateway.built.telemetry._pusher
    assert pusher is not None
    gateway.built.log.flush()
    pusher._push()
    assert pusher.error == ""
    found = otlp.last_metrics
    exchanges = found["headgate_exchanges"].sum
    assert exchanges.is_monotonic
    assert sum(point.as_double for point in exchanges.data_points) >= 4
    times = found["headgate_exchange_duration_seconds"].histogram.data_points
    assert all(sum(point.bucket_counts) == point.count for point in times)
    assert all(len(point.bucket_counts) == len(point.explicit_bounds) + 1 for point in times)
    assert found["process_resident_memory_bytes"].gauge.data_points[0].as_double > 1e7
    assert found["headgate_exchange_duration_seconds"].unit == "s"


def gate_of(sim: SimulatorServer, otlp: OtlpCollector, folder: Path, **traces: Any) -> Gate:
    env = {
        "ANTHROPIC_BASE_URL": sim.url,
        "OPENAI_BASE_URL": sim.openai_url,
        "HEADGATE_STORAGE": f"sqlite:///{folder / 'h.db'}",
    }
    told = {"to": otlp.url, "sample": "100%", **traces}
    return Gate.load(env=env, traces=told, retry={"attempts": 1})


def client_of(sim: SimulatorServer, gate: Gate) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=sim.url, http_client=gate.client(), max_retries=0)


def test_spans_nest_under_the_sdks_own_and_tokens_are_counted_once(
    sim: SimulatorServer, otlp: OtlpCollector, tmp_path: Path
) -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with gate_of(sim, otlp, tmp_path) as gate:
        with provider.get_tracer("app").start_as_current_span("request"):
            tracing = client_of(sim, gate).with_options(open_telemetry={"tracer_provider": provider})
            tracing.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=QUESTION)
            client = openai.OpenAI(api_key="k", base_url=sim.openai_url, http_client=gate.client())
            client.chat.completions.create(model="gpt-6-luna", messages=QUESTION)  # type: ignore[arg-type]
        found = spans(gate, otlp)
    sdk, app = kept.get_finished_spans()
    by_id = {span.span_id.hex(): span for span in found}
    roots = [span for span in found if span.name == "headgate.exchange"]
    assert {span.kind for span in roots} == {Span.SPAN_KIND_INTERNAL}
    assert [span.parent_span_id.hex() for span in roots] == [
        f"{sdk.context.span_id:016x}",  # type: ignore[union-attr]
        f"{app.context.span_id:016x}",  # type: ignore[union-attr]
    ]
    assert {span.trace_id.hex() for span in found} == {f"{app.context.trace_id:032x}"}  # type: ignore[union-attr]
    counted = [span for span in found if "gen_ai.usage.input_tokens" in attributes(span.attributes)]
    assert len(counted) == 1  # OpenAI's: its SDK makes no span
    assert "gen_ai.usage.input_tokens" in (sdk.attributes or {})
    assert by_id[counted[0].parent_span_id.hex()] is roots[1]
    assert all(
        names.USAGE + "input_tokens" in attributes(s.attributes) for s in found if s.kind == Span.SPAN_KIND_CLIENT
    )


def test_what_fails_is_kept_where_the_sample_leaves_it_out(
    sim: SimulatorServer, otlp: OtlpCollector, tmp_path: Path
) -> None:
    with gate_of(sim, otlp, tmp_path, sample="0%") as gate:
        client = openai.OpenAI(api_key="k", base_url=sim.openai_url, http_client=gate.client(), max_retries=0)
        client.chat.completions.create(model="gpt-6-luna", messages=QUESTION)  # type: ignore[arg-type]
        assert "traceparent" not in sim.requests()[-1]["headers"]
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(  # type: ignore[call-overload]
                model="gpt-6-luna", messages=QUESTION, extra_headers={"x-test": "never"}
            )
        root, attempt = spans(gate, otlp)
    told = attributes(root.attributes)
    assert (told[names.OUTCOME], told["error.type"], root.status.code) == ("failed", "provider_busy", 2)
    last = headgate.last()
    assert last is not None
    assert root.trace_id.hex().endswith(last.exchange_id[3:])
    assert attributes(attempt.attributes)["error.type"] in ("overloaded", "busy")


def test_content_is_told_only_where_wanted_and_without_what_the_log_leaves_out(
    sim: SimulatorServer, otlp: OtlpCollector, tmp_path: Path
) -> None:
    with gate_of(sim, otlp, tmp_path, content=True, openinference=True) as gate:
        answer = client_of(sim, gate).messages.create(model="claude-haiku-4-5", max_tokens=50, messages=QUESTION)
        (root, attempt) = spans(gate, otlp)
    told = attributes(attempt.attributes)
    (asked,) = json.loads(told["gen_ai.input.messages"])
    assert asked["role"] == "user"
    assert "hello" in asked["parts"][0]["content"]
    assert "4111 1111" not in str(told)
    (said,) = json.loads(told["gen_ai.output.messages"])
    assert said["finish_reason"] == answer.stop_reason
    assert told["output.value"] == said["parts"][0]["content"]
    assert (told["openinference.span.kind"], told["llm.model_name"]) == ("LLM", SERVED)
    assert attributes(root.attributes)["openinference.span.kind"] == "CHAIN"


def test_the_old_names_by_switch(sim: SimulatorServer, otlp: OtlpCollector, tmp_path: Path) -> None:
    with gate_of(sim, otlp, tmp_path, names="1.36", usage="always", content=True) as gate:
        client_of(sim, gate).messages.create(model="claude-haiku-4-5", max_tokens=50, messages=QUESTION)
        _, attempt = spans(gate, otlp)
    told = attributes(attempt.attributes)
    assert told["gen_ai.system"] == "anthropic"
    assert not {"gen_ai.provider.name", "gen_ai.request.stream", "gen_ai.input.messages"} & told.keys()
    assert told["gen_ai.usage.input_tokens"] > 0
    assert [event.name for event in attempt.events][-2:] == ["gen_ai.user.message", "gen_ai.choice"]
    assert otlp.traces[0].resource_spans[0].scope_spans[0].schema_url == "https://opentelemetry.io/schemas/1.36.0"


def test_without_traces_a_callers_context_passes_untouched(sim: SimulatorServer, tmp_path: Path) -> None:
    env = {"OPENAI_BASE_URL": sim.openai_url, "HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'h.db'}"}
    with Gate.load(env=env) as gate:
        assert gate.built.telemetry.traces is None
        client = openai.OpenAI(api_key="k", base_url=sim.openai_url, http_client=gate.client())
        told = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        client.chat.completions.create(model="gpt-6-luna", messages=QUESTION, extra_headers=told)  # type: ignore[arg-type]
    assert sim.requests()[-1]["headers"]["traceparent"] == told["traceparent"]


def test_an_attempts_span_follows_from_its_exchanges_id(gateway: Gateway, otlp: OtlpCollector) -> None:
    client = openai.OpenAI(api_key="k", base_url=f"{gateway.url}/v1")
    made = client.chat.completions.with_raw_response.create(model="gpt-6-luna", messages=QUESTION)  # type: ignore[arg-type]
    _, attempt = spans(gateway, otlp)

    class Known:
        id = made.headers["x-headgate-exchange"]

    assert attempt.span_id.hex() == attempt_span(Known(), 1)  # type: ignore[arg-type]
